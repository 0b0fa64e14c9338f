/**
 * Reading and deleting blobs over HTTP (distribution-spec, "Pulling blobs", "Deleting Blobs").
 *
 * A registry that says to HEAD that it has no such blob is believed, also one that would get it from elsewhere for a GET
 * (Harbor's proxies): who wants the blob reads it.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import type * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import * as Retries from "../Retries.ts"
import { naturalHeader } from "./Answer.ts"
import type * as Connection from "./Connection.ts"
import * as DigestHeader from "./DigestHeader.ts"

type Blobs = Pick<Registry.Registry, "getBlob" | "resolveBlob" | "deleteBlob">

export const make = (connection: Connection.Connection): Blobs => {
  const urlOf = (repository: Repository, digest: Digest.Digest) => connection.url(`/v2/${repository}/blobs/${digest}`)
  const callOf = (operation: string, repository: Repository) => ({ operation, repository, target: "blob" } as const)
  const describe = (digest: Digest.Digest, size: number): Descriptor => ({
    mediaType: MediaType.octetStream,
    digest,
    size
  })

  const resolveBlob: Blobs["resolveBlob"] = Effect.fnUntraced(function*(repository, digest) {
    const call = callOf("resolveBlob", repository)
    const { headers } = yield* connection.send(call, HttpClientRequest.head(urlOf(repository, digest)), [200])
    const size = naturalHeader(headers["content-length"])
    yield* DigestHeader.agree(connection, call, digest, headers)
    const isPage = MediaType.fromContentType(headers["content-type"] ?? "") === "text/html"
    if (size === undefined || isPage) {
      const detail = isPage ? "the answer is a web page" : "the answer to HEAD does not say how long the blob is"
      return yield* connection.error(call, new RegistryError.UnexpectedResponse({ status: 200, detail }))
    }
    return describe(digest, size)
  })

  /** One answer with a part of a blob; `size` is of the whole blob, if the answer or anybody before it has said. */
  const openOnce = Effect.fnUntraced(
    function*(repository: Repository, digest: Digest.Digest, range: Registry.Range, known?: number) {
      const call = callOf("getBlob", repository)
      const { length, offset } = range
      const isWhole = offset === 0 && length === undefined
      const headers = isWhole ? {} : { range: `bytes=${offset}-${length === undefined ? "" : offset + length - 1}` }
      const answer = yield* connection.open(
        call,
        HttpClientRequest.get(urlOf(repository, digest), { headers }),
        isWhole ? [200] : [200, 206]
      )
      if (answer.status === 200) {
        const size = naturalHeader(answer.headers["content-length"]) ?? known
        // a registry that knows no ranges: let go by what was not asked for
        if (size !== undefined && offset > 0 && offset >= size) return yield* unsatisfiable(call)
        return { size, stream: isWhole ? answer.stream : part(answer.stream, offset, length) }
      }
      const [, first, last, total] =
        /^bytes ([0-9]{1,15})-([0-9]{1,15})\/(?:([0-9]{1,15})|\*)$/.exec(answer.headers["content-range"] ?? "") ?? []
      const size = total === undefined ? known : Number(total)
      const end = size === undefined ? Number(last) + 1 : length === undefined ? size : Math.min(offset + length, size)
      if (first === undefined || Number(first) !== offset || end <= offset || Number(last) + 1 < end) {
        const detail = "the answer is another range of the blob than was asked for"
        return yield* connection.error(call, new RegistryError.UnexpectedResponse({ status: 206, detail }))
      }
      return { size, stream: part(answer.stream, 0, end - offset) }
    }
  )

  const unsatisfiable = (call: Connection.Call) => connection.error(call, new RegistryError.RangeNotSatisfiable({}))

  /** What is left of a part, of which some was read. A registry whose blob has another length by now has another blob. */
  const rest = (
    repository: Repository,
    digest: Digest.Digest,
    { length, offset }: Registry.Range,
    size: number
  ) =>
  (read: number): Registry.Blob["stream"] =>
    Stream.unwrap(
      Effect.gen(function*() {
        const from = offset + read
        if (from >= size || length !== undefined && read >= length) return Stream.empty
        const range = { offset: from, ...length === undefined ? {} : { length: length - read } }
        const opened = yield* openOnce(repository, digest, range, size)
        if (opened.size === size || opened.size === undefined) return opened.stream
        const reason = new Hasher.SizeMismatch({ expected: size, actual: opened.size })
        return yield* connection.error(callOf("getBlob", repository), reason)
        // the stream that goes on here is what retries
      }).pipe(Effect.provideService(Retries.RetrySchedule, Schedule.recurs(0)))
    )

  /** Opens a part of a blob, and knows how long the whole is. Its stream goes on by another request where it breaks. */
  const open = Effect.fnUntraced(function*(repository: Repository, digest: Digest.Digest, range: Registry.Range) {
    const { length, offset } = range
    if (offset < 0 || length !== undefined && length < 1) return yield* unsatisfiable(callOf("getBlob", repository))
    const goOn = (size: number) => rest(repository, digest, range, size)
    const own = yield* Scope.fork(yield* Effect.scope)
    const opened = yield* Scope.provide(openOnce(repository, digest, range), own)
    if (opened.size !== undefined) return { size: opened.size, stream: resuming(opened.stream, goOn(opened.size)) }
    // to ask for the size takes a connection and a permit, which this may be the only one to have
    yield* Scope.close(own, Exit.void)
    const { size } = yield* resolveBlob(repository, digest)
    const { stream } = yield* openOnce(repository, digest, range, size)
    return { size, stream: resuming(stream, goOn(size)) }
  })

  return {
    getBlob: Effect.fnUntraced(function*(repository, digest, options) {
      const { size, stream } = yield* open(repository, digest, options?.range ?? { offset: 0 })
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
    const progress = yield* Retries.startProgress
    const clock = yield* Clock.Clock
    const attempts = Retries.countAttempts(progress.since)
    let read = 0
    // the time that the reader takes between two chunks is not the registry's
    const counted = (stream: Registry.Blob["stream"], isFirst: boolean) => {
      let isDelivered = isFirst
      return Stream.transformPull(stream, (pull) =>
        Effect.succeed(Effect.suspend(() => {
          if (isDelivered) {
            progress.since = clock.currentTimeMillisUnsafe()
            attempts.reset(progress.since)
          }
          isDelivered = false
          return Effect.map(pull, (chunks) => {
            for (const { length } of chunks) read += length
            isDelivered = true
            return chunks
          })
        }))).pipe(Stream.catch((error) => Stream.fromEffect(attempts.fail(error))))
    }
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
