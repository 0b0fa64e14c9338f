/**
 * Upload sessions over HTTP (distribution-spec, "Pushing a blob in chunks"): PATCH for each chunk, PUT to commit, GET
 * for the status, DELETE to cancel.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import type * as Digest from "../Digest.ts"
import { naturalHeader } from "../http/ResponseBody.ts"
import * as Urls from "../http/Urls.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository } from "../Reference.ts"
import * as RegistryError from "../RegistryError.ts"
import * as Upload from "../Upload.ts"
import type * as Connection from "./Connection.ts"
import * as DigestHeader from "./DigestHeader.ts"

/** An open session of one repository. */
export interface Session {
  readonly connection: Connection.Connection
  readonly repository: Repository
  readonly chunking: Pick<Upload.Upload, "minimumChunk" | "maximumChunk" | "resumable">
  location: string
  /** Number of bytes that were sent and acknowledged. */
  held: number
  isCommitted: boolean
}

// limit of a cancellation, because an interruption waits for it
const cancelTimeout = Duration.seconds(1)

/** Returns the URL of the session that a response names. Fails if it names none. */
export const locationOf = (
  connection: Connection.Connection,
  call: Connection.Call,
  { headers, status, url }: Connection.Received
): Effect.Effect<string, RegistryError.RegistryError> => {
  const location = connection.locate(headers["location"], url)
  return location === undefined
    ? Effect.fail(connection.error(call, new RegistryError.UnexpectedResponse({ status, detail: "no Location" })))
    : Effect.succeed(location)
}

/** Creates a session. The registry may say in the response that opened it how blobs are to be divided. */
export const make = Effect.fnUntraced(function*(
  connection: Connection.Connection,
  repository: Repository,
  location: string,
  opening?: Connection.Received
): Effect.fn.Return<Session> {
  const minimum = naturalHeader(opening?.headers["oci-chunk-min-length"])
  if (minimum !== undefined) yield* connection.learn({ minimumChunk: minimum })
  const { chunks = true, maximumChunk = Infinity, minimumChunk = 0 } = yield* Ref.get(connection.capabilities)
  return {
    connection,
    repository,
    chunking: { minimumChunk, maximumChunk, resumable: chunks },
    location,
    held: 0,
    isCommitted: false
  }
})

/** Cancels a session, unless it is committed. Waits for the registry for at most one second. */
export const cancel = ({ connection, isCommitted, location, repository }: Session): Effect.Effect<void> =>
  isCommitted ? Effect.void : connection.send(
    { operation: "cancel", repository, target: "upload" },
    HttpClientRequest.delete(location),
    [204, 200, 202]
  ).pipe(Effect.timeout(cancelTimeout), Effect.ignore)

const callOf = ({ repository }: Session, operation: string) => ({ operation, repository, target: "upload" } as const)

/** Moves a session to the location that a response names, if it names one. */
const move = Effect.fnUntraced(function*(session: Session, call: Connection.Call, received: Connection.Received) {
  if (received.headers["location"] !== undefined) {
    session.location = yield* locationOf(session.connection, call, received)
  }
})

/**
 * Sends a chunk. After a redirect the session moves, and the chunk fails, because its body may be readable only once.
 */
const send = Effect.fnUntraced(function*<E>(
  session: Session,
  call: Connection.Call,
  request: HttpClientRequest.HttpClientRequest,
  chunk: Upload.Chunk<E>,
  expected: ReadonlyArray<number>
) {
  const { connection } = session
  const received = yield* connection.upload(call, request, chunk, [...expected, 307, 308])
  if (received.status < 300) return received
  yield* move(session, call, received)
  const detail = "the session has moved to another address"
  return yield* connection.error(call, new RegistryError.BlobUploadInvalid({ status: received.status, detail }))
})

/** Records for the registry that a chunk was too large. */
const learnMaximum = ({ connection }: Session, { size = 0 }: Upload.Chunk<unknown>) => (error: unknown) => {
  const smaller = RegistryError.isRegistryError(error) && error.reason._tag === "ContentTooLarge"
    ? Upload.smallerChunk(size)
    : undefined
  return Effect.flatMap(
    Ref.get(connection.capabilities),
    ({ maximumChunk = Infinity }) =>
      smaller !== undefined && smaller < maximumChunk ? connection.learn({ maximumChunk: smaller }) : Effect.void
  )
}

/** Fails unless a chunk begins where the session ends. */
const checkOffset = (
  { connection, held }: Session,
  call: Connection.Call,
  { offset }: Upload.Chunk<unknown>
): Effect.Effect<void, RegistryError.RegistryError> => {
  const detail = `the upload is at ${held}, the chunk begins at ${offset}`
  return offset === held
    ? Effect.void
    : Effect.fail(connection.error(call, new RegistryError.BlobUploadInvalid({ detail })))
}

const status = Effect.fnUntraced(function*(session: Session) {
  const call = callOf(session, "status")
  const received = yield* session.connection.send(call, HttpClientRequest.get(session.location), [204, 200])
  yield* move(session, call, received)
  const last = /^(?:bytes=)?0-(-?[0-9]{1,15})$/.exec(received.headers["range"] ?? "")?.[1]
  // "0-0" means one byte, and at some registries none: none if nothing was sent
  session.held = last === undefined || last === "0" && session.held === 0 ? 0 : Number(last) + 1
  return session.held
})

const append = Effect.fnUntraced(function*<E>(session: Session, chunk: Upload.Chunk<E>) {
  const { connection } = session
  const call = callOf(session, "append")
  yield* checkOffset(session, call, chunk)
  const range = chunk.size === undefined || chunk.size === 0
    ? {}
    : { "content-range": `${chunk.offset}-${chunk.offset + chunk.size - 1}` }
  const request = HttpClientRequest.patch(session.location, { headers: range })
  // ECR answers 201, some proxies 204; the Range of the response is of the blob at some registries, of the chunk at
  // others
  const received = yield* send(session, call, request, chunk, [202, 201, 204]).pipe(
    Effect.tapError((error) =>
      RegistryError.isRegistryError(error) && error.reason._tag === "Unsupported"
        ? connection.learn({ chunks: false })
        : Effect.void
    ),
    Effect.tapError(learnMaximum(session, chunk))
  )
  yield* connection.learn({ chunks: true })
  yield* move(session, call, received)
  session.held = chunk.offset + received.sent
  return session.held
})

const commit = Effect.fnUntraced(function*<E>(session: Session, digest: Digest.Digest, last?: Upload.Chunk<E>) {
  const { connection } = session
  const call = callOf(session, "commit")
  const chunk = last ?? { offset: session.held, size: 0, stream: Stream.empty }
  yield* checkOffset(session, call, chunk)
  const request = HttpClientRequest.put(Urls.withParameters(session.location, [["digest", digest]]))
  const received = yield* send(session, call, request, chunk, [201, 204]).pipe(
    Effect.tapError(learnMaximum(session, chunk))
  )
  session.isCommitted = true
  yield* DigestHeader.agree(connection, call, digest, received.headers)
  return { mediaType: MediaType.octetStream, digest, size: chunk.offset + received.sent }
})

/** Returns the upload of a session. */
export const upload = (session: Session): Upload.Upload => ({
  _tag: "Upload",
  id: Effect.sync(() => session.location),
  ...session.chunking,
  status: Effect.suspend(() => status(session)),
  append: (chunk) => append(session, chunk),
  commit: (digest, last) => commit(session, digest, last)
})
