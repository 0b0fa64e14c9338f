/**
 * Writing of manifests into a layout, and deleting from it.
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as Manifest from "../Manifest.ts"
import type { Tag } from "../Reference.ts"
import * as RegistryError from "../RegistryError.ts"
import * as LayoutFolder from "./LayoutFolder.ts"
import * as LayoutFormat from "./LayoutFormat.ts"
import * as LayoutIndex from "./LayoutIndex.ts"
import { manifestLimit } from "./LayoutReader.ts"
import type { LayoutTarget } from "./LayoutTarget.ts"
import * as ManifestCheck from "./ManifestCheck.ts"
import * as Steps from "./Steps.ts"

const isThere = (layout: LayoutFolder.LayoutFolder, digest: Digest.Digest) =>
  Effect.map(layout.size(digest), (size) => size !== undefined)

/** Number of entries that are changed without a pause. */
const entriesAtATime = 200

/** Adds a manifest to an index, with its tags or without a tag. */
const listed = Effect.fnUntraced(function*(
  layout: LayoutFolder.LayoutFolder,
  index: LayoutIndex.LayoutIndex,
  descriptor: Descriptor,
  tags: ReadonlyArray<Tag>
) {
  let next = index
  for (const [position, tag] of tags.entries()) {
    // an ambiguous tag fails, because the user must decide which image loses it
    const ambiguity = LayoutIndex.ambiguity(index, tag)
    if (ambiguity !== undefined) return yield* ambiguity
    next = LayoutIndex.point(next, tag, descriptor)
    if (position % entriesAtATime === entriesAtATime - 1) yield* Effect.yieldNow
  }
  if (tags.length > 0) return next
  const known = yield* layout.catalog.find(next, descriptor.digest)
  if (known?.mediaType === descriptor.mediaType) return next
  const retyped = yield* Steps.settle(next, (index) => LayoutIndex.retype(index, descriptor, entriesAtATime))
  return LayoutIndex.add(retyped, descriptor)
})

/**
 * Marks the manifests as mentioned that tags point at, because a client that has just resolved such a tag may still
 * pull them after it has moved.
 */
const mentionTagged = (
  layout: LayoutFolder.LayoutFolder,
  index: LayoutIndex.LayoutIndex,
  tags: ReadonlyArray<Tag>
) =>
  Effect.forEach(
    new Set(tags.flatMap((tag) => Result.getOrUndefined(LayoutIndex.resolve(index, tag))?.digest ?? [])),
    layout.mention,
    { concurrency: 8, discard: true }
  )

/** Removes the entries of manifests that a listed manifest contains. */
const withoutChildren = (index: LayoutIndex.LayoutIndex, children: ReadonlyArray<Digest.Digest>) =>
  Steps.reduce(index, Arr.chunksOf(children, entriesAtATime), 1, LayoutIndex.withoutChildren)

/** Upper estimate of the size of an entry, in bytes. */
const entryRoom = 1024

/**
 * Fails if the index is full, before anything is written. Concurrent pushes are not considered here, so the size is
 * checked again with the change.
 */
const checkRoom = Effect.fnUntraced(function*(
  { layout, pushLimit }: LayoutTarget,
  tags: ReadonlyArray<Tag>,
  list: (index: LayoutIndex.LayoutIndex) => Effect.Effect<LayoutIndex.LayoutIndex, RegistryError.Reason>
) {
  const index = yield* layout.index
  if (LayoutIndex.size(index) + (tags.length + 1) * entryRoom <= pushLimit) return
  yield* LayoutFolder.checkSize(index, yield* list(index), pushLimit)
})

/** Reads the manifests of the layout in advance, so that the change does not wait for that under the lock. */
const prepareCatalog = (layout: LayoutFolder.LayoutFolder) => Effect.flatMap(layout.index, layout.catalog.parents)

/** Stores a manifest, and points tags at it. */
export const push = Effect.fnUntraced(
  function*(target: LayoutTarget, { manifest: { bytes, mediaType, ...rest }, tags, temporary }: {
    readonly temporary: Effect.Effect<string, RegistryError.Storage>
    readonly manifest: {
      readonly mediaType: string
      readonly bytes: Uint8Array
      readonly digest?: Digest.Digest | undefined
    }
    readonly tags: ReadonlyArray<Tag>
  }): Effect.fn.Return<Descriptor, RegistryError.Reason> {
    const { files, key, layout, pushLimit, usage } = target
    if (bytes.length > manifestLimit) return yield* new RegistryError.ContentTooLarge({ limit: manifestLimit })
    const digest = yield* Hasher.digest(bytes, rest.digest === undefined ? "sha256" : Digest.algorithm(rest.digest))
    if (rest.digest !== undefined && rest.digest !== digest) {
      return yield* new Hasher.DigestMismatch({ expected: rest.digest, actual: digest })
    }
    const descriptor: Descriptor = { mediaType, digest, size: bytes.length }
    const manifest = yield* ManifestCheck.check(descriptor, bytes, tags)
    const references = manifest === undefined ? [] : yield* ManifestCheck.references(manifest)
    const check = ManifestCheck.checkReferences(references, ({ descriptor }) => layout.mention(descriptor.digest))
    const children = manifest === undefined ? [] : Manifest.references(manifest).manifests.map(({ digest }) => digest)
    const list = (index: LayoutIndex.LayoutIndex) =>
      Effect.flatMap(listed(layout, index, descriptor, tags), (index) => withoutChildren(index, children))
    if (yield* layout.exists) {
      if (tags.length === 0) yield* prepareCatalog(layout)
      yield* checkRoom(target, tags, list)
    } else yield* ManifestCheck.checkReferences(references, () => Effect.undefined)

    const draft = yield* temporary
    yield* Effect.gen(function*() {
      yield* files.write(draft, bytes)
      yield* layout.create
      const path = yield* layout.makePath(digest)
      yield* layout.change({
        limit: pushLimit,
        prepare: (index) =>
          Effect.all([
            Effect.andThen(check, usage.adding(key, path, bytes.length, files.rename(draft, path))),
            mentionTagged(layout, index, tags)
          ], { concurrency: 2, discard: true }),
        edit: (index) =>
          Effect.map(list(index), (index) => ({
            index,
            value: undefined,
            after: Effect.sync(() => layout.catalog.remember(descriptor, manifest))
          }))
      })
    }).pipe(Effect.onError(() => Effect.ignore(files.remove(draft))))
    return descriptor
  }
)

/** Removes the file of a blob or manifest, which may be in the quarantine. */
const removeFile = ({ files, key, layout, usage }: LayoutTarget, digest: Digest.Digest) => {
  const path = layout.blobPath(digest)
  return Effect.andThen(isThere(layout, digest), usage.removing(key, path, files.remove(path)))
}

/** Returns the existing children of a manifest that no other existing manifest contains. */
const orphansOf = Effect.fnUntraced(function*(
  layout: LayoutFolder.LayoutFolder,
  index: LayoutIndex.LayoutIndex,
  parent: Descriptor
) {
  const parentsOf = yield* layout.catalog.parents(index)
  return yield* Effect.filter(
    yield* layout.catalog.childrenOf(parent),
    Effect.fnUntraced(function*({ digest }) {
      if (!(yield* isThere(layout, digest))) return false
      for (const other of parentsOf(digest)) {
        if (other !== parent.digest && (yield* isThere(layout, other))) return false
      }
      return true
    }),
    { concurrency: 8 }
  )
})

/** Returns true if an index lists a manifest, or one of its manifests contains it that is not known to do so. */
const isNeeded = Effect.fnUntraced(function*(
  layout: LayoutFolder.LayoutFolder,
  digest: Digest.Digest,
  known: ReadonlyArray<Digest.Digest>
) {
  const index = yield* layout.index
  if (LayoutIndex.find(index, digest) !== undefined) return true
  return (yield* layout.catalog.parents(index))(digest).some((parent) => !known.includes(parent))
})

/** Deletes a manifest and all of its tags. Its children stay, and are listed if no other manifest contains them. */
export const deleteManifest = (target: LayoutTarget, digest: Digest.Digest) => {
  const { layout } = target
  return Effect.andThen(
    prepareCatalog(layout),
    layout.change({
      limit: LayoutFormat.indexLimit,
      edit: Effect.fnUntraced(function*(index) {
        const found = yield* layout.catalog.find(index, digest)
        const isListed = LayoutIndex.find(index, digest) !== undefined
        if (found === undefined || !isListed && !(yield* isThere(layout, digest))) {
          return yield* new RegistryError.ManifestUnknown({})
        }
        const rest = yield* Steps.settle(index, (index) => LayoutIndex.without(index, digest, entriesAtATime))
        const orphans = yield* orphansOf(layout, index, found)
        const parents = (yield* layout.catalog.parents(index))(digest)
        return {
          index: yield* Steps.reduce(rest, orphans, entriesAtATime, LayoutIndex.add),
          value: undefined,
          // the file stays if the manifest, or another one that contains it, was pushed together with this change
          after: Effect.flatMap(
            isNeeded(layout, digest, parents),
            (isNeeded) => isNeeded ? Effect.void : removeFile(target, digest)
          )
        }
      })
    })
  )
}

/** Deletes a tag. The manifest stays. */
export const deleteTag = ({ layout }: LayoutTarget, tag: Tag) =>
  layout.change({
    limit: LayoutFormat.indexLimit,
    prepare: (index) => mentionTagged(layout, index, [tag]),
    edit: (index) =>
      LayoutIndex.hasTag(index, tag)
        ? Effect.succeed({ index: LayoutIndex.withoutTag(index, tag), value: undefined })
        : Effect.fail(new RegistryError.ManifestUnknown({}))
  })

/** Fails with `Denied` if a manifest needs a blob. */
const checkUnneeded = Effect.fnUntraced(function*(layout: LayoutFolder.LayoutFolder, digest: Digest.Digest) {
  const holder = yield* layout.catalog.holderOf(yield* layout.index, digest)
  if (holder !== undefined) return yield* ManifestCheck.needed(holder)
})

/**
 * Deletes a blob. Fails with `BlobUnknown` if the content is a manifest, and with `Denied` if a manifest needs it,
 * unless all blobs are `deletable`.
 */
export const deleteBlob = (target: LayoutTarget, digest: Digest.Digest, deletable: "unneeded" | "all") => {
  const { layout } = target
  const check = deletable === "all" ? Effect.void : checkUnneeded(layout, digest)
  return Effect.andThen(
    // reads the manifests in advance, so that the change does not wait for that under the lock
    Effect.andThen(prepareCatalog(layout), Effect.ignore(check)),
    layout.change({
      limit: LayoutFormat.indexLimit,
      edit: Effect.fnUntraced(function*(index) {
        if (!(yield* isThere(layout, digest))) return yield* new RegistryError.BlobUnknown({})
        if ((yield* layout.catalog.find(index, digest)) !== undefined) {
          return yield* new RegistryError.BlobUnknown({ detail: "it is a manifest" })
        }
        // after the change, because manifests that are pushed at the same time may need it
        return { index, value: undefined, after: Effect.andThen(check, removeFile(target, digest)) }
      })
    })
  )
}
