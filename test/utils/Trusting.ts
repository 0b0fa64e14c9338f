/**
 * A registry with one repository that refuses nothing: it accepts every manifest, whatever content it lacks. Tests that
 * watch it detect a push in the wrong order; the registry does not.
 */
import { Effect, Stream } from "effect"
import * as Digest from "effect-oci/Digest"
import * as Hasher from "effect-oci/Hasher"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Repository, Tag } from "effect-oci/Reference"
import type { Capabilities, ManifestBytes } from "effect-oci/Registry"
import { ManifestUnknown } from "effect-oci/RegistryError"
import { failing, override } from "./registries.ts"

/** The content of the registry. */
export interface Content {
  readonly blobs: ReadonlySet<Digest.Digest>
  readonly manifests: ReadonlyMap<Digest.Digest, ManifestBytes>
  readonly tags: ReadonlyMap<Tag, Digest.Digest>
}

interface Descriptor {
  readonly digest: Digest.Digest
  readonly mediaType: string
  readonly size: number
  readonly platform?: { readonly architecture: string }
}

/** A manifest as a test reads it, without any help of the library. */
export const read = ({ bytes }: ManifestBytes): {
  readonly config?: Descriptor
  readonly layers?: ReadonlyArray<Descriptor>
  readonly manifests?: ReadonlyArray<Descriptor>
  readonly subject?: Descriptor
  readonly annotations?: Readonly<Record<string, string>>
} => JSON.parse(new TextDecoder().decode(bytes))

/** Creates an empty registry. It calls `changed` after each write. */
export const make = Effect.fnUntraced(function*(options: {
  readonly name: string
  readonly repository: Repository
  readonly capabilities?: Capabilities
  readonly changed?: (content: Content) => void
}) {
  const { capabilities, changed = () => {}, name, repository } = options
  const store = yield* MemoryRegistry.make({ name })
  const blobs = new Set<Digest.Digest>()
  const manifests = new Map<Digest.Digest, ManifestBytes>()
  const tags = new Map<Tag, Digest.Digest>()
  const content: Content = { blobs, manifests, tags }
  let sessions = 0

  const noted = (digest: Digest.Digest) => (place: Repository) =>
    Effect.sync(() => {
      if (place === repository) blobs.add(digest)
      changed(content)
    })
  const find = (operation: string, reference: Tag | Digest.Digest) =>
    Effect.suspend(() => {
      const digest = Digest.isDigest(reference) ? reference : tags.get(reference)
      const found = digest === undefined ? undefined : manifests.get(digest)
      return found === undefined ? failing(operation, new ManifestUnknown({})) : Effect.succeed(found)
    })

  const registry = override(store, {
    ...capabilities === undefined ? {} : { capabilities: Effect.succeed(capabilities) },
    pushBlob: (place, descriptor, source) =>
      Effect.tap(store.pushBlob(place, descriptor, source), () => noted(descriptor.digest)(place)),
    startUpload: (place, options) =>
      Effect.gen(function*() {
        const started = yield* store.startUpload(place, options)
        if (started._tag === "Mounted") {
          yield* noted(started.digest)(place)
          return started
        }
        yield* Effect.acquireRelease(Effect.sync(() => sessions++), () => Effect.sync(() => sessions--))
        return {
          ...started,
          commit: (digest, last) => Effect.tap(started.commit(digest, last), () => noted(digest)(place))
        }
      }),
    getManifest: (_, reference) => find("getManifest", reference),
    resolveManifest: (_, reference) => Effect.map(find("resolveManifest", reference), ({ descriptor }) => descriptor),
    pushManifest: (_, { bytes, mediaType }, given = []) =>
      Effect.gen(function*() {
        const digest = yield* Effect.orDie(Hasher.digest(bytes))
        const descriptor = { mediaType, digest, size: bytes.length }
        manifests.set(digest, { descriptor, bytes })
        for (const tag of given) tags.set(tag, digest)
        changed(content)
        return descriptor
      }),
    tags: () => Stream.suspend(() => Stream.fromIterable(tags.keys())),
    referrers: (_, digest) =>
      Stream.suspend(() =>
        Stream.fromIterable(
          Array.from(manifests.values()).filter((manifest) => read(manifest).subject?.digest === digest)
        )
      ).pipe(Stream.map(({ descriptor }) => descriptor))
  })
  return { registry, content, sessions: () => sessions }
})
