/**
 * The image layout that a bundle is made of, while it is being written.
 *
 * Copies write to it as to the destination: it has what the destination is expected to have, and keeps everything else.
 * Blobs and manifests are files with their digests as names, verified and on disk, so that an interrupted export
 * continues with them. Manifests need not be complete, because the destination may have the rest.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as BlobSource from "../BlobSource.ts"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import { Repository, type Tag } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import type * as LayoutRegistry from "../stores/LayoutRegistry.ts"

/** Returns the size of content that the destination is expected to have, or `undefined`. */
export type Assumed = (
  digest: Digest.Digest
) => { readonly size: number; readonly mediaType?: string | undefined } | undefined

/** The registry that copies write to, with what they have written for each unit. */
export interface BundleStore {
  readonly registry: Registry.Registry
  /** Adds a unit, whose destinations are expected to have some content. Returns its repository and its tags. */
  readonly unit: (
    isAssumed: Assumed
  ) => { readonly repository: Repository; readonly tags: ReadonlyMap<Tag, Digest.Digest> }
}

interface Unit {
  readonly assumed: Assumed
  readonly manifests: Map<Digest.Digest, Descriptor>
  readonly tags: Map<Tag, Digest.Digest>
}

const name = "bundle"

/** Creates the registry of a layout. */
export const make = (layout: LayoutRegistry.LayoutRegistry): BundleStore => {
  const units = new Map<string, Unit>()
  const failed = RegistryError.failing(name)

  const digestOf = (unit: Unit | undefined, reference: Tag | Digest.Digest): Digest.Digest | undefined =>
    Digest.isDigest(reference) ? reference : unit?.tags.get(reference)

  const resolve = (unit: Unit | undefined, reference: Tag | Digest.Digest): Descriptor | undefined => {
    const digest = digestOf(unit, reference)
    if (digest === undefined) return undefined
    const assumed = unit?.assumed(digest)
    return assumed === undefined
      ? unit?.manifests.get(digest)
      : { digest, size: assumed.size, mediaType: assumed.mediaType ?? MediaType.octetStream }
  }

  const registry = Registry.make({
    ...layout,
    name,
    capabilities: Effect.map(layout.capabilities, (known) => ({
      ...known,
      referrers: true,
      tagParameters: true,
      // every blob is looked up before it is read from the source
      singlePost: false,
      anonymousMount: false,
      selfMount: false
    })),
    resolveManifest: (repository, reference) =>
      Effect.suspend(() => {
        const found = resolve(units.get(repository), reference)
        return found === undefined
          ? Effect.fail(failed("resolveManifest", repository)(new RegistryError.ManifestUnknown({})))
          : Effect.succeed(found)
      }),
    getManifest: Effect.fnUntraced(function*(repository, reference) {
      const fail = failed("getManifest", repository)
      const unit = units.get(repository)
      const digest = digestOf(unit, reference)
      const found = digest === undefined ? undefined : unit?.manifests.get(digest)
      const descriptor = found ?? (yield* fail(new RegistryError.ManifestUnknown({})))
      const bytes = yield* Effect.scoped(Effect.flatMap(
        layout.getBlob(repository, descriptor.digest),
        ({ stream }) => Stream.mkUint8Array(stream)
      ))
      return { descriptor, bytes }
    }),
    resolveBlob: (repository, digest, options) =>
      Effect.suspend(() => {
        const assumed = units.get(repository)?.assumed(digest)
        return assumed === undefined
          ? layout.resolveBlob(repository, digest, options)
          : Effect.succeed({ mediaType: MediaType.octetStream, digest, size: assumed.size })
      }),
    pushManifest: Effect.fnUntraced(function*(repository, { bytes, digest: given, mediaType }, tags = []) {
      const fail = Effect.mapError(failed("pushManifest", repository))
      const digest = given ?? (yield* fail(Hasher.digest(bytes)))
      const unit = units.get(repository)
      if (unit?.assumed(digest) === undefined) {
        yield* layout.pushBlob(repository, { digest, size: bytes.length }, BlobSource.fromBytes(bytes))
      }
      const descriptor: Descriptor = { mediaType, digest, size: bytes.length }
      unit?.manifests.set(digest, descriptor)
      for (const tag of tags) unit?.tags.set(tag, digest)
      return descriptor
    }),
    // each referrer is looked up by its digest instead
    referrers: (repository) => Stream.fail(failed("referrers", repository)(new RegistryError.Unsupported({}))),
    tags: () => Stream.empty
  })

  return {
    registry,
    unit: (assumed) => {
      const unit: Unit = { assumed, manifests: new Map(), tags: new Map() }
      const repository = Repository.make(`unit-${units.size}`)
      units.set(repository, unit)
      return { repository, tags: unit.tags }
    }
  }
}
