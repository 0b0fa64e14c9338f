/**
 * Responses as values of `HttpClientResponse`.
 */
import * as Effect from "effect/Effect"
import * as Cookies from "effect/http/Cookies"
import type * as Headers from "effect/http/Headers"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as UrlParams from "effect/http/UrlParams"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import type * as Schema from "effect/Schema"
import type * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import type * as Direct from "../http/Direct.ts"
import type { ResponseBody } from "./ResponseBody.ts"
import type { ResponseHead } from "./ResponseHead.ts"

const { DecodeError, HttpClientError: ClientError, StatusCodeError } = HttpClientError

class Response extends Inspectable.Class implements Direct.Response, Pipeable {
  readonly [HttpIncomingMessage.TypeId]: typeof HttpIncomingMessage.TypeId = HttpIncomingMessage.TypeId
  readonly [HttpClientResponse.TypeId]: typeof HttpClientResponse.TypeId = HttpClientResponse.TypeId
  readonly request: HttpClientRequest.HttpClientRequest
  readonly url: string
  readonly status: number
  readonly headers: Headers.Headers
  readonly remoteAddress: Option.Option<string>
  readonly #cookies: ReadonlyArray<string>
  readonly #body: ResponseBody

  constructor(
    request: HttpClientRequest.HttpClientRequest,
    url: string,
    { cookies, headers, status }: ResponseHead,
    remoteAddress: string | undefined,
    body: ResponseBody
  ) {
    super()
    this.request = request
    this.url = url
    this.status = status
    this.headers = headers
    this.remoteAddress = Option.fromUndefinedOr(remoteAddress)
    this.#cookies = cookies
    this.#body = body
  }

  #unreadable = (cause: unknown): HttpClientError.HttpClientError =>
    new ClientError({ reason: new DecodeError({ request: this.request, response: this, cause }) })

  get cookies(): Cookies.Cookies {
    return Cookies.fromSetCookie(this.#cookies)
  }
  get stream(): Stream.Stream<Uint8Array, HttpClientError.HttpClientError> {
    return Stream.mapError(this.#body.stream, this.#unreadable)
  }
  get whole(): Effect.Effect<Uint8Array, HttpClientError.HttpClientError> {
    return Effect.mapError(this.#body.whole, this.#unreadable)
  }
  discard(): void {
    this.#body.discard()
  }
  get arrayBuffer(): Effect.Effect<ArrayBuffer, HttpClientError.HttpClientError> {
    return Effect.mapBoth(this.#body.bytes, { onFailure: this.#unreadable, onSuccess: ({ buffer }) => buffer })
  }
  get text(): Effect.Effect<string, HttpClientError.HttpClientError> {
    return Effect.map(this.arrayBuffer, (bytes) => new TextDecoder().decode(bytes))
  }
  get json(): Effect.Effect<Schema.Json, HttpClientError.HttpClientError> {
    return Effect.flatMap(this.text, (text) =>
      Effect.try({
        try: (): Schema.Json => text === "" ? null : JSON.parse(text),
        catch: this.#unreadable
      }))
  }
  get urlParamsBody(): Effect.Effect<UrlParams.UrlParams, HttpClientError.HttpClientError> {
    return Effect.map(this.text, (text) => UrlParams.fromInput(new URLSearchParams(text)))
  }
  get formData(): Effect.Effect<FormData, HttpClientError.HttpClientError> {
    return Effect.flatMap(this.arrayBuffer, (bytes) =>
      Effect.tryPromise({
        try: () => new globalThis.Response(bytes, { headers: this.headers }).formData(),
        catch: this.#unreadable
      }))
  }
  get upgrade(): Effect.Effect<Socket.Socket, HttpClientError.HttpClientError> {
    const description = "the connection cannot be taken over"
    return Effect.fail(
      new ClientError({ reason: new StatusCodeError({ request: this.request, response: this, description }) })
    )
  }
  toJSON(): unknown {
    return HttpIncomingMessage.inspect(this, {
      _id: "effect/http/HttpClientResponse",
      request: this.request.toJSON(),
      status: this.status
    })
  }
  pipe() {
    return pipeArguments(this, arguments)
  }
}

/** Creates the response to a request, whose URL is parsed. */
export const make = (
  request: HttpClientRequest.HttpClientRequest,
  url: string,
  head: ResponseHead,
  remoteAddress: string | undefined,
  body: ResponseBody
): Direct.Response => new Response(request, url, head, remoteAddress, body)
