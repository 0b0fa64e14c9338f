/**
 * Conversion of the errors of the HTTP client to reasons: a request without a response, or a response body that ended
 * early.
 */
import type * as HttpClientError from "effect/http/HttpClientError"
import * as Predicate from "effect/Predicate"
import * as RegistryError from "../RegistryError.ts"
import { excerpt } from "../Text.ts"
import { AddressRefused } from "./AddressPolicy.ts"
import { RedirectHidden } from "./Redirects.ts"
import { TimedOut } from "./TimedOut.ts"

const codeOf = (cause: unknown): string | undefined => {
  if (!Predicate.isObject(cause)) return undefined
  if (Predicate.hasProperty(cause, "code") && typeof cause.code === "string") return cause.code
  // errors of the HTTP parser of undici, which `fetch` of Node uses, have no code
  if (Predicate.hasProperty(cause, "name") && cause.name === "HTTPParserError") return "HPE_INVALID"
  return Predicate.hasProperty(cause, "cause") ? codeOf(cause.cause) : undefined
}

/** Returns the cause that says that an answer is of no use, so that the request is not sent again. */
const uselessAnswer = (cause: unknown): AddressRefused | RedirectHidden | undefined =>
  cause instanceof AddressRefused || cause instanceof RedirectHidden
    ? cause
    : Predicate.hasProperty(cause, "cause")
    ? uselessAnswer(cause.cause)
    : undefined

const notTls: ReadonlySet<string> = new Set(["ERR_SSL_WRONG_VERSION_NUMBER", "ERR_SSL_PACKET_LENGTH_TOO_LONG"])

/** Converts the failure of a request, or of a response body that ended early, to a reason. */
export const transport = (error: HttpClientError.HttpClientError): RegistryError.Reason => {
  const cause = error.reason.cause
  const useless = uselessAnswer(cause)
  if (useless !== undefined) return new RegistryError.UnexpectedResponse({ detail: excerpt(useless.message) })
  if (cause instanceof TimedOut) return new RegistryError.Timeout(cause)
  const code = codeOf(cause)
  if (notTls.has(code ?? "")) return new RegistryError.SchemeMismatch({ used: "https" })
  const detail = cause instanceof Error ? excerpt(cause.message) : error.reason._tag
  return new RegistryError.Transport({ ...code === undefined ? {} : { code }, ...detail === "" ? {} : { detail } })
}
