/**
 * Reading and deleting blobs (distribution-spec, "Pulling blobs", "Deleting Blobs").
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import type * as Digest from "../Digest.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository } from "../Reference.ts"
import type { Blob, Range } from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"
import * as Body from "./Body.ts"
import * as Conditions from "./Conditions.ts"
import * as FailureReport from "./FailureReport.ts"
import * as Ranges from "./Ranges.ts"
import * as Refusal from "./Refusal.ts"
import { type Answer, contentHeaders, empty, type Incoming, type ServerContext } from "./ServerContext.ts"

export interface Blobs {
  readonly get: (request: Incoming, repository: Repository, digest: Digest.Digest) => Answer
  readonly head: (request: Incoming, repository: Repository, digest: Digest.Digest) => Answer
  readonly remove: (request: Incoming, repository: Repository, digest: Digest.Digest) => Answer
}

/** Returns a redirect to the first HTTP URL of a blob that can be sent in a header, or `undefined` if there is none. */
const elsewhere = ({ digest, urls = [] }: Descriptor): HttpServerResponse.HttpServerResponse | undefined => {
  const url = urls.find((url) => /^https?:\/\/[\x21-\x7e]+$/i.test(url) && URL.canParse(url))
  return url === undefined ? undefined : empty(307, { ...contentHeaders(digest), location: url })
}

const unsatisfiable = (size: number) =>
  Refusal.make(416, "SIZE_INVALID", `the blob has ${size} bytes, and none of them is in this range`, {
    "content-range": `bytes */${size}`
  })

export const make = ({ idle, registry }: ServerContext): Blobs => {
  const headersOf = (digest: Digest.Digest) => ({ ...contentHeaders(digest), "accept-ranges": "bytes" })

  const send = (request: Incoming, blob: Blob, part?: { readonly first: number; readonly last: number }) => {
    const { digest, size } = blob.descriptor
    const headers = headersOf(digest)
    const stream = Stream.tapError(blob.stream, (error) => FailureReport.logBroken(request, Cause.fail(error)))
    return elsewhere(blob.descriptor) ?? HttpServerResponse.stream(Body.answer(idle, stream), {
      status: part === undefined ? 200 : 206,
      contentType: MediaType.octetStream,
      contentLength: part === undefined ? size : part.last - part.first + 1,
      headers: part === undefined
        ? headers
        : { ...headers, "content-range": `bytes ${part.first}-${part.last}/${size}` }
    })
  }

  /** Returns the range that the client asks for, unless `If-Range` names other content (RFC 9110, 13.1.5). */
  const wantedOf = ({ headers }: Incoming, digest: Digest.Digest): Ranges.Wanted | undefined => {
    const condition = headers["if-range"]
    if (condition !== undefined && condition !== `"${digest}"`) return undefined
    return Ranges.parse(headers["range"])
  }

  const sizeOf = (repository: Repository, digest: Digest.Digest): Effect.Effect<number, RegistryError> =>
    Effect.map(registry.resolveBlob(repository, digest), ({ size }) => size)

  const rangeOf = Effect.fnUntraced(
    function*(repository: Repository, digest: Digest.Digest, wanted: Ranges.Wanted): Effect.fn.Return<
      Range,
      Refusal.Refusal | RegistryError
    > {
      if (wanted._tag === "From") return wanted
      const size = yield* sizeOf(repository, digest)
      if (wanted._tag === "Unsatisfiable") return yield* unsatisfiable(size)
      return { offset: Math.max(0, size - wanted.length) }
    }
  )

  const read = Effect.fnUntraced(function*(request: Incoming, repository: Repository, digest: Digest.Digest) {
    const wanted = wantedOf(request, digest)
    if (wanted === undefined) return send(request, yield* registry.getBlob(repository, digest))
    const range = yield* rangeOf(repository, digest, wanted)
    const blob = yield* Effect.catchReason(
      registry.getBlob(repository, digest, { range }),
      "RegistryError",
      "RangeNotSatisfiable",
      () => Effect.flatMap(sizeOf(repository, digest), (size) => Effect.fail(unsatisfiable(size)))
    )
    const { size } = blob.descriptor
    const end = range.length === undefined ? size : Math.min(size, range.offset + range.length)
    return send(request, blob, { first: range.offset, last: end - 1 })
  })

  return {
    get: Effect.fnUntraced(function*(request, repository, digest) {
      const isConditional = Conditions.of(request) !== undefined
      // an absent blob is 404 whatever the condition (RFC 9110, 13.2.1)
      if (isConditional) yield* registry.resolveBlob(repository, digest)
      return yield* Conditions.read(request, digest, read(request, repository, digest))
    }),
    head: Effect.fnUntraced(function*(request, repository, digest) {
      const descriptor = yield* registry.resolveBlob(repository, digest)
      const response = Effect.sync(() =>
        elsewhere(descriptor) ??
          HttpServerResponse.setHeader(
            empty(200, headersOf(descriptor.digest), descriptor.size),
            "content-type",
            MediaType.octetStream
          )
      )
      return yield* Conditions.read(request, digest, response)
    }),
    remove: Effect.fnUntraced(function*(request, repository, digest) {
      const conditions = Conditions.of(request)
      if (conditions !== undefined) {
        yield* registry.resolveBlob(repository, digest)
        if (Conditions.evaluate(conditions, digest, "write") === "failed") return yield* Conditions.failed()
      }
      yield* registry.deleteBlob(repository, digest)
      return empty(202, {})
    })
  }
}
