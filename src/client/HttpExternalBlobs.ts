/**
 * External layers over HTTP.
 *
 * A layer is fetched from the `urls` of its descriptor, without credentials, from addresses to which the address policy
 * allows a public registry, or the registry that has the descriptor, to lead.
 */
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import type { HttpClientError } from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as BlobSource from "../BlobSource.ts"
import type { Descriptor } from "../Descriptor.ts"
import type * as ExternalBlobs from "../ExternalBlobs.ts"
import { SizeMismatch } from "../Hasher.ts"
import * as AddressPolicy from "../http/AddressPolicy.ts"
import * as Redirects from "../http/Redirects.ts"
import * as ResponseBody from "../http/ResponseBody.ts"
import * as Spans from "../http/Spans.ts"
import * as TransportFailure from "../http/TransportFailure.ts"
import * as Metrics from "../Metrics.ts"
import * as Reference from "../Reference.ts"
import * as RegistryError from "../RegistryError.ts"
import * as Retries from "../Retries.ts"
import { excerpt } from "../Text.ts"
import { HeadersTimeout } from "./Connection.ts"
import * as Encoding from "./Encoding.ts"

// maximum number of URLs of one descriptor that are tried
const urlLimit = 8

/** A transfer from one URL. */
interface Transfer {
  readonly client: HttpClient.HttpClient.With<HttpClientError, Scope.Scope>
  readonly url: URL
  /** Address of the registry that has the descriptor. */
  readonly registry: URL
  readonly size: number
  /** True if the server encodes the body, so that a range of it could not be decoded. */
  isEncoded: boolean
}

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

const failing = (registry: string) => RegistryError.failing(registry)("getBlob")

/** Sends one request, after the policy has allowed its address. */
const exchange = (transfer: Transfer) =>
  Effect.fnUntraced(function*(request: HttpClientRequest.HttpClientRequest) {
    const fail = failing(transfer.url.host)
    const duration = yield* HeadersTimeout
    yield* Metrics.tell({ _tag: "Requested", registry: new URL(request.url).host, method: request.method })
    return yield* transfer.client.execute(request).pipe(
      Effect.mapError((cause) => fail(TransportFailure.transport(cause))),
      Effect.timeoutOrElse({
        duration,
        orElse: () => Effect.fail(fail(new RegistryError.Timeout({ phase: "headers", after: duration })))
      }),
      Spans.traced(request)
    )
  })

/** Opens the layer at an offset. */
const open = Effect.fnUntraced(function*(transfer: Transfer, offset: number) {
  const { registry, url } = transfer
  const fail = failing(url.host)
  const check = (address: URL) =>
    Effect.flatMap(
      AddressPolicy.objection(registry, address),
      (objection) =>
        objection === undefined ? Effect.void : Effect.fail(
          fail(new RegistryError.UnexpectedResponse({ detail: `it leads to ${address.origin}: ${objection}` }))
        )
    )
  const range = offset === 0 || transfer.isEncoded ? {} : { range: `bytes=${offset}-` }
  const request = HttpClientRequest.get(url.href, { headers: { "accept-encoding": "identity", ...range } })
  const response = yield* Redirects.follow({ registry, check }, exchange(transfer), request)
  return yield* Effect.mapError(contentOf(transfer, response, offset), fail)
})

/** Returns the content of a response from an offset on. */
const contentOf = Effect.fnUntraced(function*(
  transfer: Transfer,
  response: HttpClientResponse.HttpClientResponse,
  offset: number
): Effect.fn.Return<Stream.Stream<Uint8Array, RegistryError.RegistryError>, RegistryError.Reason> {
  const { headers, status } = response
  const { size } = transfer
  const [, first] = /^bytes ([0-9]{1,15})-/.exec(headers["content-range"] ?? "") ?? []
  const skipped = status === 200 ? offset : status === 206 && Number(first) === offset ? 0 : undefined
  if (skipped === undefined) {
    return yield* new RegistryError.UnexpectedResponse({ status, detail: "there is no layer at its URL" })
  }
  const label = Encoding.labelOf(headers)
  const length = ResponseBody.naturalHeader(headers["content-length"])
  const expected = status === 200 ? size : size - offset
  // a label is wrong if the body is as long as the layer (mod_mime labels every .gz file)
  transfer.isEncoded = label !== undefined && status === 200 && length !== expected
  if (length !== undefined && length !== expected && !transfer.isEncoded) {
    return yield* new SizeMismatch({ expected, actual: length })
  }
  const { host } = new URL(response.request.url)
  const fail = failing(host)
  const body = Stream.mapError(ResponseBody.chunks(response), fail)
  const content = transfer.isEncoded && label !== undefined ? Encoding.decode(body, label, fail) : body
  return Stream.tap(
    BlobSource.fromStream(size, content).open(skipped),
    (chunk) => Metrics.moved("pull", host, chunk.length)
  )
})

/** Reads a layer from `position` on, resumes if the transfer breaks off, and moves `position` along. */
const resuming = (transfer: Transfer, position: { offset: number }) =>
  Stream.suspend(() => {
    const start = position.offset
    const rest = (read: number) => Stream.unwrap(open(transfer, start + read))
    return Stream.mapArray(Retries.resuming(rest(0), rest, transfer.size), (chunks) => {
      for (const { length } of chunks) position.offset += length
      return chunks
    })
  })

/**
 * Creates the function that opens external layers through an HTTP client. The URLs of a layer are tried in their order.
 */
export const make = (client: HttpClient.HttpClient): ExternalBlobs.Open => {
  const streaming = HttpClient.withScope(client)
  return ({ size, urls = [] }: Descriptor, { offset, registry }) =>
    Stream.suspend(() => {
      const position = { offset }
      const read = (url: URL) =>
        resuming({ client: streaming, url, registry: originOf(registry), size, isEncoded: false }, position)
      const [first, ...others] = urls.flatMap((url) => parse(url) ?? []).slice(0, urlLimit)
      if (first === undefined) {
        const detail = `none of its URLs is one of HTTP: ${excerpt(urls.join(", "))}`
        return Stream.fail(failing(registry)(new RegistryError.BlobUnknown({ detail })))
      }
      return others.reduce((stream, url) => Stream.catch(stream, () => read(url)), read(first))
    })
}
