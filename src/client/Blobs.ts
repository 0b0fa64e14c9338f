/**
 * Reading and deleting blobs over HTTP (distribution-spec, "Pulling blobs", "Deleting Blobs").
 */
import * as Effect from "effect/Effect"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import type * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import type * as Connection from "./Connection.ts"
import * as DigestHeader from "./DigestHeader.ts"
import { RetrySchedule, worthRetrying } from "./Retries.ts"

type Blobs = Pick<Registry.Registry, "getBlob" | "resolveBlob" | "deleteBlob">

/** A header that holds a number of bytes. */
export const naturalHeader = (value: string | undefined): number | undefined =>
  value !== undefined && /^[0-9]{1,15}$/.test(value.trim()) ? Number(value) : undefined

export const make = (connection: Connection.Connection): Blobs => {
  const urlOf = (repository: Repository, digest: Digest.Digest) => connection.url(`/v2/${repository}/blobs/${digest}`)
  const describe = (digest: Digest.Digest, size: number): Descriptor => ({
    mediaType: MediaType.octetStream,
    digest,
    size
  })

  const resolveBlob: Blobs["resolveBlob"] = Effect.fnUntraced(function*(repository, digest) {
    const call = { operation: "resolveBlob", repository, target: "blob" } as const
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

  const getBlob: Blobs["getBlob"] = Effect.fnUntraced(function*(repository, digest, options) {
    const call = { operation: "getBlob", repository, target: "blob" } as const
    if (options?.range !== undefined) return yield* getRange(call, repository, digest, options.range)
    const answer = yield* connection.open(call, HttpClientRequest.get(urlOf(repository, digest)), [200])
    const size = naturalHeader(answer.headers["content-length"]) ?? (yield* resolveBlob(repository, digest)).size
    return {
      descriptor: describe(digest, size),
      stream: resuming(answer.stream, (offset) => rest(repository, digest, offset, size)).pipe(
        Hasher.verify({ digest, size }),
        Stream.mapError((failure) => RegistryError.isRegistryError(failure) ? failure : connection.error(call, failure))
      )
    }
  })

  /** What is left of a blob from an offset on. A registry whose blob has another length by now has another blob. */
  const rest = (repository: Repository, digest: Digest.Digest, offset: number, size: number) =>
    Stream.unwrap(Effect.gen(function*() {
      const call = { operation: "getBlob", repository, target: "blob" } as const
      // the stream that goes on here is what retries
      const blob = yield* Effect.provideService(
        getRange(call, repository, digest, { offset }),
        RetrySchedule,
        Schedule.recurs(0)
      )
      if (blob.descriptor.size === size) return blob.stream
      const reason = new Hasher.SizeMismatch({ expected: size, actual: blob.descriptor.size })
      return Stream.fail(connection.error(call, reason))
    }))

  const getRange = Effect.fnUntraced(
    function*(
      call: Connection.Call,
      repository: Repository,
      digest: Digest.Digest,
      { length, offset }: Registry.Range
    ) {
      const unsatisfiable = connection.error(call, new RegistryError.RangeNotSatisfiable({}))
      if (offset < 0 || length !== undefined && length < 1) return yield* unsatisfiable
      const range = `bytes=${offset}-${length === undefined ? "" : offset + length - 1}`
      const request = HttpClientRequest.get(urlOf(repository, digest), { headers: { range } })
      const answer = yield* connection.open(call, request, [200, 206])

      if (answer.status === 200) {
        // the registry knows no ranges: let go by what was not asked for
        const size = naturalHeader(answer.headers["content-length"]) ?? (yield* resolveBlob(repository, digest)).size
        if (offset >= size) return yield* unsatisfiable
        return { descriptor: describe(digest, size), stream: part(answer.stream, offset, length) }
      }
      const match = /^bytes ([0-9]{1,15})-([0-9]{1,15})\/(?:([0-9]{1,15})|\*)$/.exec(
        answer.headers["content-range"] ?? ""
      )
      const [, first, last, total] = match ?? []
      const another = () => {
        const detail = "the answer is another range of the blob than was asked for"
        return connection.error(call, new RegistryError.UnexpectedResponse({ status: 206, detail }))
      }
      if (first === undefined || last === undefined || Number(first) !== offset) return yield* another()
      const size = total === undefined ? (yield* resolveBlob(repository, digest)).size : Number(total)
      const end = length === undefined ? size : Math.min(offset + length, size)
      if (end <= offset || Number(last) + 1 < end) return yield* another()
      return { descriptor: describe(digest, size), stream: part(answer.stream, 0, end - offset) }
    }
  )

  return {
    getBlob,
    resolveBlob,
    deleteBlob: Effect.fnUntraced(function*(repository, digest) {
      const call = { operation: "deleteBlob", repository, target: "blob" } as const
      yield* connection.send(call, HttpClientRequest.delete(urlOf(repository, digest)), [200, 202, 204])
    })
  }
}

/** A stream that goes on from where it broke, when and as often as the schedule of retries says. */
const resuming = (
  first: Registry.Blob["stream"],
  from: (offset: number) => Registry.Blob["stream"]
): Registry.Blob["stream"] =>
  Stream.unwrap(Effect.map(RetrySchedule, (schedule) => {
    let offset = 0
    let opened = false
    const attempt = Stream.suspend(() => {
      const stream = opened ? from(offset) : first
      opened = true
      return stream
    })
    return attempt.pipe(
      Stream.mapArray((chunks) => {
        for (const { length } of chunks) offset += length
        return chunks
      }),
      Stream.retry(schedule.pipe(Schedule.while(({ input }) => worthRetrying(input))))
    )
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
