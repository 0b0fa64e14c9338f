/**
 * How operations on a registry fail.
 *
 * There is one error, {@link RegistryError}, that says which operation failed on which registry, and carries one reason.
 * The reasons are the fourteen error codes of the distribution specification ("Error Codes"), and what can go wrong on
 * the way: the network, the clock, answers that make no sense, files, and content that is not what it should be.
 *
 * Catch one reason with `Effect.catchReason("RegistryError", "ManifestUnknown", …)`. Errors are schemas: they can be
 * encoded as JSON. They carry no header, no body and no secret; `detail` is what the registry said in its answer, cut
 * to 200 printable characters. If it repeats a secret that was sent to it, that is struck out.
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
  /** HTTP status, where a registry behind HTTP gave one. */
  status: Schema.optionalKey(Schema.Int),
  /** What the registry said about it. */
  detail: Schema.optionalKey(Schema.String)
}

/** Number of attempts without any progress, and the time that they took, if there was more than one. */
const effort = {
  attempts: Schema.optionalKey(Schema.Natural),
  elapsed: Schema.optionalKey(Schema.DurationFromMillis)
}

const say = (what: string, { detail = "" }: { readonly detail?: string }): string => {
  const text = printable(detail).trim()
  return text === "" || text === what ? what : `${what}: ${text}`
}

/** Appends to a sentence how often the operation was tried. */
const afterAll = (
  sentence: string,
  { attempts = 1, elapsed }: { readonly attempts?: number; readonly elapsed?: Duration.Duration }
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
 * `BLOB_UPLOAD_INVALID`: an upload cannot go on the way it was asked to, for example at another offset than its own.
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
 * `BLOB_UPLOAD_UNKNOWN`: there is no such upload session, or none any more.
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
 * `DIGEST_INVALID`: the registry found that content and digest do not fit, or does not take such a digest.
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
 * `MANIFEST_BLOB_UNKNOWN`: a manifest refers to something that the repository has not.
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
    return say("the manifest refers to content that is not there", this)
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
 * `SIZE_INVALID`: the registry found that content and length do not fit.
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
 * `UNAUTHORIZED`: the registry wants to know who asks, or does not believe it.
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
 * `DENIED`: who asks may not do this.
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
 * `TOOMANYREQUESTS`: the registry asks for a pause. `retryAfter` is how long, where it says so.
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
 * The connection could not be made, or broke. `code` is the system's, such as `ENOTFOUND` or `ECONNRESET`. It is not
 * retryable if a certificate was refused.
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
    return code !== "ERR_INVALID_PROXY" && !isBadCertificate(code) && !refusedHandshake.test(code)
  }
  override get message(): string {
    return afterAll(transportSentence(this), this)
  }
}

const transportSentence = (reason: Transport): string => {
  const { code = "" } = reason
  if (code === "ERR_INVALID_PROXY") return say("the proxy cannot be used", reason)
  // the codes of the HTTP parser begin so
  if (code.startsWith("HPE_")) return "what answered does not speak HTTP"
  if (isBadCertificate(code)) return say(certificateSentences.get(code) ?? "the certificate is not trusted", reason)
  if (refusedHandshake.test(code)) return say("the registry refused to speak TLS", reason)
  return transportSentences.get(code) ?? say("the connection failed", reason)
}

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

/** Codes of the alerts with which a registry refuses our certificate, its absence, or our version of TLS. */
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
  ["UND_ERR_CONNECT_TIMEOUT", "the connection could not be made in time"],
  ["UND_ERR_SOCKET", "the connection was closed in the middle"]
])

/**
 * The registry was addressed with another scheme than its port has: in plain HTTP although it expects TLS, or in TLS
 * although it does not speak it. Nothing changes that but the configuration.
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
 * Nothing came in time: no answer, or no more of a body.
 *
 * @category errors
 * @since 0.1.0
 */
export class Timeout extends Schema.TaggedError<Timeout>("effect-oci/RegistryError/Timeout")("Timeout", {
  /** What was waited for. */
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
 * The answer is none that this operation has: another status, or a header or body that makes no sense.
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
 * The blob has no such range of bytes.
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
 * The content is larger than it may be: a manifest above the registry's limit or ours, a list above ours.
 *
 * @category errors
 * @since 0.1.0
 */
export class ContentTooLarge
  extends Schema.TaggedError<ContentTooLarge>("effect-oci/RegistryError/ContentTooLarge")("ContentTooLarge", {
    ...answer,
    /** In bytes, where known. */
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
 * Credentials are kept in a file, or handed out by a program, and it does not give them. The error names it, and says
 * what is wrong with it, never what it contains.
 *
 * @category errors
 * @since 0.1.0
 */
export class CredentialsUnavailable
  extends Schema.TaggedError<CredentialsUnavailable>("effect-oci/RegistryError/CredentialsUnavailable")(
    "CredentialsUnavailable",
    {
      /** The file, program or variable. */
      source: Schema.String,
      /** What is wrong with it. */
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
 * The registry wants a token, and its token service gives none that is of use; or the registry names a service that
 * cannot be asked. Where the service says that it does not know us or that we may not, the reason is `Unauthorized` or
 * `Denied`.
 *
 * @category errors
 * @since 0.1.0
 */
export class TokenUnavailable
  extends Schema.TaggedError<TokenUnavailable>("effect-oci/RegistryError/TokenUnavailable")("TokenUnavailable", {
    /** The origin of the token service, such as `https://auth.docker.io`; without when the registry names no URL. */
    service: Schema.optionalKey(Schema.String),
    problem: Schema.String,
    /** May it pass? */
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
 * A registry that keeps its content in files could not read or write one: the disk is full, access is denied; or a file
 * is not what it should be, as in a broken image layout. `code` is the system's, such as `ENOSPC`, where it was the system
 * that refused. It may pass where the system was merely busy; a disk that is full stays so until somebody sees to it.
 *
 * @category errors
 * @since 0.1.0
 */
export class Storage extends Schema.TaggedError<Storage>("effect-oci/RegistryError/Storage")("Storage", {
  /** The file or folder. */
  path: Schema.String,
  /** What is wrong with it. */
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
 * together. Their digests tell them apart, and so do the full names, if the layout has them.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmbiguousTag
  extends Schema.TaggedError<AmbiguousTag>("effect-oci/RegistryError/AmbiguousTag")("AmbiguousTag", {
    tag: Schema.String,
    /** The first of the images. */
    candidates: Schema.Array(Schema.Struct({
      /** Full name, as the layout has it. */
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
  /** The registry's name: its host, for one behind HTTP. */
  registry: Schema.String,
  repository: Schema.optionalKey(Schema.String),
  reason: Reason
}) {
  readonly [TypeId] = TypeId

  /** The reason, as the cause that error printers show. */
  override readonly cause = this.reason

  /** May the same operation succeed later? */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }

  /** How long the registry asks to wait before that. */
  get retryAfter(): Duration.Duration | undefined {
    return "retryAfter" in this.reason ? this.reason.retryAfter : undefined
  }

  /** The HTTP status, where a registry behind HTTP gave one. */
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
 * Tells registry errors from other values.
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
