/**
 * Errors as the command reports them: what happened, to which reference, on which host, and what to try.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import { isArtifactError, type Reason as ArtifactReason } from "../artifact/ArtifactError.ts"
import { isImageError, type Reason as ImageReason } from "../artifact/ImageError.ts"
import type { Place } from "../auth/Credentials.ts"
import * as DockerConfig from "../auth/DockerConfig.ts"
import { isLoopback } from "../client/HttpResolver.ts"
import { isCopyError, type Reason as CopyReason } from "../copy/CopyError.ts"
import * as Digest from "../Digest.ts"
import * as DockerHub from "../DockerHub.ts"
import * as Reference from "../Reference.ts"
import { isRegistryError, type Transport } from "../RegistryError.ts"
import { CredentialSearch } from "./CredentialSearch.ts"
import * as Format from "./Format.ts"
import { LocationError, type Reason as NamespaceReason } from "./LocationError.ts"
import * as Messages from "./Messages.ts"

/** Every reason of a failure. */
type Reason = ArtifactReason | CopyReason | ImageReason | NamespaceReason

/** A failure, and its place. */
interface Case {
  readonly reason: Reason
  /** The place as a reference, or only its host. */
  readonly reference: string
  /** The host, if the place is in a registry that has one. */
  readonly host?: string | undefined
  readonly repository?: string | undefined
  readonly operation?: string | undefined
  readonly end?: "source" | "destination" | undefined
  /** True if the content belongs to an index that is copied. */
  readonly isPart?: boolean | undefined
  /** Sources of credentials that were searched; after a refusal only. */
  readonly search?: Looked | undefined
}

/** Sources of credentials: a flag or variable, or else files and credential helpers. */
interface Looked {
  readonly origin: string | undefined
  readonly file: string | undefined
  readonly places: ReadonlyArray<DockerConfig.Looked>
}

// ---------------------------------------------------------------------------------------------------------------------
// advice
// ---------------------------------------------------------------------------------------------------------------------

/** The advice for each reason. */
type Tips = { readonly [T in Reason["_tag"]]: (reason: Extract<Reason, { readonly _tag: T }>, about: Case) => string }

const logIn = ({ host = "HOST", search }: Case): string => {
  if (search?.origin !== undefined) return `check the name and the password of ${search.origin}`
  const login = `effect-oci login ${search?.file === undefined ? "" : `--authfile ${search.file} `}${host}`
  const helper = search?.places.find(({ found }) => found === "helper")
  return helper === undefined ? login : `${login}, or make sure that ${helper.program} works`
}

const again = "try again"

const elsewhere = "try again, or copy from another source; the received content was discarded"

const tipForTransport = ({ code = "" }: Transport, { host = "the host" }: Case): string => {
  if (code === "ENOTFOUND") return `check the spelling of ${host}, and whether a proxy is needed (HTTPS_PROXY)`
  if (code === "ERR_INVALID_PROXY") return "correct this variable, or unset it"
  if (code === "ECONNREFUSED") return "check the port, and that the registry is running"
  if (/^HPE_INVALID(?:_CONSTANT)?$/.test(code)) {
    const scheme = isLoopback(host) ? "--tls" : "--plain-http"
    return `use ${scheme} ${host} if the registry uses ${scheme === "--tls" ? "HTTPS" : "plain HTTP"}`
  }
  if (/^CERT_(?:HAS_EXPIRED|NOT_YET_VALID|REVOKED)$/.test(code)) {
    return `ask the administrator of ${host} to renew the certificate, and check the clock; ` +
      `--insecure ${host} skips the check`
  }
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return `use a host name that the certificate contains; --insecure ${host} skips the check`
  }
  if (/CERT|SIGNED|ISSUER|LEAF_SIGNATURE/.test(code)) {
    return `name the authority of its certificate with --ca-file FILE; --insecure ${host} skips the check`
  }
  if (/^ERR_(?:SSL|TLS|OSSL)/.test(code)) {
    return `use --plain-http ${host} if it does not use TLS, ` +
      "or --cert-file and --key-file if it requires a client certificate"
  }
  return again
}

const isDeletion = ({ operation = "" }: Case): boolean => operation.startsWith("delete")

const enableDeletion = "ask the administrator of the registry to enable deletion"

const tipForUnsupported = (about: Case): string => {
  if (isDeletion(about) && about.host === undefined) return "copy what is to remain to another archive"
  switch (about.operation) {
    case "deleteTag":
      return `${enableDeletion}; if it deletes manifests but not single tags, ` +
        "effect-oci manifest delete with the digest deletes all tags on it"
    case "deleteManifest":
    case "deleteBlob":
      return enableDeletion
    default:
      return "the registry may be read-only, or too old for this operation"
  }
}

const tips: Tips = {
  // the fourteen codes of the distribution specification
  BlobUnknown: () => "check the repository: content is looked up only in the repository that is named",
  BlobUploadInvalid: () => again,
  BlobUploadUnknown: () => "try again: the upload session has expired, or took too long",
  DigestInvalid: () => "check the digest; some registries accept sha256 only",
  ManifestBlobUnknown: (_, { end }) =>
    end === undefined
      ? "push the blobs and manifests that it refers to first; effect-oci copy does so"
      : "the destination has lost content, or refuses it: use --trust deep",
  ManifestInvalid: () => "the registry may not accept manifests of this type, such as an index or an artifact",
  ManifestUnknown: (_, about) =>
    about.end === "source" && about.isPart === true
      ? "the source has only some images of this index: copy one of them with --platform OS/ARCH"
      : about.repository === undefined
      ? "list the tags with effect-oci tags"
      : `list the tags with effect-oci tags ${about.host}/${about.repository}`,
  NameInvalid: () => "check the name; some registries require a form such as PROJECT/NAME",
  NameUnknown: (_, about) =>
    about.host === undefined
      ? "check the path"
      : about.end === "destination"
      ? "create the repository first on the web site of the registry, if it requires that"
      : `check the name, or log in, because some registries hide repositories: ${logIn(about)}`,
  SizeInvalid: () => again,
  Unauthorized: (_, about) => logIn(about),
  Denied: (_, about) =>
    about.operation === "deleteBlob" && about.host === undefined
      ? "delete the manifest first; effect-oci gc then removes the blobs that it needed"
      : isDeletion(about)
      ? `deleting requires a separate permission, and protected or immutable tags cannot be deleted; ${logIn(about)}`
      : `check the permissions of this user${
        about.search?.origin === undefined ? `, or log in as another: ${logIn(about)}` : ""
      }`,
  Unsupported: (_, about) => tipForUnsupported(about),
  TooManyRequests: ({ retryAfter }) =>
    `wait${retryAfter === undefined ? "" : ` ${Duration.format(retryAfter)}`}, and use --concurrency 1`,
  // transfers
  Transport: tipForTransport,
  SchemeMismatch: ({ used }, { host = "HOST" }) =>
    used === "https"
      ? `use --plain-http ${host} if the registry uses plain HTTP`
      : isLoopback(host)
      ? `use --tls ${host}`
      : `omit --plain-http ${host}`,
  Timeout: () => `${again}; use --concurrency 1 with a slow registry`,
  UnexpectedResponse: ({ status = 0 }, about) =>
    isDeletion(about) && status >= 400 && status < 500
      ? "check whether it is protected, or whether an image index refers to it"
      : `check that ${about.host ?? "the host"} is a registry, which answers at /v2/`,
  DigestMismatch: () => elsewhere,
  SizeMismatch: () => elsewhere,
  UnsupportedAlgorithm: () => "use sha256 or sha512",
  RangeNotSatisfiable: () => again,
  ContentTooLarge: () => "the content exceeds the size limit",
  CredentialsUnavailable: () => "fix or remove that file, or set DOCKER_CONFIG to another folder",
  TokenUnavailable: ({ isTemporary }) => isTemporary ? again : "check the token service that the registry names",
  Storage: ({ code }) =>
    code === "ENOSPC"
      ? "free some space"
      : code === "EACCES" || code === "EPERM"
      ? "check the write permissions"
      : "check the path",
  AmbiguousTag: () => "name one of them by its digest, or by its full name, such as oci:DIR:docker.io/team/app:1",
  // hosts and references
  UnknownHost: () => "check the spelling of the host",
  ResolveFailed: () => "check the spelling of the host and of its mirrors",
  InvalidReference: () => "write a reference as host/repository[:tag][@digest]",
  UnfitReference: () => "write a reference as host/repository[:tag][@digest]",
  TagMismatch: () => "omit the tag to select that digest, or the digest to select that tag",
  DigestConflict: () => "omit the digest of the destination",
  // content
  ManifestError: () => "print the manifest with effect-oci manifest get",
  PlatformNotFound: () => "name one of these with --platform",
  // artifacts
  UnsafeName: () => "rename the file; of an artifact, print its manifest with effect-oci manifest get",
  DuplicateName: () => "rename one of the files",
  FileExists: () => "replace it with --overwrite, or pull into another folder with --output",
  ArchiveRefused: () => "write the archive without unpacking it with --keep-archives",
  NotListed: () => "name one of these",
  // images
  NotAnImage: () => "inspect it with effect-oci manifest inspect",
  PlatformRequired: () => "name one of these with --platform",
  InvalidConfig: () => "print the config with effect-oci blob get",
  InvalidLayer: ({ layer }) =>
    Digest.isDigest(layer)
      ? "check the layer: effect-oci validate reads all layers of an image"
      : "name a tar archive, a folder, or FOLDER:/TARGET",
  DiffIdMismatch: () => "the image is damaged or was made wrongly: effect-oci validate reads all of it",
  FileNotFound: () => "list the files with effect-oci files ls",
  NotAFile: () => "list what is below it with effect-oci files ls",
  TooManyLinks: () => "list the links with effect-oci files ls --long",
  FileTooLarge: () => "print it with effect-oci files cat",
  NotBasedOn: () => "name the bases with --old-base and --new-base",
  // copies
  TagExists: () => "move the tag with --if-tag-exists replace, or leave it with keep",
  SparseIndexRefused: () => "use --index rewrite to make an index of the copied images",
  VerificationFailed: () => "copy again with --trust deep",
  PlanOutdated: () => "make a new plan",
  TagRefused: () => "run the copy again",
  TooDeep: () => "inspect it with effect-oci tree"
}

/** Reasons with which registries without a catalog refuse a request for it. */
const noCatalog: ReadonlySet<string> = new Set([
  "Denied",
  "ManifestUnknown",
  "NameInvalid",
  "NameUnknown",
  "Unauthorized",
  "UnexpectedResponse",
  "Unsupported"
])

const tipForCatalog = (about: Case): string => {
  const { host = "the registry", reason } = about
  const login = reason._tag === "Unauthorized" || reason._tag === "Denied" ? `${logIn(about)}, unless ` : ""
  return `${login}${host} does not list its repositories, like most public registries: see its web site`
}

// the assertions are safe, because the table has a function for the type of each reason; the compiler cannot follow
// that
const tipOf = (about: Case): string =>
  about.operation === "repositories" && noCatalog.has(about.reason._tag)
    ? tipForCatalog(about)
    : (tips[about.reason._tag] as Tips[Reason["_tag"]])(about.reason as never, about)

// ---------------------------------------------------------------------------------------------------------------------
// sources of credentials
// ---------------------------------------------------------------------------------------------------------------------

const found = ({ found, key, program, source }: DockerConfig.Looked): string => {
  switch (found) {
    case "absent":
      return `${source} (absent)`
    case "none":
      return `${source} (no entry)`
    case "broken":
      return `${source} (broken)`
    case "entry":
      return `${source} (an entry for ${key})`
    case "helper":
      return `${source} (${program}, for ${key})`
  }
}

/** Returns the sources of credentials that were searched, if the failure is a refusal. */
const searched = Effect.fnUntraced(function*({ host, reason, repository }: Case) {
  if (host === undefined || reason._tag !== "Unauthorized" && reason._tag !== "Denied") return undefined
  const place: Place = { host, ...repository === undefined ? {} : { repository } }
  const { file, origin } = yield* Ref.get(yield* CredentialSearch)
  const looked = yield* Effect.orElseSucceed(DockerConfig.explain(place, { file }), () => [])
  const last = looked.findIndex(({ found }) => found === "entry")
  const search: Looked = {
    file,
    origin: yield* origin(place),
    places: last < 0 ? looked : looked.slice(0, last + 1)
  }
  return search
})

/** Describes the sources of credentials that were searched, and what each contained. */
const credentials = ({ host, search }: Case): string => {
  if (search === undefined) return ""
  if (search.origin !== undefined) return `; the credentials for ${host} come from ${search.origin}`
  const { places } = search
  return places.length === 0 ? "" : `; credentials for ${host} were searched in ${places.map(found).join(", ")}`
}

// ---------------------------------------------------------------------------------------------------------------------
// sentences
// ---------------------------------------------------------------------------------------------------------------------

/** Returns a host as people write it, and as they log in to it. */
const familiar = (host: string): string => DockerHub.isHost(host) ? DockerHub.host : host

const placeOf = (reference: string): Pick<Case, "host" | "repository"> =>
  Result.match(Reference.parse(reference), {
    onFailure: () => ({}),
    onSuccess: ({ registry, repository }) => ({ host: familiar(registry), repository })
  })

const caseOf = (error: unknown): Case | undefined => {
  if (isCopyError(error)) {
    const { end, operation, path, reason, reference } = error
    return {
      reason,
      reference,
      end,
      isPart: path.length > 0,
      ...placeOf(reference),
      ...operation === undefined ? {} : { operation }
    }
  }
  if (isArtifactError(error) || isImageError(error)) {
    const { reason, reference } = error
    return { reason, reference, ...placeOf(reference) }
  }
  if (error instanceof LocationError) {
    const { operation, reason, reference } = error
    return { reason, reference, ...placeOf(reference), ...operation === undefined ? {} : { operation } }
  }
  if (isRegistryError(error)) {
    const { operation, reason, registry, repository } = error
    const isHost = Result.isSuccess(Reference.parseHost(registry))
    return {
      reason,
      operation,
      reference: registry,
      ...isHost ? { host: familiar(registry) } : {},
      ...repository === undefined ? {} : { repository }
    }
  }
  return undefined
}

/** Returns what happened, without advice. */
export const messageOf = (error: unknown): string =>
  Format.oneLine(error instanceof Error ? error.message : String(error))

/** Returns the message about an error, with advice if the error has a reason. */
export const describe = Effect.fnUntraced(
  function*(error: unknown): Effect.fn.Return<Messages.Message, never, FileSystem.FileSystem | Path.Path> {
    const about = caseOf(error)
    if (about === undefined) return { type: "error", message: messageOf(error) }
    const search = yield* searched(about)
    const whole = search === undefined ? about : { ...about, search }
    return {
      type: "error",
      message: Format.oneLine(messageOf(error) + credentials(whole)),
      advice: Format.oneLine(tipOf(whole)),
      reference: about.reference,
      ...about.operation === undefined ? {} : { operation: about.operation },
      reason: about.reason._tag
    }
  }
)

/** Reports an error on stderr. */
export const complain = (error: unknown): Effect.Effect<void, never, FileSystem.FileSystem | Path.Path> =>
  Effect.flatMap(describe(error), Messages.send)
