/**
 * Reading and deleting blobs over HTTP (distribution-spec, "Pulling blobs", "Deleting Blobs").
 *
 * If HEAD says that a blob is absent, no GET follows. Some proxies (Harbor) would fetch the blob from upstream for a
 * GET; a caller that wants the blob reads it.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import { ExpectedSize, naturalHeader } from "../http/ResponseBody.ts"
import { isWebPage } from "../http/WebPage.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import * as Retries from "../Retries.ts"
import type * as Connection from "./Connection.ts"
import * as DigestHeader from "./DigestHeader.ts"
import * as Encoding from "./Encoding.ts"
import * as Heads from "./Heads.ts"

type Blobs = Pick<Registry.Registry, "getBlob" | "resolveBlob" | "deleteBlob">

/** Form of a body that is labelled with a content coding: the blob itself, or the blob in that coding. */
type Form = "plain" | "encoded"

/** Size of a blob, and the form of its body if it is labelled. */
interface Known {
  readonly size: number
  readonly form?: Form | undefined
}

/** One blob of a registry. */
interface Target {
  readonly connection: Connection.Connection
  readonly repository: Repository
  readonly digest: Digest.Digest
}

// maximum size of a blob whose size is unknown, in bytes: a body may have no end
const unknownSizeLimit = 2 ** 37

/** Returns the range of a blob that a response contains. */
const rangeOf = (headers: Connection.Received["headers"]) => {
  const [, first, last, total] =
    /^bytes ([0-9]{1,15})-([0-9]{1,15})\/(?:([0-9]{1,15})|\*)$/.exec(headers["content-range"] ?? "") ?? []
  return first === undefined
    ? undefined
    : { first: Number(first), last: Number(last), total: total === undefined ? undefined : Number(total) }
}

const urlOf = ({ connection, digest, repository }: Target) => connection.url(`/v2/${repository}/blobs/${digest}`)

const callOf = (operation: string, { repository }: Target) => ({ operation, repository, target: "blob" } as const)

const describe = (digest: Digest.Digest, size: number): Descriptor => ({
  mediaType: MediaType.octetStream,
  digest,
  size
})

const unexpected = ({ connection }: Target, call: Connection.Call, status: number, detail: string) =>
  connection.error(call, new RegistryError.UnexpectedResponse({ status, detail }))

const unsatisfiable = ({ connection }: Target, call: Connection.Call) =>
  connection.error(call, new RegistryError.RangeNotSatisfiable({}))

/** Fails if a response is a web page. */
const refusePage = (target: Target, call: Connection.Call, headers: Connection.Received["headers"]) =>
  isWebPage(headers["content-type"])
    ? Effect.fail(unexpected(target, call, 200, "the answer is a web page"))
    : Effect.void

/** Returns the body of a response, decoded if it is encoded. */
const bodyOf = (
  { connection }: Target,
  call: Connection.Call,
  { headers, stream }: { readonly headers: Connection.Received["headers"]; readonly stream: Registry.Blob["stream"] },
  form: Form | undefined
) => {
  const label = Encoding.labelOf(headers)
  return label === undefined || form !== "encoded"
    ? stream
    : Encoding.decode(stream, label, (reason) => connection.error(call, reason))
}

/** Returns a part of a stream, and closes the stream after it. */
const part = <E>(
  stream: Stream.Stream<Uint8Array, E>,
  offset: number,
  length: number | undefined
): Stream.Stream<Uint8Array, E> =>
  Stream.suspend(() => {
    let position = 0
    const end = length === undefined ? Infinity : offset + length
    return stream.pipe(
      Stream.map((chunk) => {
        const start = position
        position += chunk.length
        return chunk.subarray(Math.max(0, offset - start), Math.max(0, end - start))
      }),
      Stream.takeUntil(() => position >= end),
      Stream.filter((chunk) => chunk.length > 0)
    )
  })

// ---------------------------------------------------------------------------------------------------------------------
// size and form of a blob
// ---------------------------------------------------------------------------------------------------------------------

/** Reads and hashes a whole blob, in the given form. */
const hashAs = Effect.fnUntraced(function*(target: Target, form: Form) {
  const { connection, digest } = target
  const call = callOf("getBlob", target)
  const fail = (reason: RegistryError.Reason) => connection.error(call, reason)
  const tooLarge = fail(new RegistryError.ContentTooLarge({ limit: unknownSizeLimit }))
  const response = yield* connection.open(call, HttpClientRequest.get(urlOf(target)), [200])
  yield* refusePage(target, call, response.headers)
  const hasher = yield* Hasher.Hasher
  const hash = yield* Effect.mapError(hasher.make(Digest.algorithm(digest)), fail)
  let size = 0
  yield* Stream.runForEachArray(bodyOf(target, call, response, form), (chunks) => {
    for (const { length } of chunks) size += length
    return size > unknownSizeLimit ? Effect.fail(tooLarge) : hash.update(chunks)
  })
  return { size, label: Encoding.labelOf(response.headers), isRight: (yield* hash.digest) === digest }
}, Effect.scoped)

/** Reads a whole blob, to find out what the headers do not say: its size, and whether its body is encoded. */
const examine = Effect.fnUntraced(
  function*(target: Target, expected?: number): Effect.fn.Return<Known, RegistryError.RegistryError> {
    const plain = yield* hashAs(target, "plain")
    if (plain.isRight || plain.label === undefined) return { size: plain.size, form: "plain" }
    return { size: expected ?? (yield* hashAs(target, "encoded")).size, form: "encoded" }
  }
)

/** Returns the size of a blob from the response to GET of its first byte, or else by reading all of it. */
const measure = Effect.fnUntraced(function*(target: Target) {
  const call = callOf("resolveBlob", target)
  const request = HttpClientRequest.get(urlOf(target), { headers: { range: "bytes=0-0" } })
  const size = yield* target.connection.open(call, request, [200, 206]).pipe(
    Effect.flatMap(({ headers, status }) =>
      Encoding.labelOf(headers) !== undefined
        ? Effect.undefined
        : status === 206
        ? Effect.succeed(rangeOf(headers)?.total)
        : Effect.as(refusePage(target, call, headers), naturalHeader(headers["content-length"]))
    ),
    Effect.scoped,
    // an empty blob has no first byte
    Effect.catchReason("RegistryError", "RangeNotSatisfiable", () => Effect.succeed(0))
  )
  return size === undefined ? yield* examine(target) : { size }
})

/** Returns the descriptor of a blob: by HEAD, or by GET if the registry refuses HEAD or does not say the size. */
const resolve = (head: Heads.Heads, target: Target, expected: number | undefined) => {
  const { connection, digest } = target
  const call = callOf("resolveBlob", target)
  const measured = Effect.suspend(() => measure(target))
  const answer = Effect.fnUntraced(function*(headers: Connection.Received["headers"]) {
    yield* DigestHeader.agree(connection, call, digest, headers)
    yield* refusePage(target, call, headers)
    const size = Encoding.labelOf(headers) === undefined ? naturalHeader(headers["content-length"]) : undefined
    const known = size ?? expected
    return known === undefined ? yield* measured : { size: known }
  })
  return Effect.map(
    head(call, HttpClientRequest.head(urlOf(target)), { answer, refusal: measured }),
    ({ size }) => describe(digest, size)
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// reading
// ---------------------------------------------------------------------------------------------------------------------

/** A part of a blob. `known` is `undefined` if its size is unknown, or if only its digest can tell its form. */
interface Opened {
  readonly known: Known | undefined
  readonly isLabelled: boolean
  readonly stream: Registry.Blob["stream"]
}

/** Sends one request for a part of a blob. */
const openOnce = Effect.fnUntraced(
  function*(
    target: Target,
    range: Registry.Range,
    known?: Known
  ): Effect.fn.Return<Opened, RegistryError.RegistryError, Scope.Scope> {
    const call = callOf("getBlob", target)
    const { length, offset } = range
    const isPart = offset > 0 || length !== undefined
    // a range of an encoded body could not be decoded
    const isRanged = isPart && known?.form !== "encoded"
    const response = yield* target.connection.open(
      call,
      HttpClientRequest.get(urlOf(target), {
        headers: isRanged ? { range: `bytes=${offset}-${length === undefined ? "" : offset + length - 1}` } : {}
      }),
      isRanged ? [200, 206] : [200]
    ).pipe(Effect.provideService(ExpectedSize, Math.min(length ?? Infinity, (known?.size ?? 0) - offset)))
    const isLabelled = Encoding.labelOf(response.headers) !== undefined
    /** A label is wrong if the blob is as long as the body. */
    const learn = (total: number | undefined): Known | undefined => {
      const size = isLabelled ? known?.size : total ?? known?.size
      const form = !isLabelled || total === size ? "plain" : known?.form
      return size === undefined || form === undefined ? undefined : { size, form }
    }
    if (response.status === 200) {
      const learnt = learn(naturalHeader(response.headers["content-length"]))
      // the registry ignores ranges: the rest of the body is skipped
      if (learnt !== undefined && offset > 0 && offset >= learnt.size) return yield* unsatisfiable(target, call)
      const body = bodyOf(target, call, response, learnt?.form)
      return { known: learnt, isLabelled, stream: isPart ? part(body, offset, length) : body }
    }
    const { first, last = 0, total } = rangeOf(response.headers) ?? {}
    const size = total ?? known?.size
    const end = size === undefined ? last + 1 : length === undefined ? size : Math.min(offset + length, size)
    if (first !== offset || end <= offset || last + 1 < end) {
      return yield* unexpected(target, call, 206, "the answer is another range of the blob than was asked for")
    }
    return { known: learn(total), isLabelled, stream: part(response.stream, 0, end - offset) }
  }
)

/**
 * Reads the rest of a range after the response broke off. Fails if the total size has changed, because the content then
 * differs as well.
 */
const rest =
  (target: Target, { length, offset }: Registry.Range, known: Known) => (read: number): Registry.Blob["stream"] =>
    Stream.unwrap(
      Effect.gen(function*() {
        const from = offset + read
        if (from >= known.size || length !== undefined && read >= length) return Stream.empty
        const range = { offset: from, ...length === undefined ? {} : { length: length - read } }
        const opened = yield* openOnce(target, range, known)
        const actual = opened.known?.size ?? known.size
        if (actual === known.size) return opened.stream
        const reason = new Hasher.SizeMismatch({ expected: known.size, actual })
        return yield* target.connection.error(callOf("getBlob", target), reason)
        // retried by the stream that resumes here
      }).pipe(Retries.once)
    )

/** Opens a part of a blob of known size. Its stream resumes by another request where it breaks. */
const open = Effect.fnUntraced(function*(
  head: Heads.Heads,
  target: Target,
  range: Registry.Range,
  size: number | undefined
) {
  const { length, offset } = range
  if (offset < 0 || length !== undefined && length < 1) return yield* unsatisfiable(target, callOf("getBlob", target))
  const own = yield* Scope.fork(yield* Effect.scope)
  const first = yield* Scope.provide(openOnce(target, range, size === undefined ? undefined : { size }), own)
  const resuming = (known: Known, { stream }: Opened) => ({
    size: known.size,
    stream: Retries.resuming(stream, rest(target, range, known), known.size)
  })
  if (first.known !== undefined) return resuming(first.known, first)
  // the next request needs a connection and a permit, and this one may hold the only ones
  yield* Scope.close(own, Exit.void)
  const known = yield* first.isLabelled ? examine(target, size) : resolve(head, target, undefined)
  return resuming(known, yield* openOnce(target, range, known))
})

export const make = (connection: Connection.Connection): Blobs => {
  const head = Heads.make(connection)
  return {
    getBlob: Effect.fnUntraced(function*(repository, digest, options) {
      const target = { connection, repository, digest }
      const { size, stream } = yield* open(head, target, options?.range ?? { offset: 0 }, options?.size)
      const call = callOf("getBlob", target)
      const verified = options?.range !== undefined ? stream : Stream.mapError(
        Hasher.verify({ digest, size })(stream),
        (failure) => RegistryError.isRegistryError(failure) ? failure : connection.error(call, failure)
      )
      return { descriptor: describe(digest, size), stream: verified }
    }),
    resolveBlob: (repository, digest, options) => resolve(head, { connection, repository, digest }, options?.size),
    deleteBlob: Effect.fnUntraced(function*(repository, digest) {
      const target = { connection, repository, digest }
      const request = HttpClientRequest.delete(urlOf(target))
      yield* connection.send(callOf("deleteBlob", target), request, [200, 202, 204])
    })
  }
}
