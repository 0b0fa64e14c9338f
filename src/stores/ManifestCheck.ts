/**
 * Checks of a manifest before a registry stores it. They ensure that stored manifests can be read and listed again.
 */
import * as Effect from "effect/Effect"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as JsonScan from "../JsonScan.ts"
import * as LargeManifest from "../LargeManifest.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Tag } from "../Reference.ts"
import { SparseIndex } from "../Registry.ts"
import { ContentTooLarge, Denied, ManifestBlobUnknown, ManifestInvalid, type Reason } from "../RegistryError.ts"

/** Maximum length of a media type, in characters: each of its two names may have 127 (RFC 6838, section 4.2). */
const mediaTypeLimit = 255

/** Maximum number of tags of one push. */
const tagLimit = 1000

/**
 * Maximum size of the descriptor of a referrer in a list, with its annotations, in bytes, because clients read lists of
 * about 4 MiB.
 */
const referrerLimit = 2 * 1024 * 1024

/**
 * Maximum number of fields of one object, such as annotations, because a field takes longer to check than other values.
 */
const fieldLimit = 5000

const excesses = {
  levels: `its JSON may have ${JsonScan.levelLimit} levels and ${JsonScan.valueLimit} values, and has more levels`,
  values: `its JSON may have ${JsonScan.levelLimit} levels and ${JsonScan.valueLimit} values, and has more values`,
  fields: `an object in its JSON may have ${fieldLimit} fields, and one has more`
}

const invalid = (detail: string) => new ManifestInvalid({ detail })

const isTooLarge = (manifest: Manifest.Manifest, descriptor: Descriptor): boolean =>
  manifest.bytes.length > referrerLimit && manifest.content.subject !== undefined &&
  new TextEncoder().encode(JSON.stringify(Manifest.toReferrer(manifest, descriptor))).length > referrerLimit

const decode = Effect.fnUntraced(function*(descriptor: Descriptor, bytes: Uint8Array) {
  const { mediaType } = descriptor
  if (!MediaType.isManifest(mediaType)) return undefined
  const excess = JsonScan.excess(bytes, fieldLimit)
  if (excess !== undefined) return yield* invalid(excesses[excess])
  const manifest = yield* Effect.mapError(LargeManifest.decode(mediaType, bytes), ({ message }) => invalid(message))
  if (isTooLarge(manifest, descriptor)) {
    return yield* invalid(`the annotations of a manifest with a subject may have ${referrerLimit} bytes`)
  }
  return manifest
})

/**
 * Checks the limits of a push that do not depend on stored content, and decodes the manifest. Fails if the manifest
 * has a known type but is not well-formed. Returns `undefined` for an unknown type.
 */
export const check = Effect.fnUntraced(function*(
  descriptor: Descriptor,
  bytes: Uint8Array,
  tags: ReadonlyArray<Tag>
): Effect.fn.Return<Manifest.Manifest | undefined, ManifestInvalid | ContentTooLarge> {
  if (descriptor.mediaType.length > mediaTypeLimit) {
    return yield* invalid(`a media type may have ${mediaTypeLimit} characters`)
  }
  if (tags.length > tagLimit) return yield* new ContentTooLarge({ detail: `one push may have ${tagLimit} tags` })
  return yield* decode(descriptor, bytes)
})

/** Returns the reason why a blob is not deleted that a manifest needs. */
export const needed = (holder: Digest): Denied =>
  new Denied({ detail: `the manifest ${holder} needs this blob; delete the manifest first` })

/** Content that a manifest refers to. */
interface Reference {
  readonly descriptor: Pick<Manifest.Subject, "digest" | "size">
  /** Kind of the content. A child with an unknown media type may be either. */
  readonly kind: "blob" | "manifest" | "either"
  /** True if the manifest must not be stored without the content. */
  readonly isNeeded: boolean
}

/** Returns the content that a manifest refers to, including its subject. */
export const references = (manifest: Manifest.Manifest): Effect.Effect<ReadonlyArray<Reference>> =>
  Effect.map(SparseIndex, (sparse) => {
    const { blobs, manifests } = Manifest.references(manifest)
    const { subject } = manifest.content
    return [
      ...blobs.map((descriptor): Reference => ({
        descriptor,
        kind: "blob",
        isNeeded: !MediaType.isNonDistributable(descriptor.mediaType)
      })),
      ...manifests.map((descriptor): Reference => ({
        descriptor,
        kind: MediaType.isManifest(descriptor.mediaType) ? "manifest" : "either",
        isNeeded: sparse === "refuse"
      })),
      ...subject === undefined ? [] : [{ descriptor: subject, kind: "manifest", isNeeded: false } as const]
    ]
  })

/**
 * Checks that the content that a manifest refers to exists if it is needed, and has the size in the manifest. `sizeOf`
 * returns the size of existing content.
 */
export const checkReferences = Effect.fnUntraced(function*(
  references: ReadonlyArray<Reference>,
  sizeOf: (reference: Reference) => Effect.Effect<number | undefined, Reason>
): Effect.fn.Return<void, Reason> {
  const sizes = new Map<Digest, number | undefined>()
  const once = new Map(references.map((reference) => [reference.descriptor.digest, reference]))
  yield* Effect.forEach(
    once,
    ([digest, reference]) => Effect.map(sizeOf(reference), (size) => sizes.set(digest, size)),
    { concurrency: 8, discard: true }
  )
  for (const { descriptor: { digest, size }, isNeeded } of references) {
    const actual = sizes.get(digest)
    if (actual === undefined && isNeeded) return yield* new ManifestBlobUnknown({ detail: digest })
    // the descriptor of a subject may have no size
    if (actual !== undefined && size !== undefined && actual !== size) {
      return yield* invalid(`it states a size of ${size} bytes for ${digest}, which has ${actual}`)
    }
  }
})
