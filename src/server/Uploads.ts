/**
 * Writing blobs (distribution-spec, "Pushing blobs", "Mounting a blob from another repository", "Canceling Blob Push").
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as BlobSource from "../BlobSource.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import type { Repository } from "../Reference.ts"
import { isRegistryError, type RegistryError } from "../RegistryError.ts"
import type { Chunk } from "../Upload.ts"
import * as Body from "./Body.ts"
import { parseDigest, parseRepository } from "./Endpoint.ts"
import type { Visit } from "./Limits.ts"
import * as Ranges from "./Ranges.ts"
import * as Refusal from "./Refusal.ts"
import { type Answer, type Caller, empty, type Incoming, type ServerContext } from "./ServerContext.ts"
import * as Sessions from "./Sessions.ts"

export interface Uploads {
  readonly post: (request: Incoming, caller: Caller, repository: Repository, query: URLSearchParams) => Answer
  readonly get: (repository: Repository, id: string) => Answer
  readonly patch: (request: Incoming, repository: Repository, id: string) => Answer
  readonly put: (request: Incoming, repository: Repository, id: string, query: URLSearchParams) => Answer
  readonly remove: (repository: Repository, id: string) => Answer
}

// what a registry says that does not mount, or not that
const declined: ReadonlySet<string> = new Set(["BlobUnknown", "NameUnknown", "NameInvalid", "Denied", "Unsupported"])

const stored = (repository: Repository, digest: Digest.Digest) =>
  empty(201, { location: `/v2/${repository}/blobs/${digest}`, "docker-content-digest": digest })

const place = ({ id, repository }: Sessions.Session) => ({
  location: `/v2/${repository}/blobs/uploads/${id}`,
  "docker-upload-uuid": id
})

const progress = (session: Sessions.Session, held: number) => ({ ...place(session), range: Ranges.format(held) })

export const make = ({ idle, registry, sessions, settings }: ServerContext): Uploads => {
  const { minimumChunk, quirks, uploadLimit } = settings

  const accepted = (session: Sessions.Session) => {
    const minimum = Math.max(minimumChunk, session.upload.minimumChunk)
    return empty(202, {
      ...progress(session, 0),
      ...minimum === 0 ? {} : { "oci-chunk-min-length": `${minimum}` }
    })
  }

  const begin = Effect.fnUntraced(function*(repository: Repository, algorithm: string | undefined, visit: Visit) {
    const started = yield* sessions.open(repository, algorithm === undefined ? {} : { algorithm }, visit)
    return started._tag === "Mounted" ? stored(repository, started.digest) : accepted(started)
  })

  const mount = Effect.fnUntraced(function*(
    repository: Repository,
    digest: Digest.Digest,
    name: string | null,
    caller: Caller
  ) {
    const algorithm = Digest.algorithm(digest)
    const from = name === null ? undefined : Result.getOrUndefined(parseRepository(name))
    // who may not read a blob where it is must not get it from here
    const mayRead = from === undefined
      ? name === null && caller.isAnybody
      : yield* caller.may({ type: "repository", name: from, action: "pull" })
    if (!mayRead || quirks.has("noMount")) return yield* begin(repository, algorithm, caller.visit)
    const started = yield* sessions.open(repository, {
      mount: { digest, ...from === undefined ? {} : { from } },
      algorithm
    }, caller.visit).pipe(Effect.catchIf(
      (error) => isRegistryError(error) && declined.has(error.reason._tag),
      () => sessions.open(repository, { algorithm }, caller.visit)
    ))
    return started._tag === "Mounted" ? stored(repository, started.digest) : accepted(started)
  })

  /** The blob comes with the POST. */
  const pushAtOnce = Effect.fnUntraced(function*(request: Incoming, repository: Repository, digest: Digest.Digest) {
    const size = Body.lengthOf(request)
    if (size !== undefined && size > uploadLimit) return yield* Body.tooLarge(uploadLimit)
    const { stream } = yield* Body.open(idle, request, { limit: uploadLimit })
    if (size !== undefined) {
      yield* registry.pushBlob(repository, { digest, size }, BlobSource.fromStream(size, stream))
      return stored(repository, digest)
    }
    const started = yield* registry.startUpload(repository, { algorithm: Digest.algorithm(digest) })
    if (started._tag === "Upload") yield* started.commit(digest, { offset: 0, stream })
    return stored(repository, digest)
  })

  /** Where a chunk begins, which has to be where the last one ended, and how long it says it is. */
  const chunkOf = Effect.fnUntraced(function*(request: Incoming, session: Sessions.Session) {
    const offset = yield* Sessions.offsetOf(session)
    const length = Body.lengthOf(request)
    const header = request.headers["content-range"]
    const told = header === undefined || length === 0 ? undefined : Ranges.parseContent(header)
    if (header !== undefined && length !== 0 && told === undefined) {
      return yield* Refusal.make(400, "BLOB_UPLOAD_INVALID", "the Content-Range is no range of bytes")
    }
    if (told !== undefined && told.offset !== offset) {
      const message = `the upload is at ${offset}, the chunk begins at ${told.offset}`
      return yield* Refusal.make(416, "BLOB_UPLOAD_INVALID", message, progress(session, offset))
    }
    if (told !== undefined && length !== undefined && told.length !== length) {
      const message = `the Content-Range has ${told.length} bytes, the body ${length}`
      return yield* Refusal.make(400, "SIZE_INVALID", message)
    }
    const size = length ?? told?.length
    if (offset + (size ?? 0) > uploadLimit) return yield* Body.tooLarge(uploadLimit)
    return { offset, size, told }
  })

  /** Receives the body of a request into a session, as `use` does it. What came is kept where it breaks off. */
  const receive = Effect.fnUntraced(
    function*<A>(
      request: Incoming,
      session: Sessions.Session,
      use: (chunk: Chunk<Refusal.Refusal>) => Effect.Effect<A, Refusal.Refusal | RegistryError>
    ) {
      const { offset, size, told } = yield* chunkOf(request, session)
      if (session.isShort) {
        const message = `only the last chunk may have less than ${minimumChunk} bytes`
        return yield* Refusal.make(400, "BLOB_UPLOAD_INVALID", message)
      }
      const body = yield* Body.open(idle, request, { limit: uploadLimit - offset, length: told?.length })
      session.held = undefined
      session.body = body
      return yield* Body.store(body, use({ offset, ...size === undefined ? {} : { size }, stream: body.stream })).pipe(
        Effect.ensuring(Effect.sync(() => {
          session.body = undefined
        })),
        Effect.onError(() => quirks.has("noResumption") ? sessions.close(session) : Effect.void)
      )
    },
    Effect.scoped
  )

  return {
    post: Effect.fnUntraced(function*(request, caller, repository, query) {
      const mounted = query.get("mount")
      if (mounted !== null) {
        return yield* mount(repository, yield* Effect.fromResult(parseDigest(mounted)), query.get("from"), caller)
      }
      const digest = query.get("digest")
      if (digest !== null) {
        const parsed = yield* Effect.fromResult(parseDigest(digest))
        yield* supported(Digest.algorithm(parsed))
        return quirks.has("noSinglePost")
          ? yield* begin(repository, Digest.algorithm(parsed), caller.visit)
          : yield* pushAtOnce(request, repository, parsed)
      }
      const algorithm = query.get("digest-algorithm") ?? undefined
      if (algorithm !== undefined) yield* supported(algorithm)
      return yield* begin(repository, algorithm, caller.visit)
    }),
    get: Effect.fnUntraced(function*(repository, id) {
      const session = yield* sessions.find(repository, id)
      yield* settle(session)
      return empty(204, progress(session, yield* session.upload.status))
    }),
    patch: Effect.fnUntraced(function*(request, repository, id) {
      if (quirks.has("noChunks")) return yield* Refusal.make(405, "UNSUPPORTED", "blobs are not taken in chunks")
      const session = yield* sessions.find(repository, id)
      return yield* sessions.change(
        session,
        receive(request, session, (chunk) =>
          Effect.map(session.upload.append(chunk), (held) => {
            session.held = held
            session.isShort = held - chunk.offset < minimumChunk
            return empty(202, progress(session, held))
          }))
      )
    }),
    put: Effect.fnUntraced(function*(request, repository, id, query) {
      const digest = yield* Effect.fromResult(parseDigest(query.get("digest")))
      yield* supported(Digest.algorithm(digest))
      const session = yield* sessions.find(repository, id)
      return yield* sessions.change(
        session,
        Effect.gen(function*() {
          yield* Body.lengthOf(request) === 0
            ? session.upload.commit(digest)
            : receive(request, session, (chunk) => session.upload.commit(digest, chunk))
          yield* sessions.close(session)
          return stored(repository, digest)
        })
      )
    }),
    remove: Effect.fnUntraced(function*(repository, id) {
      if (quirks.has("noCancel")) return yield* Refusal.make(405, "UNSUPPORTED", "uploads are not cancelled")
      const session = yield* sessions.find(repository, id)
      yield* sessions.change(session, sessions.close(session))
      return empty(204, {})
    })
  }
}

/** Whoever asks after a request that broke off wants to know all that is kept of it. */
const settle = Effect.fnUntraced(function*(session: Sessions.Session) {
  // that a connection broke is noticed some turns of the event loop later than what comes on another one
  for (let turn = 0; session.body?.isBroken() === false && turn < 20; turn++) yield* Effect.yieldNow
  if (session.body?.isBroken() === true) yield* session.lock.withPermit(Effect.void)
})

/** Fails where content cannot be verified by such digests: better before it is sent than after. */
const supported = (algorithm: string) =>
  algorithm === "sha256" ? Effect.void : Effect.flatMap(Hasher.Hasher, (hasher) => hasher.make(algorithm)).pipe(
    Effect.scoped,
    Effect.mapError(({ message }) => Refusal.make(400, "DIGEST_INVALID", message))
  )
