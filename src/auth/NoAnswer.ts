/**
 * What it means that a request got no answer, or that the body of an answer broke off.
 */
import type * as HttpClientError from "effect/http/HttpClientError"
import * as Predicate from "effect/Predicate"
import * as RegistryError from "../RegistryError.ts"
import { excerpt } from "../Text.ts"

const codeOf = (cause: unknown): string | undefined => {
  if (!Predicate.isObject(cause)) return undefined
  if (Predicate.hasProperty(cause, "code") && typeof cause.code === "string") return cause.code
  // undici's errors of the HTTP parser have no code
  if (Predicate.hasProperty(cause, "name") && cause.name === "HTTPParserError") return "HPE_INVALID"
  return Predicate.hasProperty(cause, "cause") ? codeOf(cause.cause) : undefined
}

/** The reason behind a request that got no response, or a response whose body broke off. */
export const transport = (error: HttpClientError.HttpClientError): RegistryError.Transport => {
  const cause = error.reason.cause
  const code = codeOf(cause)
  const detail = cause instanceof Error ? excerpt(cause.message) : error.reason._tag
  return new RegistryError.Transport({ ...code === undefined ? {} : { code }, ...detail === "" ? {} : { detail } })
}
