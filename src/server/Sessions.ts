/**
 * The upload sessions that clients have open (distribution-spec, "Pushing blobs").
 *
 * A session is known by a UUID: the registry's own where it has one, so that it can be found again in a registry that
 * keeps its sessions when the server ends. Those are left open at the end; all others are cancelled, for nobody would
 * find them. A session that nobody asks for is cancelled after a time.
 */
import * as Clock from "effect/Clock"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { Repository } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import { BlobUploadUnknown, RegistryError } from "../RegistryError.ts"
import type { Mounted, Upload } from "../Upload.ts"
import type { Body } from "./Body.ts"
import type { Visit } from "./Limits.ts"
import * as Refusal from "./Refusal.ts"
import type { Settings } from "./Settings.ts"

export interface Session {
  readonly _tag: "Session"
  readonly id: string
  readonly repository: Repository
  readonly upload: Upload
  readonly scope: Scope.Closeable
  /** Will the registry find it again by its id? */
  readonly isKept: boolean
  readonly lock: Semaphore.Semaphore
  /** How many bytes it has, where that is known: it is not while some are written, nor when that failed. */
  held: number | undefined
  /** Was the last chunk smaller than it had to be? Then it was the last one. */
  isShort: boolean
  /** What is written into it by now. */
  body: Body | undefined
  /** How many requests are at work on it. */
  busy: number
  lastUsed: number
}

export interface Sessions {
  /** Opens a session, or mounts. The session counts for the client of that request. Fails if there are too many. */
  readonly open: (
    repository: Repository,
    options: Parameters<Registry["startUpload"]>[1],
    visit: Visit
  ) => Effect.Effect<Mounted | Session, RegistryError | Refusal.Refusal>
  /**
   * Finds a session. One that the registry kept from before this server counts from then on, for the client of that
   * request; it fails if there are too many.
   */
  readonly find: (
    repository: Repository,
    id: string,
    visit: Pick<Visit, "openSession">
  ) => Effect.Effect<Session, RegistryError | Refusal.Refusal>
  /**
   * Runs what changes a session, one after another. Who comes later has lost the connection of who came before, and does
   * not wait for more of that.
   */
  readonly change: <A, E, R>(session: Session, change: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Ends a session, and cancels it unless it is committed. */
  readonly close: (session: Session) => Effect.Effect<void>
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** How many bytes a session has. */
export const offsetOf = ({ held, upload }: Session): Effect.Effect<number, RegistryError> =>
  held === undefined ? upload.status : Effect.succeed(held)

const superseded = () => Refusal.make(400, "BLOB_UPLOAD_INVALID", "another request went on with this upload")

export const make = Effect.fnUntraced(function*(
  registry: Registry,
  { uploadTimeout }: Settings
): Effect.fn.Return<Sessions, never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const timeout = Duration.toMillis(uploadTimeout)
  const sessions = new Map<string, Session>()
  const takingUp = Semaphore.makeUnsafe(1)

  const add = (repository: Repository, upload: Upload, scope: Scope.Closeable, ownId: string): Session => {
    const isKept = uuid.test(ownId) && !sessions.has(ownId)
    const session: Session = {
      _tag: "Session",
      id: isKept ? ownId : SecureRandom.uuidV4Unsafe(),
      repository,
      upload,
      scope,
      isKept,
      lock: Semaphore.makeUnsafe(1),
      held: undefined,
      isShort: false,
      body: undefined,
      busy: 0,
      lastUsed: clock.currentTimeMillisUnsafe()
    }
    sessions.set(session.id, session)
    return session
  }

  const close: Sessions["close"] = (session) =>
    Effect.suspend(() => {
      sessions.delete(session.id)
      return Scope.close(session.scope, Exit.void)
    })

  /** Runs what opens a session in a scope of its own, which outlives this. */
  const detached = <A, E>(open: (scope: Scope.Closeable) => Effect.Effect<A, E>) =>
    Effect.uninterruptible(
      Effect.flatMap(Scope.make(), (scope) =>
        Effect.onExit(open(scope), (exit) => Exit.isFailure(exit) ? Scope.close(scope, exit) : Effect.void))
    )

  /** Counts a session until its scope closes. Fails if there are too many. */
  const count = (visit: Pick<Visit, "openSession">, scope: Scope.Scope) =>
    Effect.flatMap(visit.openSession, (release) => Scope.addFinalizer(scope, Effect.sync(release)))

  const unknown = (repository: Repository) =>
    new RegistryError({
      operation: "resumeUpload",
      registry: registry.name,
      repository,
      reason: new BlobUploadUnknown({})
    })

  const known = (repository: Repository, id: string): Session | undefined => {
    const session = sessions.get(id)
    return session?.repository === repository ? session : undefined
  }

  /** Looks for a session that the registry kept from before this server. */
  const takeUp = (
    repository: Repository,
    id: string,
    visit: Pick<Visit, "openSession">
  ): Effect.Effect<Session, RegistryError | Refusal.Refusal> =>
    takingUp.withPermit(Effect.suspend(() => {
      const session = known(repository, id)
      if (session !== undefined) return Effect.succeed(session)
      // of an id that is known, the repository is another
      if (sessions.has(id)) return Effect.fail(unknown(repository))
      return detached((scope) =>
        Effect.gen(function*() {
          yield* count(visit, scope)
          return add(repository, yield* Scope.provide(registry.resumeUpload(repository, id), scope), scope, id)
        })
      )
    }))

  const expire = Effect.suspend(() => {
    const now = clock.currentTimeMillisUnsafe()
    const expired = Array.from(sessions.values()).filter(({ busy, lastUsed }) =>
      busy === 0 && now - lastUsed >= timeout
    )
    return Effect.forEach(expired, close, { concurrency: "unbounded", discard: true })
  })
  yield* Effect.forkScoped(Effect.repeat(expire, Schedule.spaced(Duration.millis(timeout / 4))))
  yield* Effect.addFinalizer(() =>
    Effect.forEach(
      Array.from(sessions.values()).filter(({ isKept }) => !isKept),
      close,
      { concurrency: "unbounded", discard: true }
    )
  )

  return {
    open: (repository, options, visit) =>
      detached((scope) =>
        Effect.gen(function*() {
          yield* count(visit, scope)
          const started = yield* Scope.provide(registry.startUpload(repository, options), scope)
          if (started._tag === "Mounted") {
            yield* Scope.close(scope, Exit.void)
            return started
          }
          const session = add(repository, started, scope, yield* started.id)
          session.held = 0
          return session
        })
      ),
    find: (repository, id, visit) =>
      Effect.suspend(() => {
        if (!uuid.test(id)) return Effect.fail(unknown(repository))
        const session = known(repository, id)
        if (session === undefined) return takeUp(repository, id, visit)
        session.lastUsed = clock.currentTimeMillisUnsafe()
        return Effect.succeed(session)
      }),
    change: (session, change) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          session.busy++
          session.body?.breakOff(superseded())
        }),
        () => session.lock.withPermit(change),
        () =>
          Effect.sync(() => {
            session.busy--
            session.lastUsed = clock.currentTimeMillisUnsafe()
          })
      ),
    close
  }
})
