/**
 * Manifests and tags that a cache has read. They are kept in a store, or in memory if the store refuses them.
 */
import * as Effect from "effect/Effect"
import type { Descriptor } from "../Descriptor.ts"
import { type Digest, isDigest } from "../Digest.ts"
import type { Repository, Tag } from "../Reference.ts"
import { type ManifestBytes, Observer, type Registry } from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"

interface Pending {
  readonly repository: Repository
  readonly manifest: ManifestBytes
  readonly tags: Set<Tag>
  /** Digests of the content that the manifest refers to. The store may require this content first. */
  readonly parts: ReadonlySet<Digest>
  /** True if the manifest was deleted while it was stored. */
  isForgotten: boolean
}

/** The kept manifests. No operation fails: content that the store does not return counts as absent. */
export interface KeptManifests {
  readonly find: (repository: Repository, digest: Digest) => Effect.Effect<ManifestBytes | undefined>
  readonly resolve: (repository: Repository, reference: Tag | Digest) => Effect.Effect<Descriptor | undefined>
  /** Keeps a manifest that refers to these parts. */
  readonly keep: (
    repository: Repository,
    manifest: ManifestBytes,
    tags: ReadonlyArray<Tag>,
    parts: ReadonlySet<Digest>
  ) => Effect.Effect<void>
  /** Stores the manifests that waited for a part, after the part was stored. */
  readonly partStored: (repository: Repository, digest: Digest) => Effect.Effect<void>
  readonly forget: (repository: Repository, reference: Tag | Digest) => Effect.Effect<void>
}

/** Maximum size of the manifests in memory, in bytes. The oldest are dropped above it. */
const memoryLimit = 64 * 1024 * 1024

const keyOf = (repository: Repository, digest: Digest) => `${repository}@${digest}`

export const make = (store: Registry): KeptManifests => {
  // manifests that are being stored, and those that the store refused, because parts are missing or for another reason
  const pending = new Map<string, Pending>()
  let held = 0

  const drop = (key: string) => {
    held -= pending.get(key)?.manifest.bytes.length ?? 0
    pending.delete(key)
  }
  const hold = (entry: Pending) => {
    const key = keyOf(entry.repository, entry.manifest.descriptor.digest)
    drop(key)
    pending.set(key, entry)
    held += entry.manifest.bytes.length
    for (const oldest of pending.keys()) {
      if (held <= memoryLimit) break
      drop(oldest)
    }
  }
  const untag = (repository: Repository, tag: Tag) => {
    for (const entry of pending.values()) {
      if (entry.repository === repository) entry.tags.delete(tag)
    }
  }
  const pendingOf = (repository: Repository, reference: Tag | Digest): Pending | undefined =>
    isDigest(reference)
      ? pending.get(keyOf(repository, reference))
      : Array.from(pending.values()).find((entry) => entry.repository === repository && entry.tags.has(reference))

  const put = (entry: Pending): Effect.Effect<void> =>
    Effect.suspend(() => {
      const { manifest: { bytes, descriptor: { digest, mediaType } }, repository } = entry
      const tags = Array.from(entry.tags)
      return Effect.matchEffect(store.pushManifest(repository, { mediaType, bytes, digest }, tags), {
        onFailure: (error) => error.reason._tag === "ManifestBlobUnknown" ? Effect.void : warn(entry, error),
        onSuccess: () =>
          Effect.suspend(() => {
            if (entry.isForgotten) return Effect.ignore(store.deleteManifest(repository, digest))
            drop(keyOf(repository, digest))
            const lost = tags.filter((tag) => !entry.tags.has(tag))
            return Effect.andThen(
              Effect.forEach(lost, (tag) => Effect.ignore(store.deleteTag(repository, tag)), { discard: true }),
              partStored(repository, digest)
            )
          })
      })
    })

  const warn = Effect.fnUntraced(function*({ manifest, repository }: Pending, { reason }: RegistryError) {
    const observe = yield* Observer
    const text = `${repository}@${manifest.descriptor.digest} is kept in memory: ${reason.message}`
    yield* observe({ _tag: "Warning", registry: store.name, text })
  })

  const partStored = (repository: Repository, digest: Digest): Effect.Effect<void> =>
    Effect.suspend(() =>
      Effect.forEach(
        Array.from(pending.values()).filter((entry) => entry.repository === repository && entry.parts.has(digest)),
        put,
        { discard: true }
      )
    )

  return {
    find: (repository, digest) =>
      Effect.suspend(() => {
        const entry = pendingOf(repository, digest)
        return entry === undefined
          ? Effect.orElseSucceed(store.getManifest(repository, digest), () => undefined)
          : Effect.succeed(entry.manifest)
      }),
    resolve: (repository, reference) =>
      Effect.suspend(() => {
        const entry = pendingOf(repository, reference)
        return entry === undefined
          ? Effect.orElseSucceed(store.resolveManifest(repository, reference), () => undefined)
          : Effect.succeed(entry.manifest.descriptor)
      }),
    keep: (repository, manifest, tags, parts) =>
      Effect.suspend(() => {
        for (const tag of tags) untag(repository, tag)
        const before = pendingOf(repository, manifest.descriptor.digest)
        const entry = {
          repository,
          manifest,
          tags: new Set([...before?.tags ?? [], ...tags]),
          parts,
          isForgotten: false
        }
        hold(entry)
        return put(entry)
      }),
    partStored,
    forget: (repository, reference) =>
      isDigest(reference)
        ? Effect.suspend(() => {
          const entry = pendingOf(repository, reference)
          if (entry !== undefined) entry.isForgotten = true
          drop(keyOf(repository, reference))
          return Effect.ignore(store.deleteManifest(repository, reference))
        })
        : Effect.suspend(() => {
          untag(repository, reference)
          return Effect.ignore(store.deleteTag(repository, reference))
        })
  }
}
