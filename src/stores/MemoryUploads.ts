/**
 * Upload sessions of a registry in memory.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import type { Repository } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import type { Chunk, Upload } from "../Upload.ts"
import type { Blocks } from "./Blocks.ts"
import * as Gathered from "./Gathered.ts"
import * as MemoryStorage from "./MemoryStorage.ts"
import * as Usage from "./Usage.ts"

interface Session {
  readonly repository: Repository
  readonly received: Gathered.Gathered
  readonly lock: Semaphore.Semaphore
  /** Hash of the received bytes. Undefined if they have to be read again to compute it. */
  hash: { readonly algorithm: string; readonly hash: Hasher.Hash } | undefined
  isOpen: boolean
}

interface State {
  readonly storage: MemoryStorage.MemoryStorage
  readonly sessions: Map<string, Session>
  /** Number of sessions that were opened so far. */
  count: number
}

/** Creates a session, which hashes what it receives by this algorithm. */
const makeSession = Effect.fnUntraced(function*(repository: Repository, algorithm: string) {
  const hasher = yield* Hasher.Hasher
  const session: Session = {
    repository,
    received: Gathered.make(),
    lock: Semaphore.makeUnsafe(1),
    hash: { algorithm, hash: yield* hasher.make(algorithm) },
    isOpen: true
  }
  return session
})

/** Receives a piece of a chunk, or returns the reason why it is refused. */
const takePiece = <E>(
  { storage: { usage } }: State,
  { isOpen, received, repository }: Session,
  chunk: Chunk<E>,
  piece: Uint8Array
): RegistryError.Reason | undefined => {
  const expected = chunk.size ?? Infinity
  const size = received.size() + piece.length
  const refusal = !isOpen
    ? new RegistryError.BlobUploadUnknown({})
    : size - chunk.offset > expected
    ? new Hasher.SizeMismatch({ expected, actual: size - chunk.offset })
    : usage.checkBlob(size) ?? usage.add(repository, Usage.unshared(piece.length))
  if (refusal === undefined) received.push(piece)
  return refusal
}

/** Receives and hashes pieces of a chunk up to the first that is refused, and returns the reason of that. */
const takePieces = <E>(state: State, session: Session, chunk: Chunk<E>, pieces: ReadonlyArray<Uint8Array>) =>
  // not interruptible: every received byte has to be hashed
  Effect.uninterruptible(Effect.suspend(() => {
    const taken: Array<Uint8Array> = []
    let refusal: RegistryError.Reason | undefined
    for (const piece of pieces) {
      refusal = takePiece(state, session, chunk, piece)
      if (refusal !== undefined) break
      taken.push(piece)
    }
    return session.hash === undefined ? Effect.succeed(refusal) : Effect.as(session.hash.hash.update(taken), refusal)
  }))

/** Receives a chunk. If it fails, the pieces that arrived before are kept. */
const receive = Effect.fnUntraced(function*<E>(
  state: State,
  operation: string,
  session: Session,
  chunk: Chunk<E>
) {
  const { storage } = state
  const { received, repository } = session
  const fail = (reason: RegistryError.Reason) => MemoryStorage.failure(storage, operation, repository, reason)
  if (chunk.offset !== received.size()) {
    const detail = `the upload is at ${received.size()}, the chunk begins at ${chunk.offset}`
    return yield* fail(new RegistryError.BlobUploadInvalid({ detail }))
  }
  const { usage } = storage
  const announced = chunk.size ?? 0
  yield* Effect.mapError(
    Usage.orFail(() => usage.checkBlob(chunk.offset + announced) ?? usage.check(repository, Usage.unshared(announced))),
    fail
  )
  yield* Stream.runForEachArray(chunk.stream, (pieces) =>
    Effect.flatMap(
      takePieces(state, session, chunk, pieces),
      (refusal) => refusal === undefined ? Effect.void : Effect.fail(fail(refusal))
    ))
  const actual = received.size() - chunk.offset
  if (chunk.size !== undefined && chunk.size !== actual) {
    return yield* fail(new Hasher.SizeMismatch({ expected: chunk.size, actual }))
  }
})

/** Discards the bytes of a session, which count no longer. */
const discard = ({ storage: { usage } }: State, session: Session) =>
  Effect.sync(() => {
    if (!session.isOpen) return
    session.isOpen = false
    usage.remove(session.repository, Usage.unshared(session.received.size()))
  })

/** Returns the digest of the received bytes. They are read again only if their hash is not known. */
const digestOf = Effect.fnUntraced(function*(session: Session, bytes: Blocks, algorithm: string) {
  const { hash: known } = session
  session.hash = undefined
  if (known?.algorithm === algorithm) return yield* known.hash.digest
  const hasher = yield* Hasher.Hasher
  const hash = yield* hasher.make(algorithm)
  yield* hash.update(bytes.blocks)
  return yield* hash.digest
}, Effect.scoped)

/** Stores the received bytes as a blob. They are counted already. */
const store = Effect.fnUntraced(
  function*(state: State, operation: string, digest: Digest.Digest, session: Session) {
    const { storage } = state
    const { received, repository } = session
    const bytes = received.blocks()
    const error = (reason: RegistryError.Reason) => MemoryStorage.failure(storage, operation, repository, reason)
    const fail = Effect.mapError(error)
    const actual = yield* fail(digestOf(session, bytes, Digest.algorithm(digest)))
    if (actual !== digest) return yield* error(new Hasher.DigestMismatch({ expected: digest, actual }))
    if (!session.isOpen) return yield* error(new RegistryError.BlobUploadUnknown({}))
    yield* fail(
      Usage.orFail(() => storage.usage.add(repository, MemoryStorage.costOfBlob(storage, repository, digest)))
    )
    yield* discard(state, session)
    const now = yield* Clock.currentTimeMillis
    storage.usage.found(repository, MemoryStorage.amountOf(storage, repository, digest, bytes.size))
    MemoryStorage.putBlob(storage, repository, digest, bytes, now)
    return MemoryStorage.describeBlob(digest, bytes)
  }
)

const uploadOf = (state: State, repository: Repository, id: string): Upload => {
  const { sessions, storage } = state
  const session = (operation: string) =>
    Effect.suspend(() => {
      const found = sessions.get(id)
      return found?.repository !== repository
        ? Effect.fail(MemoryStorage.failure(storage, operation, repository, new RegistryError.BlobUploadUnknown({})))
        : Effect.succeed(found)
    })
  return {
    _tag: "Upload",
    id: Effect.succeed(id),
    minimumChunk: 0,
    maximumChunk: Infinity,
    resumable: true,
    status: Effect.map(session("status"), ({ received }) => received.size()),
    append: Effect.fnUntraced(function*(chunk) {
      const into = yield* session("append")
      yield* into.lock.withPermit(receive(state, "append", into, chunk))
      return into.received.size()
    }),
    commit: Effect.fnUntraced(function*(digest, last) {
      const into = yield* session("commit")
      return yield* into.lock.withPermit(Effect.gen(function*() {
        if (last !== undefined) yield* receive(state, "commit", into, last)
        const descriptor = yield* store(state, "commit", digest, into)
        sessions.delete(id)
        return descriptor
      }))
    })
  }
}

/** Ends a session unless it was committed. */
const cancel = (state: State, id: string) =>
  Effect.suspend(() => {
    const session = state.sessions.get(id)
    state.sessions.delete(id)
    return session === undefined ? Effect.void : discard(state, session)
  })

const openSession = (
  state: State,
  repository: Repository,
  algorithm: string
): Effect.Effect<Upload, RegistryError.RegistryError, Scope.Scope> =>
  Effect.acquireRelease(
    Usage.orFail(() => state.storage.usage.checkUploads(state.sessions.size)).pipe(
      Effect.andThen(makeSession(repository, algorithm)),
      Effect.mapBoth({
        onFailure: (reason) => MemoryStorage.failure(state.storage, "startUpload", repository, reason),
        onSuccess: (session) => {
          const id = `${++state.count}`
          state.sessions.set(id, session)
          return id
        }
      })
    ),
    (id) => cancel(state, id)
  ).pipe(Effect.map((id) => uploadOf(state, repository, id)))

const start = Effect.fnUntraced(
  function*(
    state: State,
    ...[repository, options]: Parameters<Registry.Registry["startUpload"]>
  ): Effect.fn.Return<
    Effect.Success<ReturnType<Registry.Registry["startUpload"]>>,
    RegistryError.RegistryError,
    Scope.Scope
  > {
    const { storage } = state
    const { algorithm = "sha256", mount } = options ?? {}
    if (mount === undefined) return yield* openSession(state, repository, algorithm)
    const { digest, from } = mount
    const now = yield* Clock.currentTimeMillis
    const isThere = from === undefined || MemoryStorage.contentOf(storage, from)?.blobs.has(digest) === true
    const bytes = isThere ? storage.shared.get(digest)?.bytes : undefined
    if (bytes === undefined) return yield* openSession(state, repository, algorithm)
    const amount = Usage.plus(
      MemoryStorage.amountOf(storage, repository, digest, bytes.size),
      MemoryStorage.costOfBlob(storage, repository, digest)
    )
    yield* Effect.mapError(
      Usage.orFail(() => storage.usage.add(repository, amount)),
      (reason) => MemoryStorage.failure(storage, "startUpload", repository, reason)
    )
    MemoryStorage.putBlob(storage, repository, digest, bytes, now)
    return { _tag: "Mounted", digest }
  }
)

/** Creates the operations of a registry that push blobs. */
export const operations = (
  storage: MemoryStorage.MemoryStorage
): Pick<Registry.Registry, "startUpload" | "resumeUpload" | "pushBlob"> => {
  const state: State = { storage, sessions: new Map(), count: 0 }
  return {
    startUpload: (repository, options) => start(state, repository, options),
    resumeUpload: Effect.fnUntraced(function*(repository, id) {
      const resumed = uploadOf(state, repository, id)
      yield* resumed.status
      yield* Effect.addFinalizer(() => cancel(state, id))
      return resumed
    }),
    pushBlob: Effect.fnUntraced(function*(repository, descriptor: Pick<Descriptor, "digest" | "size">, source) {
      if (source.size !== descriptor.size) {
        const reason = new Hasher.SizeMismatch({ expected: descriptor.size, actual: source.size })
        return yield* MemoryStorage.failure(storage, "pushBlob", repository, reason)
      }
      const session = yield* Effect.mapError(
        makeSession(repository, Digest.algorithm(descriptor.digest)),
        (reason) => MemoryStorage.failure(storage, "pushBlob", repository, reason)
      )
      const chunk = { offset: 0, size: descriptor.size, stream: source.open(0) }
      return yield* receive(state, "pushBlob", session, chunk).pipe(
        Effect.andThen(store(state, "pushBlob", descriptor.digest, session)),
        Effect.onError(() => discard(state, session))
      )
    }, Effect.scoped)
  }
}
