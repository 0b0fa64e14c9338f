/**
 * Writing manifests into a layout, and deleting from it.
 */
import * as Effect from "effect/Effect"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Tag } from "../Reference.ts"
import { SparseIndex } from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import type { Files } from "./Files.ts"
import type { LayoutFolder } from "./LayoutFolder.ts"
import * as LayoutIndex from "./LayoutIndex.ts"
import { manifestLimit } from "./LayoutReader.ts"

const isThere = (layout: LayoutFolder, digest: Digest.Digest) =>
  Effect.map(layout.size(digest), (size) => size !== undefined)

/** A manifest of a type that is known must be well-formed. */
const decode = (mediaType: string, bytes: Uint8Array) =>
  MediaType.isManifest(mediaType)
    ? Effect.mapError(
      Effect.fromResult(Manifest.decode(mediaType, bytes)),
      ({ message }) => new RegistryError.ManifestInvalid({ detail: message })
    )
    : Effect.undefined

const nothing: Manifest.Digests = { blobs: [], manifests: [] }

/** Stores a manifest, and points tags at it. */
export const push = Effect.fnUntraced(
  function*({ files, layout, manifest: { bytes, mediaType, ...rest }, tags, temporary }: {
    readonly files: Files
    readonly layout: LayoutFolder
    readonly temporary: Effect.Effect<string, RegistryError.Storage>
    readonly manifest: { readonly mediaType: string; readonly bytes: Uint8Array; readonly digest?: Digest.Digest }
    readonly tags: ReadonlyArray<Tag>
  }): Effect.fn.Return<Descriptor, RegistryError.Reason> {
    if (bytes.length > manifestLimit) return yield* new RegistryError.ContentTooLarge({ limit: manifestLimit })
    const digest = yield* Hasher.digest(bytes, rest.digest === undefined ? "sha256" : Digest.algorithm(rest.digest))
    if (rest.digest !== undefined && rest.digest !== digest) {
      return yield* new Hasher.DigestMismatch({ expected: rest.digest, actual: digest })
    }
    const manifest = yield* decode(mediaType, bytes)
    const descriptor: Descriptor = { mediaType, digest, size: bytes.length }
    const { blobs, manifests } = manifest === undefined ? nothing : Manifest.references(manifest)
    const needs = [
      ...blobs.filter(({ mediaType }) => !MediaType.isNonDistributable(mediaType)),
      ...(yield* SparseIndex) === "accept" ? [] : manifests
    ]
    const check = Effect.forEach(needs, (need) =>
      Effect.flatMap(isThere(layout, need.digest), (isThere) =>
        isThere
          ? Effect.void
          : Effect.fail(new RegistryError.ManifestBlobUnknown({ detail: need.digest }))), {
      concurrency: 8,
      discard: true
    })
    const [first] = needs
    if (first !== undefined && !(yield* layout.exists)) {
      return yield* new RegistryError.ManifestBlobUnknown({ detail: first.digest })
    }

    const draft = yield* temporary
    const children = new Set(manifests.map(({ digest }) => digest))
    yield* Effect.gen(function*() {
      yield* files.write(draft, bytes)
      yield* layout.create
      const path = yield* layout.makePath(digest)
      yield* layout.change({
        prepare: Effect.andThen(check, files.rename(draft, path)),
        edit: Effect.fnUntraced(function*(index) {
          for (const tag of tags) {
            // which of the images would lose the tag is for the user to decide
            const ambiguity = LayoutIndex.ambiguity(index, tag)
            if (ambiguity !== undefined) return yield* ambiguity
          }
          const isListed = tags.length > 0 || (yield* layout.catalog.find(index, digest))?.mediaType === mediaType
          const tagged = tags.reduce((index, tag) => LayoutIndex.point(index, tag, descriptor), index)
          const listed = isListed ? tagged : LayoutIndex.add(tagged, descriptor)
          return {
            index: LayoutIndex.withoutChildren(listed, children),
            value: undefined,
            after: Effect.sync(() => layout.catalog.remember(descriptor, manifest))
          }
        })
      })
    }).pipe(Effect.onError(() => Effect.ignore(files.remove(draft))))
    return descriptor
  }
)

/** Removes a manifest and every tag on it. What it contains stays. */
export const deleteManifest = (files: Files, layout: LayoutFolder, digest: Digest.Digest) =>
  layout.change({
    edit: Effect.fnUntraced(function*(index) {
      const found = yield* layout.catalog.find(index, digest)
      const isListed = LayoutIndex.find(index, digest) !== undefined
      if (found === undefined || !isListed && !(yield* isThere(layout, digest))) {
        return yield* new RegistryError.ManifestUnknown({})
      }
      let next = LayoutIndex.without(index, digest)
      const contained = yield* layout.catalog.contained(next, digest)
      for (const child of yield* layout.catalog.childrenOf(found)) {
        if (contained.has(child.digest) || !(yield* isThere(layout, child.digest))) continue
        next = LayoutIndex.add(next, child)
      }
      return {
        index: next,
        value: undefined,
        after: files.remove(layout.blobPath(digest))
      }
    })
  })

/** Removes a tag. The manifest stays. */
export const deleteTag = (layout: LayoutFolder, tag: Tag) =>
  layout.change({
    edit: (index) =>
      LayoutIndex.tags(index).includes(tag)
        ? Effect.succeed({ index: LayoutIndex.withoutTag(index, tag), value: undefined })
        : Effect.fail(new RegistryError.ManifestUnknown({}))
  })

/** Removes a blob. */
export const deleteBlob = (files: Files, layout: LayoutFolder, digest: Digest.Digest) =>
  layout.change({
    edit: Effect.fnUntraced(function*(index) {
      if (!(yield* isThere(layout, digest))) return yield* new RegistryError.BlobUnknown({})
      if ((yield* layout.catalog.find(index, digest)) !== undefined) {
        return yield* new RegistryError.BlobUnknown({ detail: "it is a manifest" })
      }
      return { index, value: undefined, after: files.remove(layout.blobPath(digest)) }
    })
  })
