/**
 * What an image runs on: an operating system, an architecture, and at times a variant, as in `linux/arm64/v8`.
 *
 * Fields and values are those of the OCI image index (image-spec, `image-index.md`).
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

const Declared = Schema.Struct({
  architecture: Schema.String,
  os: Schema.String,
  "os.version": Schema.optionalKey(Schema.String),
  "os.features": Schema.optionalKey(Schema.Array(Schema.String)),
  variant: Schema.optionalKey(Schema.String)
})

/**
 * Schema of a platform. Fields that are not declared here survive decoding and encoding.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Platform = Schema.StructWithRest(Declared, [Schema.Record(Schema.String, Schema.Json)])

/**
 * A platform.
 *
 * @category models
 * @since 0.1.0
 */
export type Platform = typeof Platform.Type

/**
 * A string does not name a platform.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidPlatform extends Schema.TaggedError<InvalidPlatform>("effect-oci/Platform/InvalidPlatform")(
  "InvalidPlatform",
  { input: Schema.String, problem: Schema.String }
) {
  override get message(): string {
    return `invalid platform ${JSON.stringify(this.input.slice(0, 100))}: ${this.problem}`
  }
}

const aliases: ReadonlyMap<string, Pick<Platform, "architecture" | "variant">> = new Map([
  ["x86_64", { architecture: "amd64" }],
  ["x86-64", { architecture: "amd64" }],
  ["i386", { architecture: "386" }],
  ["aarch64", { architecture: "arm64" }],
  ["armhf", { architecture: "arm", variant: "v7" }],
  ["armel", { architecture: "arm", variant: "v6" }]
])

/**
 * Reads `os/architecture` or `os/architecture/variant`. The architectures have the names that Go gives them; the
 * kernel's names (`x86_64`, `aarch64`, …) are understood too.
 *
 * **Example** (Reading platforms)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import * as Platform from "effect-oci/Platform"
 *
 * Result.map(Platform.parse("linux/arm/v7"), Platform.format) // => Result.succeed("linux/arm/v7")
 * Result.map(Platform.parse("linux/aarch64"), Platform.format) // => Result.succeed("linux/arm64")
 * Result.isFailure(Platform.parse("linux")) // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const parse = (input: string): Result.Result<Platform, InvalidPlatform> => {
  const match = /^([\w.-]+)\/([\w.-]+)(?:\/([\w.-]+))?$/.exec(input.toLowerCase())
  const [, os, architecture, variant] = match ?? []
  if (os === undefined || architecture === undefined) {
    const problem = "expected os/architecture or os/architecture/variant, such as linux/amd64"
    return Result.fail(new InvalidPlatform({ input, problem }))
  }
  return Result.succeed({
    os,
    ...aliases.get(architecture) ?? { architecture },
    ...variant === undefined ? {} : { variant }
  })
}

/**
 * The short form of a platform: `os/architecture`, with the variant where there is one.
 *
 * @category conversions
 * @since 0.1.0
 */
export const format = (self: Platform): string =>
  [self.os, self.architecture, ...self.variant === undefined ? [] : [self.variant]].join("/")

// 64-bit ARM has one variant that matters; tools write it or leave it out
const variantOf = (self: Platform): string | undefined =>
  self.architecture === "arm64" && self.variant === "v8" ? undefined : self.variant

/**
 * Does an image for `candidate` answer a wish for `wanted`? A wish without a variant takes any; `arm64` and
 * `arm64/v8` are the same.
 *
 * @category combinators
 * @since 0.1.0
 */
export const matches = (wanted: Platform, candidate: Platform): boolean =>
  wanted.os === candidate.os && wanted.architecture === candidate.architecture &&
  (variantOf(wanted) === undefined || variantOf(wanted) === variantOf(candidate)) &&
  (wanted["os.version"] === undefined || wanted["os.version"] === candidate["os.version"])

/**
 * Reads the platform out of an image config (image-spec, `config.md`), which has the same fields among others. The
 * others, such as the environment, are left behind.
 *
 * **Example** (The platform of an image config)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import * as Platform from "effect-oci/Platform"
 *
 * const config = `{ "os": "linux", "architecture": "arm64", "config": { "Env": ["PATH=/bin"] } }`
 *
 * Result.map(Platform.fromJson(config), Platform.format) // => Result.succeed("linux/arm64")
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromJson: (json: string) => Result.Result<Platform, Schema.SchemaError> = Schema.decodeUnknownResult(
  Schema.fromJsonString(Schema.toCodecGoJson(Declared))
)
