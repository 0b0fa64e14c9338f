/**
 * Reading and deleting blobs (distribution-spec, "Pulling blobs", "Deleting Blobs").
 */
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { Descriptor } from "../Descriptor.ts"
import type * as Digest from "../Digest.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository } from "../Reference.ts"
import type { Blob, Range } from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"
import * as Body from "./Body.ts"
import * as Ranges from "./Ranges.ts"
import * as Refusal from "./Refusal.ts"
import { type Answer, contentHeaders, empty, type Incoming, type Served } from "./Served.ts"

export interface Blobs {
  readonly get: (request: Incoming, repository: Repository, digest: Digest.Digest) => Answer
  readonly head: (repository: Repository, digest: Digest.Digest) => Answer
  readonly remove: (repository: Repository, digest: Digest.Digest) => Answer
}

/** Where a blob is to be had, if not here: an address of HTTP that can stand in a header. */
const elsewhere = ({ digest, urls = [] }: Descriptor): HttpServerResponse.HttpServerResponse | undefined => {
  const url = urls.find((url) => /^https?:\/\/[\x21-\x7e]+$/i.test(url) && URL.canParse(url))
  return url === undefined ? undefined : empty(307, { ...contentHeaders(digest), location: url })
}

const unsatisfiable = (size: number) =>
  Refusal.make(416, "SIZE_INVALID", `the blob has ${size} bytes, and none in this range`, {
    "content-range": `bytes */${size}`
  })

export const make = ({ idle, registry, settings }: Served): Blobs => {
  const headersOf = (digest: Digest.Digest) => ({ ...contentHeaders(digest), "accept-ranges": "bytes" })

  const send = (blob: Blob, part?: { readonly first: number; readonly last: number }) => {
    const { digest, size } = blob.descriptor
    const headers = headersOf(digest)
    return elsewhere(blob.descriptor) ?? HttpServerResponse.stream(Body.answer(idle, blob.stream), {
      status: part === undefined ? 200 : 206,
      contentType: MediaType.octetStream,
      contentLength: part === undefined ? size : part.last - part.first + 1,
      headers: part === undefined
        ? headers
        : { ...headers, "content-range": `bytes ${part.first}-${part.last}/${size}` }
    })
  }

  /** A range that is asked for, unless it is of another content than there is now (RFC 9110, 13.1.5). */
  const wantedOf = ({ headers }: Incoming, digest: Digest.Digest): Ranges.Wanted | undefined => {
    const condition = headers["if-range"]
    if (settings.quirks.has("noRanges") || condition !== undefined && condition !== `"${digest}"`) return undefined
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

  return {
    get: Effect.fnUntraced(function*(request, repository, digest) {
      const wanted = wantedOf(request, digest)
      if (wanted === undefined) return send(yield* registry.getBlob(repository, digest))
      const range = yield* rangeOf(repository, digest, wanted)
      const blob = yield* Effect.catchReason(
        registry.getBlob(repository, digest, { range }),
        "RegistryError",
        "RangeNotSatisfiable",
        () => Effect.flatMap(sizeOf(repository, digest), (size) => Effect.fail(unsatisfiable(size)))
      )
      const { size } = blob.descriptor
      const end = range.length === undefined ? size : Math.min(size, range.offset + range.length)
      return send(blob, { first: range.offset, last: end - 1 })
    }),
    head: Effect.fnUntraced(function*(repository, digest) {
      const descriptor = yield* registry.resolveBlob(repository, digest)
      return elsewhere(descriptor) ??
        HttpServerResponse.setHeader(
          empty(200, headersOf(descriptor.digest), descriptor.size),
          "content-type",
          MediaType.octetStream
        )
    }),
    remove: Effect.fnUntraced(function*(repository, digest) {
      yield* registry.deleteBlob(repository, digest)
      return empty(202, {})
    })
  }
}
