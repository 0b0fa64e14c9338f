/**
 * Writing blobs (distribution-spec, "Pushing blobs", "Mounting a blob from another repository", "Canceling Blob Push").
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as BlobSource from "../BlobSource.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import type { Repository } from "../Reference.ts"
import { isRegistryError, type RegistryError } from "../RegistryError.ts"
import type { Chunk, Mounted } from "../Upload.ts"
import * as Body from "./Body.ts"
import { parseDigest, parseRepository } from "./Endpoint.ts"
import * as Ranges from "./Ranges.ts"
import * as Refusal from "./Refusal.ts"
import { type Answer, type Caller, empty, type Incoming, type ServerContext } from "./ServerContext.ts"
import * as Sessions from "./Sessions.ts"

export interface Uploads {
  readonly post: (request: Incoming, caller: Caller, repository: Repository, query: URLSearchParams) => Answer
  readonly get: (caller: Caller, repository: Repository, id: string) => Answer
  readonly patch: (request: Incoming, caller: Caller, repository: Repository, id: string) => Answer
  readonly put: (
    request: Incoming,
    caller: Caller,
    repository: Repository,
    id: string,
    query: URLSearchParams
  ) => Answer
  readonly remove: (repository: Repository, id: string) => Answer
}

/** Reasons with which a registry declines a mount. The server opens a session instead. */
const declined: ReadonlySet<string> = new Set(["BlobUnknown", "NameUnknown", "NameInvalid", "Denied", "Unsupported"])

const stored = (repository: Repository, digest: Digest.Digest) =>
  empty(201, { location: `/v2/${repository}/blobs/${digest}`, "docker-content-digest": digest })

/** Returns the headers of a session with `held` bytes. */
const progress = ({ id, repository }: Sessions.Session, held: number) => ({
  location: `/v2/${repository}/blobs/uploads/${id}`,
  "docker-upload-uuid": id,
  range: Ranges.format(held)
})

/** Returns the response to a POST that opened a session, or mounted a blob. */
const started = ({ settings }: ServerContext, repository: Repository, result: Mounted | Sessions.Session) => {
  if (result._tag === "Mounted") return stored(repository, result.digest)
  const minimum = Math.max(settings.minimumChunk, result.upload.minimumChunk)
  return empty(202, {
    ...progress(result, 0),
    ...minimum === 0 ? {} : { "oci-chunk-min-length": `${minimum}` }
  })
}

/** Fails if the server cannot compute digests with an algorithm: before the client sends the blob, not after. */
const checkAlgorithm = (algorithm: string) =>
  algorithm === "sha256" ? Effect.void : Effect.flatMap(Hasher.Hasher, (hasher) => hasher.make(algorithm)).pipe(
    Effect.scoped,
    Effect.mapError(({ message }) => Refusal.make(400, "DIGEST_INVALID", message))
  )

const begin = Effect.fnUntraced(function*(
  context: ServerContext,
  caller: Caller,
  repository: Repository,
  algorithm: string | undefined
) {
  const options = algorithm === undefined ? {} : { algorithm }
  return started(context, repository, yield* context.sessions.open(repository, options, caller.visit))
})

/** Mounts a blob from the repository `name`, or opens a session. Without a name, the registry chooses the source. */
const mount = Effect.fnUntraced(function*(
  context: ServerContext,
  caller: Caller,
  repository: Repository,
  digest: Digest.Digest,
  name: string | null
) {
  const { sessions } = context
  const algorithm = Digest.algorithm(digest)
  const from = name === null ? undefined : Result.getOrUndefined(parseRepository(name))
  // a client that may not read the blob in its source repository must not get it through a mount
  const mayRead = from === undefined
    ? name === null && caller.isUnrestricted
    : yield* caller.may({ type: "repository", name: from, action: "pull" })
  if (!mayRead) return yield* begin(context, caller, repository, algorithm)
  const result = yield* sessions.open(repository, {
    mount: { digest, ...from === undefined ? {} : { from } },
    algorithm
  }, caller.visit).pipe(Effect.catchIf(
    (error) => isRegistryError(error) && declined.has(error.reason._tag),
    () => sessions.open(repository, { algorithm }, caller.visit)
  ))
  return started(context, repository, result)
})

/** Returns the stream in which the registry receives a body. */
const piecesOf = ({ settings }: ServerContext, { stream }: Body.Body) =>
  settings.pieces === "lent" ? Body.lent(stream) : stream

/** Pushes a blob that is the body of a POST. */
const pushAtOnce = Effect.fnUntraced(function*(
  context: ServerContext,
  request: Incoming,
  caller: Caller,
  repository: Repository,
  digest: Digest.Digest
) {
  const { idle, registry, settings: { uploadLimit } } = context
  const size = Body.lengthOf(request)
  if (size !== undefined && size > uploadLimit) return yield* Body.tooLarge(uploadLimit)
  const stream = piecesOf(context, yield* Body.open(idle, request, { limit: uploadLimit }))
  if (size !== undefined) {
    yield* registry.pushBlob(repository, { digest, size }, BlobSource.fromStream(size, stream))
    return stored(repository, digest)
  }
  // a blob of unknown length needs a session of the registry, so it counts as one
  const release = yield* caller.visit.openSession
  yield* Effect.addFinalizer(() => Effect.sync(release))
  const upload = yield* registry.startUpload(repository, { algorithm: Digest.algorithm(digest) })
  if (upload._tag === "Upload") yield* upload.commit(digest, { offset: 0, stream })
  return stored(repository, digest)
})

/**
 * Returns the offset of a chunk, which must be the end of the last one, and its size if the client announces it.
 * `range` is its `Content-Range`.
 */
const chunkOf = Effect.fnUntraced(function*(
  { settings }: ServerContext,
  request: Incoming,
  session: Sessions.Session
) {
  const offset = yield* Sessions.offsetOf(session)
  const length = Body.lengthOf(request)
  const header = request.headers["content-range"]
  const range = header === undefined || length === 0 ? undefined : Ranges.parseContent(header)
  if (header !== undefined && length !== 0 && range === undefined) {
    return yield* Refusal.make(400, "BLOB_UPLOAD_INVALID", "the Content-Range is not a range of bytes")
  }
  if (range !== undefined && range.offset !== offset) {
    const message = `the upload is at offset ${offset}, but the chunk begins at ${range.offset}`
    return yield* Refusal.make(416, "BLOB_UPLOAD_INVALID", message, progress(session, offset))
  }
  if (range !== undefined && length !== undefined && range.length !== length) {
    const message = `the Content-Range has ${range.length} bytes, but the body has ${length}`
    return yield* Refusal.make(400, "SIZE_INVALID", message)
  }
  const size = length ?? range?.length
  if (offset + (size ?? 0) > settings.uploadLimit) return yield* Body.tooLarge(settings.uploadLimit)
  return { offset, size, range }
})

/** Receives the body of a request into a session by `use`. The received bytes are kept if the body breaks off. */
const receive = Effect.fnUntraced(
  function*<A>(
    context: ServerContext,
    request: Incoming,
    session: Sessions.Session,
    use: (chunk: Chunk<Refusal.Refusal>) => Effect.Effect<A, Refusal.Refusal | RegistryError>
  ): Effect.fn.Return<A, Refusal.Refusal | RegistryError, Scope.Scope> {
    const { minimumChunk, uploadLimit } = context.settings
    const { offset, range, size } = yield* chunkOf(context, request, session)
    if (session.isShort) {
      const message = `only the last chunk may have fewer than ${minimumChunk} bytes`
      return yield* Refusal.make(400, "BLOB_UPLOAD_INVALID", message)
    }
    const body = yield* Body.open(context.idle, request, { limit: uploadLimit - offset, length: range?.length })
    session.held = undefined
    session.body = body
    return yield* Effect.ensuring(
      Body.store(body, use({ offset, ...size === undefined ? {} : { size }, stream: piecesOf(context, body) })),
      Effect.sync(() => {
        session.body = undefined
      })
    )
  },
  Effect.scoped
)

const append = (context: ServerContext, request: Incoming, session: Sessions.Session) =>
  receive(context, request, session, (chunk) =>
    Effect.map(session.upload.append(chunk), (held) => {
      session.held = held
      session.isShort = held - chunk.offset < context.settings.minimumChunk
      return empty(202, progress(session, held))
    }))

const commit = Effect.fnUntraced(function*(
  context: ServerContext,
  request: Incoming,
  session: Sessions.Session,
  digest: Digest.Digest
) {
  yield* Body.lengthOf(request) === 0
    ? session.upload.commit(digest)
    : receive(context, request, session, (chunk) => session.upload.commit(digest, chunk))
  yield* context.sessions.close(session)
  return stored(session.repository, digest)
})

/**
 * Maximum number of turns of the event loop to wait for a broken connection. The request of a client that connects
 * again may arrive some turns before the server notices the end of its first connection.
 */
const turnsToBreak = 20

/** Waits until the bytes of a request that broke off are stored, so that the client learns how many there are. */
const settle = Effect.fnUntraced(function*(session: Sessions.Session) {
  for (let turn = 0; session.body?.isBroken() === false && turn < turnsToBreak; turn++) yield* Effect.yieldNow
  if (session.body?.isBroken() === true) yield* session.lock.withPermit(Effect.void)
})

/** Visit of a request that cancels a session. It is not counted, so that it works beyond the limit as well. */
const uncounted = { openSession: Effect.succeed(() => {}) }

export const make = (context: ServerContext): Uploads => {
  const { sessions } = context
  return {
    post: Effect.fnUntraced(function*(request, caller, repository, query) {
      const mounted = query.get("mount")
      if (mounted !== null) {
        const digest = yield* Effect.fromResult(parseDigest(mounted))
        return yield* mount(context, caller, repository, digest, query.get("from"))
      }
      const digest = query.get("digest")
      if (digest !== null) {
        const parsed = yield* Effect.fromResult(parseDigest(digest))
        yield* checkAlgorithm(Digest.algorithm(parsed))
        return yield* pushAtOnce(context, request, caller, repository, parsed)
      }
      const algorithm = query.get("digest-algorithm") ?? undefined
      if (algorithm !== undefined) yield* checkAlgorithm(algorithm)
      return yield* begin(context, caller, repository, algorithm)
    }),
    get: Effect.fnUntraced(function*(caller, repository, id) {
      const session = yield* sessions.find(repository, id, caller.visit)
      yield* settle(session)
      return empty(204, progress(session, yield* session.upload.status))
    }),
    patch: Effect.fnUntraced(function*(request, caller, repository, id) {
      const session = yield* sessions.find(repository, id, caller.visit)
      return yield* sessions.change(session, append(context, request, session))
    }),
    put: Effect.fnUntraced(function*(request, caller, repository, id, query) {
      const digest = yield* Effect.fromResult(parseDigest(query.get("digest")))
      yield* checkAlgorithm(Digest.algorithm(digest))
      const session = yield* sessions.find(repository, id, caller.visit)
      return yield* sessions.change(session, commit(context, request, session, digest))
    }),
    remove: Effect.fnUntraced(function*(repository, id) {
      const session = yield* sessions.find(repository, id, uncounted)
      yield* sessions.change(session, sessions.close(session))
      return empty(204, {})
    })
  }
}
