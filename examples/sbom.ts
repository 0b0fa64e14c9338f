/**
 * Attaches an SBOM to an image, as an artifact whose subject is the image. Registries list it among the referrers of
 * the image, and copies include it.
 *
 *     node examples/sbom.ts 127.0.0.1:5000/team/app:1 sbom.spdx.json
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, FileSystem, Layer } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Descriptor from "effect-oci/Descriptor"
import * as HttpResolver from "effect-oci/HttpResolver"
import * as MediaType from "effect-oci/MediaType"
import * as Namespace from "effect-oci/Namespace"
import * as NodeHttp from "effect-oci/NodeHttp"
import * as Reference from "effect-oci/Reference"
import * as Resolver from "effect-oci/Resolver"

const [image = "", file = ""] = process.argv.slice(2)

const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))

const program = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const namespace = yield* Namespace.Namespace
  const resolver = yield* Resolver.Resolver
  const reference = yield* Effect.fromResult(Reference.parse(image))
  const registry = yield* resolver.resolve(reference.registry)
  const { digest, mediaType, size } = yield* namespace.resolveManifest(reference)

  const push = Effect.fnUntraced(function*(bytes: Uint8Array, mediaType: string) {
    const descriptor = yield* Descriptor.fromBytes(bytes, { mediaType })
    yield* registry.pushBlob(reference.repository, descriptor, BlobSource.fromBytes(bytes))
    return descriptor
  })
  const manifest = {
    schemaVersion: 2,
    mediaType: MediaType.imageManifest,
    artifactType: "application/spdx+json",
    config: yield* push(json({}), MediaType.empty),
    layers: [yield* push(yield* fs.readFile(file), "application/spdx+json")],
    subject: { mediaType, digest, size }
  }
  const attached = yield* registry.pushManifest(reference.repository, {
    mediaType: manifest.mediaType,
    bytes: json(manifest)
  })
  yield* Console.log(`${reference.registry}/${reference.repository}@${attached.digest}`)
})

const RegistriesLayer = Namespace.layer.pipe(
  Layer.provideMerge(HttpResolver.layer()),
  Layer.provide(NodeHttp.layer())
)

NodeRuntime.runMain(Effect.provide(program, [RegistriesLayer, NodeServices.layer]))
