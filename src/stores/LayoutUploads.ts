/**
 * Upload sessions into layouts, which outlive the process.
 *
 * The file of a session is called `ID.KEY.N`; the key stands for its repository. A session belongs to the process that
 * has it open. Who takes it up elsewhere, as after a crash, goes on in a copy under the next `N`: so no other process
 * writes into what is verified here.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import {
  BlobUploadInvalid,
  BlobUploadUnknown,
  type Reason,
  type RegistryError,
  type Storage
} from "../RegistryError.ts"
import type { Chunk, Upload } from "../Upload.ts"
import * as BlobWriter from "./BlobWriter.ts"
import type { Files } from "./Files.ts"
import * as Usage from "./Usage.ts"

/**
 * How long what is left of an upload is kept after its last byte. Its scope may end it before; this is for those whose
 * process ended.
 *
 * @default 1 day
 * @category references
 * @since 0.1.0
 */
export const UploadTimeToLive: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/LayoutRegistry/UploadTimeToLive",
  { defaultValue: () => Duration.days(1) }
)

export interface Uploads {
  /** The path of a file that is not there yet, and will not stay. */
  readonly temporary: Effect.Effect<string, Storage>
  /** Opens a session. */
  readonly start: (target: BlobWriter.Target, algorithm: string) => Effect.Effect<Upload, RegistryError, Scope.Scope>
  /** Takes up a session. */
  readonly resume: (target: BlobWriter.Target, id: string) => Effect.Effect<Upload, RegistryError, Scope.Scope>
}

interface Session extends BlobWriter.Draft {
  readonly id: string
  readonly target: BlobWriter.Target
  readonly lock: Semaphore.Semaphore
}

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

const randomId = Effect.sync(() => crypto.randomUUID())

/** Makes sessions whose files are in a folder on the same file system as the layouts. */
export const make = (files: Files, folder: string): Uploads => {
  const sessions = new Map<string, Session>()
  /** What the files of a session are called, but for the number. */
  const prefixOf = ({ key }: BlobWriter.Target, id: string) =>
    Effect.map(
      Hasher.digest(new TextEncoder().encode(key)),
      (digest) => files.join(folder, `${id}.${Digest.encoded(digest).slice(0, 16)}.`)
    )

  // -- what others left behind ----------------------------------------------------------------------------------------

  let swept: number | undefined

  const sweep = Effect.fnUntraced(function*(now: number) {
    const timeToLive = Duration.toMillis(yield* UploadTimeToLive)
    const own = new Set(Array.from(sessions.values(), ({ path }) => path))
    for (const name of yield* files.list(folder)) {
      const path = files.join(folder, name)
      const mtime = Option.getOrUndefined((yield* files.stat(path))?.mtime ?? Option.none())
      if (mtime !== undefined && now - mtime.getTime() > timeToLive && !own.has(path)) yield* files.remove(path)
    }
  })

  const ready = Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    if (swept === undefined || now - swept > Duration.toMillis(Duration.hours(1))) {
      swept = now
      yield* Effect.ignore(sweep(now))
    }
    if ((yield* files.stat(folder)) === undefined) yield* files.forget
    yield* files.makeFolder(folder)
  })

  // -- sessions of this process ---------------------------------------------------------------------------------------

  const unknown = ({ target }: Session, operation: string) => target.failed(operation)(new BlobUploadUnknown({}))

  const alive = (session: Session, operation: string) =>
    Effect.suspend(() => sessions.get(session.id) === session ? Effect.void : Effect.fail(unknown(session, operation)))

  const forget = (session: Session) => {
    sessions.delete(session.id)
    BlobWriter.discard(session.target, session)
  }

  /** Opens the file of a session, which is gone when another process took the session up. */
  const open = (session: Session, operation: string) =>
    Effect.mapError(files.update(session.path), (reason) => {
      if (reason.code !== "ENOENT") return session.target.failed(operation)(reason)
      forget(session)
      return unknown(session, operation)
    })

  const append = Effect.fnUntraced(function*<E>(
    session: Session,
    operation: string,
    file: FileSystem.File,
    { offset, size, stream }: Chunk<E>
  ) {
    const fail = session.target.failed(operation)
    if (offset !== session.size) {
      const detail = `the upload is at ${session.size}, the chunk begins at ${offset}`
      return yield* fail(new BlobUploadInvalid({ detail }))
    }
    yield* BlobWriter.receive(session.target, session, file, stream, size ?? Infinity, fail)
    if (size !== undefined && session.size !== offset + size) {
      return yield* fail(new Hasher.SizeMismatch({ expected: size, actual: session.size - offset }))
    }
  })

  /** The digest of all that a session has. It is known by now, or the file is read for it. */
  const digestOf = Effect.fnUntraced(function*(session: Session, algorithm: string) {
    const { hash } = session
    session.hash = undefined
    if (hash?.algorithm === algorithm) return yield* hash.hash.digest
    const file = yield* files.open(session.path)
    return yield* BlobWriter.digestOf(file === undefined ? Stream.empty : file.read(0, session.size), algorithm)
  }, Effect.scoped)

  const commit = Effect.fnUntraced(function*<E>(session: Session, digest: Digest.Digest, last?: Chunk<E>) {
    const fail = session.target.failed("commit")
    yield* Effect.scoped(Effect.gen(function*() {
      const file = yield* open(session, "commit")
      if (last !== undefined) yield* append(session, "commit", file, last)
      const actual = yield* Effect.mapError(digestOf(session, Digest.algorithm(digest)), fail)
      if (actual !== digest) return yield* fail(new Hasher.DigestMismatch({ expected: digest, actual }))
      yield* Effect.mapError(files.sync(session.path, file), fail)
    }))
    const descriptor = yield* Effect.mapError(
      BlobWriter.keep(files, session.target, session, digest),
      (reason) => reason._tag === "Storage" && reason.code === "ENOENT" ? unknown(session, "commit") : fail(reason)
    )
    sessions.delete(session.id)
    return descriptor
  })

  const upload = (session: Session): Upload => {
    const inTurn = (operation: string) => <A, E>(effect: Effect.Effect<A, E>) =>
      session.lock.withPermit(Effect.andThen(alive(session, operation), effect))
    return {
      _tag: "Upload",
      id: Effect.succeed(session.id),
      minimumChunk: 0,
      maximumChunk: Infinity,
      resumable: true,
      status: Effect.map(alive(session, "status"), () => session.size),
      append: (chunk) =>
        inTurn("append")(Effect.scoped(
          Effect.flatMap(open(session, "append"), (file) => append(session, "append", file, chunk))
        )).pipe(Effect.map(() => session.size)),
      commit: (digest, last) => inTurn("commit")(commit(session, digest, last))
    }
  }

  const cancel = (session: Session) =>
    Effect.suspend(() => {
      if (sessions.get(session.id) !== session) return Effect.void
      forget(session)
      return Effect.ignore(files.remove(session.path))
    })

  const start: Uploads["start"] = Effect.fnUntraced(function*(target, algorithm) {
    const fail = target.failed("startUpload")
    const hasher = yield* Hasher.Hasher
    const hash = yield* Effect.mapError(hasher.make(algorithm), fail)
    const open = Effect.gen(function*() {
      yield* Usage.orFail(() => target.usage.checkUploads(sessions.size))
      yield* ready
      const id = yield* randomId
      const path = `${yield* prefixOf(target, id)}0`
      yield* files.write(path, new Uint8Array(), { isDurable: false })
      const session = {
        id,
        target,
        path,
        lock: Semaphore.makeUnsafe(1),
        size: 0,
        counted: 0,
        hash: { algorithm, hash }
      }
      sessions.set(id, session)
      return session
    })
    return upload(yield* Effect.acquireRelease(Effect.mapError(open, fail), cancel))
  })

  // -- sessions of others ---------------------------------------------------------------------------------------------

  const takingOver = Semaphore.makeUnsafe(1)

  const takeOver = Effect.fnUntraced(
    function*(
      target: BlobWriter.Target,
      id: string
    ): Effect.fn.Return<Session, Reason> {
      const known = sessions.get(id)
      if (known !== undefined) return known.target.key === target.key ? known : yield* new BlobUploadUnknown({})
      const prefix = yield* prefixOf(target, id)
      const generations = (yield* files.list(folder))
        .map((name) => files.join(folder, name))
        .flatMap((path) => path.startsWith(prefix) ? Number(path.slice(prefix.length)) : [])
        .filter(Number.isSafeInteger)
      if (generations.length === 0) return yield* new BlobUploadUnknown({})
      yield* Usage.orFail(() => target.usage.checkUploads(sessions.size))
      const last = Math.max(...generations)
      const path = `${prefix}${last + 1}`
      const copy = files.join(folder, `${yield* randomId}.tmp`)
      yield* Effect.gen(function*() {
        yield* files.copy(`${prefix}${last}`, copy)
        yield* files.rename(copy, path)
      }).pipe(
        Effect.onError(() => Effect.ignore(files.remove(copy))),
        Effect.catchIf(({ code }) => code === "ENOENT", () => new BlobUploadUnknown({}))
      )
      const isTaken = yield* files.remove(`${prefix}${last}`)
      const info = yield* files.stat(path)
      if (!isTaken || info === undefined) {
        yield* files.remove(path)
        return yield* new BlobUploadUnknown({})
      }
      const size = Number(info.size)
      const session = { id, target, path, lock: Semaphore.makeUnsafe(1), size, counted: size, hash: undefined }
      target.usage.found(target.key, Usage.unshared(size))
      sessions.set(id, session)
      return session
    }
  )

  const resume: Uploads["resume"] = Effect.fnUntraced(function*(target, id) {
    const fail = target.failed("resumeUpload")
    if (!uuid.test(id)) return yield* fail(new BlobUploadUnknown({}))
    const session = takingOver.withPermit(Effect.mapError(takeOver(target, id), fail))
    return upload(yield* Effect.acquireRelease(session, cancel))
  })

  return {
    temporary: Effect.andThen(ready, Effect.map(randomId, (id) => files.join(folder, `${id}.tmp`))),
    start,
    resume
  }
}
