/**
 * Content identifiers, such as `sha256:e3b0c442…`: an algorithm, a colon, and the encoded hash.
 *
 * The grammar is that of the OCI image specification ("Digests" in `descriptor.md`). A hash of `sha256` or `sha512` has
 * to be lower-case hexadecimal of the right length. Other algorithms are accepted if they match the grammar, as the
 * specification requires, but content cannot be verified with them.
 *
 * @since 0.1.0
 */
import type * as Brand from "effect/Brand"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { printable } from "./Text.ts"

/**
 * A well-formed digest.
 *
 * @category models
 * @since 0.1.0
 */
export type Digest = Brand.Branded<string, "effect-oci/Digest">

/**
 * A string is not a digest. `offset` is the position of the first wrong character, from 0.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidDigest extends Schema.TaggedError<InvalidDigest>("effect-oci/Digest/InvalidDigest")(
  "InvalidDigest",
  { input: Schema.String, offset: Schema.Int, problem: Schema.String }
) {
  override get message(): string {
    const input = JSON.stringify(this.input.slice(0, 300))
    return printable(`invalid digest ${input}: ${this.problem} (character ${this.offset + 1})`)
  }
}

const algorithmPattern = /^[a-z0-9]+(?:[+._-][a-z0-9]+)*$/
const hexLength = new Map([["sha256", 64], ["sha512", 128]])

const problemOf = (input: string): { readonly offset: number; readonly problem: string } | undefined => {
  const colon = input.indexOf(":")
  if (colon < 0) return { offset: input.length, problem: "expected an algorithm, a colon and the encoded hash" }
  const algorithm = input.slice(0, colon)
  if (!algorithmPattern.test(algorithm)) return { offset: 0, problem: "not an algorithm name" }
  const encoded = input.slice(colon + 1)
  const length = hexLength.get(algorithm)
  const bad = encoded.search(length === undefined ? /[^a-zA-Z0-9=_-]/ : /[^a-f0-9]/)
  if (bad >= 0) {
    return {
      offset: colon + 1 + bad,
      problem: length === undefined ? "character not allowed in a hash" : "expected a lower-case hexadecimal digit"
    }
  }
  if (length !== undefined && encoded.length !== length) {
    return {
      offset: colon + 1 + Math.min(encoded.length, length),
      problem: `expected ${length} hexadecimal digits after ${algorithm}, found ${encoded.length}`
    }
  }
  return encoded === "" ? { offset: colon + 1, problem: "the hash is empty" } : undefined
}

/**
 * Schema of a digest.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Digest: Schema.brand<Schema.String, "effect-oci/Digest"> = Schema.String.pipe(
  Schema.check(Schema.makeFilter<string>((input) => problemOf(input)?.problem, {
    expected: "a digest such as sha256:<64 hexadecimal digits>",
    arbitraryConstraint: { patterns: [{ source: "^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$", flags: "" }] }
  })),
  Schema.brand("effect-oci/Digest")
)

/**
 * Parses a digest.
 *
 * **Example** (Parsing digests)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import * as Digest from "effect-oci/Digest"
 *
 * Result.isSuccess(Digest.parse("sha256:" + "0".repeat(64))) // => true
 * Result.isSuccess(Digest.parse("blake3:Xyz=")) // => true
 * Result.isSuccess(Digest.parse("sha256:ABC")) // => false
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const parse = (input: string): Result.Result<Digest, InvalidDigest> => {
  const problem = problemOf(input)
  return problem === undefined
    ? Result.succeed(input as Digest) // the brand says what problemOf has just checked
    : Result.fail(new InvalidDigest({ input, ...problem }))
}

/**
 * Returns true if a value is a digest.
 *
 * @category guards
 * @since 0.1.0
 */
export const isDigest = (u: unknown): u is Digest => typeof u === "string" && problemOf(u) === undefined

/**
 * Returns the algorithm of a digest: the part before the colon.
 *
 * @category accessors
 * @since 0.1.0
 */
export const algorithm = (self: Digest): string => self.slice(0, self.indexOf(":"))

/**
 * Returns the encoded hash of a digest: the part after the colon.
 *
 * @category accessors
 * @since 0.1.0
 */
export const encoded = (self: Digest): string => self.slice(self.indexOf(":") + 1)

/**
 * Creates a digest from an algorithm and the raw bytes of its hash.
 *
 * **Example** (A hash that Node computed)
 *
 * ```ts import.meta.vitest
 * import * as Digest from "effect-oci/Digest"
 * import { createHash } from "node:crypto"
 *
 * const hash = createHash("sha256").update("hello").digest()
 *
 * Digest.fromHash("sha256", hash).slice(0, 15) // => "sha256:2cf24dba"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromHash = (algorithm: "sha256" | "sha512", hash: Uint8Array): Digest => {
  let hex = ""
  for (const byte of hash) hex += byte.toString(16).padStart(2, "0")
  return `${algorithm}:${hex}` as Digest // lower-case hexadecimal by construction
}
