/**
 * Writing blobs over HTTP (distribution-spec, "Pushing blobs").
 *
 * A small blob is pushed by one POST if the registry supports that. Otherwise a POST opens a session, and a PUT commits
 * it, with PATCH requests in between for a blob that is pushed in chunks.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Ref from "effect/Ref"
import * as Scope from "effect/Scope"
import * as BlobSource from "../BlobSource.ts"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import { SizeMismatch } from "../Hasher.ts"
import * as Urls from "../http/Urls.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import { once, retryWhile, worthRetrying } from "../Retries.ts"
import * as Upload from "../Upload.ts"
import type * as Connection from "./Connection.ts"
import * as DigestHeader from "./DigestHeader.ts"
import * as UploadSession from "./UploadSession.ts"

type Uploads = Pick<Registry.Registry, "pushBlob" | "startUpload" | "resumeUpload">

type OpeningCall = Connection.Call & { readonly repository: Repository }

/** Parameters for digests other than sha256: a session has to know the algorithm ("Pushing a blob in chunks"). */
const announced = (algorithm: string) => algorithm === "sha256" ? {} : { "digest-algorithm": algorithm }

// reasons of a refused POST that concern this way to push, not the blob or the credentials
const declines: ReadonlySet<string> = new Set([
  "BlobUnknown",
  "BlobUploadInvalid",
  "BlobUploadUnknown",
  "SizeInvalid",
  "Unsupported",
  "UnexpectedResponse"
])

const urlOf = (
  connection: Connection.Connection,
  repository: Repository,
  parameters: Readonly<Record<string, string>>
): string => Urls.withParameters(connection.url(`/v2/${repository}/blobs/uploads/`), Object.entries(parameters))

const post = (
  connection: Connection.Connection,
  call: OpeningCall,
  parameters: Readonly<Record<string, string>>,
  expected: ReadonlyArray<number>
) => connection.send(call, HttpClientRequest.post(urlOf(connection, call.repository, parameters)), expected)

/**
 * Returns the session that a request opens, or `undefined` if the response is 201, because the blob exists already. A
 * session that is not committed when the scope closes is cancelled. Opening cannot be interrupted, so that no session
 * is lost, but the pause before a retry can.
 */
const acquire = (
  connection: Connection.Connection,
  call: OpeningCall,
  opening: Effect.Effect<Connection.Received, RegistryError.RegistryError>
): Effect.Effect<UploadSession.Session | undefined, RegistryError.RegistryError, Scope.Scope> =>
  retryWhile(
    Effect.contextWith((context: Context.Context<Scope.Scope>) =>
      Effect.uninterruptible(
        once(opening).pipe(
          Effect.flatMap((received) =>
            received.status === 201 ? Effect.undefined : sessionOf(connection, call, received)
          ),
          Effect.tap((session) =>
            session === undefined ? Effect.void : Scope.addFinalizer(
              Context.get(context, Scope.Scope),
              Effect.suspend(() =>
                session.isCommitted ? Effect.void : Effect.provideContext(UploadSession.cancel(session), context)
              )
            )
          )
        )
      )
    ),
    worthRetrying
  )

/** Returns the session that a response has opened. */
const sessionOf = (connection: Connection.Connection, call: OpeningCall, received: Connection.Received) =>
  Effect.flatMap(
    UploadSession.locationOf(connection, call, received),
    (location) => UploadSession.make(connection, call.repository, location, received)
  )

/** Requests a mount, and records what the response shows about the registry. */
const requestMount = Effect.fnUntraced(function*(
  connection: Connection.Connection,
  repository: Repository,
  digest: Digest.Digest,
  from: Repository | undefined
) {
  const source = from === undefined ? {} : { from }
  const call = { operation: "startUpload", repository, target: "repository", ...source } as const
  const learn = (isSupported: boolean) =>
    from === undefined
      ? connection.learn({ anonymousMount: isSupported })
      : from === repository
      ? connection.learn({ selfMount: isSupported })
      : Effect.void
  const parameters = { ...announced(Digest.algorithm(digest)), mount: digest, ...source }
  const received = yield* post(connection, call, parameters, [201, 202]).pipe(
    Effect.tapError((error) => error.isRetryable ? Effect.void : learn(false))
  )
  if (received.status === 201) yield* learn(true)
  else yield* UploadSession.locationOf(connection, call, received)
  return received
})

const startUpload = Effect.fnUntraced(function*(
  connection: Connection.Connection,
  repository: Repository,
  options: Parameters<Uploads["startUpload"]>[1]
) {
  const call = { operation: "startUpload", repository, target: "repository" } as const
  const { algorithm = "sha256", mount } = options ?? {}
  const { anonymousMount } = yield* Ref.get(connection.capabilities)
  const plain = acquire(connection, call, post(connection, call, announced(algorithm), [202]))
  const session = yield* mount === undefined || mount.from === undefined && anonymousMount === false
    ? plain
    // a registry that cannot mount opens a session; one that refuses to mount says so in many ways
    : Effect.catch(
      acquire(connection, call, requestMount(connection, repository, mount.digest, mount.from)),
      () => plain
    )
  if (session !== undefined) return UploadSession.upload(session)
  return mount === undefined
    ? yield* connection.error(call, new RegistryError.UnexpectedResponse({ status: 201 }))
    : { _tag: "Mounted" as const, digest: mount.digest }
})

/**
 * Opens another session for a blob. Requests a mount from the same repository first: if only the response to its commit
 * was lost, the blob exists already.
 */
const reopen = (connection: Connection.Connection, repository: Repository, digest: Digest.Digest) =>
  startUpload(connection, repository, { mount: { digest, from: repository }, algorithm: Digest.algorithm(digest) })

/**
 * Pushes a blob in the body of one POST. A registry that does not support this opens a session, which gets the blob.
 */
const pushAtOnce = Effect.fnUntraced(function*(
  connection: Connection.Connection,
  repository: Repository,
  digest: Digest.Digest,
  bytes: Uint8Array
) {
  const call = { operation: "pushBlob", repository, target: "repository" } as const
  const request = HttpClientRequest.post(urlOf(connection, repository, { digest })).pipe(
    HttpClientRequest.bodyUint8Array(bytes, MediaType.octetStream)
  )
  const learn = (singlePost: boolean) => connection.learn({ singlePost })
  const opening = connection.send(call, request, [201, 202]).pipe(
    Effect.tap((received) => learn(received.status === 201)),
    Effect.tap((received) =>
      received.status === 201 ? DigestHeader.agree(connection, call, digest, received.headers) : Effect.void
    ),
    // a registry that refuses such a POST may still open a session
    Effect.catchIf(
      ({ reason }) => declines.has(reason._tag),
      () => Effect.andThen(learn(false), post(connection, call, announced(Digest.algorithm(digest)), [202]))
    )
  )
  const session = yield* acquire(connection, call, opening)
  if (session === undefined) return
  const source = BlobSource.fromBytes(bytes)
  yield* Upload.write(UploadSession.upload(session), digest, source, reopen(connection, repository, digest))
}, Effect.scoped)

const pushInSession = Effect.fnUntraced(function*<E>(
  connection: Connection.Connection,
  repository: Repository,
  digest: Digest.Digest,
  source: BlobSource.BlobSource<E>
) {
  const started = yield* startUpload(connection, repository, { algorithm: Digest.algorithm(digest) })
  if (started._tag === "Mounted") return
  yield* Upload.write(started, digest, source, reopen(connection, repository, digest))
}, Effect.scoped)

const pushBlob = Effect.fnUntraced(function*<E>(
  connection: Connection.Connection,
  repository: Repository,
  { digest, size }: Pick<Descriptor, "digest" | "size">,
  source: BlobSource.BlobSource<E>
) {
  const call = { operation: "pushBlob", repository, target: "repository" } as const
  const wrongSize = (actual: number) => connection.error(call, new SizeMismatch({ expected: size, actual }))
  if (source.size !== size) return yield* wrongSize(source.size)
  const { singlePost } = yield* Ref.get(connection.capabilities)
  if (size > Upload.smallBlob || singlePost === false) {
    yield* pushInSession(connection, repository, digest, source)
  } else {
    const bytes = yield* BlobSource.collect(source)
    if (bytes.length !== size) return yield* wrongSize(bytes.length)
    yield* pushAtOnce(connection, repository, digest, bytes)
  }
  return { mediaType: MediaType.octetStream, digest, size }
})

/** Resumes a session by its id, which is its URL. */
const resumeUpload = Effect.fnUntraced(
  function*(connection: Connection.Connection, repository: Repository, id: string) {
    if (!/^https?:/.test(id) || !URL.canParse(id)) {
      const call = { operation: "resumeUpload", repository, target: "upload" } as const
      return yield* connection.error(call, new RegistryError.BlobUploadUnknown({}))
    }
    const session = yield* UploadSession.make(connection, repository, id)
    const resumed = UploadSession.upload(session)
    yield* resumed.status
    yield* Effect.addFinalizer(() => UploadSession.cancel(session))
    return resumed
  }
)

export const make = (connection: Connection.Connection): Uploads => ({
  startUpload: (repository, options) => startUpload(connection, repository, options),
  pushBlob: (repository, descriptor, source) => pushBlob(connection, repository, descriptor, source),
  resumeUpload: (repository, id) => resumeUpload(connection, repository, id)
})
