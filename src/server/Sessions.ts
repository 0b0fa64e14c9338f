/**
 * Open upload sessions of clients (distribution-spec, "Pushing blobs").
 *
 * The id of a session is a UUID. If the session of the registry has a UUID, it is the same, so that a registry which
 * keeps its sessions can resume them after a restart of the server. The server leaves those open when it ends, and
 * cancels all others, because no client could resume them. Sessions without requests are cancelled after
 * `UploadTimeout`.
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
import { isUuid } from "../Uuid.ts"
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
  /** True if the registry can resume the session by its id. */
  readonly isKept: boolean
  /** Lock of the request that changes the session. */
  readonly lock: Semaphore.Semaphore
  /** Number of bytes. Unknown while a request writes, and after that failed. */
  held: number | undefined
  /** True if the last chunk was smaller than the minimum, so that no chunk may follow it. */
  isShort: boolean
  /** Body that is written at the moment. */
  body: Body | undefined
  /** Number of requests that change the session or wait to do so. */
  busy: number
  /** Time of the last request, in milliseconds since 1970. */
  lastUsed: number
}

export interface Sessions {
  /** Opens a session, or mounts a blob. The session counts for the client. Fails if there are too many. */
  readonly open: (
    repository: Repository,
    options: Parameters<Registry["startUpload"]>[1],
    visit: Visit
  ) => Effect.Effect<Mounted | Session, RegistryError | Refusal.Refusal>
  /**
   * Finds a session. A session that the registry kept from before a restart is resumed, and then counts for the client.
   * Fails if there are too many.
   */
  readonly find: (
    repository: Repository,
    id: string,
    visit: Pick<Visit, "openSession">
  ) => Effect.Effect<Session, RegistryError | Refusal.Refusal>
  /**
   * Runs effects that change a session one after another. A second request means that the client has lost its first
   * connection, so the first body is cut off instead of awaited.
   */
  readonly change: <A, E, R>(session: Session, change: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Closes a session. Cancels it unless it is committed. */
  readonly close: (session: Session) => Effect.Effect<void>
}

/** Returns the number of bytes of a session. */
export const offsetOf = ({ held, upload }: Session): Effect.Effect<number, RegistryError> =>
  held === undefined ? upload.status : Effect.succeed(held)

const superseded = () => Refusal.make(400, "BLOB_UPLOAD_INVALID", "another request continued this upload")

export const make = Effect.fnUntraced(function*(
  registry: Registry,
  { uploadTimeout }: Settings
): Effect.fn.Return<Sessions, never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const timeout = Duration.toMillis(uploadTimeout)
  const sessions = new Map<string, Session>()
  const resuming = Semaphore.makeUnsafe(1)

  const add = (repository: Repository, upload: Upload, scope: Scope.Closeable, ownId: string): Session => {
    const isKept = isUuid(ownId) && !sessions.has(ownId)
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

  /** Opens a session in its own scope, which stays open after the request. */
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

  /** Resumes a session that the registry kept from before a restart of the server. */
  const resume = (
    repository: Repository,
    id: string,
    visit: Pick<Visit, "openSession">
  ): Effect.Effect<Session, RegistryError | Refusal.Refusal> =>
    resuming.withPermit(Effect.suspend(() => {
      const session = known(repository, id)
      if (session !== undefined) return Effect.succeed(session)
      // the session belongs to another repository
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
        if (!isUuid(id)) return Effect.fail(unknown(repository))
        const session = known(repository, id)
        if (session === undefined) return resume(repository, id, visit)
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
