/**
 * The error of operations on a registry, and its reasons.
 *
 * {@link RegistryError} names the operation and the registry, and has one reason. The reasons are the fourteen error
 * codes of the distribution specification ("Error Codes") and others, for failures of the network, timeouts, invalid
 * answers, files, and content that does not match its digest.
 *
 * Catch one reason with `Effect.catchReason("RegistryError", "ManifestUnknown", …)`. Errors are Schemas, so they can be
 * encoded as JSON. They contain no header, no body and no secret. `detail` is text from the answer of the registry, at
 * most 200 printable characters; if it repeats a secret that was sent, the secret is struck out.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Digest from "./Digest.ts"
import * as Hasher from "./Hasher.ts"
import { excerpt, printable } from "./Text.ts"

const TypeId = "~effect-oci/RegistryError"

const answer = {
  /** HTTP status, if there was an HTTP response. */
  status: Schema.optionalKey(Schema.Int),
  /** Text from the answer of the registry. */
  detail: Schema.optionalKey(Schema.String)
}

/** Number of attempts without any progress, and the time that they took, if there was more than one. */
const effort = {
  attempts: Schema.optionalKey(Schema.Natural),
  elapsed: Schema.optionalKey(Schema.DurationFromMillis)
}

const say = (what: string, { detail = "" }: { readonly detail?: string | undefined }): string => {
  const text = printable(detail).trim()
  return text === "" || text === what ? what : `${what}: ${text}`
}

/** Appends the number of attempts to a sentence. */
const afterAll = (
  sentence: string,
  { attempts = 1, elapsed }: {
    readonly attempts?: number | undefined
    readonly elapsed?: Duration.Duration | undefined
  }
): string => {
  if (attempts < 2) return sentence
  return `${sentence}; tried ${attempts} times${elapsed === undefined ? "" : ` in ${rounded(elapsed)}`}`
}

/** Returns a duration in whole seconds, or in whole milliseconds below one second. */
const rounded = (duration: Duration.Duration): string => {
  const millis = Duration.toMillis(duration)
  return Duration.format(Duration.millis(millis < 1000 ? Math.round(millis) : Math.round(millis / 1000) * 1000))
}

/**
 * `BLOB_UNKNOWN`: the repository has no such blob.
 *
 * @category errors
 * @since 0.1.0
 */
export class BlobUnknown
  extends Schema.TaggedError<BlobUnknown>("effect-oci/RegistryError/BlobUnknown")("BlobUnknown", answer)
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return say("there is no such blob", this)
  }
}

/**
 * `BLOB_UPLOAD_INVALID`: the upload cannot continue as requested, for example at another offset than its own.
 *
 * @category errors
 * @since 0.1.0
 */
export class BlobUploadInvalid
  extends Schema.TaggedError<BlobUploadInvalid>("effect-oci/RegistryError/BlobUploadInvalid")(
    "BlobUploadInvalid",
    answer
  )
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return say("the upload was refused", this)
  }
}

/**
 * `BLOB_UPLOAD_UNKNOWN`: the upload session does not exist, or no longer exists.
 *
 * @category errors
 * @since 0.1.0
 */
export class BlobUploadUnknown
  extends Schema.TaggedError<BlobUploadUnknown>("effect-oci/RegistryError/BlobUploadUnknown")(
    "BlobUploadUnknown",
    answer
  )
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return say("there is no such upload session", this)
  }
}

/**
 * `DIGEST_INVALID`: the content does not match the digest, or the registry does not accept digests of this algorithm.
 *
 * @category errors
 * @since 0.1.0
 */
export class DigestInvalid
  extends Schema.TaggedError<DigestInvalid>("effect-oci/RegistryError/DigestInvalid")("DigestInvalid", answer)
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return say("the registry does not accept the digest", this)
  }
}

/**
 * `MANIFEST_BLOB_UNKNOWN`: a manifest refers to content that the repository does not have.
 *
 * @category errors
 * @since 0.1.0
 */
export class ManifestBlobUnknown
  extends Schema.TaggedError<ManifestBlobUnknown>("effect-oci/RegistryError/ManifestBlobUnknown")(
    "ManifestBlobUnknown",
    answer
  )
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return say("the manifest refers to missing content", this)
  }
}

/**
 * `MANIFEST_INVALID`: the registry does not accept the manifest.
 *
 * @category errors
 * @since 0.1.0
 */
export class ManifestInvalid
  extends Schema.TaggedError<ManifestInvalid>("effect-oci/RegistryError/ManifestInvalid")("ManifestInvalid", answer)
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return say("the registry does not accept the manifest", this)
  }
}

/**
 * `MANIFEST_UNKNOWN`: the repository has no such manifest or tag.
 *
 * @category errors
 * @since 0.1.0
 */
export class ManifestUnknown
  extends Schema.TaggedError<ManifestUnknown>("effect-oci/RegistryError/ManifestUnknown")("ManifestUnknown", answer)
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return say("there is no such manifest or tag", this)
  }
}

/**
 * `NAME_INVALID`: the registry does not accept the repository's name.
 *
 * @category errors
 * @since 0.1.0
 */
export class NameInvalid
  extends Schema.TaggedError<NameInvalid>("effect-oci/RegistryError/NameInvalid")("NameInvalid", answer)
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return say("the registry does not accept the repository's name", this)
  }
}

/**
 * `NAME_UNKNOWN`: there is no such repository.
 *
 * @category errors
 * @since 0.1.0
 */
export class NameUnknown
  extends Schema.TaggedError<NameUnknown>("effect-oci/RegistryError/NameUnknown")("NameUnknown", answer)
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return say("there is no such repository", this)
  }
}

/**
 * `SIZE_INVALID`: the content does not have the given length.
 *
 * @category errors
 * @since 0.1.0
 */
export class SizeInvalid
  extends Schema.TaggedError<SizeInvalid>("effect-oci/RegistryError/SizeInvalid")("SizeInvalid", answer)
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return say("the registry does not accept the length", this)
  }
}

/**
 * `UNAUTHORIZED`: the registry requires authentication, or refused these credentials.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unauthorized
  extends Schema.TaggedError<Unauthorized>("effect-oci/RegistryError/Unauthorized")("Unauthorized", answer)
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return say("the registry asks for credentials", this)
  }
}

/**
 * `DENIED`: the registry does not permit this operation with these credentials.
 *
 * @category errors
 * @since 0.1.0
 */
export class Denied extends Schema.TaggedError<Denied>("effect-oci/RegistryError/Denied")("Denied", answer) {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return say("access is denied", this)
  }
}

/**
 * `UNSUPPORTED`: the registry does not offer this operation.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unsupported
  extends Schema.TaggedError<Unsupported>("effect-oci/RegistryError/Unsupported")("Unsupported", answer)
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return say("the registry does not support this", this)
  }
}

/**
 * `TOOMANYREQUESTS`: the registry asks for a pause. `retryAfter` is its length, if the registry states it.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooManyRequests
  extends Schema.TaggedError<TooManyRequests>("effect-oci/RegistryError/TooManyRequests")("TooManyRequests", {
    ...answer,
    ...effort,
    retryAfter: Schema.optionalKey(Schema.DurationFromMillis)
  })
{
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    return afterAll(say("the registry asks for a pause", this), this)
  }
}

/**
 * The connection could not be established, or was lost. `code` is that of the system, such as `ENOTFOUND` or
 * `ECONNRESET`. It is not retryable if a certificate was refused, if the proxy cannot be used, or if the registry
 * speaks only HTTP/2.
 *
 * @category errors
 * @since 0.1.0
 */
export class Transport extends Schema.TaggedError<Transport>("effect-oci/RegistryError/Transport")("Transport", {
  code: Schema.optionalKey(Schema.String),
  detail: Schema.optionalKey(Schema.String),
  ...effort
}) {
  get isRetryable(): boolean {
    const { code = "" } = this
    return !unchangingCodes.has(code) && !isBadCertificate(code) && !refusedHandshake.test(code)
  }
  override get message(): string {
    return afterAll(transportSentence(this), this)
  }
}

/** Codes of failures that only a change of the configuration mends. */
const unchangingCodes: ReadonlySet<string> = new Set(["ERR_INVALID_PROXY", "ERR_HTTP2_UNSUPPORTED_PROTOCOL"])

const transportSentence = (reason: Transport): string => {
  const { code = "" } = reason
  if (code === "ERR_INVALID_PROXY") return say("the proxy cannot be used", reason)
  if (code === "ERR_PROXY_TUNNEL") return say("the proxy does not connect to the registry", reason)
  if (isNotHttp(code)) return "what answered does not speak HTTP"
  // the other codes of the HTTP parser
  if (code.startsWith("HPE_")) return say("the response is not valid HTTP", reason)
  if (isBadCertificate(code)) return say(certificateSentences.get(code) ?? "the certificate is not trusted", reason)
  if (refusedHandshake.test(code)) return say("the registry refused to speak TLS", reason)
  return transportSentences.get(code) ?? say("the connection failed", reason)
}

/** Returns true for the codes of what does not begin as a response. */
const isNotHttp = (code: string): boolean => /^HPE_INVALID(?:_CONSTANT)?$/.test(code)

/** Returns true for the codes with which Node and OpenSSL refuse the certificate of a registry. */
const isBadCertificate = (code: string): boolean =>
  /^(?:CERT_|CRL_|ERR_TLS_CERT_|UNABLE_TO_(?:GET|DECRYPT|DECODE|VERIFY)_|ERROR_IN_C(?:ERT|RL)_)/.test(code) ||
  otherCertificateCodes.has(code)

const otherCertificateCodes: ReadonlySet<string> = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "ERR_SSL_CERTIFICATE_VERIFY_FAILED",
  "HOSTNAME_MISMATCH",
  "INVALID_CA",
  "INVALID_PURPOSE",
  "PATH_LENGTH_EXCEEDED",
  "SELF_SIGNED_CERT_IN_CHAIN"
])

/** Codes of the alerts with which a registry refuses the client certificate, its absence, or the version of TLS. */
const refusedHandshake =
  /^ERR_SSL_\w*ALERT_\w*(?:CERTIFICATE|HANDSHAKE_FAILURE|UNKNOWN_CA|PROTOCOL_VERSION|ACCESS_DENIED)/

const certificateSentences: ReadonlyMap<string, string> = new Map([
  ["CERT_HAS_EXPIRED", "the certificate of the registry has expired"],
  ["CERT_NOT_YET_VALID", "the certificate of the registry is not valid yet"],
  ["CERT_REVOKED", "the certificate of the registry has been revoked"],
  ["ERR_TLS_CERT_ALTNAME_INVALID", "the certificate of the registry is for another name"],
  ["HOSTNAME_MISMATCH", "the certificate of the registry is for another name"],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", "the certificate of the registry is signed by itself"]
])

const transportSentences: ReadonlyMap<string, string> = new Map([
  ["ENOTFOUND", "the host name does not resolve"],
  ["EAI_AGAIN", "the host name does not resolve at the moment"],
  ["ECONNREFUSED", "nothing listens there: the connection was refused"],
  ["ECONNRESET", "the connection was reset"],
  ["EHOSTUNREACH", "the host cannot be reached"],
  ["ENETUNREACH", "the network cannot be reached"],
  ["ERR_HTTP2_UNSUPPORTED_PROTOCOL", "the registry speaks only HTTP/2, which is not supported"],
  ["ETIMEDOUT", "the connection could not be made in time"],
  ["UND_ERR_CONNECT_TIMEOUT", "the connection could not be made in time"],
  ["UND_ERR_SOCKET", "the connection was closed in the middle"]
])

/**
 * The scheme of the request is not that of the port: plain HTTP to a port that expects TLS, or TLS to a port that does
 * not speak it. Only a change of the configuration helps.
 *
 * @category errors
 * @since 0.1.0
 */
export class SchemeMismatch
  extends Schema.TaggedError<SchemeMismatch>("effect-oci/RegistryError/SchemeMismatch")("SchemeMismatch", {
    /** Scheme of the request. */
    used: Schema.Literals(["http", "https"])
  })
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return this.used === "http"
      ? "the port expects TLS, and the request was plain HTTP"
      : "the port does not speak TLS, and probably speaks plain HTTP"
  }
}

/**
 * No answer, or no more of a body, was received in time.
 *
 * @category errors
 * @since 0.1.0
 */
export class Timeout extends Schema.TaggedError<Timeout>("effect-oci/RegistryError/Timeout")("Timeout", {
  /** The part of the response that was awaited. */
  phase: Schema.Literals(["headers", "body", "commit"]),
  after: Schema.DurationFromMillis,
  ...effort
}) {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    const what = { headers: "no answer", body: "no more of the body", commit: "no word that the blob is stored" }
    return afterAll(`${what[this.phase]} came within ${rounded(this.after)}`, this)
  }
}

/**
 * The answer is not one that the operation can have: another status, or an invalid header or body.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnexpectedResponse
  extends Schema.TaggedError<UnexpectedResponse>("effect-oci/RegistryError/UnexpectedResponse")("UnexpectedResponse", {
    ...answer,
    ...effort,
    retryAfter: Schema.optionalKey(Schema.DurationFromMillis)
  })
{
  get isRetryable(): boolean {
    return this.status !== undefined &&
      (this.status === 408 || this.status === 499 || this.status >= 500 && this.status !== 501)
  }
  override get message(): string {
    const what = this.status === undefined ? "unexpected answer" : `unexpected answer (HTTP ${this.status})`
    return afterAll(say(what, this), this)
  }
}

/**
 * The blob does not have this range of bytes.
 *
 * @category errors
 * @since 0.1.0
 */
export class RangeNotSatisfiable
  extends Schema.TaggedError<RangeNotSatisfiable>("effect-oci/RegistryError/RangeNotSatisfiable")(
    "RangeNotSatisfiable",
    answer
  )
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return say("there is no such range of bytes", this)
  }
}

/**
 * The content exceeds a limit: a manifest that of the registry or ours, a list ours.
 *
 * @category errors
 * @since 0.1.0
 */
export class ContentTooLarge
  extends Schema.TaggedError<ContentTooLarge>("effect-oci/RegistryError/ContentTooLarge")("ContentTooLarge", {
    ...answer,
    /** The limit in bytes, if known. */
    limit: Schema.optionalKey(Schema.Natural)
  })
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return say(
      this.limit === undefined ? "the content is too large" : `the content is larger than ${this.limit} bytes`,
      this
    )
  }
}

/**
 * A file or program that stores credentials does not return them. The error names it and the problem, never its
 * content.
 *
 * @category errors
 * @since 0.1.0
 */
export class CredentialsUnavailable
  extends Schema.TaggedError<CredentialsUnavailable>("effect-oci/RegistryError/CredentialsUnavailable")(
    "CredentialsUnavailable",
    {
      /** Name of the file, program or variable. */
      source: Schema.String,
      /** Description of the problem. */
      problem: Schema.String
    }
  )
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return printable(`no credentials from ${this.source}: ${this.problem}`)
  }
}

/**
 * The registry requires a token, but its token service returns none that is usable, or the registry names a service
 * that cannot be used. If the service refuses the credentials or the access, the reason is `Unauthorized` or `Denied`.
 *
 * @category errors
 * @since 0.1.0
 */
export class TokenUnavailable
  extends Schema.TaggedError<TokenUnavailable>("effect-oci/RegistryError/TokenUnavailable")("TokenUnavailable", {
    /** Origin of the token service, such as `https://auth.docker.io`; absent if the registry names no URL. */
    service: Schema.optionalKey(Schema.String),
    problem: Schema.String,
    /** True if a later attempt may succeed. */
    isTemporary: Schema.Boolean,
    ...effort,
    retryAfter: Schema.optionalKey(Schema.DurationFromMillis)
  })
{
  get isRetryable(): boolean {
    return this.isTemporary
  }
  override get message(): string {
    const service = this.service ?? "the service that the registry names"
    return afterAll(printable(`no token from ${service}: ${this.problem}`), this)
  }
}

/**
 * A registry that stores its content in files could not read or write one, for example because the disk is full or
 * access is denied, or a file is invalid, as in a broken image layout. `code` is that of the system, such as `ENOSPC`,
 * if the system refused. It is retryable only if the system was busy.
 *
 * @category errors
 * @since 0.1.0
 */
export class Storage extends Schema.TaggedError<Storage>("effect-oci/RegistryError/Storage")("Storage", {
  /** Path of the file or folder. */
  path: Schema.String,
  /** Description of the problem. */
  problem: Schema.String,
  code: Schema.optionalKey(Schema.String)
}) {
  get isRetryable(): boolean {
    return this.code !== undefined && busyCodes.has(this.code)
  }
  override get message(): string {
    return printable(`${this.path}: ${this.problem}`)
  }
}

const busyCodes: ReadonlySet<string> = new Set(["EAGAIN", "EBUSY", "EINTR", "EMFILE", "ENFILE", "ETIMEDOUT"])

/**
 * An image layout or an archive has several images with this tag, for example two repositories that were saved
 * together. Select one by its digest, or by its full name if the layout has one.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmbiguousTag
  extends Schema.TaggedError<AmbiguousTag>("effect-oci/RegistryError/AmbiguousTag")("AmbiguousTag", {
    tag: Schema.String,
    /** The first few of the images. */
    candidates: Schema.Array(Schema.Struct({
      /** Full name in the layout. */
      name: Schema.optionalKey(Schema.String),
      digest: Digest.Digest
    }))
  })
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    const candidates = this.candidates.map(({ digest, name }) =>
      name === undefined ? digest : `${excerpt(name)} (${digest})`
    )
    return `several images have the tag ${excerpt(this.tag)}: ${candidates.join(", ")}`
  }
}

/**
 * Schema of every reason that a {@link RegistryError} can have.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Reason = Schema.Union([
  BlobUnknown,
  BlobUploadInvalid,
  BlobUploadUnknown,
  DigestInvalid,
  ManifestBlobUnknown,
  ManifestInvalid,
  ManifestUnknown,
  NameInvalid,
  NameUnknown,
  SizeInvalid,
  Unauthorized,
  Denied,
  Unsupported,
  TooManyRequests,
  Transport,
  SchemeMismatch,
  Timeout,
  UnexpectedResponse,
  Hasher.DigestMismatch,
  Hasher.SizeMismatch,
  Hasher.UnsupportedAlgorithm,
  RangeNotSatisfiable,
  ContentTooLarge,
  CredentialsUnavailable,
  TokenUnavailable,
  Storage,
  AmbiguousTag
])

/**
 * Every reason that a {@link RegistryError} can have.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = typeof Reason.Type

/**
 * An operation on a registry failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class RegistryError extends Schema.TaggedError<RegistryError>("effect-oci/RegistryError")("RegistryError", {
  /** The operation of `Registry`, such as `getBlob`. */
  operation: Schema.String,
  /** Name of the registry: the host of a registry over HTTP. */
  registry: Schema.String,
  repository: Schema.optionalKey(Schema.String),
  reason: Reason
}) {
  readonly [TypeId] = TypeId

  /** The reason, as the cause that error printers show. */
  override readonly cause = this.reason

  /** True if the same operation may succeed later. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }

  /** Pause that the registry asks for before a retry. */
  get retryAfter(): Duration.Duration | undefined {
    return "retryAfter" in this.reason ? this.reason.retryAfter : undefined
  }

  /** HTTP status, if there was an HTTP response. */
  get status(): number | undefined {
    return "status" in this.reason ? this.reason.status : undefined
  }

  override get message(): string {
    const where = this.repository === undefined ? this.registry : `${this.registry}/${this.repository}`
    return printable(`${where}: ${this.reason.message} (${this.operation})`)
  }
}

/**
 * Returns a function that makes the errors of one registry: from an operation, and its repository if it has one, and
 * then from the reason.
 *
 * **Example** (The errors of a registry of one's own)
 *
 * ```ts import.meta.vitest
 * import * as RegistryError from "effect-oci/RegistryError"
 *
 * const failing = RegistryError.failing("mock")
 * const error = failing("getBlob", "team/app")(new RegistryError.BlobUnknown({}))
 *
 * error.message // => "mock/team/app: there is no such blob (getBlob)"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const failing =
  (registry: string) => (operation: string, repository?: string) => (reason: Reason): RegistryError =>
    new RegistryError({ operation, registry, ...repository === undefined ? {} : { repository }, reason })

/**
 * Returns true if a value is a {@link RegistryError}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isRegistryError = (u: unknown): u is RegistryError => hasProperty(u, TypeId)

const absences: ReadonlySet<string> = new Set(["BlobUnknown", "ManifestUnknown", "NameUnknown"])

/**
 * Returns true if the registry reports that the content, or its repository, does not exist.
 *
 * @category guards
 * @since 0.1.0
 */
export const isAbsence = (error: RegistryError): boolean => absences.has(error.reason._tag)

/**
 * Returns `undefined` instead of failing if the registry reports that the content does not exist.
 *
 * @category combinators
 * @since 0.1.0
 */
export const orAbsent = <A, R>(
  effect: Effect.Effect<A, RegistryError, R>
): Effect.Effect<A | undefined, RegistryError, R> => Effect.catchIf(effect, isAbsence, () => Effect.undefined)
