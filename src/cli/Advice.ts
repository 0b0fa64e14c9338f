/**
 * What a person is told when something goes wrong: what happened, to which reference, on which host, and what to try.
 */
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import type { Place } from "../auth/Credentials.ts"
import * as DockerConfig from "../auth/DockerConfig.ts"
import { isLoopback } from "../client/HttpResolver.ts"
import { isCopyError, type Reason as CopyReason } from "../copy/CopyError.ts"
import * as Reference from "../Reference.ts"
import { isRegistryError, type Transport } from "../RegistryError.ts"
import { CredentialSearch } from "./CredentialSearch.ts"
import * as Format from "./Format.ts"
import { LocationError, type Reason as NamespaceReason } from "./LocationError.ts"

/** Every reason that there is. */
type Reason = CopyReason | NamespaceReason

/** What went wrong where. */
interface Case {
  readonly reason: Reason
  /** The place as a reference, or the host alone. */
  readonly reference: string
  /** The host, if the place is in a registry that has one. */
  readonly host?: string
  readonly repository?: string
  readonly operation?: string
  readonly end?: "source" | "destination"
  /** True if the content is part of an index that is copied. */
  readonly isPart?: boolean
  /** After a refusal: where credentials were looked for. */
  readonly search?: Looked
}

/** Where credentials were looked for: in a flag or variable, or else in these places. */
interface Looked {
  readonly origin: string | undefined
  readonly file: string | undefined
  readonly places: ReadonlyArray<DockerConfig.Looked>
}

// ---------------------------------------------------------------------------------------------------------------------
// what to try
// ---------------------------------------------------------------------------------------------------------------------

/** What to try, for each reason. */
type Tips = { readonly [T in Reason["_tag"]]: (reason: Extract<Reason, { readonly _tag: T }>, about: Case) => string }

const logIn = ({ host = "HOST", search }: Case): string => {
  if (search?.origin !== undefined) return `check the name and the password of ${search.origin}`
  const login = `effect-oci login ${search?.file === undefined ? "" : `--authfile ${search.file} `}${host}`
  const helper = search?.places.find(({ found }) => found === "helper")
  return helper === undefined ? login : `${login}, or see to it that ${helper.program} works`
}

const again = "try again"

const elsewhere = "try again, and if that does not help get it from elsewhere: what came is not used"

const tipForTransport = ({ code = "" }: Transport, { host = "the host" }: Case): string => {
  if (code === "ENOTFOUND") return `check how ${host} is written, and whether a proxy is needed (HTTPS_PROXY)`
  if (code === "ERR_INVALID_PROXY") return "correct this variable, or unset it"
  if (code === "ECONNREFUSED") return "check the port, and that the registry runs"
  if (code.startsWith("HPE_") && isLoopback(host)) return `--tls ${host} if it is a registry in HTTPS`
  if (code.startsWith("HPE_")) return `--plain-http ${host} if it is a registry in plain HTTP`
  if (/^CERT_(?:HAS_EXPIRED|NOT_YET_VALID|REVOKED)$/.test(code)) {
    return `ask the administrator of ${host} to renew it, and check the clock; --insecure ${host} leaves it unchecked`
  }
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return `use a name that the certificate has; --insecure ${host} leaves it unchecked`
  }
  if (/CERT|SIGNED|ISSUER|LEAF_SIGNATURE/.test(code)) {
    return `--ca-file FILE names the authority of its certificate, --insecure ${host} leaves it unchecked`
  }
  if (/^ERR_(?:SSL|TLS|OSSL)/.test(code)) {
    return `--plain-http ${host} if it does not speak TLS; --cert-file and --key-file if it wants to know who asks`
  }
  return again
}

const isDeletion = ({ operation = "" }: Case): boolean => operation.startsWith("delete")

const enableDeletion = "ask the administrator of the registry to enable deletion"

const tipForUnsupported = (about: Case): string => {
  switch (about.operation) {
    case "deleteTag":
      return `${enableDeletion}; if it deletes manifests but no single tag, ` +
        "effect-oci manifest delete with the digest deletes all tags on it"
    case "deleteManifest":
    case "deleteBlob":
      return enableDeletion
    default:
      return "the registry may be too old for it, or be read-only"
  }
}

const tips: Tips = {
  // the fourteen codes of the distribution specification
  BlobUnknown: () => "content is looked for in the repository that is named, and nowhere else",
  BlobUploadInvalid: () => again,
  BlobUploadUnknown: () => "the upload has taken too long for the registry: try again",
  DigestInvalid: () => "check the digest; not every registry takes others than sha256",
  ManifestBlobUnknown: (_, { end }) =>
    end === undefined
      ? "push what the manifest refers to first, which effect-oci copy does by itself"
      : "the destination has lost content, or refuses it: try --trust deep",
  ManifestInvalid: () => "it may not take manifests of this type: an index, or an artifact",
  ManifestUnknown: (_, about) =>
    about.end === "source" && about.isPart === true
      ? "the source has only some images of this index: --platform OS/ARCH copies one that it has"
      : about.repository === undefined
      ? "effect-oci tags lists what there is"
      : `effect-oci tags ${about.host}/${about.repository} lists what there is`,
  NameInvalid: () => "some registries want names of a certain form, such as PROJECT/NAME",
  NameUnknown: (_, about) =>
    about.host === undefined
      ? "check the path"
      : about.end === "destination"
      ? "some registries want a repository to be created first, on their web site"
      : `check the name; some registries say so of what one may not see: ${logIn(about)}`,
  SizeInvalid: () => again,
  Unauthorized: (_, about) => logIn(about),
  Denied: (_, about) =>
    isDeletion(about)
      ? `deleting needs a permission of its own, and protected or immutable tags refuse it to all; ${logIn(about)}`
      : `check that this user may do it${about.search?.origin === undefined ? `, or be another: ${logIn(about)}` : ""}`,
  Unsupported: (_, about) => tipForUnsupported(about),
  TooManyRequests: ({ retryAfter }) =>
    `wait${
      retryAfter === undefined ? "" : ` ${Duration.format(retryAfter)}`
    }, and ask for less at a time: --concurrency 1`,
  // on the way
  Transport: tipForTransport,
  SchemeMismatch: ({ used }, { host = "HOST" }) =>
    used === "https"
      ? `--plain-http ${host} if it is a registry in plain HTTP`
      : isLoopback(host)
      ? `--tls ${host}`
      : `leave out --plain-http ${host}`,
  Timeout: () => `${again}; --concurrency 1 asks less of a slow registry`,
  UnexpectedResponse: ({ status = 0 }, about) =>
    isDeletion(about) && status >= 400 && status < 500
      ? "the registry keeps it: it may be protected, or an image index may refer to it"
      : `see that ${about.host ?? "the host"} is a registry: what is at /v2/ has to answer`,
  DigestMismatch: () => elsewhere,
  SizeMismatch: () => elsewhere,
  UnsupportedAlgorithm: () => "sha256 and sha512 are known here",
  RangeNotSatisfiable: () => again,
  ContentTooLarge: () => "it is none that this program, or the registry, reads or stores",
  CredentialsUnavailable: () => "mend it, take it away, or name another folder by DOCKER_CONFIG",
  TokenUnavailable: ({ isTemporary }) => isTemporary ? again : "see what the token service is that the registry names",
  Storage: ({ code }) =>
    code === "ENOSPC"
      ? "make room"
      : code === "EACCES" || code === "EPERM"
      ? "check who may write there"
      : "check the path",
  AmbiguousTag: () => "name one of them by its digest, or by its full name: oci:DIR:docker.io/team/app:1",
  // hosts and references
  UnknownHost: () => "check how the host is written",
  ResolveFailed: () => "check how the host, and its mirrors, are written",
  InvalidReference: () => "a reference is host/repository[:tag][@digest]",
  UnfitReference: () => "a reference is host/repository[:tag][@digest]",
  TagMismatch: () => "leave out the tag to have that digest, or the digest to have that tag",
  DigestConflict: () => "leave out the digest of the destination",
  // content
  ManifestError: () => "effect-oci manifest get prints what is there",
  PlatformNotFound: () => "name one of these by --platform",
  // copies
  TagExists: () => "--if-tag-exists replace moves it, keep leaves it",
  SparseIndexRefused: () => "--index rewrite makes an index of those that are copied",
  VerificationFailed: () => "copy again with --trust deep",
  PlanOutdated: () => "plan again",
  TooDeep: () => "see what it is: effect-oci tree"
}

/** Reasons with which registries without a catalog answer a request for it. */
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
  return `${login}${host} does not list its repositories, as most public registries do not: see its web site`
}

// every reason has its own function, which the type of the table says and the compiler cannot follow
const tipOf = (about: Case): string =>
  about.operation === "repositories" && noCatalog.has(about.reason._tag)
    ? tipForCatalog(about)
    : (tips[about.reason._tag] as Tips[Reason["_tag"]])(about.reason as never, about)

// ---------------------------------------------------------------------------------------------------------------------
// who we were
// ---------------------------------------------------------------------------------------------------------------------

const found = ({ found, key, program, source }: DockerConfig.Looked): string => {
  switch (found) {
    case "absent":
      return `${source} (not there)`
    case "none":
      return `${source} (none)`
    case "broken":
      return `${source} (broken)`
    case "entry":
      return `${source} (an entry for ${key})`
    case "helper":
      return `${source} (${program}, asked for ${key})`
  }
}

/** Finds out where credentials were looked for, after a refusal. */
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

/** Where credentials were looked for, and what was there. */
const credentials = ({ host, search }: Case): string => {
  if (search === undefined) return ""
  if (search.origin !== undefined) return `; the credentials for ${host} are those of ${search.origin}`
  const { places } = search
  return places.length === 0 ? "" : `; credentials for ${host} were looked for in ${places.map(found).join(", ")}`
}

// ---------------------------------------------------------------------------------------------------------------------
// sentences
// ---------------------------------------------------------------------------------------------------------------------

/** The host as people write it, and as they log in to it. */
const familiar = (host: string): string => host === "registry-1.docker.io" ? "docker.io" : host

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

/** What happened, without what to try. */
export const messageOf = (error: unknown): string =>
  Format.oneLine(error instanceof Error ? error.message : String(error))

/** What happened, and what to try. */
export const sentence = Effect.fnUntraced(
  function*(error: unknown): Effect.fn.Return<string, never, FileSystem.FileSystem | Path.Path> {
    const about = caseOf(error)
    if (about === undefined) return messageOf(error)
    const search = yield* searched(about)
    const whole = search === undefined ? about : { ...about, search }
    return Format.oneLine(`${messageOf(error)}${credentials(whole)}; ${tipOf(whole)}`)
  }
)

/** Says on stderr that something went wrong, in one line. */
export const complain = (error: unknown): Effect.Effect<void, never, FileSystem.FileSystem | Path.Path> =>
  Effect.flatMap(sentence(error), (sentence) => Console.error(`effect-oci: ${sentence}`))
