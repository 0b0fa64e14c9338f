/**
 * Platforms of images: an operating system, an architecture, and sometimes a variant, such as `linux/arm64/v8`.
 *
 * Fields and values are those of the OCI image index (image-spec, `image-index.md`).
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as OtherFields from "./OtherFields.ts"
import { printable } from "./Text.ts"

/**
 * A platform. Fields of other names survive decoding and encoding: {@link otherFields} returns them.
 *
 * @category models
 * @since 0.1.0
 */
export interface Platform {
  /** Architecture of the processor, as Go names it. */
  readonly architecture: string
  /** Operating system, as Go names it. */
  readonly os: string
  readonly "os.version"?: string | undefined
  /** Features of the operating system that the image needs. */
  readonly "os.features"?: ReadonlyArray<string> | undefined
  readonly variant?: string | undefined
}

const Declared = Schema.Struct({
  architecture: Schema.NonEmptyString,
  os: Schema.NonEmptyString,
  "os.version": Schema.optional(Schema.String),
  "os.features": Schema.optional(Schema.Array(Schema.String)),
  variant: Schema.optional(Schema.String)
})

/**
 * Schema of a platform. Fields that are not declared here survive decoding and encoding.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Platform: Schema.Codec<Platform, typeof Declared.Encoded> = Schema.StructWithRest(
  Declared,
  OtherFields.kept
)

/**
 * Returns the fields of a platform that {@link Platform} does not declare.
 *
 * @category accessors
 * @since 0.1.0
 */
export const otherFields = (self: Platform): Readonly<Record<string, Schema.Json>> => OtherFields.of(Declared, self)

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
    return printable(`invalid platform ${JSON.stringify(this.input.slice(0, 100))}: ${this.problem}`)
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// spelling
// ---------------------------------------------------------------------------------------------------------------------

const aliases: ReadonlyMap<string, Pick<Platform, "architecture" | "variant">> = new Map([
  ["x86_64", { architecture: "amd64" }],
  ["x86-64", { architecture: "amd64" }],
  ["i386", { architecture: "386" }],
  ["aarch64", { architecture: "arm64" }],
  ["armhf", { architecture: "arm", variant: "v7" }],
  ["armel", { architecture: "arm", variant: "v6" }]
])

const osName = (os: string): string => os === "macos" ? "darwin" : os

/** Returns the variant with its `v`, which some tools omit for ARM. */
const variantName = (architecture: string, variant: string): string =>
  architecture.startsWith("arm") && /^[0-9]/.test(variant) ? `v${variant}` : variant

const grammar = new RegExp(
  [
    /^(?<os>[\w.-]+)/,
    // containerd: windows(10.0.17763+win32k)/amd64
    /(?:\((?<version>[\w.%-]*)(?<features>(?:\+[\w.%-]+)*)\))?/,
    /\/(?<architecture>[\w.-]+)(?:\/(?<variant>[\w.-]+))?/,
    // crane: windows/amd64:10.0.17763; regctl: windows/amd64,osver=10.0.17763
    /(?:(?::|, *osver(?:sion)?=)(?<suffix>[\w.-]+))?$/
  ].map(({ source }) => source).join(""),
  "i"
)

const decodeOption = (text: string): string => Result.getOrElse(Result.try(() => decodeURIComponent(text)), () => text)

const encodeOption = (text: string): string =>
  text.replace(/[^\w.-]/gu, (character) => {
    // parentheses are not encoded in a URI, half a surrogate pair cannot be
    const encoded = Result.getOrElse(Result.try(() => encodeURIComponent(character)), () => "%EF%BF%BD")
    return encoded === "(" ? "%28" : encoded === ")" ? "%29" : encoded
  })

/**
 * Parses `os/architecture` or `os/architecture/variant`. The architectures have the names of Go; the names of the
 * kernel (`x86_64`, `aarch64`, …) are accepted as well.
 *
 * **Details**
 *
 * The version of the operating system and the features that an image needs are parsed in the spelling of containerd
 * (`windows(10.0.17763+win32k)/amd64`). The version is also parsed in the spellings of regctl
 * (`windows/amd64,osver=10.0.17763`) and crane (`windows/amd64:10.0.17763`).
 *
 * **Example** (Parsing platforms)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import * as Platform from "effect-oci/Platform"
 *
 * Result.map(Platform.parse("linux/arm/v7"), Platform.format) // => Result.succeed("linux/arm/v7")
 * Result.map(Platform.parse("linux/aarch64"), Platform.format) // => Result.succeed("linux/arm64")
 * const windows = Platform.parse("windows/amd64,osver=10.0.17763")
 * Result.map(windows, Platform.format) // => Result.succeed("windows(10.0.17763)/amd64")
 * Result.isFailure(Platform.parse("linux")) // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const parse = (input: string): Result.Result<Platform, InvalidPlatform> => {
  const { architecture, features = "", os, suffix = "", variant, version = "" } = grammar.exec(input)?.groups ?? {}
  if (os === undefined || architecture === undefined || version !== "" && suffix !== "") {
    const problem = "expected os/architecture or os/architecture/variant, such as linux/amd64"
    return Result.fail(new InvalidPlatform({ input, problem }))
  }
  const known = aliases.get(architecture.toLowerCase()) ?? { architecture: architecture.toLowerCase() }
  const osVersion = suffix === "" ? decodeOption(version) : suffix
  const osFeatures = features.split("+").slice(1).map(decodeOption)
  return Result.succeed({
    os: osName(os.toLowerCase()),
    ...known,
    ...variant === undefined ? {} : { variant: variantName(known.architecture, variant.toLowerCase()) },
    ...osVersion === "" ? {} : { "os.version": osVersion },
    ...osFeatures.length === 0 ? {} : { "os.features": osFeatures }
  })
}

/**
 * Formats a platform in the spelling of containerd: `os/architecture`, with the variant if there is one, and with
 * the version and features of the operating system if there are any: `windows(10.0.17763+win32k)/amd64`.
 *
 * @category conversions
 * @since 0.1.0
 */
export const format = (self: Platform): string => {
  const { "os.features": features = [], "os.version": version = "", variant = "" } = self
  const details = [version, ...features.toSorted()].map(encodeOption).join("+")
  const os = details === "" ? self.os : `${self.os}(${details})`
  return [os, self.architecture, ...variant === "" ? [] : [variant]].join("/")
}

// ---------------------------------------------------------------------------------------------------------------------
// selection
// ---------------------------------------------------------------------------------------------------------------------

/** A platform with the names by which it is compared, as containerd normalizes it. */
interface Normal {
  readonly os: string
  readonly architecture: string
  readonly variant: string
  readonly version: string
  readonly features: ReadonlySet<string>
}

// variants for which an image without a variant is built
const baseline: ReadonlyMap<string, string> = new Map([["amd64", "v1"], ["arm", "v7"], ["arm64", "v8"]])

const normal = (self: Platform): Normal => {
  const name = self.architecture.toLowerCase()
  const { architecture, variant: implied = "" } = aliases.get(name) ?? { architecture: name }
  const own = variantName(architecture, (self.variant ?? "").toLowerCase())
  return {
    os: osName(self.os.toLowerCase()),
    architecture,
    variant: own === "" ? implied : own,
    version: self["os.version"] ?? "",
    features: new Set(self["os.features"])
  }
}

const downFrom = (highest: number, lowest: number, name: (level: number) => string): ReadonlyArray<string> =>
  Array.from({ length: Math.max(0, highest - lowest + 1) }, (_, index) => name(highest - index))

const arm64 = (major: string, highest: number): ReadonlyArray<string> =>
  downFrom(highest, 0, (minor) => minor === 0 ? major : `${major}.${minor}`)

/** Returns the variants whose images a machine of this variant runs, the best first. */
const runnable = (architecture: string, variant: string): ReadonlyArray<string> => {
  const [, major = "", minor = "0"] = /^v([1-9])(?:\.([0-9]))?$/.exec(variant) ?? []
  const lower = major === ""
    ? []
    : architecture === "amd64"
    ? downFrom(Number(major), 1, (level) => `v${level}`)
    : architecture === "arm"
    ? downFrom(Number(major), 5, (level) => `v${level}`)
    : architecture === "arm64" && major === "9"
    // v9.0 is v8.5 and more
    ? [...arm64("v9", Number(minor)), ...arm64("v8", Number(minor) + 5)]
    : architecture === "arm64" && major === "8"
    ? arm64("v8", Number(minor))
    : []
  return [variant, ...lower.filter((each) => each !== variant)]
}

// distance of variants that have no order, larger than any other distance
const unordered = 50

/**
 * Returns how far the variant of an image is from the wanted one: 0 if it is the same, then the nearest lower one. If
 * no variant is wanted, higher ones come after those.
 */
const variantDistance = (wanted: Normal, candidate: Normal): number | undefined => {
  const standard = baseline.get(wanted.architecture) ?? ""
  const [want, have] = [wanted.variant || standard, candidate.variant || standard]
  const lower = runnable(wanted.architecture, want).indexOf(have)
  if (lower >= 0) return lower
  if (wanted.variant !== "") return undefined
  const higher = runnable(wanted.architecture, have).indexOf(want)
  return unordered + (higher < 0 ? unordered - 1 : Math.min(higher, unordered - 2))
}

/** Returns 0 for the wanted version, 1 for one that begins with it, 2 for the same build of Windows. */
const versionDistance = ({ os, version: wanted }: Normal, { version }: Normal): number | undefined => {
  if (wanted === "" || wanted === version) return 0
  if (version.startsWith(`${wanted}.`)) return 1
  const build = (version: string) => version.split(".").slice(0, 3).join(".")
  const isBuild = os === "windows" && wanted.split(".").length >= 3
  return isBuild && build(wanted) === build(version) ? 2 : undefined
}

const isIn = (all: ReadonlySet<string>) => (feature: string) => all.has(feature)

/** Returns 0 for the wanted features, 1 for fewer of them, 2 for more than these. */
const featureDistance = ({ features: wanted }: Normal, { features }: Normal): number | undefined => {
  if (Array.from(features).every(isIn(wanted))) return features.size === wanted.size ? 0 : 1
  return Array.from(wanted).every(isIn(features)) ? 2 : undefined
}

/**
 * Returns true unless the platform is `unknown/unknown`, with which BuildKit lists attestations beside images.
 *
 * @category guards
 * @since 0.1.0
 */
export const isKnown = ({ architecture, os }: Platform): boolean => os !== "unknown" && architecture !== "unknown"

/**
 * Returns how well an image for `candidate` matches the platform `wanted`, with 0 for the best match, or `undefined` if
 * it does not match.
 *
 * **Details**
 *
 * Operating system and architecture must be the same. The wanted variant is the best, then the nearest lower one,
 * because a machine runs the images of all lower variants. Without a variant, `amd64` means `amd64/v1`, `arm` means
 * `arm/v7`, and `arm64` means `arm64/v8`, as in containerd. If `wanted` has no variant, higher ones match as well, the
 * nearest first.
 *
 * If a version of the operating system is wanted, that version is the best, then one that begins with it, then, for
 * Windows, one of the same build. The wanted features of the operating system are the best, then fewer of them, then
 * more.
 *
 * `unknown/unknown` never matches: see {@link isKnown}.
 *
 * @category combinators
 * @since 0.1.0
 */
export const rank = (wanted: Platform, candidate: Platform): number | undefined => {
  if (!isKnown(candidate)) return undefined
  const [want, have] = [normal(wanted), normal(candidate)]
  if (want.os !== have.os || want.architecture !== have.architecture) return undefined
  const [variant, version, features] = [
    variantDistance(want, have),
    versionDistance(want, have),
    featureDistance(want, have)
  ]
  return variant === undefined || version === undefined || features === undefined
    ? undefined
    : 100 * variant + 10 * version + features
}

/**
 * Returns true if an image for `candidate` matches the platform `wanted`: see {@link rank}.
 *
 * @category combinators
 * @since 0.1.0
 */
export const matches = (wanted: Platform, candidate: Platform): boolean => rank(wanted, candidate) !== undefined

/**
 * Returns the candidates whose platform matches best. If several match equally well, returns all of them in their
 * order.
 *
 * **Example** (The image that runs on every machine)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import * as Platform from "effect-oci/Platform"
 *
 * const wanted = Result.getOrThrow(Platform.parse("linux/amd64"))
 * const images = ["linux/amd64/v3", "linux/amd64", "linux/arm64"]
 *
 * Platform.select(wanted, images, (text) => Result.getOrUndefined(Platform.parse(text))) // => ["linux/amd64"]
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const select = <A>(
  wanted: Platform,
  candidates: Iterable<A>,
  platformOf: (candidate: A) => Platform | undefined
): ReadonlyArray<A> => {
  let lowest = Infinity
  let found: Array<A> = []
  for (const candidate of candidates) {
    const platform = platformOf(candidate)
    const own = platform === undefined ? Infinity : rank(wanted, platform) ?? Infinity
    if (own < lowest) {
      lowest = own
      found = []
    }
    if (own === lowest && own < Infinity) found.push(candidate)
  }
  return found
}

/**
 * Decodes the platform from an image config (image-spec, `config.md`). Other fields of the config, such as the
 * environment, are ignored.
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
