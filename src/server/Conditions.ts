/**
 * Conditional requests (RFC 9110, 13): `If-Match` and `If-None-Match`, compared with the digest of the current content.
 * The entity tag of content is its digest in quotes.
 */
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Digest from "../Digest.ts"
import * as Refusal from "./Refusal.ts"
import { contentHeaders, type Incoming } from "./ServerContext.ts"

/** Content that a request expects: any, or one with one of these entity tags. */
type Expectation = { readonly _tag: "Any" } | { readonly _tag: "OneOf"; readonly tags: ReadonlySet<string> }

/** The conditions of a request. */
interface Conditions {
  readonly match: Expectation | undefined
  readonly noneMatch: Expectation | undefined
}

/** Result of the comparison of the conditions of a request. */
type Outcome = "proceed" | "not-modified" | "failed"

const parse = (header: string | undefined, isWeak: boolean): Expectation | undefined => {
  if (header === undefined) return undefined
  if (header.trim() === "*") return { _tag: "Any" }
  const tags = new Set<string>()
  for (const [, weak, tag = ""] of header.matchAll(/(W\/)?"([\x21\x23-\x7e]*)"/g)) {
    // a weak entity tag never matches in the strong comparison, which If-Match demands (RFC 9110, 8.8.3.2)
    if (weak === undefined || isWeak) tags.add(tag)
  }
  return { _tag: "OneOf", tags }
}

const holds = (expectation: Expectation, current: Digest.Digest | undefined): boolean =>
  current !== undefined && (expectation._tag === "Any" || expectation.tags.has(current))

/** Returns the conditions of a request, or `undefined` if it has none. */
export const of = ({ headers }: Incoming): Conditions | undefined => {
  const match = parse(headers["if-match"], false)
  const noneMatch = parse(headers["if-none-match"], true)
  return match === undefined && noneMatch === undefined ? undefined : { match, noneMatch }
}

/** Compares conditions with the digest of the current content, in the order of RFC 9110, 13.2.2. */
export const evaluate = (
  { match, noneMatch }: Conditions,
  current: Digest.Digest | undefined,
  kind: "read" | "write"
): Outcome => {
  if (match !== undefined && !holds(match, current)) return "failed"
  if (noneMatch === undefined || !holds(noneMatch, current)) return "proceed"
  return kind === "read" ? "not-modified" : "failed"
}

/** Returns the refusal of a request whose condition does not hold. */
export const failed = (): Refusal.Refusal =>
  Refusal.make(412, "DENIED", "the content does not match If-Match or If-None-Match")

/** Returns the response to a conditional read of content that the client already has. It has no `Content-Length`. */
const notModified = (digest: Digest.Digest): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.empty({ status: 304, headers: contentHeaders(digest) })

/** Returns the response to a read, or 304 or 412 if the conditions of the request demand it. */
export const read = <E, R>(
  request: Incoming,
  digest: Digest.Digest,
  response: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
): Effect.Effect<HttpServerResponse.HttpServerResponse, E | Refusal.Refusal, R> => {
  const conditions = of(request)
  const outcome = conditions === undefined ? "proceed" : evaluate(conditions, digest, "read")
  switch (outcome) {
    case "proceed":
      return response
    case "not-modified":
      return Effect.succeed(notModified(digest))
    case "failed":
      return Effect.fail(failed())
  }
}
