/**
 * How much layouts hold. Nothing is counted unless there is a limit.
 *
 * What is there already is counted before the first change: all of it if there is a limit of everything, or else the
 * one repository that is changed. What other processes write later is not known, until this one starts again.
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

/** A repository, or all of them if they share one layout. */
export interface Counted {
  readonly key: string
  readonly layout: { readonly blobs: Effect.Effect<ReadonlyArray<FileSystem.File.Info>, Storage> }
}

export interface LayoutUsage extends Pick<Usage.Usage, "checkBlob" | "checkUploads" | "add" | "found" | "remove"> {
  /** Waits until what is there is counted. */
  readonly ready: (counted: Counted) => Effect.Effect<void, Reason>
  /** Puts a file in the place of a blob. Its bytes are counted already. */
  readonly replacing: <E>(key: string, path: string, put: Effect.Effect<void, E>) => Effect.Effect<void, E | Storage>
  /** Puts a file in the place of a blob. */
  readonly adding: <E>(
    key: string,
    path: string,
    size: number,
    put: Effect.Effect<void, E>
  ) => Effect.Effect<void, E | Storage | Denied>
  /** Gives a blob another name, and returns true if that could be done. */
  readonly linking: <E>(
    key: string,
    path: string,
    size: number,
    link: Effect.Effect<boolean, E>
  ) => Effect.Effect<boolean, E | Storage | Denied>
  /** Removes a blob. */
  readonly removing: <E>(
    key: string,
    path: string,
    remove: Effect.Effect<unknown, E>
  ) => Effect.Effect<void, E | Storage>
}

const sizeOf = ({ size }: FileSystem.File.Info): number => ByteSize.toNumberUnsafe(size)

/** The amount that a file counts for. One with several names counts once for all of them. */
const amountOf = (info: FileSystem.File.Info): Usage.Amount => ({
  repository: sizeOf(info),
  total: Option.getOrElse(info.nlink, () => 1) > 1 ? 0 : sizeOf(info)
})

const nothing: Usage.Amount = { repository: 0, total: 0 }

/** Makes what counts. `everything` is all repositories that are there. */
export const make = (
  files: Files,
  limits: Usage.Limits,
  everything: Stream.Stream<Counted, Reason>
): LayoutUsage => {
  const usage = Usage.make(limits)
  const countsTotal = limits.maximumSize !== undefined
  const isActive = countsTotal || limits.maximumRepositorySize !== undefined

  // -- what is there --------------------------------------------------------------------------------------------------

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

  // -- what changes ---------------------------------------------------------------------------------------------------

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
      !isActive ? Effect.asVoid(remove) : inTurn(path)(Effect.gen(function*() {
        const before = yield* files.stat(path)
        yield* remove
        if (before !== undefined) usage.remove(key, amountOf(before))
      }))
  }
}
