/**
 * Reading, writing and deleting manifests (distribution-spec, "Pulling manifests", "Pushing Manifests", "Deleting
 * tags", "Deleting Manifests").
 */
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as KeyedLock from "../KeyedLock.ts"
import type { Repository, Tag } from "../Reference.ts"
import type { RegistryError } from "../RegistryError.ts"
import * as Body from "./Body.ts"
import * as Conditions from "./Conditions.ts"
import { parseTag } from "./Endpoint.ts"
import type { Hold } from "./Limits.ts"
import * as ManifestDocument from "./ManifestDocument.ts"
import type * as Refusal from "./Refusal.ts"
import { type Answer, type Caller, contentHeaders, empty, type Incoming, type ServerContext } from "./ServerContext.ts"

type Reference = Tag | Digest.Digest

export interface Manifests {
  readonly get: (request: Incoming, repository: Repository, reference: Reference) => Answer
  readonly head: (request: Incoming, repository: Repository, reference: Reference) => Answer
  readonly put: (
    request: Incoming,
    caller: Caller,
    repository: Repository,
    reference: Reference,
    query: URLSearchParams
  ) => Answer
  readonly remove: (request: Incoming, repository: Repository, reference: Reference) => Answer
}

/** Size above which manifests are checked and stored one at a time, in bytes, because that blocks the event loop. */
const largeSize = 256 * 1024

export const make = ({ idle, registry, settings }: ServerContext): Manifests => {
  const { manifestLimit } = settings
  const largeOnes = Semaphore.makeUnsafe(1)
  const locked = KeyedLock.make()

  /** Runs an effect while no other request changes these tags and digests. */
  const alone = <A, E, R>(
    repository: Repository,
    references: ReadonlyArray<Reference>,
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E, R> =>
    // all requests lock in the same order, so that they cannot block each other
    Array.from(new Set(references)).sort().reduceRight(
      (inner, reference) => locked(`${repository}:${reference}`)(inner),
      effect
    )

  const read = Effect.fnUntraced(
    function*(request: Incoming, hold: Hold) {
      if ((Body.lengthOf(request) ?? 0) > manifestLimit) return yield* Body.tooLarge(manifestLimit)
      const { stream } = yield* Body.open(idle, request, { limit: manifestLimit })
      return yield* Stream.mkUint8Array(Stream.tap(stream, ({ length }) => hold(length)))
    },
    Effect.scoped
  )

  /** Fails if a write is conditional and its condition does not hold. */
  const check = Effect.fnUntraced(
    function*(request: Incoming, repository: Repository, reference: Reference): Effect.fn.Return<
      void,
      RegistryError | Refusal.Refusal
    > {
      const conditions = Conditions.of(request)
      if (conditions === undefined) return
      const current = yield* Effect.catchReasons(registry.resolveManifest(repository, reference), "RegistryError", {
        ManifestUnknown: () => Effect.undefined,
        NameUnknown: () => Effect.undefined
      })
      // deleting absent content is 404 whatever the condition (RFC 9110, 13.2.1)
      if (request.method === "DELETE" && current === undefined) return
      if (Conditions.evaluate(conditions, current?.digest, "write") === "failed") return yield* Conditions.failed()
    }
  )

  const tagsOf = (reference: Reference, query: URLSearchParams): Result.Result<ReadonlyArray<Tag>, Refusal.Refusal> => {
    if (!Digest.isDigest(reference)) return Result.succeed([reference])
    return Result.all(query.getAll("tag").map(parseTag))
  }

  const store = Effect.fnUntraced(
    function*(
      request: Incoming,
      repository: Repository,
      reference: Reference,
      tags: ReadonlyArray<Tag>,
      bytes: Uint8Array
    ) {
      const { mediaType, subject } = yield* Effect.fromResult(ManifestDocument.read(request, bytes))
      yield* bytes.length > largeSize ? Effect.yieldNow : Effect.void
      const manifest = { mediaType, bytes, ...Digest.isDigest(reference) ? { digest: reference } : {} }
      const { digest } = yield* alone(
        repository,
        [reference, ...tags],
        Effect.andThen(check(request, repository, reference), registry.pushManifest(repository, manifest, tags))
      )
      return empty(201, {
        location: `/v2/${repository}/manifests/${digest}`,
        "docker-content-digest": digest,
        // acknowledges that the registry lists the manifest as a referrer ("Pushing Manifests with Subject")
        ...subject === undefined ? {} : { "oci-subject": subject },
        ...Digest.isDigest(reference) && tags.length > 0 ? { "oci-tag": tags.join(", ") } : {}
      })
    }
  )

  const headersOf = ({ digest, mediaType }: Descriptor) => ({ ...contentHeaders(digest), "content-type": mediaType })

  return {
    get: Effect.fnUntraced(function*(request, repository, reference) {
      const { bytes, descriptor } = yield* registry.getManifest(repository, reference)
      const { digest, mediaType } = descriptor
      return yield* Conditions.read(
        request,
        digest,
        Effect.sync(() =>
          HttpServerResponse.uint8Array(bytes, { contentType: mediaType, headers: headersOf(descriptor) })
        )
      )
    }),
    head: Effect.fnUntraced(function*(request, repository, reference) {
      const descriptor = yield* registry.resolveManifest(repository, reference)
      const response = Effect.sync(() => empty(200, headersOf(descriptor), descriptor.size))
      return yield* Conditions.read(request, descriptor.digest, response)
    }),
    put: Effect.fnUntraced(function*(request, caller, repository, reference, query) {
      const tags = yield* Effect.fromResult(tagsOf(reference, query))
      // the bytes count until the response, because many manifests may wait to be stored
      const bytes = yield* read(request, yield* caller.visit.hold)
      const stored = store(request, repository, reference, tags, bytes)
      return yield* bytes.length > largeSize
        ? largeOnes.withPermit(Effect.andThen(Effect.yieldNow, stored))
        : stored
    }),
    remove: Effect.fnUntraced(function*(request, repository, reference) {
      const removal = Digest.isDigest(reference)
        ? registry.deleteManifest(repository, reference)
        : registry.deleteTag(repository, reference)
      yield* alone(repository, [reference], Effect.andThen(check(request, repository, reference), removal))
      return empty(202, {})
    })
  }
}
