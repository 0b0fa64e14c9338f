/**
 * Writing blobs over HTTP (distribution-spec, "Pushing blobs"): in one POST where they are small and the registry takes
 * it, else in a session of POST and PUT, with PATCH between them for whoever writes in pieces.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as BlobSource from "../BlobSource.ts"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import { SizeMismatch } from "../Hasher.ts"
import * as Urls from "../http/Urls.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import { RetrySchedule, retryWhile, worthRetrying } from "../Retries.ts"
import * as Upload from "../Upload.ts"
import type * as Connection from "./Connection.ts"
import * as DigestHeader from "./DigestHeader.ts"
import { naturalHeader } from "./ErrorResponse.ts"

type Uploads = Pick<Registry.Registry, "pushBlob" | "startUpload" | "resumeUpload">

// How long a session that is given up may take to be cancelled: somebody waits for the end of an interruption.
const cancelTimeout = Duration.seconds(1)

// what is not sha256 is told when a session opens (distribution-spec, "Pushing a blob in chunks")
const announced = (algorithm: string) => algorithm === "sha256" ? {} : { "digest-algorithm": algorithm }

// answers to a single POST that speak of the way, not of the blob or of who asks
const declines: ReadonlySet<string> = new Set([
  "BlobUnknown",
  "BlobUploadInvalid",
  "BlobUploadUnknown",
  "SizeInvalid",
  "Unsupported",
  "UnexpectedResponse"
])

interface Session {
  location: string
  /** Bytes that were sent and acknowledged. */
  held: number
  committed: boolean
  readonly chunking: Pick<Upload.Upload, "minimumChunk" | "maximumChunk" | "resumable">
}

export const make = (connection: Connection.Connection): Uploads => {
  const uploadsUrl = (repository: Repository, parameters: Readonly<Record<string, string>>) =>
    Urls.withParameters(connection.url(`/v2/${repository}/blobs/uploads/`), Object.entries(parameters))
  const post = (call: Connection.Call, url: string, expected: ReadonlyArray<number>) =>
    connection.send(call, HttpClientRequest.post(url), expected)

  const locationOf = (call: Connection.Call, { headers, status, url }: Connection.Received) => {
    const location = connection.locate(headers["location"], url)
    return location === undefined
      ? Effect.fail(connection.error(call, new RegistryError.UnexpectedResponse({ status, detail: "no Location" })))
      : Effect.succeed(location)
  }

  /** How the registry wants a blob to be cut: it may say so when a session opens. */
  const chunkingOf = Effect.fnUntraced(function*(received?: Connection.Received) {
    const told = naturalHeader(received?.headers["oci-chunk-min-length"])
    if (told !== undefined) yield* connection.learn({ minimumChunk: told })
    const { chunks = true, maximumChunk = Infinity, minimumChunk = 0 } = yield* Ref.get(connection.capabilities)
    return { minimumChunk, maximumChunk, resumable: chunks }
  })

  const cancel = (repository: Repository, location: string) =>
    connection.send(
      { operation: "cancel", repository, target: "upload" },
      HttpClientRequest.delete(location),
      [204, 200, 202]
    ).pipe(Effect.timeout(cancelTimeout), Effect.ignore)

  /**
   * The session that a request opens, or nothing when its answer is 201: there is the blob already. A session that is
   * not committed by the time the scope closes is cancelled; opening cannot be interrupted, so that none is lost, but
   * waiting to try again can.
   */
  const acquire = (
    call: Connection.Call & { readonly repository: Repository },
    opening: Effect.Effect<Connection.Received, RegistryError.RegistryError>
  ): Effect.Effect<Session | undefined, RegistryError.RegistryError, Scope.Scope> =>
    retryWhile(
      Effect.acquireRelease(
        Effect.gen(function*() {
          const received = yield* opening
          if (received.status === 201) return undefined
          const location = yield* locationOf(call, received)
          return { location, held: 0, committed: false, chunking: yield* chunkingOf(received) }
        }).pipe(Effect.provideService(RetrySchedule, Schedule.recurs(0))),
        (session) =>
          session === undefined || session.committed ? Effect.void : cancel(call.repository, session.location)
      ),
      worthRetrying
    )

  const upload = (repository: Repository, session: Session): Upload.Upload => {
    const call = (operation: string) => ({ operation, repository, target: "upload" } as const)
    const move = Effect.fnUntraced(function*(of: Connection.Call, received: Connection.Received) {
      if (received.headers["location"] !== undefined) session.location = yield* locationOf(of, received)
    })
    /** Sends a chunk. A body that is gone cannot follow a redirect: the session has moved, and goes on there. */
    const send = Effect.fnUntraced(function*<E>(
      of: Connection.Call,
      request: HttpClientRequest.HttpClientRequest,
      chunk: Upload.Chunk<E>,
      expected: ReadonlyArray<number>
    ) {
      const received = yield* connection.upload(of, request, chunk, [...expected, 307, 308])
      if (received.status < 300) return received
      yield* move(of, received)
      const detail = "the session has moved to another address"
      return yield* connection.error(of, new RegistryError.BlobUploadInvalid({ status: received.status, detail }))
    })
    /** Remembers for the host that a chunk was too large. */
    const tooLarge = ({ size = 0 }: Upload.Chunk<unknown>) => (error: unknown) => {
      const smaller = RegistryError.isRegistryError(error) && error.reason._tag === "ContentTooLarge"
        ? Upload.smallerChunk(size)
        : undefined
      return Effect.flatMap(
        Ref.get(connection.capabilities),
        ({ maximumChunk = Infinity }) =>
          smaller !== undefined && smaller < maximumChunk ? connection.learn({ maximumChunk: smaller }) : Effect.void
      )
    }
    const follows = (of: Connection.Call, { offset }: Upload.Chunk<unknown>) => {
      const detail = `the upload is at ${session.held}, the chunk begins at ${offset}`
      return offset === session.held
        ? Effect.void
        : Effect.fail(connection.error(of, new RegistryError.BlobUploadInvalid({ detail })))
    }
    return {
      _tag: "Upload",
      id: Effect.sync(() => session.location),
      ...session.chunking,
      status: Effect.gen(function*() {
        const of = call("status")
        const received = yield* connection.send(of, HttpClientRequest.get(session.location), [204, 200])
        yield* move(of, received)
        const last = /^(?:bytes=)?0-(-?[0-9]{1,15})$/.exec(received.headers["range"] ?? "")?.[1]
        // "0-0" means one byte, and at some registries none: where nothing was sent, it is none
        session.held = last === undefined || last === "0" && session.held === 0 ? 0 : Number(last) + 1
        return session.held
      }),
      append: Effect.fnUntraced(function*<E>(chunk: Upload.Chunk<E>) {
        const of = call("append")
        yield* follows(of, chunk)
        const range = chunk.size === undefined || chunk.size === 0
          ? {}
          : { "content-range": `${chunk.offset}-${chunk.offset + chunk.size - 1}` }
        const request = HttpClientRequest.patch(session.location, { headers: range })
        // ECR says 201, some proxies 204; the Range of the answer is of the blob here and of the chunk there
        const received = yield* send(of, request, chunk, [202, 201, 204]).pipe(
          Effect.tapError((error) =>
            RegistryError.isRegistryError(error) && error.reason._tag === "Unsupported"
              ? connection.learn({ chunks: false })
              : Effect.void
          ),
          Effect.tapError(tooLarge(chunk))
        )
        yield* connection.learn({ chunks: true })
        yield* move(of, received)
        session.held = chunk.offset + received.sent
        return session.held
      }),
      commit: Effect.fnUntraced(function*<E>(digest: Digest.Digest, last?: Upload.Chunk<E>) {
        const of = call("commit")
        const chunk = last ?? { offset: session.held, size: 0, stream: Stream.empty }
        yield* follows(of, chunk)
        const request = HttpClientRequest.put(Urls.withParameters(session.location, [["digest", digest]]))
        const received = yield* send(of, request, chunk, [201, 204]).pipe(Effect.tapError(tooLarge(chunk)))
        session.committed = true
        yield* DigestHeader.agree(connection, of, digest, received.headers)
        return { mediaType: MediaType.octetStream, digest, size: chunk.offset + received.sent }
      })
    }
  }

  /** Asks for a mount; what the answer says about the registry is remembered. */
  const askToMount = Effect.fnUntraced(
    function*(repository: Repository, digest: Digest.Digest, from: Repository | undefined) {
      const call = {
        operation: "startUpload",
        repository,
        target: "repository",
        ...from === undefined ? {} : { from }
      } as const
      const learn = (can: boolean) =>
        from === undefined
          ? connection.learn({ anonymousMount: can })
          : from === repository
          ? connection.learn({ selfMount: can })
          : Effect.void
      const parameters = {
        ...announced(Digest.algorithm(digest)),
        mount: digest,
        ...from === undefined ? {} : { from }
      }
      const received = yield* post(call, uploadsUrl(repository, parameters), [201, 202]).pipe(
        Effect.tapError((error) => error.isRetryable ? Effect.void : learn(false))
      )
      if (received.status === 201) yield* learn(true)
      else yield* locationOf(call, received)
      return received
    }
  )

  const startUpload: Uploads["startUpload"] = Effect.fnUntraced(function*(repository, options) {
    const call = { operation: "startUpload", repository, target: "repository" } as const
    const { algorithm = "sha256", mount } = options ?? {}
    const { anonymousMount } = yield* Ref.get(connection.capabilities)
    const plain = acquire(call, post(call, uploadsUrl(repository, announced(algorithm)), [202]))
    const session = yield* mount === undefined || mount.from === undefined && anonymousMount === false
      ? plain
      // a registry that cannot mount goes on with a session; one that does not want to says so in many ways
      : Effect.catch(acquire(call, askToMount(repository, mount.digest, mount.from)), () => plain)
    if (session !== undefined) return upload(repository, session)
    return mount === undefined
      ? yield* connection.error(call, new RegistryError.UnexpectedResponse({ status: 201 }))
      : { _tag: "Mounted", digest: mount.digest }
  })

  /** POST with the blob in it. A host that does not know this opens a session, into which the blob then goes. */
  const pushAtOnce = Effect.fnUntraced(
    function*(repository: Repository, digest: Digest.Digest, bytes: Uint8Array) {
      const call = { operation: "pushBlob", repository, target: "repository" } as const
      const request = HttpClientRequest.post(uploadsUrl(repository, { digest })).pipe(
        HttpClientRequest.bodyUint8Array(bytes, MediaType.octetStream)
      )
      const learnt = (singlePost: boolean) => connection.learn({ singlePost })
      const session = yield* acquire(
        call,
        connection.send(call, request, [201, 202]).pipe(
          Effect.tap((received) => learnt(received.status === 201)),
          Effect.tap((received) =>
            received.status === 201 ? DigestHeader.agree(connection, call, digest, received.headers) : Effect.void
          ),
          // where such a POST is a mistake, a session may still be none
          Effect.catchIf(
            ({ reason }) => declines.has(reason._tag),
            () =>
              Effect.andThen(
                learnt(false),
                post(call, uploadsUrl(repository, announced(Digest.algorithm(digest))), [202])
              )
          )
        )
      )
      if (session === undefined) return
      yield* Upload.write(upload(repository, session), digest, BlobSource.fromBytes(bytes), reopen(repository, digest))
    },
    Effect.scoped
  )

  /** Another session for a blob; where it turns out to be there, since only word of its commit was lost, none. */
  const reopen = (repository: Repository, digest: Digest.Digest) =>
    startUpload(repository, { mount: { digest, from: repository }, algorithm: Digest.algorithm(digest) })

  const pushInSession = Effect.fnUntraced(
    function*<E>(repository: Repository, digest: Digest.Digest, source: BlobSource.BlobSource<E>) {
      const started = yield* startUpload(repository, { algorithm: Digest.algorithm(digest) })
      if (started._tag === "Mounted") return
      yield* Upload.write(started, digest, source, reopen(repository, digest))
    },
    Effect.scoped
  )

  const pushBlob: Uploads["pushBlob"] = Effect.fnUntraced(
    function*<E>(
      repository: Repository,
      { digest, size }: Pick<Descriptor, "digest" | "size">,
      source: BlobSource.BlobSource<E>
    ) {
      const call = { operation: "pushBlob", repository, target: "repository" } as const
      const wrongSize = (actual: number) => connection.error(call, new SizeMismatch({ expected: size, actual }))
      if (source.size !== size) return yield* wrongSize(source.size)
      const { singlePost } = yield* Ref.get(connection.capabilities)
      if (size > Upload.smallBlob || singlePost === false) {
        yield* pushInSession(repository, digest, source)
      } else {
        const bytes = yield* BlobSource.collect(source)
        if (bytes.length !== size) return yield* wrongSize(bytes.length)
        yield* pushAtOnce(repository, digest, bytes)
      }
      return { mediaType: MediaType.octetStream, digest, size }
    }
  )

  return {
    startUpload,
    pushBlob,
    resumeUpload: Effect.fnUntraced(function*(repository, id) {
      if (!/^https?:/.test(id) || !URL.canParse(id)) {
        const call = { operation: "resumeUpload", repository, target: "upload" } as const
        return yield* connection.error(call, new RegistryError.BlobUploadUnknown({}))
      }
      const session: Session = { location: id, held: 0, committed: false, chunking: yield* chunkingOf() }
      const resumed = upload(repository, session)
      session.held = yield* resumed.status
      yield* Effect.addFinalizer(() => session.committed ? Effect.void : cancel(repository, session.location))
      return resumed
    })
  }
}
