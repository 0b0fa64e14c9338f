/**
 * Requests for manifests over HTTP, one for each operation. Referrers and pushes with several tags are handled above.
 *
 * A manifest that is read by digest must have that digest. If the response to a read by tag contains a wrong digest,
 * the digest of the bytes is used, with a warning. Docker's schema 1 fails in this case, because its digest excludes
 * its signatures.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Result from "effect/Result"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import { naturalHeader } from "../http/ResponseBody.ts"
import * as Urls from "../http/Urls.ts"
import { isWebPage } from "../http/WebPage.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository, Tag } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import { type RegistryError, UnexpectedResponse } from "../RegistryError.ts"
import { excerpt } from "../Text.ts"
import type * as Connection from "./Connection.ts"
import * as DigestHeader from "./DigestHeader.ts"
import * as Encoding from "./Encoding.ts"
import * as Heads from "./Heads.ts"

/**
 * Maximum size of a manifest that is read, in bytes. The specification requires at least 4 MiB.
 *
 * @default 8 MiB
 * @category references
 * @since 0.1.0
 */
export const ManifestLimit: Context.Reference<number> = Context.Reference("effect-oci/HttpRegistry/ManifestLimit", {
  defaultValue: () => 8 * 1024 * 1024
})

// the known types first; then any type, which the caller may understand
const accept = [...MediaType.manifests, "*/*;q=0.1"].join(", ")

const contentType = (headers: Connection.Received["headers"]): string =>
  MediaType.fromContentType(headers["content-type"] ?? MediaType.octetStream)

/** Returns true for Docker's schema 1, whose digest excludes its signatures. */
const isSigned = (mediaType: string): boolean =>
  mediaType === "application/vnd.docker.distribution.manifest.v1+prettyjws"

/** A manifest to push. */
export interface Document {
  readonly mediaType: string
  readonly bytes: Uint8Array
  readonly digest: Digest.Digest
}

export interface ManifestRequests extends Pick<Registry.Registry, "resolveManifest"> {
  /** Reads a manifest by tag or digest. */
  readonly getManifest: (
    repository: Repository,
    reference: Tag | Digest.Digest
  ) => Effect.Effect<Registry.ManifestBytes & { readonly etag: string | undefined }, RegistryError>
  /** Writes a manifest by tag or digest, with further tags as parameters. Returns the headers of the response. */
  readonly put: (
    repository: Repository,
    reference: Tag | Digest.Digest,
    manifest: Document,
    options?: {
      readonly tags?: ReadonlyArray<Tag> | undefined
      readonly headers?: Readonly<Record<string, string>> | undefined
    }
  ) => Effect.Effect<Connection.Received["headers"], RegistryError>
  /** Deletes a tag or a manifest. */
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
    const limit = yield* ManifestLimit
    const received = yield* connection.send(call, request, [200], limit)
    const { headers } = received
    const bytes = yield* Encoding.document(received, limit, (reason) => connection.error(call, reason))
    const unexpected = (detail: string) => connection.error(call, new UnexpectedResponse({ status: 200, detail }))

    const wanted = Digest.isDigest(reference) ? reference : DigestHeader.read(headers)
    const digest = yield* Hasher.digest(bytes, wanted === undefined ? "sha256" : Digest.algorithm(wanted)).pipe(
      // the digest in a response is optional (distribution-spec, "Pulling manifests"), the requested one is not
      Effect.catch((reason) =>
        wanted === reference ? Effect.fail(connection.error(call, reason)) : Effect.orDie(Hasher.digest(bytes))
      )
    )
    const mediaType = Manifest.mediaTypeOf(headers["content-type"] ?? "", bytes)
    if (Result.isFailure(mediaType) && mediaType.failure.kind === "Malformed") {
      const declared = excerpt(mediaType.failure.mediaType)
      return yield* unexpected(`its Content-Type is ${declared}, but its mediaType field names another type`)
    }
    // content with the expected digest is accepted, because registries have more types than are known here
    if (Result.isFailure(mediaType) && digest !== wanted) {
      const kind = isWebPage(headers["content-type"], new TextDecoder().decode(bytes.subarray(0, 1000)))
        ? "a web page"
        : excerpt(contentType(headers))
      return yield* unexpected(`the answer is not a manifest, but ${kind}`)
    }
    if (wanted !== undefined && Digest.algorithm(wanted) === Digest.algorithm(digest) && digest !== wanted) {
      if (wanted === reference || isSigned(contentType(headers))) {
        return yield* connection.error(call, new Hasher.DigestMismatch({ expected: wanted, actual: digest }))
      }
      yield* connection.warn(`${repository}:${reference} has the digest ${digest}, the answer says ${wanted}`)
    }
    return {
      descriptor: { mediaType: Result.getOrElse(mediaType, () => contentType(headers)), digest, size: bytes.length },
      bytes,
      etag: headers["etag"]
    }
  })

  const head = Heads.make(connection)

  const resolveManifest: ManifestRequests["resolveManifest"] = (repository, reference) => {
    const call = { operation: "resolveManifest", repository, target: "manifest" } as const
    const request = HttpClientRequest.head(urlOf(repository, reference), { headers: { accept } })
    // some registries do not support HEAD, and others omit the digest or the type: then the manifest itself is read
    const read = Effect.map(Effect.suspend(() => getManifest(repository, reference)), ({ descriptor }) => descriptor)
    const answer = Effect.fnUntraced(function*(headers: Connection.Received["headers"]) {
      if (Digest.isDigest(reference)) yield* DigestHeader.agree(connection, call, reference, headers)
      const digest = DigestHeader.read(headers)
      const size = Encoding.labelOf(headers) === undefined
        ? naturalHeader(headers["content-length"])
        : undefined
      const mediaType = contentType(headers)
      if (digest === undefined || size === undefined || MediaType.isGeneric(mediaType)) return yield* read
      return { mediaType, digest: Digest.isDigest(reference) ? reference : digest, size }
    })
    return head(call, request, { answer, refusal: read })
  }

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
      const detail = "the answer does not confirm that the manifest is stored"
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
