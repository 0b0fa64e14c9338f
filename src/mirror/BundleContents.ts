/**
 * The list of contents of a bundle, `bundle.json`: which tag shall point where, the digest and size of all content, and
 * what the destination is expected to have.
 *
 * A list has exactly one text, so that a key that occurs twice, or one that is unknown, is found by comparison. Its id
 * is the SHA-256 of that text with zeros in place of the id. So a changed byte is found without a signature.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Digest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import { Tag } from "../Reference.ts"

/**
 * Media type of `bundle.json`.
 *
 * @category constants
 * @since 0.1.0
 */
export const mediaType = "application/vnd.effect-oci.bundle.v1+json"

/** Maximum size of `bundle.json`, in bytes. */
export const maximumSize = 64 * 1024 * 1024

/** Maximum numbers of entries. */
const limits = {
  content: 400_000,
  images: 400_000,
  repositories: 100_000,
  pieces: 10_000,
  base: 1000,
  omitted: 200_000
}

/** Maximum number of tags, and of positions in all lists together. */
const maximumPositions = 4_000_000

/** Position of an entry of `content`. */
const Position = Schema.Natural

/**
 * Schema of the policy for a tag of the destination that points at another image.
 *
 * @category schemas
 * @since 0.1.0
 */
export const OnTagMoved = Schema.Union([
  Schema.Literals(["replace", "keep", "fail"]),
  Schema.Struct({ _tag: Schema.Literal("Backup"), tag: Schema.String })
])

/**
 * Schema of one repository of a destination in a bundle.
 *
 * @category schemas
 * @since 0.1.0
 */
export const BundleRepository = Schema.Struct({
  /** The repository with its registry. */
  name: Schema.String,
  rule: Schema.String,
  source: Schema.String,
  onTagMoved: OnTagMoved,
  /** Platforms of the images, if indexes are kept with some of their images only. */
  platforms: Schema.optionalKey(Schema.Array(Schema.String)),
  tags: Schema.Array(Schema.Struct({
    tag: Tag,
    /** Position of the manifest that the tag shall point at. */
    manifest: Position,
    /** Digest that the tag had according to the base, if it was another one. */
    was: Schema.optionalKey(Digest)
  })),
  /** Signatures, SBOMs and other manifests with a subject, with everything below them. */
  referrers: Schema.Array(Schema.Struct({
    manifest: Position,
    subject: Position,
    content: Schema.Array(Position)
  })),
  /** Positions of content that this repository is expected to have. */
  assumed: Schema.Array(Position)
})

/**
 * One repository of a destination in a bundle.
 *
 * @category models
 * @since 0.1.0
 */
export type BundleRepository = typeof BundleRepository.Type

/**
 * Schema of a blob or manifest that a bundle has or expects.
 *
 * @category schemas
 * @since 0.1.0
 */
export const BundleContent = Schema.Struct({
  digest: Digest,
  size: Schema.Natural,
  /** Media type of a manifest. Absent for a blob. */
  mediaType: Schema.optionalKey(Schema.String),
  /** Position of the first byte in the joined pieces. Absent if the bundle is a folder. */
  offset: Schema.optionalKey(Schema.Natural),
  /** True if the bundle does not have the content, because the destination is expected to have it. */
  assumed: Schema.optionalKey(Schema.Literal(true))
})

/**
 * A blob or manifest that a bundle has or expects.
 *
 * @category models
 * @since 0.1.0
 */
export type BundleContent = typeof BundleContent.Type

/**
 * Schema of `bundle.json`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const BundleContents = Schema.Struct({
  mediaType: Schema.Literal(mediaType),
  version: Schema.Literal(1),
  /** SHA-256 of this file with zeros in place of these 64 digits. */
  id: Digest,
  /** When the bundle was made, as an ISO 8601 date. */
  at: Schema.String,
  /** Bundles and inventories that say what the destination has. */
  base: Schema.Array(Schema.Struct({
    kind: Schema.Literals(["bundle", "inventory"]),
    id: Digest,
    at: Schema.String
  })),
  /**
   * Parts of a tar archive, in order. Empty if the bundle is a folder. If this file is in the archive itself, the only
   * piece is what precedes it.
   */
  pieces: Schema.Array(Schema.Struct({ name: Schema.String, size: Schema.Natural, digest: Digest })),
  /** The file `index.json` of the image layout. */
  index: Schema.Struct({ size: Schema.Natural, digest: Digest }),
  content: Schema.Array(BundleContent),
  /** Everything below each manifest that a tag points at: positions of manifests and blobs. */
  images: Schema.Array(Schema.Struct({ manifest: Position, content: Schema.Array(Position) })),
  repositories: Schema.Array(BundleRepository),
  /** Tags that the rules select, but that could not be exported. */
  omitted: Schema.Array(Schema.Struct({ name: Schema.String, tag: Schema.String, problem: Schema.String }))
})

/**
 * The list of contents of a bundle.
 *
 * @category models
 * @since 0.1.0
 */
export type BundleContents = typeof BundleContents.Type

// ---------------------------------------------------------------------------------------------------------------------
// limits
// ---------------------------------------------------------------------------------------------------------------------

const tooLarge = `it has more than ${maximumSize} bytes`

const isTooLong = (value: unknown, key: keyof typeof limits): boolean => {
  const list: unknown = hasProperty(value, key) ? value[key] : undefined
  return Array.isArray(list) && list.length > limits[key]
}

/** Returns the number of tags and positions in all lists. */
const positionsIn = (value: unknown): number => {
  const lengthOf = (entry: unknown, key: string): number => {
    const list: unknown = hasProperty(entry, key) ? entry[key] : undefined
    return Array.isArray(list) ? list.length : 0
  }
  const sum = (key: string, fields: ReadonlyArray<string>): number => {
    const list: unknown = hasProperty(value, key) ? value[key] : undefined
    return Array.isArray(list)
      ? list.reduce(
        (sum: number, entry: unknown) => sum + fields.reduce((n, field) => n + lengthOf(entry, field), 0),
        0
      )
      : 0
  }
  const repositories: unknown = hasProperty(value, "repositories") ? value.repositories : undefined
  const inner = Array.isArray(repositories)
    ? repositories.flatMap((entry: unknown): ReadonlyArray<unknown> =>
      hasProperty(entry, "referrers") && Array.isArray(entry.referrers) ? entry.referrers : []
    )
    : []
  return sum("images", ["content"]) + sum("repositories", ["tags", "referrers", "assumed", "platforms"]) +
    inner.reduce((sum: number, entry) => sum + lengthOf(entry, "content"), 0)
}

/** Returns the list whose number of entries breaks a limit, if there is one. */
const breach = (value: unknown): string | undefined => {
  for (const key of ["content", "images", "repositories", "pieces", "base", "omitted"] as const) {
    if (isTooLong(value, key)) return `it has more than ${limits[key]} entries in ${key}`
  }
  return positionsIn(value) > maximumPositions ? `its lists have more than ${maximumPositions} entries` : undefined
}

// ---------------------------------------------------------------------------------------------------------------------
// writing
// ---------------------------------------------------------------------------------------------------------------------

const zeros = `sha256:${"0".repeat(64)}`

const encode = Schema.encodeUnknownSync(Schema.toCodecJson(BundleContents))

/** Returns the text of a list. */
const format = (contents: BundleContents): string => `${JSON.stringify(encode(contents))}\n`

const withId = (text: string, id: string): string => text.replace(/"id":"sha256:[0-9a-f]{64}"/, `"id":"${id}"`)

const idOf = (text: string) => Hasher.digest(new TextEncoder().encode(withId(text, zeros)))

/** A list with its id. */
export interface Sealed {
  readonly contents: BundleContents
  readonly text: Uint8Array
  /** Digest of the text. */
  readonly digest: Digest
}

/** Returns a list with its id, and its text. Fails with a description of the limit that it breaks, if there is one. */
export const seal = Effect.fnUntraced(function*(
  contents: Omit<BundleContents, "id" | "mediaType" | "version">
): Effect.fn.Return<Sealed, string | Hasher.UnsupportedAlgorithm> {
  const tooMany = breach(contents)
  if (tooMany !== undefined) return yield* Effect.fail(tooMany)
  const { at, base, content, images, index, omitted, pieces, repositories } = contents
  const draft = format({
    mediaType,
    version: 1,
    id: Digest.make(zeros),
    at,
    base,
    pieces,
    index,
    content,
    images,
    repositories,
    omitted
  })
  const id = yield* idOf(draft)
  const text = new TextEncoder().encode(withId(draft, id))
  if (text.length > maximumSize) return yield* Effect.fail(tooLarge)
  return { contents: { ...contents, mediaType, version: 1, id }, text, digest: yield* Hasher.digest(text) }
})

// ---------------------------------------------------------------------------------------------------------------------
// reading
// ---------------------------------------------------------------------------------------------------------------------

const decode = Schema.decodeUnknownResult(Schema.toCodecJson(BundleContents))

/** Returns true for the name of a file that is in the folder of the bundle. */
const isFileName = (name: string): boolean =>
  name.length > 0 && name.length <= 255 && name !== "." && name !== ".." && !/[/\\\p{Cc}\p{Cf}]/u.test(name)

/** Returns a contradiction in a list, if there is one. */
const contradiction = ({ content, images, pieces, repositories }: BundleContents): string | undefined => {
  const isKnown = (position: number) => position < content.length
  const isManifest = (position: number) => content[position]?.mediaType !== undefined
  if (new Set(content.map(({ digest }) => digest)).size !== content.length) return "it lists a digest twice"
  const wrong = pieces.find(({ name }) => !isFileName(name))
  if (wrong !== undefined) return `the name of a piece leads out of its folder: ${JSON.stringify(wrong.name)}`
  if (new Set(pieces.map(({ name }) => name)).size !== pieces.length) return "it lists a piece twice"
  const total = pieces.reduce((sum, { size }) => sum + size, 0)
  const isInside = ({ assumed, offset, size }: BundleContent) =>
    assumed === true || (pieces.length === 0 ? offset === undefined : offset !== undefined && offset + size <= total)
  if (!Number.isSafeInteger(total) || !content.every(isInside)) return "content lies outside of its pieces"
  // otherwise a small bundle would be read any number of times
  const carried = content.reduce((sum, { assumed, size }) => assumed === true ? sum : sum + size, 0)
  if (pieces.length > 0 && carried > total) return "it lists more content than its pieces have"
  const areKnown = images.every(({ content, manifest }) => isManifest(manifest) && content.every(isKnown)) &&
    repositories.every(({ assumed, referrers, tags }) =>
      assumed.every(isKnown) && tags.every(({ manifest }) => isManifest(manifest)) &&
      referrers.every(({ content, manifest, subject }) =>
        isManifest(manifest) && isKnown(subject) && content.every(isKnown)
      )
    )
  return areKnown ? undefined : "it refers to content that it does not list"
}

/** Decodes the bytes of a list, and checks its id. Fails with a description of the problem. */
export const parse = Effect.fnUntraced(function*(
  bytes: Uint8Array
): Effect.fn.Return<BundleContents, string | Hasher.UnsupportedAlgorithm> {
  if (bytes.length > maximumSize) return yield* Effect.fail(tooLarge)
  const text = yield* Effect.fromResult(
    Result.mapError(
      Result.try(() => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)),
      () => "it is not UTF-8"
    )
  )
  const value = yield* Effect.fromResult(
    Result.mapError(Result.try((): unknown => JSON.parse(text)), () => "it is not JSON")
  )
  if (!hasProperty(value, "mediaType") || value.mediaType !== mediaType) {
    return yield* Effect.fail("it is not the list of contents of a bundle")
  }
  if (hasProperty(value, "version") && value.version !== 1) {
    return yield* Effect.fail("it has another version; use a newer effect-oci")
  }
  const tooMany = breach(value)
  if (tooMany !== undefined) return yield* Effect.fail(tooMany)
  const contents = yield* Effect.fromResult(
    Result.mapError(decode(value), () => "its fields do not match the schema (see effect-oci schema bundle)")
  )
  if (format(contents) !== text) {
    return yield* Effect.fail("it is not written as effect-oci writes it: it has unknown, repeated or moved keys")
  }
  if ((yield* idOf(text)) !== contents.id) return yield* Effect.fail("its id does not match: it was changed")
  const problem = contradiction(contents)
  return problem === undefined ? contents : yield* Effect.fail(problem)
})
