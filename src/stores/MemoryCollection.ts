/**
 * Garbage collection of a registry in memory.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Digest } from "../Digest.ts"
import type { Repository } from "../Reference.ts"
import * as Blocks from "./Blocks.ts"
import * as Cutoff from "./Cutoff.ts"
import type * as GarbageCollection from "./GarbageCollection.ts"
import * as ManifestLinks from "./ManifestLinks.ts"
import type * as MemoryContent from "./MemoryContent.ts"
import * as MemoryManifests from "./MemoryManifests.ts"
import type * as MemoryStorage from "./MemoryStorage.ts"
import * as Reachability from "./Reachability.ts"
import * as SortedMap from "./SortedMap.ts"
import * as Steps from "./Steps.ts"

/** Number of manifests or blobs that are examined or removed without a pause. */
const itemsAtATime = 100

/** A collection of one repository. */
interface Context {
  readonly storage: MemoryStorage.MemoryStorage
  readonly repository: Repository
  readonly content: MemoryContent.Content
  readonly options: GarbageCollection.Options
  /** Content that was mentioned later stays. */
  readonly cutoff: number
  readonly reachability: Reachability.Reachability
  /** Records content that goes. */
  readonly record: (entry: GarbageCollection.Entry) => void
}

const isYoung = ({ content, cutoff }: Pick<Context, "content" | "cutoff">, digest: Digest): boolean =>
  (content.mentioned.get(digest) ?? 0) > cutoff

const load = (context: Context, { bytes, descriptor }: MemoryContent.StoredManifest) =>
  Effect.map(
    ManifestLinks.make(descriptor.mediaType, Blocks.join(bytes)),
    ({ needs, subject }) =>
      context.reachability.add({
        ...descriptor,
        names: Array.from(context.content.tagsOf.get(descriptor.digest) ?? []),
        isYoung: isYoung(context, descriptor.digest),
        needs,
        subject
      })
  )

/** Runs an effect for each item, with pauses. */
const inTurn = <A>(items: Iterable<A>, use: (item: A, position: number) => Effect.Effect<void>) =>
  Effect.forEach(items, (item, position) =>
    position % itemsAtATime === itemsAtATime - 1
      ? Effect.andThen(use(item, position), Effect.yieldNow)
      : use(item, position), { discard: true })

/** Removes a manifest unless it was mentioned or tagged meanwhile, in which case all that it needs stays as well. */
const removeManifest = (context: Context, { node, reason }: Reachability.Removal): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { content, options, reachability, record, repository, storage } = context
    const { digest, names, size } = node
    const manifest = content.manifests.get(digest)
    if (manifest === undefined || reachability.isKept(digest)) return Effect.void
    const tags = Array.from(content.tagsOf.get(digest) ?? [])
    if (isYoung(context, digest) || tags.some((tag) => !names.includes(tag))) {
      return Steps.run(reachability.keep(digest), itemsAtATime)
    }
    record({ repository, kind: "manifest", digest, size, reason, ...tags.length === 0 ? {} : { tags } })
    return options.dryRun === true ? Effect.void : MemoryManifests.removeManifest(storage, repository, manifest)
  })

const removeBlob = (context: Context, digest: Digest): Effect.Effect<void> =>
  Effect.sync(() => {
    const { content, options, reachability, record, repository, storage } = context
    const size = content.blobs.get(digest)?.size
    if (size === undefined || reachability.isKept(digest) || isYoung(context, digest)) return
    record({ repository, kind: "blob", digest, size, reason: "unreferenced" })
    if (options.dryRun !== true) MemoryManifests.removeBlob(storage, repository, digest)
  })

const collect = Effect.fnUntraced(function*(context: Context): Effect.fn.Return<void> {
  const { content, options, reachability } = context
  yield* inTurn(Array.from(content.manifests.values()), (manifest) => load(context, manifest))
  const removals = yield* Steps.run(reachability.settle(), itemsAtATime)
  yield* inTurn(removals, (removal) => removeManifest(context, removal))
  if (options.blobs === "keep") return
  yield* inTurn(Array.from(content.blobs.keys()), (digest) => removeBlob(context, digest))
})

/** Collects all repositories. */
export const run = Effect.fnUntraced(
  function*(
    storage: MemoryStorage.MemoryStorage,
    options: GarbageCollection.Options
  ): Effect.fn.Return<GarbageCollection.Report> {
    const cutoff = Cutoff.make(yield* Clock.currentTimeMillis, options.olderThan)
    const removed: Array<GarbageCollection.Entry> = []
    /** Holders of shared content that a dry run has passed. */
    const passed = new Map<Digest, number>()
    let bytes = 0
    const record = (entry: GarbageCollection.Entry) => {
      const { digest, size } = entry
      const before = options.dryRun === true ? passed.get(digest) ?? 0 : 0
      if ((storage.shared.get(digest)?.holders ?? 1) - before <= 1) bytes += size
      passed.set(digest, before + 1)
      removed.push(entry)
    }
    const repositories = Array.from(SortedMap.entries(storage.repositories))
    for (const [repository, content] of repositories) {
      const reachability = Reachability.make(options)
      yield* collect({ storage, repository, content, options, cutoff, reachability, record })
    }
    return {
      dryRun: options.dryRun === true,
      repositories: repositories.length,
      removed,
      bytes,
      uploads: 0,
      skipped: []
    }
  }
)
