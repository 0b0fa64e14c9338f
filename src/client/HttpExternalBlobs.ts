/**
 * External layers over HTTP: fetched from the `urls` of their descriptor, without credentials, from where the address
 * policy allows a public registry, or the registry that has the descriptor, to lead.
 */
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as BlobSource from "../BlobSource.ts"
import type { Descriptor } from "../Descriptor.ts"
import type * as ExternalBlobs from "../ExternalBlobs.ts"
import { SizeMismatch } from "../Hasher.ts"
import * as AddressPolicy from "../http/AddressPolicy.ts"
import * as Redirects from "../http/Redirects.ts"
import * as Spans from "../http/Spans.ts"
import * as TransportFailure from "../http/TransportFailure.ts"
import * as Metrics from "../Metrics.ts"
import * as Reference from "../Reference.ts"
import * as RegistryError from "../RegistryError.ts"
import { excerpt } from "../Text.ts"
import * as Blobs from "./Blobs.ts"
import { HeadersTimeout } from "./Connection.ts"
import * as ErrorResponse from "./ErrorResponse.ts"
import * as UploadBody from "./UploadBody.ts"

// maximum number of URLs of one descriptor that are tried
const urlLimit = 8

/**
 * Returns the address of the registry, for the address policy: a folder or an archive is trusted as little as a public
 * one.
 */
const originOf = (registry: string): URL =>
  Result.isSuccess(Reference.parseHost(registry)) ? new URL(`https://${registry}`) : new URL("https://registry.invalid")

/** Parses a URL, and drops a name and password in it. */
const parse = (url: string): URL | undefined => {
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) return undefined
  const parsed = new URL(url)
  parsed.username = ""
  parsed.password = ""
  parsed.hash = ""
  return parsed
}

/** Makes what fetches external layers by an HTTP client. */
export const make = (client: HttpClient.HttpClient): ExternalBlobs.Open => {
  const streaming = HttpClient.withScope(client)

  const openOnce = Effect.fnUntraced(function*(
    registry: string,
    url: URL,
    { size }: Descriptor,
    offset: number
  ) {
    const fail = (reason: RegistryError.Reason) =>
      new RegistryError.RegistryError({ operation: "getBlob", registry: url.host, reason })
    const origin = originOf(registry)
    const duration = yield* HeadersTimeout
    const send = Effect.fnUntraced(function*(request: HttpClientRequest.HttpClientRequest) {
      const to = new URL(request.url)
      const objection = yield* AddressPolicy.objection(origin, to)
      if (objection !== undefined) {
        return yield* fail(new RegistryError.UnexpectedResponse({ detail: `it leads to ${to.origin}: ${objection}` }))
      }
      yield* Metrics.tell({ _tag: "Requested", registry: to.host, method: request.method })
      return yield* AddressPolicy.led(origin)(streaming.execute(request)).pipe(
        Effect.mapError((cause) => fail(TransportFailure.transport(cause))),
        Effect.timeoutOrElse({
          duration,
          orElse: () => Effect.fail(fail(new RegistryError.Timeout({ phase: "headers", after: duration })))
        }),
        Spans.traced(request)
      )
    })
    const headers = { "accept-encoding": "identity", ...offset === 0 ? {} : { range: `bytes=${offset}-` } }
    const response = yield* Redirects.follow(send, HttpClientRequest.get(url.href, { headers }))
    return yield* Effect.mapError(contentOf(response, size, offset), fail)
  })

  /** Reads a layer from `position` on, resumes if the transfer breaks off, and moves `position` along. */
  const resuming = (registry: string, url: URL, descriptor: Descriptor, position: { offset: number }) =>
    Stream.suspend(() => {
      const start = position.offset
      const open = (read: number) => Stream.unwrap(openOnce(registry, url, descriptor, start + read))
      return Stream.mapArray(Blobs.resuming(open(0), open), (chunks) => {
        for (const { length } of chunks) position.offset += length
        return chunks
      })
    })

  return (descriptor, { offset, registry }) =>
    Stream.suspend(() => {
      const { urls = [] } = descriptor
      const nowhere = Stream.fail(
        new RegistryError.RegistryError({
          operation: "getBlob",
          registry,
          reason: new RegistryError.BlobUnknown({
            detail: `none of its URLs is one of HTTP: ${excerpt(urls.join(", "))}`
          })
        })
      )
      const position = { offset }
      const [first, ...others] = urls.flatMap((url) => parse(url) ?? []).slice(0, urlLimit)
      if (first === undefined) return nowhere
      return others.reduce(
        (stream, url) => Stream.catch(stream, () => resuming(registry, url, descriptor, position)),
        resuming(registry, first, descriptor, position)
      )
    })
}

/** Returns the content of a response from an offset on. */
const contentOf = Effect.fnUntraced(function*(
  response: HttpClientResponse.HttpClientResponse,
  size: number,
  offset: number
) {
  const { headers, status } = response
  const duration = yield* UploadBody.IdleTimeout
  const [, first] = /^bytes ([0-9]{1,15})-/.exec(headers["content-range"] ?? "") ?? []
  const skipped = status === 200 ? offset : status === 206 && Number(first) === offset ? 0 : undefined
  if (skipped === undefined) {
    return yield* new RegistryError.UnexpectedResponse({ status, detail: "there is no layer at its URL" })
  }
  const length = ErrorResponse.naturalHeader(headers["content-length"])
  const expected = status === 200 ? size : size - offset
  if (length !== undefined && length !== expected && headers["content-encoding"] === undefined) {
    return yield* new SizeMismatch({ expected, actual: length })
  }
  const { host } = new URL(response.request.url)
  const fail = (reason: RegistryError.Reason) =>
    new RegistryError.RegistryError({ operation: "getBlob", registry: host, reason })
  const content = response.stream.pipe(
    Stream.mapError((cause) => fail(TransportFailure.transport(cause))),
    Stream.timeoutOrElse({
      duration,
      orElse: () => Stream.fail(fail(new RegistryError.Timeout({ phase: "body", after: duration })))
    })
  )
  return Stream.tap(
    BlobSource.fromStream(size, content).open(skipped),
    (chunk) => Metrics.moved("pull", host, chunk.length)
  )
})
