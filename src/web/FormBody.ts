/**
 * Forms that browsers send.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as UrlParams from "effect/http/UrlParams"
import * as Option from "effect/Option"

type Incoming = HttpServerRequest.HttpServerRequest

// a form of a page has less than 1 KiB
const maximumBody = ByteSize.bytes(16_384)

/** Returns true if the body of a request is a form. */
export const isForm = ({ headers }: Incoming): boolean =>
  /^application\/x-www-form-urlencoded(?:;|$)/i.test(headers["content-type"] ?? "")

/** Reads a form, and returns what returns the value of a field. Fails if it is too large or does not arrive. */
export const read = (incoming: Incoming) =>
  incoming.urlParamsBody.pipe(
    Effect.provideService(HttpIncomingMessage.MaxBodySize, maximumBody),
    Effect.timeout("10 seconds"),
    Effect.map((params) => (name: string) => Option.getOrUndefined(UrlParams.getFirst(params, name)))
  )
