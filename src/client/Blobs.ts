/**
 * Reading and deleting blobs over HTTP (distribution-spec, "Pulling blobs", "Deleting Blobs").
 *
 * A registry that says to HEAD that it has no such blob is believed, also one that would get it from elsewhere for a GET
 * (Harbor's proxies): who wants the blob reads it.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import * as Retries from "../Retries.ts"
import type * as Connection from "./Connection.ts"
import * as DigestHeader from "./DigestHeader.ts"
import * as Encoding from "./Encoding.ts"
import * as ErrorResponse from "./ErrorResponse.ts"
import * as Heads from "./Heads.ts"

/** Whether the body of a blob that is labelled with a coding is the blob itself, or the blob encoded like this. */
type Form = "plain" | "encoded"

/** What is known of a blob besides its digest. */
interface Known {
  readonly size: number
  readonly form?: Form
}

// in bytes; a body may have no end
const unknownSizeLimit = 2 ** 37

/** Reads the range that an answer contains. */
const rangeOf = (headers: Connection.Received["headers"]) => {
  const [, first, last, total] =
    /^bytes ([0-9]{1,15})-([0-9]{1,15})\/(?:([0-9]{1,15})|\*)$/.exec(headers["content-range"] ?? "") ?? []
  return first === undefined
    ? undefined
    : { first: Number(first), last: Number(last), total: total === undefined ? undefined : Number(total) }
}

type Blobs = Pick<Registry.Registry, "getBlob" | "resolveBlob" | "deleteBlob">

export const make = (connection: Connection.Connection): Blobs => {
  const urlOf = (repository: Repository, digest: Digest.Digest) => connection.url(`/v2/${repository}/blobs/${digest}`)
  const callOf = (operation: string, repository: Repository) => ({ operation, repository, target: "blob" } as const)
  const describe = (digest: Digest.Digest, size: number): Descriptor => ({
    mediaType: MediaType.octetStream,
    digest,
    size
  })

  const head = Heads.make(connection)

  /** The body of an answer, decoded if it is encoded. */
  const bodyOf = (
    call: Connection.Call,
    { headers, stream }: { readonly headers: Connection.Received["headers"]; readonly stream: Registry.Blob["stream"] },
    form: Form | undefined
  ) => {
    const label = Encoding.labelOf(headers)
    return label === undefined || form !== "encoded"
      ? stream
      : Encoding.decode(stream, label, (reason) => connection.error(call, reason))
  }

  const unexpected = (call: Connection.Call, status: number, detail: string) =>
    connection.error(call, new RegistryError.UnexpectedResponse({ status, detail }))

  // -- what is known of a blob ----------------------------------------------------------------------------------------

  /** Reads a whole blob, to learn what the headers do not say: its size, and whether it is encoded on the way. */
  const examine = Effect.fnUntraced(
    function*(
      repository: Repository,
      digest: Digest.Digest,
      expected?: number
    ): Effect.fn.Return<Known, RegistryError.RegistryError> {
      const call = callOf("getBlob", repository)
      const fail = (reason: RegistryError.Reason) => connection.error(call, reason)
      const tooLarge = fail(new RegistryError.ContentTooLarge({ limit: unknownSizeLimit }))
      const read = Effect.fnUntraced(function*(form: Form) {
        const answer = yield* connection.open(call, HttpClientRequest.get(urlOf(repository, digest)), [200])
        if (ErrorResponse.isWebPage(answer.headers)) return yield* unexpected(call, 200, "the answer is a web page")
        const label = Encoding.labelOf(answer.headers)
        const hasher = yield* Hasher.Hasher
        const hash = yield* Effect.mapError(hasher.make(Digest.algorithm(digest)), fail)
        let size = 0
        yield* Stream.runForEachArray(bodyOf(call, answer, form), (chunks) => {
          for (const { length } of chunks) size += length
          return size > unknownSizeLimit ? Effect.fail(tooLarge) : hash.update(chunks)
        })
        return { size, label, isRight: (yield* hash.digest) === digest }
      }, Effect.scoped)
      const plain = yield* read("plain")
      if (plain.isRight || plain.label === undefined) return { size: plain.size, form: "plain" }
      return { size: expected ?? (yield* read("encoded")).size, form: "encoded" }
    }
  )

  /** Learns the size of a blob from an answer to GET of its first byte, or else of all of it. */
  const measure = Effect.fnUntraced(function*(repository: Repository, digest: Digest.Digest) {
    const call = callOf("resolveBlob", repository)
    const request = HttpClientRequest.get(urlOf(repository, digest), { headers: { range: "bytes=0-0" } })
    const size = yield* connection.open(call, request, [200, 206]).pipe(
      Effect.flatMap(({ headers, status }) =>
        Encoding.labelOf(headers) !== undefined
          ? Effect.undefined
          : status === 206
          ? Effect.succeed(rangeOf(headers)?.total)
          : ErrorResponse.isWebPage(headers)
          ? unexpected(call, 200, "the answer is a web page")
          : Effect.succeed(ErrorResponse.naturalHeader(headers["content-length"]))
      ),
      Effect.scoped,
      // of nothing, there is no first byte
      Effect.catchReason("RegistryError", "RangeNotSatisfiable", () => Effect.succeed(0))
    )
    return size === undefined ? yield* examine(repository, digest) : { size }
  })

  const resolveBlob: Blobs["resolveBlob"] = (repository, digest, options) => {
    const call = callOf("resolveBlob", repository)
    const measured = Effect.suspend(() => measure(repository, digest))
    const answer = Effect.fnUntraced(function*(headers: Connection.Received["headers"]) {
      yield* DigestHeader.agree(connection, call, digest, headers)
      if (ErrorResponse.isWebPage(headers)) return yield* unexpected(call, 200, "the answer is a web page")
      const size = Encoding.labelOf(headers) === undefined
        ? ErrorResponse.naturalHeader(headers["content-length"])
        : undefined
      const known = size ?? options?.size
      return known === undefined ? yield* measured : { size: known }
    })
    const request = HttpClientRequest.head(urlOf(repository, digest))
    return Effect.map(head(call, request, { answer, refusal: measured }), ({ size }) => describe(digest, size))
  }

  // -- reading --------------------------------------------------------------------------------------------------------

  /**
   * Sends one request for a part of a blob, and returns what is known of the blob then: nothing if neither the answer
   * nor the caller knows its size, or if only its digest can tell whether its body is encoded.
   */
  const openOnce = Effect.fnUntraced(
    function*(repository: Repository, digest: Digest.Digest, range: Registry.Range, known?: Known) {
      const call = callOf("getBlob", repository)
      const { length, offset } = range
      const isPart = offset > 0 || length !== undefined
      // a range of an encoded body could not be decoded
      const isRanged = isPart && known?.form !== "encoded"
      const answer = yield* connection.open(
        call,
        HttpClientRequest.get(urlOf(repository, digest), {
          headers: isRanged ? { range: `bytes=${offset}-${length === undefined ? "" : offset + length - 1}` } : {}
        }),
        isRanged ? [200, 206] : [200]
      )
      const isLabelled = Encoding.labelOf(answer.headers) !== undefined
      /** A label is right or wrong; it is wrong if the blob is as long as the body. */
      const learn = (told: number | undefined): Known | undefined => {
        const size = isLabelled ? known?.size : told ?? known?.size
        const form = !isLabelled || told === size ? "plain" : known?.form
        return size === undefined || form === undefined ? undefined : { size, form }
      }
      if (answer.status === 200) {
        const learnt = learn(ErrorResponse.naturalHeader(answer.headers["content-length"]))
        // a registry that knows no ranges: let go by what was not asked for
        if (learnt !== undefined && offset > 0 && offset >= learnt.size) return yield* unsatisfiable(call)
        const body = bodyOf(call, answer, learnt?.form)
        return { known: learnt, isLabelled, stream: isPart ? part(body, offset, length) : body }
      }
      const { first, last = 0, total } = rangeOf(answer.headers) ?? {}
      const size = total ?? known?.size
      const end = size === undefined ? last + 1 : length === undefined ? size : Math.min(offset + length, size)
      if (first !== offset || end <= offset || last + 1 < end) {
        return yield* unexpected(call, 206, "the answer is another range of the blob than was asked for")
      }
      return { known: learn(total), isLabelled, stream: part(answer.stream, 0, end - offset) }
    }
  )

  const unsatisfiable = (call: Connection.Call) => connection.error(call, new RegistryError.RangeNotSatisfiable({}))

  /** What is left of a part, of which some was read. A registry whose blob has another length by now has another blob. */
  const rest = (
    repository: Repository,
    digest: Digest.Digest,
    { length, offset }: Registry.Range,
    known: Known
  ) =>
  (read: number): Registry.Blob["stream"] =>
    Stream.unwrap(
      Effect.gen(function*() {
        const from = offset + read
        if (from >= known.size || length !== undefined && read >= length) return Stream.empty
        const range = { offset: from, ...length === undefined ? {} : { length: length - read } }
        const opened = yield* openOnce(repository, digest, range, known)
        const actual = opened.known?.size ?? known.size
        if (actual === known.size) return opened.stream
        const reason = new Hasher.SizeMismatch({ expected: known.size, actual })
        return yield* connection.error(callOf("getBlob", repository), reason)
        // the stream that goes on here is what retries
      }).pipe(Effect.provideService(Retries.RetrySchedule, Schedule.recurs(0)))
    )

  /** Opens a part of a blob, and knows how long the whole is. Its stream goes on by another request where it breaks. */
  const open = Effect.fnUntraced(function*(
    repository: Repository,
    digest: Digest.Digest,
    range: Registry.Range,
    size: number | undefined
  ) {
    const { length, offset } = range
    if (offset < 0 || length !== undefined && length < 1) return yield* unsatisfiable(callOf("getBlob", repository))
    const own = yield* Scope.fork(yield* Effect.scope)
    const first = yield* Scope.provide(
      openOnce(repository, digest, range, size === undefined ? undefined : { size }),
      own
    )
    const goOn = (known: Known, { stream }: { readonly stream: Registry.Blob["stream"] }) => ({
      size: known.size,
      stream: resuming(stream, rest(repository, digest, range, known))
    })
    if (first.known !== undefined) return goOn(first.known, first)
    // to ask for more takes a connection and a permit, which this may be the only one to have
    yield* Scope.close(own, Exit.void)
    const known = yield* first.isLabelled ? examine(repository, digest, size) : resolveBlob(repository, digest)
    return goOn(known, yield* openOnce(repository, digest, range, known))
  })

  return {
    getBlob: Effect.fnUntraced(function*(repository, digest, options) {
      const { size, stream } = yield* open(repository, digest, options?.range ?? { offset: 0 }, options?.size)
      const call = callOf("getBlob", repository)
      const verified = options?.range !== undefined ? stream : Stream.mapError(
        Hasher.verify({ digest, size })(stream),
        (failure) => RegistryError.isRegistryError(failure) ? failure : connection.error(call, failure)
      )
      return { descriptor: describe(digest, size), stream: verified }
    }),
    resolveBlob,
    deleteBlob: Effect.fnUntraced(function*(repository, digest) {
      const url = urlOf(repository, digest)
      yield* connection.send(callOf("deleteBlob", repository), HttpClientRequest.delete(url), [200, 202, 204])
    })
  }
}

/** A stream that goes on from where it broke, when and as often as the schedule of retries says. */
export const resuming = (
  first: Registry.Blob["stream"],
  goOn: (read: number) => Registry.Blob["stream"]
): Registry.Blob["stream"] =>
  Stream.unwrap(Effect.gen(function*() {
    const { progress, watch } = yield* Retries.watchTransfer
    let read = 0
    const counted = (stream: Registry.Blob["stream"], isFirst: boolean) =>
      watch(stream, isFirst, (chunks) => {
        for (const { length } of chunks) read += length
      })
    // what does not break, as most does not, needs no schedule
    return Stream.catch(counted(first, true), (error) => {
      let failed: RegistryError.RegistryError | undefined = error
      const attempt = Stream.suspend(() => {
        if (failed === undefined) {
          return counted(Stream.provideService(goOn(read), Retries.Progress, progress), false)
        }
        const first = failed
        failed = undefined
        return Stream.fail(first)
      })
      return Stream.unwrap(
        Effect.map(Retries.schedule(Retries.worthRetrying, progress), (schedule) => Stream.retry(attempt, schedule))
      )
    })
  }))

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
