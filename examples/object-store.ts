/**
 * A registry of one's own: content in an object store, behind nothing but GET, HEAD and PUT, as S3, GCS, Azure, MinIO and
 * any WebDAV server have them. What is not written here fails as unsupported: there are no lists, also not of what refers
 * to an image. Copies an image there, and from there to where it is wanted.
 *
 *     node examples/object-store.ts http://127.0.0.1:9000/bucket 127.0.0.1:5001/app:1 127.0.0.1:5002/app:1
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Stream } from "effect"
import * as Descriptor from "effect-oci/Descriptor"
import * as Digest from "effect-oci/Digest"
import * as Hasher from "effect-oci/Hasher"
import * as MediaType from "effect-oci/MediaType"
import * as Namespace from "effect-oci/Namespace"
import * as NodeHttp from "effect-oci/NodeHttp"
import * as NodeNamespace from "effect-oci/NodeNamespace"
import * as Reference from "effect-oci/Reference"
import * as Registry from "effect-oci/Registry"
import * as RegistryError from "effect-oci/RegistryError"
import { HttpClient, HttpClientRequest, HttpClientResponse } from "effect/http"

/** Describes a manifest, which must have this digest, if one is given. */
const describe = Effect.fnUntraced(function*(bytes: Uint8Array, mediaType?: string, expected?: Digest.Digest) {
  const algorithm = expected === undefined ? undefined : Digest.algorithm(expected)
  const descriptor = yield* Descriptor.fromBytes(bytes, { mediaType, algorithm })
  if (expected === undefined || expected === descriptor.digest) return descriptor
  return yield* new Hasher.DigestMismatch({ expected, actual: descriptor.digest })
})

const makeObjectStore = Effect.fnUntraced(function*(bucket: string) {
  const client = HttpClient.mapRequest(yield* HttpClient.HttpClient, HttpClientRequest.prependUrl(bucket))

  const failing = (operation: string, repository: Reference.Repository) => {
    const error = (reason: RegistryError.Reason) =>
      new RegistryError.RegistryError({ operation, registry: bucket, repository, reason })
    /** Sends a request; what is not there is `absent`. */
    const send = (request: HttpClientRequest.HttpClientRequest, absent: RegistryError.Reason) =>
      client.execute(request).pipe(
        Effect.mapError(() => error(new RegistryError.Transport({}))),
        Effect.flatMap((response) =>
          HttpClientResponse.matchStatus(response, {
            "2xx": (response) => Effect.succeed(response),
            404: () => Effect.fail(error(absent)),
            orElse: ({ status }) => Effect.fail(error(new RegistryError.UnexpectedResponse({ status })))
          })
        )
      )
    return { error, send }
  }

  const blob = (digest: Digest.Digest) => `/blobs/${digest}`
  const manifest = (repository: Reference.Repository, reference: string) => `/manifests/${repository}/${reference}`

  const getManifest: Registry.Registry["getManifest"] = Effect.fnUntraced(function*(repository, reference) {
    const { error, send } = failing("getManifest", repository)
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

  return Registry.make({
    name: new URL(bucket).host,
    getManifest,
    resolveManifest: (repository, reference) =>
      Effect.map(getManifest(repository, reference), ({ descriptor }) => descriptor),
    pushManifest: Effect.fnUntraced(function*(repository, { bytes, digest, mediaType }, tags = []) {
      const { error, send } = failing("pushManifest", repository)
      const descriptor = yield* Effect.mapError(describe(bytes, mediaType, digest), error)
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
      const { send } = failing("pushBlob", repository)
      const request = HttpClientRequest.put(blob(digest))
      const body = Hasher.verify({ digest, size })(source.open(0))
      yield* send(
        HttpClientRequest.bodyStream(request, body, { contentLength: size }),
        new RegistryError.NameUnknown({})
      )
      return { mediaType: MediaType.octetStream, digest, size }
    })
  })
})

const [bucket = "", source = "", destination = ""] = process.argv.slice(2)

const program = Effect.gen(function*() {
  const registry = yield* makeObjectStore(bucket)
  const namespace = yield* Namespace.Namespace
  const { digest, repository, tag } = yield* Effect.fromResult(Reference.parse(source))
  const stored = {
    registry,
    repository,
    ...tag === undefined ? {} : { tag },
    ...digest === undefined ? {} : { digest }
  }
  for (const copy of [{ source, destination: stored }, { source: stored, destination }]) {
    const { bytes, destination } = yield* namespace.copyManifest({ ...copy, referrers: "skip" })
    yield* Console.log(`${destination} (${bytes} bytes sent)`)
  }
})

NodeRuntime.runMain(Effect.provide(program, [NodeNamespace.layer, NodeHttp.layer()]))
