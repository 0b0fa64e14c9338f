/**
 * A lock that processes share through a folder, so that no two of them write an `index.json` at the same time.
 *
 * Claims are files with a number as their name; the highest number holds the lock. A process takes the lock by
 * creating the next number, which the file system permits to one process only, and checking that no higher one exists.
 * It releases the lock by renaming the claim to `N.free`. So no number is used twice, and a process that was suspended
 * halfway finds a higher one when it continues.
 *
 * A claim names its process. If Linux reports that this process has ended, the next number may be created at once. On
 * other systems it may be created when the claim has not been touched for {@link abandonedAfter}, by the clock of the
 * process that waits.
 *
 * A process that has to wait for some time creates a file `wanted`. The holder then releases the lock soon, and pauses
 * before it takes the lock again.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { type ContentTooLarge, Storage } from "../RegistryError.ts"
import type { Files } from "./Files.ts"
import type { ProcessIdentity } from "./ProcessIdentity.ts"

/** Age at which an untouched claim counts as abandoned. The holder touches its claim four times in this period. */
const abandonedAfter = Duration.seconds(10)

/** Maximum time to wait for the lock, even if several processes hold it one after another. */
const timeout = Duration.minutes(1)

/** Longest time between two looks of a process that waits, in milliseconds. */
const longestPause = 50

/** Time in which a process does not take the lock again that another process wants. */
const turn = Duration.millis(longestPause + 10)

export interface Lock {
  /** Number of the claim. If a process holds two numbers in a row, no other process held the lock between them. */
  readonly number: number
  /** Returns true if another process wanted the lock when {@link isHeld} was last evaluated. */
  readonly isWanted: () => boolean
  /**
   * True while this process holds the lock. It loses the lock if it is suspended for longer than {@link
   * abandonedAfter}.
   */
  readonly isHeld: Effect.Effect<boolean, Storage>
}

/**
 * Waits for the lock of a folder and takes it. The lock is released when the scope closes. `temporary` returns a path
 * for a file that is removed again. Fails with `Storage` if other processes hold the lock for a minute.
 */
export const acquire = Effect.fnUntraced(function*({ files, folder, owner, temporary }: {
  readonly files: Files
  readonly owner: ProcessIdentity
  readonly folder: string
  readonly temporary: Effect.Effect<string, Storage>
}): Effect.fn.Return<Lock, Storage | ContentTooLarge, Scope.Scope> {
  const ownName = new TextEncoder().encode(owner.name)
  const pathOf = (number: number) => files.join(folder, `${number}`)
  const freeOf = (number: number) => files.join(folder, `${number}.free`)

  const wanted = files.join(folder, "wanted")
  const state = { isWanted: false, isWaiting: false }

  const claims = Effect.map(files.list(folder), (names) => {
    state.isWanted = names.includes("wanted")
    return names.flatMap((name) => {
      const [, number, free] = /^([0-9]{1,15})(\.free)?$/.exec(name) ?? []
      return number === undefined ? [] : { name, number: Number(number), isFree: free !== undefined }
    })
  })
  const isHighest = (number: number) =>
    Effect.map(
      claims,
      (claims) => claims.every((claim) => claim.number < number || claim.number === number && !claim.isFree)
    )

  /**
   * Creates a claim as a link to a file with its content, so that no claim is ever seen without content. File systems
   * without links get a plain file.
   */
  const create = Effect.fnUntraced(function*(number: number) {
    const draft = yield* temporary
    yield* files.write(draft, ownName, { isDurable: false })
    yield* files.link(draft, pathOf(number)).pipe(
      Effect.catchIf(
        ({ code }) => code !== "EEXIST",
        () => files.write(pathOf(number), ownName, { isDurable: false })
      ),
      Effect.ensuring(Effect.ignore(files.remove(draft)))
    )
  })

  /** Creates a claim and returns its number, or `undefined` if another process has this number or a higher one. */
  const claim = Effect.fnUntraced(function*(number: number) {
    const isOurs = yield* create(number).pipe(
      Effect.as(true),
      Effect.catchIf(({ code }) => code === "EEXIST", () => Effect.succeed(false))
    )
    if (!isOurs) return undefined
    const isHeld = yield* Effect.onError(isHighest(number), () => Effect.ignore(files.remove(pathOf(number))))
    if (isHeld) return number
    yield* files.remove(pathOf(number))
    return undefined
  })
  const unwant = Effect.ignore(files.remove(wanted))
  const release = (number: number | undefined) =>
    number === undefined ? Effect.void : files.rename(pathOf(number), freeOf(number)).pipe(
      Effect.catch(() => files.remove(pathOf(number))),
      Effect.ignore,
      Effect.andThen(Effect.suspend(() => state.isWanted ? Effect.andThen(unwant, Effect.sleep(turn)) : Effect.void))
    )

  /** Creates the file that asks the holder for the lock, unless it exists. */
  const want = Effect.suspend(() => {
    state.isWaiting = true
    return state.isWanted ? Effect.void : Effect.ignore(files.write(wanted, ownName, { isDurable: false }))
  })

  const isAbandoned = Effect.fnUntraced(function*(number: number) {
    const name = yield* files.read(pathOf(number), 1000)
    return name !== undefined && (yield* owner.isGone(new TextDecoder().decode(name)))
  })
  const touched = (number: number) =>
    Effect.map(
      files.stat(pathOf(number)),
      (info) => Option.getOrUndefined(info?.mtime ?? Option.none())?.getTime() ?? 0
    )

  yield* files.makeFolder(folder)
  const start = yield* Clock.currentTimeMillis
  let seen = { number: 0, touched: 0, since: start }
  let pause = 2
  while (true) {
    const known = yield* claims
    const number = known.reduce((highest, claim) => Math.max(highest, claim.number), 0)
    const isFree = number === 0 || known.some((claim) => claim.number === number && claim.isFree)
    const now = yield* Clock.currentTimeMillis
    const last = isFree ? 0 : yield* touched(number)
    if (seen.number !== number || seen.touched !== last) seen = { number, touched: last, since: now }
    if (isFree || now - seen.since >= Duration.toMillis(abandonedAfter) || (yield* isAbandoned(number))) {
      const held = yield* Effect.acquireRelease(claim(number + 1), release)
      if (held !== undefined) {
        for (const { name } of known) yield* Effect.ignore(files.remove(files.join(folder, name)))
        if (state.isWaiting) yield* unwant
        state.isWanted = false
        yield* Effect.forkScoped(Effect.forever(Effect.delay(
          Effect.ignore(files.touch(pathOf(held))),
          Duration.times(abandonedAfter, 0.25)
        )))
        return { number: held, isHeld: isHighest(held), isWanted: () => state.isWanted }
      }
    } else if (now - start >= Duration.toMillis(timeout)) {
      const problem = `other processes have been writing for ${Duration.format(timeout)}`
      return yield* new Storage({ path: folder, problem, code: "EBUSY" })
    }
    if (pause === longestPause) yield* want
    yield* Effect.sleep(pause)
    pause = Math.min(pause * 2, longestPause)
  }
})
