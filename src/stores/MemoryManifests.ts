/**
 * Writing of manifests into a registry in memory, and deleting from it.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import type * as Manifest from "../Manifest.ts"
import type { Repository, Tag } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import type * as RegistryError from "../RegistryError.ts"
import * as Blocks from "./Blocks.ts"
import * as ManifestCheck from "./ManifestCheck.ts"
import * as ManifestLinks from "./ManifestLinks.ts"
import * as MemoryContent from "./MemoryContent.ts"
import * as MemoryStorage from "./MemoryStorage.ts"
import * as SortedMap from "./SortedMap.ts"
import * as Steps from "./Steps.ts"
import * as Usage from "./Usage.ts"

/** Number of tags that are removed without a pause. */
const tagsAtATime = 1000

/** Returns the cost of a manifest and its tags besides its content, less the cost of those that exist already. */
const costOf = (
  storage: MemoryStorage.MemoryStorage,
  repository: Repository,
  { digest }: Descriptor,
  { bytes, manifest, tags }: {
    readonly bytes: Blocks.Blocks
    readonly manifest: Manifest.Manifest | undefined
    readonly tags: ReadonlyArray<Tag>
  }
): Usage.Amount => {
  const content = MemoryStorage.contentOf(storage, repository)
  const newTags = tags.filter((tag) => content === undefined || SortedMap.get(content.tags, tag) === undefined)
  const subject = manifest?.content.subject?.digest
  const before = MemoryContent.costOf(content?.manifests.get(digest))
  const after = MemoryContent.costOf({ bytes, ...subject === undefined ? {} : { subject } })
  return MemoryStorage.costOf(storage, repository, new Set(newTags).size * MemoryContent.entryCost + after - before)
}

/** Checks that the content that a manifest refers to exists, and has the size in the manifest. */
const checkReferences = Effect.fnUntraced(
  function*(storage: MemoryStorage.MemoryStorage, repository: Repository, manifest: Manifest.Manifest) {
    const content = MemoryStorage.contentOf(storage, repository)
    yield* ManifestCheck.checkReferences(
      yield* ManifestCheck.references(manifest),
      ({ descriptor: { digest }, kind }) =>
        Effect.map(MemoryStorage.mention(storage, repository, digest), () => {
          const blob = kind === "manifest" ? undefined : content?.blobs.get(digest)?.size
          return kind === "blob" ? blob : content?.manifests.get(digest)?.descriptor.size ?? blob
        })
    )
  }
)

const push = Effect.fnUntraced(
  function*(
    storage: MemoryStorage.MemoryStorage,
    ...[repository, { bytes: given, digest: expected, mediaType }, tags = []]: Parameters<
      Registry.Registry["pushManifest"]
    >
  ): Effect.fn.Return<Descriptor, RegistryError.Reason> {
    const bytes = given.slice()
    const digest = yield* Hasher.digest(bytes, expected === undefined ? "sha256" : Digest.algorithm(expected))
    if (expected !== undefined && expected !== digest) {
      return yield* new Hasher.DigestMismatch({ expected, actual: digest })
    }
    const descriptor: Descriptor = { mediaType, digest, size: bytes.length }
    const manifest = yield* ManifestCheck.check(descriptor, bytes, tags)
    if (manifest !== undefined) yield* checkReferences(storage, repository, manifest)
    const stored = Blocks.ofBytes(bytes)
    const amount = Usage.plus(
      MemoryStorage.amountOf(storage, repository, digest, bytes.length),
      costOf(storage, repository, descriptor, { bytes: stored, manifest, tags })
    )
    yield* Usage.orFail(() => storage.usage.add(repository, amount))
    const content = MemoryStorage.created(storage, repository)
    const now = yield* Clock.currentTimeMillis
    const known = content.manifests.get(digest)?.bytes
    MemoryContent.putManifest(content, descriptor, known ?? MemoryStorage.hold(storage, digest, stored), manifest)
    MemoryContent.mention(content, digest, now)
    for (const tag of tags) {
      const before = SortedMap.get(content.tags, tag)
      // a client that has just resolved the tag may still pull what it pointed at
      if (before !== undefined) MemoryContent.mention(content, before, now)
      MemoryContent.point(content, tag, digest)
    }
    return descriptor
  }
)

const removeTag = (storage: MemoryStorage.MemoryStorage, repository: Repository, tag: Tag) => {
  MemoryContent.removeTag(MemoryStorage.created(storage, repository), tag)
  storage.usage.remove(repository, Usage.unshared(MemoryContent.entryCost))
}

/** Removes a manifest with its tags. The manifest is absent at once, its tags after some steps. */
export const removeManifest = (
  storage: MemoryStorage.MemoryStorage,
  repository: Repository,
  manifest: MemoryContent.StoredManifest
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { digest } = manifest.descriptor
    const content = MemoryStorage.created(storage, repository)
    const tags = MemoryContent.removeManifest(content, manifest)
    MemoryStorage.release(storage, repository, digest, MemoryContent.costOf(manifest))
    return Steps.forEach(tags, tagsAtATime, (tag) => {
      if (SortedMap.get(content.tags, tag) === digest) removeTag(storage, repository, tag)
    })
  })

/** Removes a blob. */
export const removeBlob = (
  storage: MemoryStorage.MemoryStorage,
  repository: Repository,
  digest: Digest.Digest
): void => {
  MemoryContent.removeBlob(MemoryStorage.created(storage, repository), digest)
  MemoryStorage.release(storage, repository, digest, MemoryContent.entryCost)
}

/** Number of manifests that are searched without a pause. */
const manifestsAtATime = 100

/** Returns true if a manifest needs some content. It is decoded only if its text contains the digest. */
const needs = ({ bytes, descriptor }: MemoryContent.StoredManifest, digest: Digest.Digest) => {
  const whole = Blocks.join(bytes)
  const text = new TextDecoder().decode(whole)
  // the digest may be written with escapes
  if (!text.includes(Digest.encoded(digest)) && !text.includes("\\u")) return Effect.succeed(false)
  return Effect.map(ManifestLinks.make(descriptor.mediaType, whole), ({ needs }) => needs.includes(digest))
}

/** Deletes a blob. Fails with `Denied` if a manifest needs it, unless all blobs are `deletable`. */
const deleteBlob = Effect.fnUntraced(function*(
  storage: MemoryStorage.MemoryStorage,
  repository: Repository,
  digest: Digest.Digest,
  deletable: "unneeded" | "all"
) {
  yield* MemoryStorage.findBlob(storage, "deleteBlob", repository, digest)
  const content = MemoryStorage.created(storage, repository)
  let count = 0
  for (const manifest of deletable === "all" ? [] : content.manifests.values()) {
    if (++count % manifestsAtATime === 0) yield* Effect.yieldNow
    if (!(yield* needs(manifest, digest))) continue
    const reason = ManifestCheck.needed(manifest.descriptor.digest)
    return yield* MemoryStorage.failure(storage, "deleteBlob", repository, reason)
  }
  // another fiber may have deleted it meanwhile
  if (content.blobs.has(digest)) removeBlob(storage, repository, digest)
})

/** Creates the operations of a registry that push manifests and delete. */
export const operations = (
  storage: MemoryStorage.MemoryStorage,
  deletable: "unneeded" | "all"
): Pick<Registry.Registry, "pushManifest" | "deleteBlob" | "deleteManifest" | "deleteTag"> => ({
  pushManifest: (repository, manifest, tags) =>
    Effect.mapError(
      push(storage, repository, manifest, tags),
      (reason) => MemoryStorage.failure(storage, "pushManifest", repository, reason)
    ),
  deleteBlob: (repository, digest) => deleteBlob(storage, repository, digest, deletable),
  deleteManifest: (repository, digest) =>
    Effect.flatMap(
      MemoryStorage.findManifest(storage, "deleteManifest", repository, digest),
      (manifest) => removeManifest(storage, repository, manifest)
    ),
  deleteTag: (repository, tag) =>
    Effect.map(
      Effect.tap(
        MemoryStorage.findManifest(storage, "deleteTag", repository, tag),
        ({ descriptor }) => MemoryStorage.mention(storage, repository, descriptor.digest)
      ),
      () => removeTag(storage, repository, tag)
    )
})
