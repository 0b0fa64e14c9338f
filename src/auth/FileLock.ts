/**
 * A lock for changes of one file, which processes share through a second file beside it, `FILE.lock`.
 *
 * The file system lets only one process create that file, and its holder removes it. Its content names the holder: if
 * it stays the same for {@link abandonedAfter}, by the clock of the waiting process, the holder has ended without
 * removing it. The waiting process then removes it by renaming, which succeeds for one process only. A holder that was
 * only suspended for that long detects this by {@link Lock.isHeld}.
 */
import * as Clock from "effect/Clock"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as PlatformError from "effect/PlatformError"
import type * as Scope from "effect/Scope"

/** Time after which an unchanged lock counts as abandoned. A change of the file takes far less. */
const abandonedAfter = Duration.seconds(10)

// pause between two attempts
const longestPause = Duration.toMillis("50 millis")

export interface Lock {
  /** Returns true unless another process has removed the lock. */
  readonly isHeld: Effect.Effect<boolean, PlatformError.PlatformError>
}

/** Acquires the lock of a file, and waits for it if necessary. The lock is released when the scope closes. */
export const acquire = Effect.fnUntraced(function*(
  file: string
): Effect.fn.Return<Lock, PlatformError.PlatformError, FileSystem.FileSystem | Scope.Scope> {
  const fs = yield* FileSystem.FileSystem
  const path = `${file}.lock`
  const own = yield* Effect.sync(() => SecureRandom.uuidV4Unsafe())

  const unlessGone = <A>(effect: Effect.Effect<A, PlatformError.PlatformError>) =>
    Effect.catchIf(effect, ({ reason }) => reason._tag === "NotFound", () => Effect.undefined)
  const holder = unlessGone(fs.readFileString(path))

  const create = fs.writeFile(path, new TextEncoder().encode(own), { flag: "wx", mode: 0o600 }).pipe(
    Effect.as(true),
    Effect.catchIf(({ reason }) => reason._tag === "AlreadyExists", () => Effect.succeed(false))
  )
  const release = holder.pipe(
    Effect.flatMap((name) => name === own ? fs.remove(path) : Effect.void),
    Effect.ignore
  )
  /**
   * Removes the lock of a holder that has ended. Restores it if another process has removed it first and holds its own.
   */
  const breakLock = Effect.fnUntraced(function*(abandoned: string) {
    const away = `${path}.${own}`
    yield* unlessGone(fs.rename(path, away))
    if ((yield* unlessGone(fs.readFileString(away))) !== abandoned) yield* Effect.ignore(fs.link(away, path))
    yield* unlessGone(fs.remove(away))
  })

  let seen: { readonly name: string | undefined; readonly since: number } = { name: undefined, since: 0 }
  let pause = 2
  while (!(yield* Effect.acquireRelease(create, (isOurs) => isOurs ? release : Effect.void))) {
    const name = yield* holder
    const now = yield* Clock.currentTimeMillis
    if (name !== seen.name) seen = { name, since: now }
    if (name !== undefined && now - seen.since >= Duration.toMillis(abandonedAfter)) yield* breakLock(name)
    else yield* Effect.sleep(pause)
    pause = Math.min(pause * 2, longestPause)
  }
  return { isHeld: Effect.map(holder, (name) => name === own) }
})
