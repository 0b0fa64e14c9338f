/**
 * The space that the content of a cache takes, and the eviction of what was not used for longest.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { Digest } from "../Digest.ts"
import type { Repository } from "../Reference.ts"
import { Observer, type Registry } from "../Registry.ts"
import { Denied, isAbsence, type RegistryError } from "../RegistryError.ts"
import type { Snapshot } from "./CacheJournal.ts"

/**
 * A blob or manifest in the store of a cache.
 *
 * @category models
 * @since 0.1.0
 */
export interface Content {
  readonly repository: Repository
  readonly digest: Digest
  /** Size in bytes. */
  readonly size: number
  /** Time of the last write, in milliseconds since 1970. */
  readonly time: number
}

export interface CacheSpace {
  /** Records that content was used. `size` is known if it is in the store. */
  readonly use: (repository: Repository, digest: Digest, size: number | undefined) => Effect.Effect<void>
  /** Keeps content while the scope is open. Waits if it is being evicted. */
  readonly hold: (repository: Repository, digest: Digest) => Effect.Effect<void, never, Scope.Scope>
  /**
   * Makes room for content until the scope closes. Evicts what was used longest ago. Fails if the content does not fit
   * beside what is being read and written.
   */
  readonly reserve: (size: number) => Effect.Effect<void, Denied, Scope.Scope>
  /** Records that content is no longer in the store. */
  readonly forget: (repository: Repository, digest: Digest) => void
  /**
   * Adds content of an earlier process, in order of its last use: what the inventory lists, or else what is recorded.
   * Content that is known already stays as it is.
   */
  readonly restore: (
    snapshot: Snapshot,
    inventory: Stream.Stream<Content, RegistryError> | undefined
  ) => Effect.Effect<void>
  /** Returns the content in order of its last use. */
  readonly content: () => Snapshot["content"]
}

interface Item {
  readonly repository: Repository
  readonly digest: Digest
  readonly size: number
  /** Time of the last use, in milliseconds. */
  readonly time: number
}

export interface Options {
  readonly store: Registry
  /** Maximum size of all content, in bytes. */
  readonly maximumSize: number
}

const keyOf = (repository: Repository, digest: Digest) => `${repository}@${digest}`

/** Deletes content from the store, which may be a manifest or a blob. */
const remove = (store: Registry, { digest, repository }: Item) =>
  Effect.catchIf(store.deleteManifest(repository, digest), isAbsence, () => store.deleteBlob(repository, digest)).pipe(
    Effect.catchIf(isAbsence, () => Effect.void)
  )

const itemOf = ([repository, digest, size, time]: Snapshot["content"][number]): Item => ({
  repository,
  digest,
  size,
  time
})

/** Returns the content that exists, in order of its last use, which is that of its write if it is not recorded. */
const counted = (recorded: ReadonlyArray<Item>, inventory: Stream.Stream<Content, RegistryError>) =>
  Effect.map(Stream.runCollect(inventory), (all) => {
    const times = new Map(recorded.map(({ digest, repository, time }) => [keyOf(repository, digest), time]))
    return all
      .map((content): Item => ({
        ...content,
        time: times.get(keyOf(content.repository, content.digest)) ?? content.time
      }))
      .sort((one, other) => one.time - other.time)
  })

/** Creates the table of a cache without content. */
export const make = ({ maximumSize, store }: Options): CacheSpace => {
  // in order of the last use
  const items = new Map<string, Item>()
  const holders = new Map<string, number>()
  const alone = Semaphore.makeUnsafe(1)
  const restored = Deferred.makeUnsafe<void>()
  let total = 0
  let reserved = 0
  let evicted: { readonly key: string; readonly done: Deferred.Deferred<void> } | undefined

  const drop = (key: string) => {
    total -= items.get(key)?.size ?? 0
    items.delete(key)
  }
  const put = (key: string, item: Item) => {
    drop(key)
    items.set(key, item)
    total += item.size
  }

  const warn = (text: string) =>
    Effect.flatMap(Observer, (observe) => observe({ _tag: "Warning", registry: store.name, text }))

  /** Deletes content unless it is held. It stays in the table if the store fails to delete it. */
  const evict = Effect.fnUntraced(function*(key: string, item: Item) {
    // in the same step as the announcement, so that nothing can be held in between
    if (holders.has(key)) return
    const done = Deferred.makeUnsafe<void>()
    evicted = { key, done }
    const removed = yield* Effect.result(remove(store, item)).pipe(
      Effect.ensuring(Effect.sync(() => {
        evicted = undefined
        Deferred.doneUnsafe(done, Effect.void)
      }))
    )
    if (removed._tag === "Success") return drop(key)
    yield* warn(`${key} is not evicted: ${removed.failure.reason.message}`)
  }, Effect.uninterruptible)

  /** Evicts what was used longest ago until this number of bytes is free, as far as possible. */
  const makeRoom = Effect.fnUntraced(function*(size: number) {
    const isEnough = () => total + reserved + size <= maximumSize
    if (isEnough()) return
    // content that is used meanwhile moves to the end of the table
    for (const [key, item] of items) {
      if (isEnough()) return
      yield* evict(key, item)
    }
  })

  const trim = Effect.suspend(() =>
    total + reserved <= maximumSize
      ? Effect.void
      : Effect.andThen(Deferred.await(restored), alone.withPermit(makeRoom(0)))
  )

  return {
    use: Effect.fnUntraced(function*(repository, digest, size) {
      const key = keyOf(repository, digest)
      const known = size ?? items.get(key)?.size
      if (known === undefined) return
      put(key, { repository, digest, size: known, time: yield* Clock.currentTimeMillis })
      if (total + reserved > maximumSize) yield* trim
    }),
    hold: (repository, digest) =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          const key = keyOf(repository, digest)
          holders.set(key, (holders.get(key) ?? 0) + 1)
          return evicted?.key === key ? Deferred.await(evicted.done) : Effect.void
        }),
        () =>
          Effect.sync(() => {
            const key = keyOf(repository, digest)
            const left = (holders.get(key) ?? 1) - 1
            if (left === 0) holders.delete(key)
            else holders.set(key, left)
          })
      ),
    reserve: (size) =>
      Effect.acquireRelease(
        Effect.gen(function*() {
          const full = new Denied({ detail: `the cache is full: it may have ${maximumSize} bytes` })
          if (size > maximumSize) return yield* full
          yield* Deferred.await(restored)
          yield* alone.withPermit(Effect.gen(function*() {
            yield* makeRoom(size)
            if (total + reserved + size > maximumSize) return yield* full
            reserved += size
          }))
        }),
        () =>
          Effect.sync(() => {
            reserved -= size
          })
      ),
    forget: (repository, digest) => drop(keyOf(repository, digest)),
    restore: Effect.fnUntraced(function*(snapshot, inventory) {
      const recorded = snapshot.content.map(itemOf)
      const found = inventory === undefined ? recorded : yield* counted(recorded, inventory).pipe(
        Effect.catch(({ message }) => Effect.as(warn(`the content is not counted: ${message}`), recorded))
      )
      const younger = Array.from(items)
      items.clear()
      total = 0
      for (const item of found) put(keyOf(item.repository, item.digest), item)
      for (const [key, item] of younger) put(key, item)
      yield* Deferred.succeed(restored, undefined)
      yield* trim
    }),
    content: () =>
      Array.from(items.values(), ({ digest, repository, size, time }) => [repository, digest, size, time] as const)
  }
}

/** A table without a limit, which records nothing. */
export const unlimited: CacheSpace = {
  use: () => Effect.void,
  hold: () => Effect.void,
  reserve: () => Effect.void,
  forget: () => {},
  restore: () => Effect.void,
  content: () => []
}
