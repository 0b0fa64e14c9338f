/**
 * Deletes the images of a repository that are older than so many days, with all their tags. An image that has no date
 * stays, and so does one that a younger tag points at too. Add `--dry-run` to be told only.
 *
 *     node examples/prune.ts 127.0.0.1:5000/team/app 30 --dry-run
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, DateTime, Effect, Layer, Option, Schema, Stream } from "effect"
import type { Digest } from "effect-oci/Digest"
import * as HttpResolver from "effect-oci/HttpResolver"
import * as Manifest from "effect-oci/Manifest"
import * as NodeHttp from "effect-oci/NodeHttp"
import * as Reference from "effect-oci/Reference"
import type { Registry } from "effect-oci/Registry"
import * as Resolver from "effect-oci/Resolver"

const [name = "", days = "", mode] = process.argv.slice(2)

const decodeConfig = Schema.decodeEffect(
  Schema.fromJsonString(Schema.Struct({ created: Schema.optionalKey(Schema.DateTimeUtcFromString) }))
)

/** What a tag or digest names, and when that was made: an index when the first of its images was. */
const inspect = Effect.fnUntraced(function*(
  registry: Registry,
  repository: Reference.Repository,
  reference: Reference.Tag | Digest
) {
  const root = yield* registry.getManifest(repository, reference)
  let manifest = yield* Effect.fromResult(Manifest.decode(root.descriptor.mediaType, root.bytes))
  if (manifest._tag === "Index") {
    const [first] = manifest.content.manifests
    if (first === undefined) return { digest: root.descriptor.digest, created: undefined }
    const { bytes } = yield* registry.getManifest(repository, first.digest)
    manifest = yield* Effect.fromResult(Manifest.decode(first.mediaType, bytes))
  }
  if (manifest._tag !== "Image") return { digest: root.descriptor.digest, created: undefined }
  const { stream } = yield* registry.getBlob(repository, manifest.content.config.digest)
  const config = yield* stream.pipe(Stream.decodeText, Stream.mkString, Effect.flatMap(decodeConfig), Effect.option)
  return { digest: root.descriptor.digest, created: Option.getOrUndefined(config)?.created }
}, Effect.scoped)

const program = Effect.gen(function*() {
  const { registry: host, repository } = yield* Effect.fromResult(Reference.parse(name))
  const registry = yield* Resolver.Resolver.use((resolver) => resolver.resolve(host))
  const limit = DateTime.subtract(yield* DateTime.now, { days: Number(days) })

  const images = yield* registry.tags(repository).pipe(
    Stream.mapEffect(
      (tag) => Effect.map(inspect(registry, repository, tag), (image) => ({ tag, ...image })),
      { concurrency: 8 }
    ),
    Stream.runCollect
  )
  const old = new Set(
    images.flatMap(({ created, digest }) =>
      created !== undefined && DateTime.isLessThan(created, limit) ? [digest] : []
    )
  )
  for (const { created, digest, tag } of images) {
    yield* Console.log(
      `${old.has(digest) ? "-" : " "} ${tag}  ${created === undefined ? "?" : DateTime.formatIso(created)}`
    )
  }
  if (mode !== "--dry-run") yield* Effect.forEach(old, (digest) => registry.deleteManifest(repository, digest))
})

NodeRuntime.runMain(Effect.provide(program, HttpResolver.layer().pipe(Layer.provide(NodeHttp.layer()))))
