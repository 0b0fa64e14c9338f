/**
 * Lists the platforms, layers and referrers of an image.
 *
 *     node examples/inspect.ts 127.0.0.1:5001/team/app:1
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Stream } from "effect"
import type { Descriptor } from "effect-oci/Descriptor"
import * as HttpResolver from "effect-oci/HttpResolver"
import * as Manifest from "effect-oci/Manifest"
import * as NodeHttp from "effect-oci/NodeHttp"
import * as Platform from "effect-oci/Platform"
import * as Reference from "effect-oci/Reference"
import type { Registry } from "effect-oci/Registry"
import type { RegistryError } from "effect-oci/RegistryError"
import * as Resolver from "effect-oci/Resolver"

type Named = Pick<Reference.Reference, "repository" | "tag" | "digest">

const line = (depth: number, label: string, { digest, size }: Descriptor) =>
  Console.log(`${"  ".repeat(depth)}${label} ${digest} (${size} bytes)`)

const inspect = Effect.fnUntraced(function*(
  registry: Registry,
  { digest, repository, tag }: Named,
  label: string,
  depth: number
): Effect.fn.Return<void, RegistryError | Manifest.ManifestError> {
  const reference = digest ?? tag ?? Reference.Tag.make("latest")
  const { bytes, descriptor } = yield* registry.getManifest(repository, reference)
  const manifest = yield* Effect.fromResult(Manifest.decode(descriptor.mediaType, bytes))
  yield* line(depth, label, descriptor)

  const { blobs, manifests } = Manifest.references(manifest)
  for (const blob of blobs) yield* line(depth + 1, blob.mediaType, blob)
  for (const child of manifests) {
    const name = child.platform === undefined ? child.mediaType : Platform.format(child.platform)
    yield* inspect(registry, { repository, digest: child.digest }, name, depth + 1)
  }
  yield* Stream.runForEach(
    registry.referrers(repository, descriptor.digest),
    (referrer) => line(depth + 1, `referred to by ${referrer.artifactType}`, referrer)
  )
})

const program = Effect.gen(function*() {
  const reference = yield* Effect.fromResult(Reference.parse(process.argv[2] ?? ""))
  const resolver = yield* Resolver.Resolver
  const registry = yield* resolver.resolve(reference.registry)
  yield* inspect(registry, reference, String(reference), 0)
})

NodeRuntime.runMain(Effect.provide(program, HttpResolver.layer().pipe(Layer.provide(NodeHttp.layer()))))
