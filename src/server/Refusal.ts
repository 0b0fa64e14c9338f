/**
 * Responses to requests that fail: a status and the error document of the specification (distribution-spec, "Error
 * Codes").
 *
 * The message explains mistakes of the client. It gives no details of failures of the server or of the registry behind
 * it.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { Reason, RegistryError } from "../RegistryError.ts"

/** Codes of the specification, and `UNKNOWN` for failures without one. */
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

/**
 * Refusal of a request. Without a code, the response is plain text, because the specification has none for some
 * statuses.
 */
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

/** Adds headers to a refusal, except those that it already has. */
export const withHeaders = (
  { code, headers, message, status }: Refusal,
  more: Readonly<Record<string, string>>
): Refusal => make(status, code, message, { ...more, ...headers })

/** Converts a refusal to a response. */
export const toResponse = ({ code, headers, message, status }: Refusal): HttpServerResponse.HttpServerResponse =>
  code === undefined
    ? HttpServerResponse.text(message, { status, headers })
    : HttpServerResponse.jsonUnsafe({ errors: [{ code, message }] }, { status, headers })

const retryAfter = (pause: Duration.Duration | undefined): Readonly<Record<string, string>> | undefined =>
  pause === undefined ? undefined : { "retry-after": `${Math.ceil(Duration.toSeconds(pause))}` }

/** Returns the refusal for content with a wrong digest or size: 400 in a write, and 502 in a read. */
const wrongContent = (code: Code, message: string, isRead: boolean): Refusal =>
  isRead ?
    make(502, "UNKNOWN", "this registry could not verify the content")
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
        ? make(502, "UNKNOWN", "the content of the upstream registry is too large")
        : make(413, "SIZE_INVALID", message)
    case "SchemeMismatch":
    case "Transport":
      return make(503, "UNKNOWN", "the upstream registry cannot be reached")
    case "Timeout":
      return make(504, "UNKNOWN", "the upstream registry did not respond in time")
    case "UnexpectedResponse":
      return make(
        502,
        "UNKNOWN",
        "the upstream registry sent an unexpected response",
        retryAfter(reason.retryAfter)
      )
    case "Storage":
      return full.has(reason.code ?? "")
        ? make(507, "UNKNOWN", "the storage of this registry is full")
        : make(reason.isRetryable ? 503 : 500, "UNKNOWN", "this registry cannot access its storage")
    case "AmbiguousTag":
      return make(500, "UNKNOWN", message)
    case "CredentialsUnavailable":
      return make(502, "UNKNOWN", "this registry cannot read its credentials for the upstream registry")
    case "TokenUnavailable":
      return make(
        reason.isTemporary ? 503 : 502,
        "UNKNOWN",
        "this registry got no token for the upstream registry",
        retryAfter(reason.retryAfter)
      )
  }
}

/** Converts the failure of a registry to a refusal. The kind of the request matters for wrong content. */
export const ofError = ({ reason }: RegistryError, kind: "read" | "write"): Refusal => ofReason(reason, kind === "read")
