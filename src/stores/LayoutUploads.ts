/**
 * Upload sessions into layouts. They survive the end of the process.
 *
 * The file of a session is called `ID.KEY.N`, where `KEY` is a hash of the key of its repository. A session belongs to
 * the process that has it open. A process that resumes it, for example after a crash, continues in a copy with the next
 * `N`, so that no other process writes to the content that it verifies.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
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
import { isUuid } from "../Uuid.ts"
import * as BlobWriter from "./BlobWriter.ts"
import type { Files } from "./Files.ts"
import type { LayoutTarget } from "./LayoutTarget.ts"
import * as Usage from "./Usage.ts"

/**
 * Time to keep an upload session after its last byte, if its scope does not end it. Sessions of processes that ended
 * can be resumed until then.
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
  /** Returns the path of a new temporary file. The caller creates the file, and removes or renames it. */
  readonly temporary: Effect.Effect<string, Storage>
  /** Opens a session. */
  readonly start: (target: LayoutTarget, algorithm: string) => Effect.Effect<Upload, RegistryError, Scope.Scope>
  /** Removes abandoned sessions and drafts unless `isDry`, and returns their number and size in bytes. */
  readonly collect: (isDry: boolean) => Effect.Effect<{ readonly count: number; readonly bytes: number }, Storage>
  /** Resumes a session of this process, or of another one that does not use it. */
  readonly resume: (target: LayoutTarget, id: string) => Effect.Effect<Upload, RegistryError, Scope.Scope>
}

interface Session extends BlobWriter.Draft {
  readonly id: string
  readonly target: LayoutTarget
  readonly lock: Semaphore.Semaphore
}

/** State of the uploads in one folder. */
interface State {
  readonly files: Files
  /** Folder of the files of sessions, on the same file system as the layouts. */
  readonly folder: string
  /** Open sessions of this process, by their ids. */
  readonly sessions: Map<string, Session>
  readonly takingOver: Semaphore.Semaphore
  /** Time of the last sweep, in milliseconds. */
  swept: number | undefined
}

const randomId = Effect.sync(() => SecureRandom.uuidV4Unsafe())

const temporaryPath = ({ files, folder }: State) => Effect.map(randomId, (id) => files.join(folder, `${id}.tmp`))

/** Returns the path of the files of a session, without their number. */
const prefixOf = ({ files, folder }: State, { key }: LayoutTarget, id: string) =>
  Effect.map(
    Hasher.digest(new TextEncoder().encode(key)),
    (digest) => files.join(folder, `${id}.${Digest.encoded(digest).slice(0, 16)}.`)
  )

// ---------------------------------------------------------------------------------------------------------------------
// the folder
// ---------------------------------------------------------------------------------------------------------------------

/** Time between two sweeps. */
const sweepInterval = Duration.hours(1)

/** Runs an effect for each file older than {@link UploadTimeToLive}, except those of open sessions. */
const forExpired = Effect.fnUntraced(function*(
  { files, folder, sessions }: State,
  now: number,
  use: (path: string, size: number) => Effect.Effect<unknown, Storage>
) {
  const timeToLive = Duration.toMillis(yield* UploadTimeToLive)
  const own = new Set(Array.from(sessions.values(), ({ path }) => path))
  for (const name of yield* files.list(folder)) {
    const path = files.join(folder, name)
    const info = yield* files.stat(path)
    const mtime = Option.getOrUndefined(info?.mtime ?? Option.none())
    if (info === undefined || mtime === undefined || now - mtime.getTime() <= timeToLive || own.has(path)) continue
    yield* use(path, Number(info.size))
  }
})

/** Removes files older than {@link UploadTimeToLive}, except those of open sessions. */
const sweep = (state: State, now: number) => forExpired(state, now, state.files.remove)

/** Removes the same files unless `isDry`, and returns their number and size. */
const collect = Effect.fnUntraced(function*(state: State, isDry: boolean) {
  const sum = { count: 0, bytes: 0 }
  yield* forExpired(state, yield* Clock.currentTimeMillis, (path, size) => {
    sum.count++
    sum.bytes += size
    return isDry ? Effect.void : state.files.remove(path)
  })
  return sum
})

/** Creates the folder unless it exists, and sweeps it from time to time. */
const prepare = Effect.fnUntraced(function*(state: State): Effect.fn.Return<void, Storage> {
  const { files, folder, swept } = state
  const now = yield* Clock.currentTimeMillis
  if (swept === undefined || now - swept > Duration.toMillis(sweepInterval)) {
    state.swept = now
    yield* Effect.ignore(sweep(state, now))
  }
  if ((yield* files.stat(folder)) === undefined) yield* files.forget
  yield* files.makeFolder(folder)
})

// ---------------------------------------------------------------------------------------------------------------------
// sessions of this process
// ---------------------------------------------------------------------------------------------------------------------

const unknown = ({ target }: Session, operation: string) => target.failed(operation)(new BlobUploadUnknown({}))

/** Fails with `BlobUploadUnknown` if a session was committed or cancelled. */
const checkOpen = ({ sessions }: State, session: Session, operation: string) =>
  Effect.suspend(() => sessions.get(session.id) === session ? Effect.void : Effect.fail(unknown(session, operation)))

const forget = ({ sessions }: State, session: Session) => {
  sessions.delete(session.id)
  BlobWriter.discard(session.target, session)
}

/** Opens the file of a session. The file is gone if another process has resumed the session. */
const openFile = (state: State, session: Session, operation: string) =>
  Effect.mapError(state.files.update(session.path), (reason) => {
    if (reason.code !== "ENOENT") return session.target.failed(operation)(reason)
    forget(state, session)
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

/** Returns the digest of the content of a session. The file is read only if its hash is not known. */
const digestOf = Effect.fnUntraced(function*({ files }: State, session: Session, algorithm: string) {
  const { hash } = session
  session.hash = undefined
  if (hash?.algorithm === algorithm) return yield* hash.hash.digest
  const file = yield* files.open(session.path)
  return yield* BlobWriter.digestOf(file === undefined ? Stream.empty : file.read(0, session.size), algorithm)
}, Effect.scoped)

const commit = Effect.fnUntraced(
  function*<E>(state: State, session: Session, digest: Digest.Digest, last?: Chunk<E>) {
    const { sessions } = state
    const fail = session.target.failed("commit")
    yield* Effect.scoped(Effect.gen(function*() {
      const file = yield* openFile(state, session, "commit")
      if (last !== undefined) yield* append(session, "commit", file, last)
      const actual = yield* Effect.mapError(digestOf(state, session, Digest.algorithm(digest)), fail)
      if (actual !== digest) return yield* fail(new Hasher.DigestMismatch({ expected: digest, actual }))
      yield* Effect.mapError(BlobWriter.settle(session.target, session.path, file, digest), fail)
    }))
    const descriptor = yield* Effect.mapError(
      BlobWriter.keep(session.target, session, digest),
      (reason) => reason._tag === "Storage" && reason.code === "ENOENT" ? unknown(session, "commit") : fail(reason)
    )
    sessions.delete(session.id)
    return descriptor
  }
)

const uploadOf = (state: State, session: Session): Upload => {
  const inTurn = (operation: string) => <A, E>(effect: Effect.Effect<A, E>) =>
    session.lock.withPermit(Effect.andThen(checkOpen(state, session, operation), effect))
  return {
    _tag: "Upload",
    id: Effect.succeed(session.id),
    minimumChunk: 0,
    maximumChunk: Infinity,
    resumable: true,
    status: Effect.map(checkOpen(state, session, "status"), () => session.size),
    append: (chunk) =>
      inTurn("append")(Effect.scoped(
        Effect.flatMap(openFile(state, session, "append"), (file) => append(session, "append", file, chunk))
      )).pipe(Effect.map(() => session.size)),
    commit: (digest, last) => inTurn("commit")(commit(state, session, digest, last))
  }
}

const cancel = (state: State) => (session: Session) =>
  Effect.suspend(() => {
    if (state.sessions.get(session.id) !== session) return Effect.void
    forget(state, session)
    return Effect.ignore(state.files.remove(session.path))
  })

/** Registers a session, whose file exists. */
const addSession = ({ sessions }: State, fields: Omit<Session, "lock">): Session => {
  const session = { ...fields, lock: Semaphore.makeUnsafe(1) }
  sessions.set(session.id, session)
  return session
}

const start = Effect.fnUntraced(function*(state: State, target: LayoutTarget, algorithm: string) {
  const fail = target.failed("startUpload")
  const hasher = yield* Hasher.Hasher
  const hash = yield* Effect.mapError(hasher.make(algorithm), fail)
  const open = Effect.gen(function*() {
    yield* Usage.orFail(() => target.usage.checkUploads(state.sessions.size))
    yield* prepare(state)
    const id = yield* randomId
    const path = `${yield* prefixOf(state, target, id)}0`
    yield* state.files.write(path, new Uint8Array(), { isDurable: false })
    return addSession(state, { id, target, path, size: 0, counted: 0, hash: { algorithm, hash } })
  })
  return uploadOf(state, yield* Effect.acquireRelease(Effect.mapError(open, fail), cancel(state)))
})

// ---------------------------------------------------------------------------------------------------------------------
// sessions of other processes
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the numbers of the files of a session. */
const numbersOf = Effect.fnUntraced(function*({ files, folder }: State, prefix: string) {
  return (yield* files.list(folder))
    .map((name) => files.join(folder, name))
    .flatMap((path) => path.startsWith(prefix) ? Number(path.slice(prefix.length)) : [])
    .filter(Number.isSafeInteger)
})

/** Returns the session with this id. If it is not open in this process, continues in a copy of its file. */
const takeOver = Effect.fnUntraced(
  function*(state: State, target: LayoutTarget, id: string): Effect.fn.Return<Session, Reason> {
    const { files, sessions } = state
    const known = sessions.get(id)
    if (known !== undefined) return known.target.key === target.key ? known : yield* new BlobUploadUnknown({})
    const prefix = yield* prefixOf(state, target, id)
    const numbers = yield* numbersOf(state, prefix)
    if (numbers.length === 0) return yield* new BlobUploadUnknown({})
    yield* Usage.orFail(() => target.usage.checkUploads(sessions.size))
    const last = Math.max(...numbers)
    const path = `${prefix}${last + 1}`
    const copy = yield* temporaryPath(state)
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
    target.usage.found(target.key, Usage.unshared(size))
    return addSession(state, { id, target, path, size, counted: size, hash: undefined })
  }
)

const resume = Effect.fnUntraced(function*(state: State, target: LayoutTarget, id: string) {
  const fail = target.failed("resumeUpload")
  if (!isUuid(id)) return yield* fail(new BlobUploadUnknown({}))
  const session = state.takingOver.withPermit(Effect.mapError(takeOver(state, target, id), fail))
  return uploadOf(state, yield* Effect.acquireRelease(session, cancel(state)))
})

/** Creates sessions whose files are in a folder. It must be on the same file system as the layouts. */
export const make = (files: Files, folder: string): Uploads => {
  const state: State = { files, folder, sessions: new Map(), takingOver: Semaphore.makeUnsafe(1), swept: undefined }
  return {
    temporary: Effect.andThen(Effect.suspend(() => prepare(state)), temporaryPath(state)),
    collect: (isDry) => collect(state, isDry),
    start: (target, algorithm) => start(state, target, algorithm),
    resume: (target, id) => resume(state, target, id)
  }
}
