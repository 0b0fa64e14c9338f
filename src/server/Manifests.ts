/**
 * Reading, writing and deleting manifests (distribution-spec, "Pulling manifests", "Pushing Manifests", "Deleting tags",
 * "Deleting Manifests").
 */
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import type { Repository, Tag } from "../Reference.ts"
import * as Body from "./Body.ts"
import { parseTag } from "./Endpoint.ts"
import * as Refusal from "./Refusal.ts"
import { type Answer, contentHeaders, empty, type Incoming, type Served } from "./Served.ts"

type Reference = Tag | Digest.Digest

export interface Manifests {
  readonly get: (repository: Repository, reference: Reference) => Answer
  readonly head: (repository: Repository, reference: Reference) => Answer
  readonly put: (request: Incoming, repository: Repository, reference: Reference, query: URLSearchParams) => Answer
  readonly remove: (repository: Repository, reference: Reference) => Answer
}

const decodeType = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Struct({ mediaType: Schema.String })))

/** The type of a manifest, without parameters: as the request has it, or else as the manifest says it itself. */
const typeOf = ({ headers }: Incoming, bytes: Uint8Array): Result.Result<string, Refusal.Refusal> => {
  const header = headers["content-type"]
  const own = header === undefined ? decodeType(new TextDecoder().decode(bytes)) : undefined
  const mediaType = own?._tag === "Some" ? own.value.mediaType : (header ?? "").split(";", 1)[0]?.trim() ?? ""
  return /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+$/.test(mediaType)
    ? Result.succeed(mediaType)
    : Result.fail(Refusal.make(400, "MANIFEST_INVALID", "the Content-Type is not a media type"))
}

export const make = ({ idle, registry, settings }: Served): Manifests => {
  const { manifestLimit, quirks } = settings

  const read = Effect.fnUntraced(
    function*(request: Incoming) {
      if ((Body.lengthOf(request) ?? 0) > manifestLimit) return yield* Body.tooLarge(manifestLimit)
      const { stream } = yield* Body.open(idle, request, { limit: manifestLimit })
      return yield* Stream.mkUint8Array(stream)
    },
    Effect.scoped
  )

  /** What a manifest says of its subject, which this registry then lists it for (distribution-spec, "Pushing Manifests with Subject"). */
  const subjectOf = (mediaType: string, bytes: Uint8Array): Readonly<Record<string, string>> => {
    if (quirks.has("noReferrers")) return {}
    const manifest = Manifest.decode(mediaType, bytes)
    const subject = Result.isSuccess(manifest) ? manifest.success.content.subject : undefined
    return subject === undefined ? {} : { "oci-subject": subject.digest }
  }

  const tagsOf = (reference: Reference, query: URLSearchParams): Result.Result<ReadonlyArray<Tag>, Refusal.Refusal> => {
    if (!Digest.isDigest(reference)) return Result.succeed([reference])
    return quirks.has("noTagParameters") ? Result.succeed([]) : Result.all(query.getAll("tag").map(parseTag))
  }

  const headersOf = ({ digest, mediaType }: Descriptor) => ({ ...contentHeaders(digest), "content-type": mediaType })

  return {
    get: Effect.fnUntraced(function*(repository, reference) {
      const { bytes, descriptor } = yield* registry.getManifest(repository, reference)
      const { mediaType } = descriptor
      return HttpServerResponse.uint8Array(bytes, { contentType: mediaType, headers: headersOf(descriptor) })
    }),
    head: Effect.fnUntraced(function*(repository, reference) {
      const descriptor = yield* registry.resolveManifest(repository, reference)
      return empty(200, headersOf(descriptor), descriptor.size)
    }),
    put: Effect.fnUntraced(function*(request, repository, reference, query) {
      const tags = yield* Effect.fromResult(tagsOf(reference, query))
      const bytes = yield* read(request)
      const mediaType = yield* Effect.fromResult(typeOf(request, bytes))
      const { digest } = yield* registry.pushManifest(
        repository,
        { mediaType, bytes, ...Digest.isDigest(reference) ? { digest: reference } : {} },
        tags
      )
      return empty(201, {
        location: `/v2/${repository}/manifests/${digest}`,
        "docker-content-digest": digest,
        ...subjectOf(mediaType, bytes),
        ...Digest.isDigest(reference) && tags.length > 0 ? { "oci-tag": tags.join(", ") } : {}
      })
    }),
    remove: Effect.fnUntraced(function*(repository, reference) {
      yield* Digest.isDigest(reference)
        ? registry.deleteManifest(repository, reference)
        : registry.deleteTag(repository, reference)
      return empty(202, {})
    })
  }
}
