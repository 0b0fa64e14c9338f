/**
 * What an answer that is no success means: from an HTTP response to a `RegistryError` reason.
 *
 * The status speaks first, since registries disagree on codes; then the code of the error document, where there is one;
 * then what was asked for.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Headers } from "effect/http/Headers"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import type * as ErrorBody from "../http/ErrorBody.ts"
import * as RetryAfter from "../http/RetryAfter.ts"
import * as MediaType from "../MediaType.ts"
import * as RegistryError from "../RegistryError.ts"
import { excerpt } from "../Text.ts"

/** A header that holds a number of bytes. */
export const naturalHeader = (value: string | undefined): number | undefined =>
  value !== undefined && /^[0-9]{1,15}$/.test(value.trim()) ? Number(value) : undefined

/** Returns true for a web page, by its type or by its beginning. */
export const isWebPage = (headers: Headers, bytes: Uint8Array = new Uint8Array()): boolean =>
  /^(?:text\/html|application\/xhtml\+xml)$/.test(MediaType.fromContentType(headers["content-type"] ?? "")) ||
  /^\s*<(?:!doctype html|html)/i.test(new TextDecoder().decode(bytes.subarray(0, 1000)))

/** What a request was for: it decides what "not found" means. */
export type ResourceKind = "blob" | "manifest" | "upload" | "referrers" | "repository" | "registry"

const byCode = {
  BLOB_UNKNOWN: RegistryError.BlobUnknown,
  BLOB_UPLOAD_INVALID: RegistryError.BlobUploadInvalid,
  BLOB_UPLOAD_UNKNOWN: RegistryError.BlobUploadUnknown,
  DIGEST_INVALID: RegistryError.DigestInvalid,
  MANIFEST_BLOB_UNKNOWN: RegistryError.ManifestBlobUnknown,
  MANIFEST_INVALID: RegistryError.ManifestInvalid,
  MANIFEST_UNKNOWN: RegistryError.ManifestUnknown,
  NAME_INVALID: RegistryError.NameInvalid,
  NAME_UNKNOWN: RegistryError.NameUnknown,
  SIZE_INVALID: RegistryError.SizeInvalid,
  UNAUTHORIZED: RegistryError.Unauthorized,
  DENIED: RegistryError.Denied,
  UNSUPPORTED: RegistryError.Unsupported,
  TOOMANYREQUESTS: RegistryError.TooManyRequests
} as const

const notFound = {
  blob: RegistryError.BlobUnknown,
  manifest: RegistryError.ManifestUnknown,
  upload: RegistryError.BlobUploadUnknown,
  // there is such an endpoint, or there is not (distribution-spec, "Listing Referrers")
  referrers: RegistryError.Unsupported,
  repository: RegistryError.NameUnknown,
  registry: RegistryError.UnexpectedResponse
} as const

const isCode = (code: string): code is keyof typeof byCode => Object.hasOwn(byCode, code)

/**
 * The reason behind a response of status 400 or above, or of another status than was to be expected. A registry that
 * knows who asks, and asks all the same, denies.
 */
export const reasonOf = Effect.fnUntraced(function*(
  target: ResourceKind,
  response: HttpClientResponse.HttpClientResponse,
  { code, text }: ErrorBody.ErrorBody,
  isKnown: boolean
): Effect.fn.Return<RegistryError.Reason> {
  const { headers, status } = response
  const detail = text === undefined ? undefined : excerpt(text)
  const answer = { status, ...detail === undefined ? {} : { detail } }

  const retryAfter = RetryAfter.parse(headers["retry-after"], yield* Clock.currentTimeMillis)
  const pause = retryAfter === undefined ? {} : { retryAfter }

  if (status === 401 && !isKnown) return new RegistryError.Unauthorized(answer)
  if (status === 401 || status === 403) return new RegistryError.Denied(answer)
  if (status === 429) return new RegistryError.TooManyRequests({ ...answer, ...pause })
  // distribution 2.8 calls a session that is gone invalid
  if (status === 404 && target === "upload") return new RegistryError.BlobUploadUnknown(answer)
  if (status === 413) return new RegistryError.ContentTooLarge(answer)
  if (status === 416) {
    return target === "upload"
      ? new RegistryError.BlobUploadInvalid(answer)
      : new RegistryError.RangeNotSatisfiable(answer)
  }
  if (status >= 400 && status < 500 && code !== undefined && isCode(code)) {
    return new byCode[code](answer)
  }
  if (status === 404) return new notFound[target](answer)
  if (status === 405) return new RegistryError.Unsupported(answer)
  return new RegistryError.UnexpectedResponse({ ...answer, ...pause })
})
