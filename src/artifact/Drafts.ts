/**
 * Images that were made of others, before they are pushed: their manifests and configs, and where their layers are.
 *
 * The layers of the base are copied first, or mounted if the destination is on the same registry. Then everything else
 * is copied from a registry that consists of the new content and the repositories of the bases.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { BlobSource } from "../BlobSource.ts"
import * as BlobSources from "../BlobSource.ts"
import type { CopyError } from "../copy/CopyError.ts"
import { type Descriptor, inlineContent } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as MediaType from "../MediaType.ts"
import * as Namespace from "../Namespace.ts"
import { Repository } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import type * as Place from "./Place.ts"

/** A layer in the repository of a base, or new content. */
export type Layer =
  | {
    readonly _tag: "Base"
    readonly descriptor: Descriptor
    readonly place: Pick<Place.Place, "registry" | "repository">
  }
  | { readonly _tag: "New"; readonly descriptor: Descriptor; readonly source: BlobSource<RegistryError.Storage> }

/** A manifest, and the blobs that it refers to. */
export interface Draft {
  readonly mediaType: string
  readonly bytes: Uint8Array
  readonly descriptor: Descriptor
  readonly layers: ReadonlyArray<Layer>
  /** Further drafts that the manifest lists. */
  readonly children: ReadonlyArray<Draft>
}

/** Returns new content as a layer. */
export const ofBytes = (descriptor: Descriptor, bytes: Uint8Array): Layer => ({
  _tag: "New",
  descriptor,
  source: BlobSources.fromBytes(bytes)
})

const all = (draft: Draft): ReadonlyArray<Draft> => [...draft.children.flatMap(all), draft]

const repository = Repository.make("image")

/** Reads a part of a source. */
const readPart = <E>(source: BlobSource<E>, { length, offset }: Registry.Range): Stream.Stream<Uint8Array, E> => {
  if (length === undefined) return source.open(offset)
  return Stream.suspend(() => {
    let left = length
    return source.open(offset).pipe(
      Stream.takeWhile(() => left > 0),
      Stream.map((chunk) => {
        const part = chunk.subarray(0, left)
        left -= part.length
        return part
      })
    )
  })
}

/** Creates a registry of the content of a draft. Layers of bases are read from their repositories. */
const registryOf = (root: Draft): Registry.Registry => {
  const name = "new image"
  const failed = RegistryError.failing(name)
  const drafts = all(root)
  const layers = new Map(drafts.flatMap(({ layers }) => layers).map((layer) => [layer.descriptor.digest, layer]))
  const findManifest = (operation: string, reference: string) => {
    const found = drafts.find(({ descriptor: { digest } }) => digest === reference)
    return found === undefined
      ? Effect.fail(failed(operation)(new RegistryError.ManifestUnknown({})))
      : Effect.succeed(found)
  }
  const findLayer = (operation: string, digest: Digest): Effect.Effect<Layer, RegistryError.RegistryError> => {
    const found = layers.get(digest)
    return found === undefined
      ? Effect.fail(failed(operation)(new RegistryError.BlobUnknown({})))
      : Effect.succeed(found)
  }
  return Registry.make({
    name,
    capabilities: Effect.succeed({ referrers: true }),
    ping: Effect.void,
    getManifest: (_, reference) =>
      Effect.map(findManifest("getManifest", reference), ({ bytes, descriptor }) => ({ bytes, descriptor })),
    resolveManifest: (_, reference) =>
      Effect.map(findManifest("resolveManifest", reference), ({ descriptor }) => descriptor),
    resolveBlob: (_, digest, options) =>
      Effect.flatMap(findLayer("resolveBlob", digest), (layer) =>
        layer._tag === "New"
          ? Effect.succeed(layer.descriptor)
          : layer.place.registry.resolveBlob(layer.place.repository, digest, options)),
    getBlob: (_, digest, options) =>
      Effect.flatMap(findLayer("getBlob", digest), (layer) => {
        if (layer._tag === "Base") return layer.place.registry.getBlob(layer.place.repository, digest, options)
        // the copy verifies what it reads
        const stream = readPart(layer.source, options?.range ?? { offset: 0 })
        return Effect.succeed({
          descriptor: layer.descriptor,
          stream: Stream.mapError(stream, failed("getBlob"))
        })
      }),
    referrers: () => Stream.empty
  })
}

/** Copies the layers of the bases to the repository of the destination, or mounts them. */
const copyBases = Effect.fnUntraced(function*(
  root: Draft,
  destination: Place.Place
): Effect.fn.Return<void, CopyError, Namespace.Namespace> {
  const namespace = yield* Namespace.Namespace
  const { registry, repository } = destination
  const bases = new Map(
    all(root).flatMap(({ layers }) => layers).flatMap((layer) =>
      layer._tag === "New" || MediaType.isNonDistributable(layer.descriptor.mediaType)
        ? []
        : [[layer.descriptor.digest, layer] as const]
    )
  )
  yield* Effect.forEach(
    bases.values(),
    Effect.fnUntraced(function*({ descriptor, place }) {
      const isSame = place.registry === registry && place.repository === repository
      if (isSame || (yield* inlineContent(descriptor)) !== undefined) return
      yield* namespace.copyBlob({
        source: { registry: place.registry, repository: place.repository, digest: descriptor.digest },
        destination: { registry, repository }
      })
    }),
    { concurrency: 8, discard: true }
  )
})

/** Returns the source of a copy of a draft, after the layers of the bases have been copied or mounted. */
export const sourceOf = Effect.fnUntraced(function*(root: Draft, destination: Place.Place) {
  yield* copyBases(root, destination)
  return { registry: registryOf(root), repository, digest: root.descriptor.digest }
})
