/**
 * Deletes the images of a repository that are older than so many days, with all their tags. An image that has no date
 * stays, and so does one that is part of a younger index. Add `--dry-run` to be told only.
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
import type { RegistryError } from "effect-oci/RegistryError"
import * as Resolver from "effect-oci/Resolver"

const [name = "", days = "", mode] = process.argv.slice(2)

interface Image {
  readonly digest: Digest
  readonly created: DateTime.Utc | undefined
  readonly children: ReadonlyArray<Digest>
}

const decodeConfig = Schema.decodeEffect(
  Schema.fromJsonString(Schema.Struct({ created: Schema.optionalKey(Schema.DateTimeUtcFromString) }))
)

/** When an image was made, as far as its config tells. */
const createdOf = Effect.fnUntraced(function*(registry: Registry, repository: Reference.Repository, config: Digest) {
  const { stream } = yield* registry.getBlob(repository, config)
  const decoded = yield* stream.pipe(Stream.decodeText, Stream.mkString, Effect.flatMap(decodeConfig), Effect.option)
  return Option.getOrUndefined(decoded)?.created
}, Effect.scoped)

/** What a tag or digest names: an index is as old as the first of its images. */
const inspect = Effect.fnUntraced(function*(
  registry: Registry,
  repository: Reference.Repository,
  reference: Reference.Tag | Digest
): Effect.fn.Return<Image, RegistryError | Manifest.ManifestError> {
  const { bytes, descriptor } = yield* registry.getManifest(repository, reference)
  const manifest = yield* Effect.fromResult(Manifest.decode(descriptor.mediaType, bytes))
  const children = Manifest.references(manifest).manifests.map(({ digest }) => digest)
  const created = manifest._tag === "Image"
    ? yield* createdOf(registry, repository, manifest.content.config.digest)
    : children[0] && (yield* inspect(registry, repository, children[0])).created
  return { digest: descriptor.digest, created, children }
})

const program = Effect.gen(function*() {
  if (!/^[0-9]+$/.test(days)) return yield* Effect.fail("how many days old may an image be?")
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
  const isOld = ({ created }: Image) => created !== undefined && DateTime.isLessThan(created, limit)
  const old = new Set(images.filter(isOld).map(({ digest }) => digest))
  for (const image of images) {
    if (!isOld(image)) image.children.forEach((child) => old.delete(child))
  }
  for (const { created, digest, tag } of images) {
    yield* Console.log(
      `${old.has(digest) ? "-" : " "} ${tag}  ${created === undefined ? "?" : DateTime.formatIso(created)}`
    )
  }
  if (mode !== "--dry-run") yield* Effect.forEach(old, (digest) => registry.deleteManifest(repository, digest))
})

NodeRuntime.runMain(Effect.provide(program, HttpResolver.layer().pipe(Layer.provide(NodeHttp.layer()))))
