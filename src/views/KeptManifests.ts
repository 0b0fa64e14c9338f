/**
 * Manifests and tags that were read, kept in a store; and those that it does not take, in memory.
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
  /** What has to be in the store before it, all of which may be there already. */
  readonly parts: ReadonlySet<Digest>
  /** Was it deleted meanwhile? */
  isForgotten: boolean
}

export interface KeptManifests {
  /** None of these fails: what the store does not give is not there. */
  readonly find: (repository: Repository, digest: Digest) => Effect.Effect<ManifestBytes | undefined>
  readonly resolve: (repository: Repository, reference: Tag | Digest) => Effect.Effect<Descriptor | undefined>
  /** Keeps a manifest that refers to these parts. */
  readonly keep: (
    repository: Repository,
    manifest: ManifestBytes,
    tags: ReadonlyArray<Tag>,
    parts: ReadonlySet<Digest>
  ) => Effect.Effect<void>
  /** The store has a part of manifests now, so that it may take them. */
  readonly partStored: (repository: Repository, digest: Digest) => Effect.Effect<void>
  readonly forget: (repository: Repository, reference: Tag | Digest) => Effect.Effect<void>
}

// of manifests that wait for their parts, in bytes
const memoryLimit = 64 * 1024 * 1024

const keyOf = (repository: Repository, digest: Digest) => `${repository}@${digest}`

export const make = (store: Registry): KeptManifests => {
  // those on their way into the store, and those that it refused: it wants their parts first, or takes nothing now
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
