/**
 * Conversion of an error response to the reason of a `RegistryError`.
 *
 * The status takes precedence, because registries disagree on codes; then the code of the error document, if it has
 * one; then the kind of resource that the request was for.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import type * as ErrorBody from "../http/ErrorBody.ts"
import * as RetryAfter from "../http/RetryAfter.ts"
import * as RegistryError from "../RegistryError.ts"
import { excerpt } from "../Text.ts"

/** Kind of resource that a request is for. It decides the reason for "not found". */
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
  // 404 means that the registry lacks this endpoint (distribution-spec, "Listing Referrers")
  referrers: RegistryError.Unsupported,
  repository: RegistryError.NameUnknown,
  registry: RegistryError.UnexpectedResponse
} as const

const isCode = (code: string): code is keyof typeof byCode => Object.hasOwn(byCode, code)

/**
 * Converts a response of status 400 or above, or of another unexpected status, to a reason. `isKnown` is true if the
 * registry has refused a token that was issued for these credentials and this request: then 401 is `Denied`.
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
  // distribution 2.8 says BLOB_UPLOAD_INVALID for a session that does not exist
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
