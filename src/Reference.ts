/**
 * References to images and other content of registries, such as `registry.example.com/team/app:1.0@sha256:…`.
 *
 * There is no default registry and no default tag. The first part of a name is a host if it has a dot, a port or
 * brackets, or is `localhost`. The rest of the grammar is that of the distribution specification ("Pulling manifests"),
 * with the limits that clients share: 255 characters for a repository, and 128 for a tag.
 *
 * @since 0.1.0
 */
import type * as Brand from "effect/Brand"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as Digest from "./Digest.ts"
import { printable } from "./Text.ts"

/**
 * Schema of the part of a reference that is invalid.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Part = Schema.Literals(["registry", "repository", "tag", "digest"])

/**
 * A string is not a reference. `offset` is the position of the first wrong character, from 0.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidReference extends Schema.TaggedError<InvalidReference>("effect-oci/Reference/InvalidReference")(
  "InvalidReference",
  { input: Schema.String, part: Part, offset: Schema.Int, problem: Schema.String }
) {
  override get message(): string {
    const input = this.input.length > 300 ? this.input.slice(0, 300) + "…" : this.input
    return printable(
      `invalid reference ${JSON.stringify(input)}: ${this.part}: ${this.problem} (character ${this.offset + 1})`
    )
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// the parts: one function per part finds its first wrong character, for the parser and for the schema
// ---------------------------------------------------------------------------------------------------------------------

interface Problem {
  readonly offset: number
  readonly problem: string
}

const label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
const hostPattern = new RegExp(`^(?:${label}(?:\\.${label})*|\\[[a-fA-F0-9:.]+\\])$`)

const problemOfHost = (input: string): Problem | undefined => {
  const port = /^(?:\[.*\]|[^[\]]*?):(.*)$/s.exec(input)?.[1]
  const host = port === undefined ? input : input.slice(0, input.length - port.length - 1)
  if (host.length > 253 || !hostPattern.test(host) || !URL.canParse(`http://${host}/`)) {
    return { offset: 0, problem: `${JSON.stringify(host.slice(0, 100))} is not a host name or address` }
  }
  if (port !== undefined && !(/^[0-9]{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65535)) {
    return { offset: host.length + 1, problem: "the port is not a number from 1 to 65535" }
  }
  return looksLikeHost(input)
    ? undefined
    : { offset: 0, problem: "a host has a dot, a port or brackets, or is localhost" }
}

const looksLikeHost = (input: string): boolean => /[.:[\]]/.test(input) || input === "localhost"

const repositoryPattern = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/

// the longest beginning of a string that a name of a repository could have
const repositoryBeginning = /^(?:[a-z0-9]+(?:\.|__?|-+|\/)?)*/

const problemOfRepository = (input: string): Problem | undefined => {
  if (input === "") return { offset: 0, problem: "it is empty" }
  if (input.length > 255) return { offset: 255, problem: `it has ${input.length} characters, 255 are allowed` }
  if (repositoryPattern.test(input)) return undefined
  const offset = repositoryBeginning.exec(input)?.[0].length ?? 0
  const character = input.charAt(offset)
  if (/[A-Z]/.test(character)) return { offset, problem: `upper-case letter ${JSON.stringify(character)}` }
  return {
    offset,
    problem: /[^a-z0-9._/-]/.test(character)
      ? `character ${JSON.stringify(character)} is not allowed`
      : "expected a letter or digit: parts between slashes are letters and digits, joined by one of . _ __ and -"
  }
}

const tagPattern = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/

const problemOfTag = (input: string): Problem | undefined => {
  if (tagPattern.test(input)) return undefined
  if (input === "") return { offset: 0, problem: "it is empty" }
  const offset = input.search(/[^a-zA-Z0-9._-]/)
  if (offset >= 0) return { offset, problem: `character ${JSON.stringify(input.charAt(offset))} is not allowed` }
  return input.length > 128
    ? { offset: 128, problem: `it has ${input.length} characters, 128 are allowed` }
    : { offset: 0, problem: "it must begin with a letter, a digit or _" }
}

// `examples` is a pattern for generated values: a part of the grammar that stays short
const checked = (problemOf: (input: string) => Problem | undefined, examples: string) =>
  Schema.String.check(Schema.makeFilter<string>(
    (input) => {
      const found = problemOf(input)
      return found === undefined ? undefined : `${found.problem} (character ${found.offset + 1})`
    },
    { arbitraryConstraint: { patterns: [{ source: examples, flags: "" }] } }
  ))

/** Makes `make` throw the error of a parser, which says what is wrong and where. That of `Schema` does not. */
const explained = <Name extends string>(
  parse: (input: string) => Result.Result<string, InvalidReference>,
  schema: Schema.brand<Schema.String, Name>
): Schema.brand<Schema.String, Name> => {
  const unexplained = SchemaParser.make(schema)
  const make: typeof unexplained = (input, options) => {
    if (options?.disableChecks !== true) Result.getOrThrow(parse(input))
    return unexplained(input, options)
  }
  return Object.defineProperty(schema, "make", { value: make, enumerable: true })
}

/**
 * The host of a registry: a name or address, with or without a port.
 *
 * @category models
 * @since 0.1.0
 */
export type Host = Brand.Branded<string, "effect-oci/Reference/Host">

/**
 * Schema of the host of a registry.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Host: Schema.brand<Schema.String, "effect-oci/Reference/Host"> = explained(
  (input) => parseHost(input),
  checked(
    problemOfHost,
    "^(?:localhost|[a-z][a-z0-9]{0,9}(?:\\.[a-z][a-z0-9]{0,9}){1,3}|127\\.0\\.0\\.1|\\[::1\\])(?::[1-9][0-9]{0,3})?$"
  ).pipe(Schema.brand("effect-oci/Reference/Host"))
)

/**
 * The name of a repository.
 *
 * @category models
 * @since 0.1.0
 */
export type Repository = Brand.Branded<string, "effect-oci/Reference/Repository">

/**
 * Schema of the name of a repository.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Repository: Schema.brand<Schema.String, "effect-oci/Reference/Repository"> = explained(
  (input) => parseRepository(input),
  checked(
    problemOfRepository,
    "^[a-z0-9]{1,9}(?:(?:\\.|_|__|-{1,3})[a-z0-9]{1,9}){0,2}(?:/[a-z0-9]{1,9}(?:(?:\\.|_|__|-)[a-z0-9]{1,9}){0,2}){0,4}$"
  ).pipe(Schema.brand("effect-oci/Reference/Repository"))
)

/**
 * A tag.
 *
 * @category models
 * @since 0.1.0
 */
export type Tag = Brand.Branded<string, "effect-oci/Reference/Tag">

/**
 * Schema of a tag.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Tag: Schema.brand<Schema.String, "effect-oci/Reference/Tag"> = explained(
  (input) => parseTag(input),
  checked(
    problemOfTag,
    tagPattern.source
  ).pipe(Schema.brand("effect-oci/Reference/Tag"))
)

// ---------------------------------------------------------------------------------------------------------------------
// references
// ---------------------------------------------------------------------------------------------------------------------

/**
 * A reference to a repository of a registry, or to content in it. If it has both a tag and a digest, the tag has to
 * point at the digest. `String(reference)` is the same as {@link format}.
 *
 * @category models
 * @since 0.1.0
 */
export class Reference extends Schema.Class<Reference>("effect-oci/Reference")({
  registry: Host,
  repository: Repository,
  tag: Schema.optionalKey(Tag),
  digest: Schema.optionalKey(Digest.Digest)
}) {
  override toString(): string {
    return format(this)
  }
}

/**
 * The parts of a reference whose registry may be absent.
 *
 * @category models
 * @since 0.1.0
 */
export interface RelativeReference {
  readonly registry?: Host | undefined
  readonly repository: Repository
  readonly tag?: Tag | undefined
  readonly digest?: Digest.Digest | undefined
}

interface Login {
  readonly found: string
  readonly hidden: string
}

const invalidLogin = ({ found, hidden }: Login, expected: string): InvalidReference =>
  new InvalidReference({ input: hidden, part: "registry", offset: 0, problem: `${expected} ${found}` })

/** Finds a URL, or a user before a host. The text before the @ may be a password, which no error repeats. */
const loginOf = (input: string, slash: number): Login | undefined => {
  const scheme = /^[a-zA-Z][a-zA-Z0-9+.-]*:\/\//.exec(input)?.[0]
  const beforePath = slash < 0 ? "" : input.slice(0, slash)
  const at = scheme === undefined ? beforePath.lastIndexOf("@") : input.lastIndexOf("@")
  if (scheme === undefined && !beforePath.slice(0, Math.max(at, 0)).includes(":")) return undefined
  return {
    found: scheme ?? "a user",
    hidden: at < 0 ? input : `${scheme ?? ""}…@${input.slice(at + 1)}`
  }
}

/**
 * Parses a reference whose host may be absent.
 *
 * **Example** (Parsing references with and without a host)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import * as Reference from "effect-oci/Reference"
 *
 * Result.getOrThrow(Reference.parseRelative("team/app:1")).registry // => undefined
 * Result.getOrThrow(Reference.parseRelative("localhost/app:1")).registry // => "localhost"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const parseRelative = (input: string): Result.Result<RelativeReference, InvalidReference> => {
  const slash = input.indexOf("/")
  const hasHost = slash >= 0 && looksLikeHost(input.slice(0, slash))
  const repositoryStart = hasHost ? slash + 1 : 0
  const at = input.indexOf("@", repositoryStart)
  const nameEnd = at < 0 ? input.length : at
  const colon = input.indexOf(":", repositoryStart)
  const hasTag = colon >= 0 && colon < nameEnd
  const fail = (part: InvalidReference["part"], start: number, { offset, problem }: Problem) =>
    Result.fail(new InvalidReference({ input, part, offset: start + offset, problem }))

  const login = loginOf(input, slash)
  if (login !== undefined) return Result.fail(invalidLogin(login, "a reference begins with a host, not with"))
  const registry = hasHost ? input.slice(0, slash) : undefined
  const registryProblem = registry === undefined ? undefined : problemOfHost(registry)
  if (registryProblem !== undefined) return fail("registry", 0, registryProblem)

  const repository = input.slice(repositoryStart, hasTag ? colon : nameEnd)
  const repositoryProblem = problemOfRepository(repository)
  if (repositoryProblem !== undefined) return fail("repository", repositoryStart, repositoryProblem)

  const tag = hasTag ? input.slice(colon + 1, nameEnd) : undefined
  const tagProblem = tag === undefined ? undefined : problemOfTag(tag)
  if (tagProblem !== undefined) return fail("tag", colon + 1, tagProblem)

  const digest = at < 0 ? undefined : Digest.parse(input.slice(at + 1))
  if (digest !== undefined && Result.isFailure(digest)) return fail("digest", at + 1, digest.failure)

  // the brands say what the checks above have found
  return Result.succeed({
    ...registry === undefined ? {} : { registry: registry as Host },
    repository: repository as Repository,
    ...tag === undefined ? {} : { tag: tag as Tag },
    ...digest === undefined ? {} : { digest: digest.success }
  })
}

/**
 * Parses a reference that has a host.
 *
 * **Example** (Parsing a reference)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import * as Reference from "effect-oci/Reference"
 *
 * const reference = Result.getOrThrow(Reference.parse("registry.example.com:5000/team/app:1.0"))
 *
 * reference.registry // => "registry.example.com:5000"
 * reference.repository // => "team/app"
 * reference.tag // => "1.0"
 * String(reference) // => "registry.example.com:5000/team/app:1.0"
 *
 * Result.isFailure(Reference.parse("team/app:1.0")) // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const parse = (input: string): Result.Result<Reference, InvalidReference> =>
  Result.flatMap(parseRelative(input), ({ digest, registry, repository, tag }) =>
    registry === undefined
      ? Result.fail(
        new InvalidReference({
          input,
          part: "registry",
          offset: 0,
          problem: "there is no host: expected host/repository; a host has a dot or a port, or is localhost"
        })
      )
      : Result.succeed(
        new Reference({
          registry,
          repository,
          ...tag === undefined ? {} : { tag },
          ...digest === undefined ? {} : { digest }
        }, { disableChecks: true })
      ))

/**
 * Parses the host of a registry.
 *
 * **Example** (Parsing a host)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import * as Reference from "effect-oci/Reference"
 *
 * Result.getOrThrow(Reference.parseHost("127.0.0.1:5000")) // => "127.0.0.1:5000"
 * Result.isFailure(Reference.parseHost("library")) // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const parseHost = (input: string): Result.Result<Host, InvalidReference> => {
  const problem = problemOfHost(input)
  if (problem === undefined) return Result.succeed(input as Host) // the brand says what problemOfHost has just checked
  const login = loginOf(input, input.length)
  return Result.fail(
    login === undefined
      ? new InvalidReference({ input, part: "registry", ...problem })
      : invalidLogin(login, "a host is expected, not")
  )
}

/**
 * Parses the name of a repository. Use it for names that come from users or files: the error says which character is
 * wrong. `Repository.make`, which throws that error, is for constants.
 *
 * **Example** (Finding the wrong character)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import * as Reference from "effect-oci/Reference"
 *
 * Result.getOrThrow(Reference.parseRepository("team/app")) // => "team/app"
 * Result.getOrThrow(Result.flip(Reference.parseRepository("team/App"))).offset // => 5
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const parseRepository = (input: string): Result.Result<Repository, InvalidReference> => {
  const problem = problemOfRepository(input)
  return problem === undefined
    ? Result.succeed(input as Repository) // the brand says what problemOfRepository has just checked
    : Result.fail(new InvalidReference({ input, part: "repository", ...problem }))
}

/**
 * Parses a tag. Use it for tags that come from users or files: the error says which character is wrong. `Tag.make`,
 * which throws that error, is for constants.
 *
 * **Example** (Finding the wrong character)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import * as Reference from "effect-oci/Reference"
 *
 * Result.getOrThrow(Reference.parseTag("1.0")) // => "1.0"
 * Result.getOrThrow(Result.flip(Reference.parseTag("1.0+build"))).offset // => 3
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const parseTag = (input: string): Result.Result<Tag, InvalidReference> => {
  const problem = problemOfTag(input)
  return problem === undefined
    ? Result.succeed(input as Tag) // the brand says what problemOfTag has just checked
    : Result.fail(new InvalidReference({ input, part: "tag", ...problem }))
}

/**
 * Formats a reference, so that {@link parse} reads it again.
 *
 * @category conversions
 * @since 0.1.0
 */
export const format = (self: {
  readonly registry?: string | undefined
  readonly repository: string
  readonly tag?: string | undefined
  readonly digest?: string | undefined
}): string =>
  (self.registry === undefined ? "" : `${self.registry}/`) + self.repository +
  (self.tag === undefined ? "" : `:${self.tag}`) +
  (self.digest === undefined ? "" : `@${self.digest}`)

/**
 * Schema that decodes a {@link Reference} from its string form.
 *
 * @category schemas
 * @since 0.1.0
 */
export const FromString: Schema.decodeTo<typeof Reference, Schema.String> = Schema.String.pipe(
  Schema.decodeTo(
    Reference,
    SchemaTransformation.transformEffect<typeof Reference.Encoded, string>({
      decode: (input, options) =>
        Effect.mapError(
          Effect.fromResult(parse(input)),
          (error) => new SchemaIssue.InvalidValue({ message: error.message }, input, options)
        ),
      encode: (reference) => Effect.succeed(format(reference))
    })
  )
)
