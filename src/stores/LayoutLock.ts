/**
 * A lock that processes share through a folder, so that no two write an `index.json` at once.
 *
 * Claims are files with a number for a name; the highest holds. To take the lock is to create the next number, which
 * the file system lets only one do, and to see that there is no higher one. To give it back is to rename the claim to
 * `N.free`. So a number is never used twice, and who was stopped half-way and goes on much later finds a higher one.
 *
 * A claim names its process. When that has ended, as Linux can tell, the next number may be created at once; where
 * nobody can tell, when the claim has not been touched for {@link patience}, by the clock of who waits.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { type ContentTooLarge, Storage } from "../RegistryError.ts"
import type { Files } from "./Files.ts"
import type { ProcessIdentity } from "./ProcessIdentity.ts"

/** Who holds the lock touches its claim four times as often. */
const patience = Duration.seconds(10)

/** How long others may hold the lock, one after another, until it is given up. */
const timeout = Duration.minutes(1)

export interface Lock {
  /** Is it still ours? Not if we were stopped for so long that others gave us up. */
  readonly isHeld: Effect.Effect<boolean, Storage>
}

/**
 * Takes the lock of a folder, waiting for it if need be. It is given back with the scope. `temporary` is where a file may
 * be made for a moment.
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

  const claims = Effect.map(files.list(folder), (names) =>
    names.flatMap((name) => {
      const [, number, free] = /^([0-9]{1,15})(\.free)?$/.exec(name) ?? []
      return number === undefined ? [] : { name, number: Number(number), isFree: free !== undefined }
    }))
  const isHighest = (number: number) =>
    Effect.map(
      claims,
      (claims) => claims.every((claim) => claim.number < number || claim.number === number && !claim.isFree)
    )

  /** Creates a claim with its name in it at once, so that none is ever seen without; not all file systems have links. */
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

  /** Creates a claim, if nobody else does. */
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
  const release = (number: number | undefined) =>
    number === undefined ? Effect.void : files.rename(pathOf(number), freeOf(number)).pipe(
      Effect.catch(() => files.remove(pathOf(number))),
      Effect.ignore
    )

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
    if (isFree || now - seen.since >= Duration.toMillis(patience) || (yield* isAbandoned(number))) {
      const held = yield* Effect.acquireRelease(claim(number + 1), release)
      if (held !== undefined) {
        for (const { name } of known) yield* Effect.ignore(files.remove(files.join(folder, name)))
        yield* Effect.forkScoped(Effect.forever(Effect.delay(
          Effect.ignore(files.touch(pathOf(held))),
          Duration.times(patience, 0.25)
        )))
        return { isHeld: isHighest(held) }
      }
    } else if (now - start >= Duration.toMillis(timeout)) {
      const problem = `others have been writing for ${Duration.format(timeout)}`
      return yield* new Storage({ path: folder, problem, code: "EBUSY" })
    }
    yield* Effect.sleep(pause)
    pause = Math.min(pause * 2, 50)
  }
})
