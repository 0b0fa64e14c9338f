/**
 * Answers that are no success: a status, and the error document of the specification (distribution-spec, "Error Codes").
 *
 * What a client can mend is said in a sentence. What is wrong on our side, or behind us, is not told in detail.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { Reason, RegistryError } from "../RegistryError.ts"

/** The codes of the specification, and one for what it leaves to HTTP. */
export type Code =
  | "BLOB_UNKNOWN"
  | "BLOB_UPLOAD_INVALID"
  | "BLOB_UPLOAD_UNKNOWN"
  | "DIGEST_INVALID"
  | "MANIFEST_BLOB_UNKNOWN"
  | "MANIFEST_INVALID"
  | "MANIFEST_UNKNOWN"
  | "NAME_INVALID"
  | "NAME_UNKNOWN"
  | "SIZE_INVALID"
  | "UNAUTHORIZED"
  | "DENIED"
  | "UNSUPPORTED"
  | "TOOMANYREQUESTS"
  | "UNKNOWN"

/** A request is refused. Without a code, it is said in plain text: the specification has none for some statuses. */
export class Refusal extends Data.TaggedError("Refusal")<{
  readonly status: number
  readonly code: Code | undefined
  readonly message: string
  readonly headers: Readonly<Record<string, string>>
}> {}

export const make = (
  status: number,
  code: Code | undefined,
  message: string,
  headers: Readonly<Record<string, string>> = {}
): Refusal => new Refusal({ status, code, message, headers })

/** The refusal with more headers, where it has not those already. */
export const withHeaders = (
  { code, headers, message, status }: Refusal,
  more: Readonly<Record<string, string>>
): Refusal => make(status, code, message, { ...more, ...headers })

/** The refusal as an answer. */
export const toResponse = ({ code, headers, message, status }: Refusal): HttpServerResponse.HttpServerResponse =>
  code === undefined
    ? HttpServerResponse.text(message, { status, headers })
    : HttpServerResponse.jsonUnsafe({ errors: [{ code, message }] }, { status, headers })

const retryAfter = (pause: Duration.Duration | undefined): Readonly<Record<string, string>> | undefined =>
  pause === undefined ? undefined : { "retry-after": `${Math.ceil(Duration.toSeconds(pause))}` }

/** Content that is not what it should be: the client's fault where it wrote it, and ours where it reads it. */
const wrongContent = (code: Code, message: string, isRead: boolean): Refusal =>
  isRead ?
    make(502, "UNKNOWN", "the registry behind this one has content that is not what it should be")
    : make(400, code, message)

const full: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT"])

const ofReason = (reason: Reason, isRead: boolean): Refusal => {
  const { message } = reason
  switch (reason._tag) {
    case "BlobUnknown":
      return make(404, "BLOB_UNKNOWN", message)
    case "BlobUploadInvalid":
      return make(416, "BLOB_UPLOAD_INVALID", message)
    case "BlobUploadUnknown":
      return make(404, "BLOB_UPLOAD_UNKNOWN", message)
    case "DigestInvalid":
      return make(400, "DIGEST_INVALID", message)
    case "ManifestBlobUnknown":
      return make(400, "MANIFEST_BLOB_UNKNOWN", message)
    case "ManifestInvalid":
      return make(400, "MANIFEST_INVALID", message)
    case "ManifestUnknown":
      return make(404, "MANIFEST_UNKNOWN", message)
    case "NameInvalid":
      return make(400, "NAME_INVALID", message)
    case "NameUnknown":
      return make(404, "NAME_UNKNOWN", message)
    case "SizeInvalid":
      return make(400, "SIZE_INVALID", message)
    case "Unauthorized":
      return make(401, "UNAUTHORIZED", message)
    case "Denied":
      return make(403, "DENIED", message)
    case "Unsupported":
      return make(405, "UNSUPPORTED", message)
    case "TooManyRequests":
      return make(429, "TOOMANYREQUESTS", message, retryAfter(reason.retryAfter))
    case "RangeNotSatisfiable":
      return make(416, "SIZE_INVALID", message)
    case "DigestMismatch":
      return wrongContent("DIGEST_INVALID", message, isRead)
    case "SizeMismatch":
      return wrongContent("SIZE_INVALID", message, isRead)
    case "UnsupportedAlgorithm":
      return wrongContent("DIGEST_INVALID", message, isRead)
    case "ContentTooLarge":
      return isRead
        ? make(502, "UNKNOWN", "the registry behind this one has content that is too large")
        : make(413, "SIZE_INVALID", message)
    case "SchemeMismatch":
    case "Transport":
      return make(503, "UNKNOWN", "the registry behind this one cannot be reached")
    case "Timeout":
      return make(504, "UNKNOWN", "the registry behind this one did not answer in time")
    case "UnexpectedResponse":
      return make(
        502,
        "UNKNOWN",
        "the registry behind this one gave an unexpected answer",
        retryAfter(reason.retryAfter)
      )
    case "Storage":
      return full.has(reason.code ?? "")
        ? make(507, "UNKNOWN", "this registry has no room left")
        : make(reason.isRetryable ? 503 : 500, "UNKNOWN", "this registry cannot get at what it keeps")
    case "AmbiguousTag":
      return make(500, "UNKNOWN", message)
    case "CredentialsUnavailable":
      return make(502, "UNKNOWN", "this registry has no credentials for the one behind it")
    case "TokenUnavailable":
      return make(
        reason.isTemporary ? 503 : 502,
        "UNKNOWN",
        "this registry got no token for the one behind it",
        retryAfter(reason.retryAfter)
      )
  }
}

/** What the failure of a registry means to the client of one of its operations, which reads or writes. */
export const ofError = ({ reason }: RegistryError, kind: "read" | "write"): Refusal => ofReason(reason, kind === "read")
