/**
 * The head of a request, as it is sent. Whatever could begin another line or another request is refused.
 */
import * as Data from "effect/Data"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { RequestBody } from "./RequestBody.ts"
import type { Route } from "./Routes.ts"

/** A request has a character that HTTP does not allow. */
class Unsendable extends Data.Error<{ readonly code: string; readonly message: string }> {}

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const valid = /^[\t -~\x80-\xff]*$/
const visible = /^[!-~]+$/

const refuse = (what: string): Unsendable =>
  new Unsendable({ code: "ERR_INVALID_CHAR", message: `${what} has a character that is not allowed` })

/** Writes the head of a request. The framing of the body is that of `body`. */
export const write = (
  { headers, method }: HttpClientRequest.HttpClientRequest,
  url: URL,
  route: Route,
  body: RequestBody
): string | Error => {
  const target = route.isForwarded ? `${url.origin}${url.pathname}${url.search}` : url.pathname + url.search
  if (!token.test(method)) return refuse("the method")
  if (!visible.test(target)) return refuse("the URL")
  let head = `${method} ${target} HTTP/1.1\r\n`
  if (headers["host"] === undefined) head += `host: ${url.host}\r\n`
  for (const name of Object.keys(headers)) {
    const value = headers[name]
    if (value === undefined || name === "content-length" || name === "transfer-encoding") continue
    if (name === "content-type" && body.type !== undefined) continue
    if (!token.test(name)) return refuse("the name of a header")
    if (!valid.test(value)) return refuse(`the header ${name}`)
    head += `${name}: ${value}\r\n`
  }
  if (body.type !== undefined) head += `content-type: ${body.type}\r\n`
  return `${head}${body.framing}${route.headers}\r\n`
}
