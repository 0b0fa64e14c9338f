/**
 * Manifests over HTTP, one request each: read, looked up, written, deleted, without regard to referrers or to several
 * tags.
 *
 * A digest that is told must be that of the bytes, so that Docker's schema 1 is not read: its digest leaves out its
 * signatures.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Urls from "../auth/Urls.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository, Tag } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import { type RegistryError, UnexpectedResponse } from "../RegistryError.ts"
import { excerpt } from "../Text.ts"
import { naturalHeader } from "./Answer.ts"
import type * as Connection from "./Connection.ts"
import * as DigestHeader from "./DigestHeader.ts"

/**
 * How large a manifest may be that is read, in bytes. The specification wants at least 4 MiB.
 *
 * @default 8 MiB
 * @category references
 * @since 0.1.0
 */
export const ManifestLimit: Context.Reference<number> = Context.Reference("effect-oci/HttpRegistry/ManifestLimit", {
  defaultValue: () => 8 * 1024 * 1024
})

// what is known first; then whatever there is, which the caller may understand
const accept = [...MediaType.manifests, "*/*;q=0.1"].join(", ")

const contentType = (headers: Connection.Received["headers"]): string =>
  MediaType.fromContentType(headers["content-type"] ?? MediaType.octetStream)

const decodeOwnType = Schema.decodeUnknownOption(
  Schema.fromJsonString(Schema.Struct({ mediaType: Schema.NonEmptyString }))
)

/** The type that a manifest says that it is, if it does. */
export const ownType = (bytes: Uint8Array): string | undefined =>
  Option.getOrUndefined(decodeOwnType(new TextDecoder().decode(bytes)))?.mediaType

/** A manifest to be written. */
export interface Document {
  readonly mediaType: string
  readonly bytes: Uint8Array
  readonly digest: Digest.Digest
}

export interface ManifestRequests extends Pick<Registry.Registry, "resolveManifest"> {
  /** GET of a tag or a digest. */
  readonly getManifest: (
    repository: Repository,
    reference: Tag | Digest.Digest
  ) => Effect.Effect<Registry.ManifestBytes & { readonly etag: string | undefined }, RegistryError>
  /** PUT to a tag or a digest, with further tags as parameters; gives the headers of the answer. */
  readonly put: (
    repository: Repository,
    reference: Tag | Digest.Digest,
    manifest: Document,
    options?: { readonly tags?: ReadonlyArray<Tag>; readonly headers?: Readonly<Record<string, string>> }
  ) => Effect.Effect<Connection.Received["headers"], RegistryError>
  /** DELETE of a tag or a digest. */
  readonly remove: (
    operation: string,
    repository: Repository,
    reference: Tag | Digest.Digest
  ) => Effect.Effect<void, RegistryError>
}

export const make = (connection: Connection.Connection): ManifestRequests => {
  const urlOf = (repository: Repository, reference: Tag | Digest.Digest) =>
    connection.url(`/v2/${repository}/manifests/${reference}`)

  const getManifest: ManifestRequests["getManifest"] = Effect.fnUntraced(function*(repository, reference) {
    const call = { operation: "getManifest", repository, target: "manifest" } as const
    const request = HttpClientRequest.get(urlOf(repository, reference), { headers: { accept } })
    const { bytes, headers } = yield* connection.send(call, request, [200], yield* ManifestLimit)
    const wanted = Digest.isDigest(reference) ? reference : DigestHeader.read(headers)
    const digest = yield* Hasher.digest(bytes, wanted === undefined ? "sha256" : Digest.algorithm(wanted)).pipe(
      // what a tag's answer says may be left aside (distribution-spec, "Pulling manifests"), the digest asked for may not
      Effect.catch((reason) =>
        wanted === reference ? Effect.fail(connection.error(call, reason)) : Effect.orDie(Hasher.digest(bytes))
      )
    )
    if (wanted !== undefined && Digest.algorithm(wanted) === Digest.algorithm(digest) && digest !== wanted) {
      return yield* connection.error(call, new Hasher.DigestMismatch({ expected: wanted, actual: digest }))
    }
    const mediaType = contentType(headers)
    const own = ownType(bytes)
    if (own !== undefined && own !== mediaType) {
      const detail = `it comes as ${excerpt(mediaType)}, and says of itself that it is another type`
      return yield* connection.error(call, new UnexpectedResponse({ status: 200, detail }))
    }
    return {
      descriptor: { mediaType, digest, size: bytes.length },
      bytes,
      etag: headers["etag"]
    }
  })

  const resolveManifest: ManifestRequests["resolveManifest"] = Effect.fnUntraced(function*(repository, reference) {
    const call = { operation: "resolveManifest", repository, target: "manifest" } as const
    const request = HttpClientRequest.head(urlOf(repository, reference), { headers: { accept } })
    const headers = yield* connection.send(call, request, [200]).pipe(
      Effect.map((received) => received.headers),
      Effect.catchReason("RegistryError", "Unsupported", () => Effect.undefined)
    )
    const digest = headers === undefined ? undefined : DigestHeader.read(headers)
    const size = naturalHeader(headers?.["content-length"])
    // older registries tell neither, and some know no HEAD: then the manifest itself has to say
    if (headers === undefined || digest === undefined || size === undefined) {
      return (yield* getManifest(repository, reference)).descriptor
    }
    if (!Digest.isDigest(reference)) return { mediaType: contentType(headers), digest, size }
    yield* DigestHeader.agree(connection, call, reference, headers)
    return { mediaType: contentType(headers), digest: reference, size }
  })

  const put: ManifestRequests["put"] = Effect.fnUntraced(function*(repository, reference, manifest, options) {
    const call = { operation: "pushManifest", repository, target: "repository" } as const
    const url = Urls.withParameters(urlOf(repository, reference), (options?.tags ?? []).map((tag) => ["tag", tag]))
    const request = HttpClientRequest.bodyUint8Array(
      HttpClientRequest.put(url, { headers: options?.headers }),
      manifest.bytes,
      manifest.mediaType
    )
    const { headers, status } = yield* connection.send(call, request, [201, 200, 202])
    if (status !== 201 && DigestHeader.read(headers) === undefined && headers["location"] === undefined) {
      const detail = "the answer does not say that the manifest is stored"
      return yield* connection.error(call, new UnexpectedResponse({ status, detail }))
    }
    yield* DigestHeader.agree(connection, call, manifest.digest, headers)
    return headers
  })

  const remove: ManifestRequests["remove"] = Effect.fnUntraced(function*(operation, repository, reference) {
    const call = { operation, repository, target: "manifest" } as const
    yield* connection.send(call, HttpClientRequest.delete(urlOf(repository, reference)), [202, 200, 204])
  })

  return { getManifest, resolveManifest, put, remove }
}
