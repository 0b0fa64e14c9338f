/**
 * The content of a registry in memory, with its counters. Content that several repositories have is stored once.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository, Tag } from "../Reference.ts"
import * as RegistryError from "../RegistryError.ts"
import type { Blocks } from "./Blocks.ts"
import * as MemoryContent from "./MemoryContent.ts"
import * as SortedMap from "./SortedMap.ts"
import * as Usage from "./Usage.ts"

/** Content of a digest, and the number of blobs and manifests in all repositories that have it. */
interface Shared {
  readonly bytes: Blocks
  readonly holders: number
}

export interface MemoryStorage {
  /** Name of the registry in errors. */
  readonly name: string
  readonly usage: Usage.Usage
  readonly shared: Map<Digest.Digest, Shared>
  repositories: SortedMap.SortedMap<Repository, MemoryContent.Content>
}

/** Creates the storage of an empty registry. */
export const make = (name: string, limits: Usage.Limits): MemoryStorage => ({
  name,
  usage: Usage.make(limits),
  shared: new Map(),
  repositories: SortedMap.empty()
})

/** Returns the error of an operation from its reason. */
export const failure = (
  { name }: MemoryStorage,
  operation: string,
  repository: Repository,
  reason: RegistryError.Reason
): RegistryError.RegistryError => RegistryError.failing(name)(operation, repository)(reason)

// ---------------------------------------------------------------------------------------------------------------------
// reading
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the content of a repository if it exists. */
export const contentOf = (self: MemoryStorage, repository: Repository): MemoryContent.Content | undefined =>
  SortedMap.get(self.repositories, repository)

/** Returns the content of a repository. Fails with `NameUnknown` if it does not exist. */
export const existing = (
  self: MemoryStorage,
  operation: string,
  repository: Repository
): Effect.Effect<MemoryContent.Content, RegistryError.RegistryError> =>
  Effect.suspend(() => {
    const content = contentOf(self, repository)
    return content === undefined
      ? Effect.fail(failure(self, operation, repository, new RegistryError.NameUnknown({})))
      : Effect.succeed(content)
  })

/** Returns the bytes of a blob. Fails with `BlobUnknown` if it does not exist. */
export const findBlob = Effect.fnUntraced(
  function*(self: MemoryStorage, operation: string, repository: Repository, digest: Digest.Digest) {
    const bytes = (yield* existing(self, operation, repository)).blobs.get(digest)
    if (bytes === undefined) return yield* failure(self, operation, repository, new RegistryError.BlobUnknown({}))
    return bytes
  }
)

/** Returns a manifest. Fails with `ManifestUnknown` if it does not exist. */
export const findManifest = Effect.fnUntraced(
  function*(self: MemoryStorage, operation: string, repository: Repository, reference: Tag | Digest.Digest) {
    const content = yield* existing(self, operation, repository)
    const digest = Digest.isDigest(reference) ? reference : SortedMap.get(content.tags, reference)
    const manifest = digest === undefined ? undefined : content.manifests.get(digest)
    if (manifest === undefined) {
      return yield* failure(self, operation, repository, new RegistryError.ManifestUnknown({}))
    }
    return manifest
  }
)

/** Marks content of a repository as mentioned, so that a collection protects it for its grace period. */
export const mention = (
  self: MemoryStorage,
  repository: Repository,
  digest: Digest.Digest
): Effect.Effect<boolean> =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    const content = contentOf(self, repository)
    return content !== undefined && MemoryContent.mention(content, digest, now)
  })

/** Returns the descriptor of a blob. */
export const describeBlob = (digest: Digest.Digest, { size }: Blocks): Descriptor => ({
  mediaType: MediaType.octetStream,
  digest,
  size
})

// ---------------------------------------------------------------------------------------------------------------------
// counting
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the cost of new entries, in bytes, with the cost of the repository if it is new. */
export const costOf = (self: MemoryStorage, repository: Repository, entries: number): Usage.Amount =>
  Usage.unshared(entries + (contentOf(self, repository) === undefined ? MemoryContent.entryCost : 0))

/** Returns the cost of a blob besides its content. */
export const costOfBlob = (self: MemoryStorage, repository: Repository, digest: Digest.Digest): Usage.Amount => {
  const isThere = contentOf(self, repository)?.blobs.has(digest) === true
  return costOf(self, repository, isThere ? 0 : MemoryContent.entryCost)
}

/** Returns the amount that content adds to a repository and to the total. */
export const amountOf = (
  self: MemoryStorage,
  repository: Repository,
  digest: Digest.Digest,
  size: number
): Usage.Amount => {
  const content = contentOf(self, repository)
  const isThere = content !== undefined && MemoryContent.has(content, digest)
  return { repository: isThere ? 0 : size, total: self.shared.has(digest) ? 0 : size }
}

// ---------------------------------------------------------------------------------------------------------------------
// writing
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the content of a repository, which is created if it does not exist. */
export const created = (self: MemoryStorage, repository: Repository): MemoryContent.Content => {
  const known = contentOf(self, repository)
  if (known !== undefined) return known
  const content = MemoryContent.make()
  self.repositories = SortedMap.set(self.repositories, repository, content)
  return content
}

/** Records one more holder of some content, and returns the stored copy of its bytes. */
export const hold = ({ shared }: MemoryStorage, digest: Digest.Digest, bytes: Blocks): Blocks => {
  const known = shared.get(digest) ?? { bytes, holders: 0 }
  shared.set(digest, { bytes: known.bytes, holders: known.holders + 1 })
  return known.bytes
}

/** Removes a holder of some content, which the repository has no longer. `cost` is its cost besides the content. */
export const release = (self: MemoryStorage, repository: Repository, digest: Digest.Digest, cost: number): void => {
  const { shared, usage } = self
  usage.remove(repository, Usage.unshared(cost))
  const known = shared.get(digest)
  if (known === undefined) return
  if (known.holders > 1) shared.set(digest, { ...known, holders: known.holders - 1 })
  else shared.delete(digest)
  usage.remove(repository, amountOf(self, repository, digest, known.bytes.size))
}

/** Stores a blob. Its amount is counted already. */
export const putBlob = (
  self: MemoryStorage,
  repository: Repository,
  digest: Digest.Digest,
  bytes: Blocks,
  now: number
): void => {
  const content = created(self, repository)
  if (!content.blobs.has(digest)) content.blobs.set(digest, hold(self, digest, bytes))
  content.mentioned.set(digest, now)
}
