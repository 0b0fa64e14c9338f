/**
 * The amount of content in layouts. Nothing is counted unless there is a limit.
 *
 * Existing content is counted before the first change: all repositories if there is a limit for their total, or else
 * the repository that is changed. Content that other processes write later is counted after a restart of this process.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as KeyedLock from "../KeyedLock.ts"
import type { Denied, Reason, Storage } from "../RegistryError.ts"
import type { Files } from "./Files.ts"
import * as Usage from "./Usage.ts"

/** A repository whose content is counted, or all repositories if they share one layout. */
export interface Counted {
  readonly key: string
  readonly layout: { readonly blobs: Effect.Effect<ReadonlyArray<FileSystem.File.Info>, Storage> }
}

export interface LayoutUsage extends Pick<Usage.Usage, "checkBlob" | "checkUploads" | "add" | "found" | "remove"> {
  /** Waits until existing content is counted. */
  readonly ready: (counted: Counted) => Effect.Effect<void, Reason>
  /** Runs an effect that moves a draft to the path of a blob. The bytes of the draft are counted already. */
  readonly replacing: <E>(key: string, path: string, put: Effect.Effect<void, E>) => Effect.Effect<void, E | Storage>
  /**
   * Counts a blob of this size, and runs an effect that moves its file to this path. Fails with `Denied` at a limit.
   */
  readonly adding: <E>(
    key: string,
    path: string,
    size: number,
    put: Effect.Effect<void, E>
  ) => Effect.Effect<void, E | Storage | Denied>
  /**
   * Counts a blob of this size, and runs an effect that links it to this path. The effect returns true if it succeeded.
   * Fails with `Denied` at a limit.
   */
  readonly linking: <E>(
    key: string,
    path: string,
    size: number,
    link: Effect.Effect<boolean, E>
  ) => Effect.Effect<boolean, E | Storage | Denied>
  /** Runs an effect that removes a blob, and subtracts its bytes. The effect returns true if it removed the blob. */
  readonly removing: <E>(
    key: string,
    path: string,
    remove: Effect.Effect<boolean, E>
  ) => Effect.Effect<boolean, E | Storage>
}

const sizeOf = ({ size }: FileSystem.File.Info): number => ByteSize.toNumberUnsafe(size)

/**
 * Returns the amount that a file adds to its repository and to the total. A file with several links adds nothing to the
 * total, because they count once together.
 */
const amountOf = (info: FileSystem.File.Info): Usage.Amount => ({
  repository: sizeOf(info),
  total: Option.getOrElse(info.nlink, () => 1) > 1 ? 0 : sizeOf(info)
})

const nothing: Usage.Amount = { repository: 0, total: 0 }

/** Creates the counters. `everything` lists all repositories that exist. */
export const make = (
  files: Files,
  limits: Usage.Limits,
  everything: Stream.Stream<Counted, Reason>
): LayoutUsage => {
  const usage = Usage.make(limits)
  const countsTotal = limits.maximumSize !== undefined
  const isActive = countsTotal || limits.maximumRepositorySize !== undefined

  // -- existing content -----------------------------------------------------------------------------------------------

  const counted = new Set<string>()
  const linked = new Set<bigint>()
  const counting = Semaphore.makeUnsafe(1)
  let isComplete = !countsTotal

  const count = Effect.fnUntraced(function*({ key, layout }: Counted) {
    if (counted.has(key)) return
    let amount = nothing
    for (const info of yield* layout.blobs) {
      const { repository, total } = amountOf(info)
      const ino = Option.getOrUndefined(info.ino)
      const isFirst = total < repository && ino !== undefined && !linked.has(ino)
      if (isFirst) linked.add(ino)
      amount = {
        repository: amount.repository + repository,
        total: amount.total + (isFirst ? repository : total)
      }
    }
    usage.found(key, amount)
    counted.add(key)
  })

  const ready: LayoutUsage["ready"] = (wanted) =>
    Effect.suspend(() =>
      isComplete && counted.has(wanted.key) ? Effect.void : counting.withPermit(Effect.gen(function*() {
        if (!isComplete) yield* Stream.runForEach(everything, count)
        isComplete = true
        yield* count(wanted)
        linked.clear()
      }))
    )

  // -- changes --------------------------------------------------------------------------------------------------------

  const inTurn = KeyedLock.make()

  const replacing: LayoutUsage["replacing"] = (key, path, put) =>
    inTurn(path)(Effect.gen(function*() {
      const before = yield* files.stat(path)
      yield* put
      if (before !== undefined) usage.remove(key, amountOf(before))
    }))

  return {
    ...usage,
    ready: (wanted) => isActive ? ready(wanted) : Effect.void,
    replacing: (key, path, put) => isActive ? replacing(key, path, put) : put,
    adding: (key, path, size, put) =>
      !isActive ? put : inTurn(path)(Effect.gen(function*() {
        const amount = (yield* files.stat(path)) === undefined ? Usage.unshared(size) : nothing
        yield* Usage.orFail(() => usage.add(key, amount))
        yield* Effect.onError(put, () => Effect.sync(() => usage.remove(key, amount)))
      })),
    linking: (key, path, size, link) =>
      !isActive ? link : inTurn(path)(Effect.gen(function*() {
        const amount = (yield* files.stat(path)) === undefined ? { repository: size, total: 0 } : nothing
        yield* Usage.orFail(() => usage.add(key, amount))
        const undo = Effect.sync(() => usage.remove(key, amount))
        return yield* Effect.tap(Effect.onError(link, () => undo), (isLinked) => isLinked ? Effect.void : undo)
      })),
    removing: (key, path, remove) =>
      !isActive ? remove : inTurn(path)(Effect.gen(function*() {
        const before = yield* files.stat(path)
        const isRemoved = yield* remove
        if (isRemoved && before !== undefined) usage.remove(key, amountOf(before))
        return isRemoved
      }))
  }
}
