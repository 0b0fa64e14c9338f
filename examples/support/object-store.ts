/**
 * A registry over an object store that has GET, HEAD and PUT, such as S3, GCS, Azure, MinIO or any WebDAV server. Other
 * operations fail as unsupported: there are no lists, not even of referrers.
 */
import { type Cause, Effect, Queue, Schema, Stream } from "effect"
import * as Descriptor from "effect-oci/Descriptor"
import * as Digest from "effect-oci/Digest"
import * as Hasher from "effect-oci/Hasher"
import * as Manifest from "effect-oci/Manifest"
import * as MediaType from "effect-oci/MediaType"
import type * as Reference from "effect-oci/Reference"
import * as Registry from "effect-oci/Registry"
import * as RegistryError from "effect-oci/RegistryError"
import { HttpClient, HttpClientRequest, HttpClientResponse } from "effect/http"

/** Tells content that is not what its descriptor says from the failure of a source. */
const isMismatch = Schema.is(
  Schema.Union([Hasher.DigestMismatch, Hasher.SizeMismatch, Hasher.UnsupportedAlgorithm])
)

/** Describes a manifest, which must have this digest, if one is given. */
const describe = Effect.fnUntraced(function*(bytes: Uint8Array, mediaType?: string, expected?: Digest.Digest) {
  const algorithm = expected === undefined ? undefined : Digest.algorithm(expected)
  const descriptor = yield* Descriptor.fromBytes(bytes, { mediaType, algorithm })
  if (expected === undefined || expected === descriptor.digest) return descriptor
  return yield* new Hasher.DigestMismatch({ expected, actual: descriptor.digest })
})

/** Makes the registry of a bucket, which is a URL without a slash at its end. */
export const makeObjectStore = Effect.fnUntraced(function*(bucket: string) {
  const client = HttpClient.mapRequest(yield* HttpClient.HttpClient, HttpClientRequest.prependUrl(bucket))

  const name = new URL(bucket).host
  const failing = (operation: string, repository: Reference.Repository) => {
    const error = (reason: RegistryError.Reason) =>
      new RegistryError.RegistryError({ operation, registry: name, repository, reason })
    /** Sends a request. Fails with `absent` if the content does not exist. */
    const send = (request: HttpClientRequest.HttpClientRequest, absent: RegistryError.Reason) =>
      client.execute(request).pipe(
        Effect.mapError(() => error(new RegistryError.Transport({}))),
        Effect.flatMap((response) =>
          HttpClientResponse.matchStatus(response, {
            "2xx": (response) => Effect.succeed(response),
            404: () => Effect.fail(error(absent)),
            416: () => Effect.fail(error(new RegistryError.RangeNotSatisfiable({}))),
            orElse: ({ status }) => Effect.fail(error(new RegistryError.UnexpectedResponse({ status })))
          })
        )
      )
    return { error, send }
  }

  const blob = (digest: Digest.Digest) => `/blobs/${digest}`
  const manifest = (repository: Reference.Repository, reference: string) => `/manifests/${repository}/${reference}`

  const readManifest = Effect.fnUntraced(function*(
    operation: string,
    repository: Reference.Repository,
    reference: Reference.Tag | Digest.Digest
  ) {
    const { error, send } = failing(operation, repository)
    const response = yield* send(
      HttpClientRequest.get(manifest(repository, reference)),
      new RegistryError.ManifestUnknown({})
    )
    const bytes = new Uint8Array(
      yield* Effect.mapError(response.arrayBuffer, () => error(new RegistryError.Transport({})))
    )
    const expected = Digest.isDigest(reference) ? reference : undefined
    const descriptor = yield* Effect.mapError(describe(bytes, response.headers["content-type"], expected), error)
    return { bytes, descriptor }
  })

  const exists = Effect.fnUntraced(function*(operation: string, repository: Reference.Repository, path: string) {
    const { send } = failing(operation, repository)
    yield* send(HttpClientRequest.head(path), new RegistryError.ManifestBlobUnknown({ detail: path }))
  })

  /** Fails unless a manifest makes sense, and everything that it refers to is there. */
  const check = Effect.fnUntraced(function*(repository: Reference.Repository, bytes: Uint8Array, mediaType: string) {
    if (!MediaType.isManifest(mediaType)) return
    const { error } = failing("pushManifest", repository)
    const decoded = yield* Effect.mapError(
      Effect.fromResult(Manifest.decode(mediaType, bytes)),
      ({ message }) => error(new RegistryError.ManifestInvalid({ detail: message }))
    )
    const { blobs, manifests } = Manifest.references(decoded)
    const needed = [
      ...blobs.filter(({ mediaType }) => !MediaType.isNonDistributable(mediaType)).map(({ digest }) => blob(digest)),
      ...manifests.map(({ digest }) => manifest(repository, digest))
    ]
    yield* Effect.forEach(needed, (path) => exists("pushManifest", repository, path), { concurrency: 8, discard: true })
  })

  return Registry.make({
    name,
    getManifest: (repository, reference) => readManifest("getManifest", repository, reference),
    resolveManifest: (repository, reference) =>
      Effect.map(readManifest("resolveManifest", repository, reference), ({ descriptor }) => descriptor),
    pushManifest: Effect.fnUntraced(function*(repository, { bytes, digest, mediaType }, tags = []) {
      const { error, send } = failing("pushManifest", repository)
      const descriptor = yield* Effect.mapError(describe(bytes, mediaType, digest), error)
      yield* check(repository, bytes, mediaType)
      for (const reference of [descriptor.digest, ...tags]) {
        const request = HttpClientRequest.put(manifest(repository, reference))
        yield* send(
          HttpClientRequest.bodyUint8Array(request, bytes, mediaType),
          new RegistryError.NameUnknown({})
        )
      }
      return descriptor
    }),
    resolveBlob: Effect.fnUntraced(function*(repository, digest) {
      const { send } = failing("resolveBlob", repository)
      const { headers } = yield* send(HttpClientRequest.head(blob(digest)), new RegistryError.BlobUnknown({}))
      return { mediaType: MediaType.octetStream, digest, size: Number(headers["content-length"]) }
    }),
    getBlob: Effect.fnUntraced(function*(repository, digest, { range } = {}) {
      const { error, send } = failing("getBlob", repository)
      if (range?.length === 0) return yield* error(new RegistryError.RangeNotSatisfiable({}))
      const last = range?.length === undefined ? "" : range.offset + range.length - 1
      const response = yield* send(
        HttpClientRequest.setHeaders(
          HttpClientRequest.get(blob(digest)),
          range === undefined ? {} : { range: `bytes=${range.offset}-${last}` }
        ),
        new RegistryError.BlobUnknown({})
      )
      const size = Number(response.headers["content-range"]?.split("/")[1] ?? response.headers["content-length"])
      const descriptor = { mediaType: MediaType.octetStream, digest, size }
      const stream = Stream.mapError(response.stream, () => error(new RegistryError.Transport({})))
      if (response.status === 206) return { descriptor, stream }
      if (range !== undefined) return yield* error(new RegistryError.Unsupported({ detail: "the store has no ranges" }))
      return {
        descriptor,
        stream: Stream.mapError(
          Hasher.verify(descriptor)(stream),
          (failure) => RegistryError.isRegistryError(failure) ? failure : error(failure)
        )
      }
    }),
    pushBlob: Effect.fnUntraced(function*(repository, { digest, size }, source) {
      const { error, send } = failing("pushBlob", repository)
      // content is read by a fiber of our own, so that what is wrong with it is not taken for a failure of the network
      const queue = yield* Queue.bounded<Uint8Array, Cause.Done>(1)
      const read = source.open(0).pipe(
        Hasher.verify({ digest, size }),
        Stream.mapError((failure) => isMismatch(failure) ? error(failure) : failure),
        Stream.runForEach((chunk) => Queue.offer(queue, chunk)),
        Effect.andThen(Queue.end(queue))
      )
      const request = HttpClientRequest.put(blob(digest))
      const put = send(
        HttpClientRequest.bodyStream(request, Stream.fromQueue(queue), { contentLength: size }),
        new RegistryError.NameUnknown({})
      )
      yield* Effect.all([read, put], { concurrency: 2, discard: true })
      return { mediaType: MediaType.octetStream, digest, size }
    })
  })
})
