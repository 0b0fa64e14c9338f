/**
 * Deletes the images of a repository that are older than a number of days, with all their tags. Images without a date
 * and images of a younger index are kept. A signature, or another referrer, is kept with its image. Add `--dry-run` to
 * list the images without deleting them.
 *
 *     node examples/prune.ts 127.0.0.1:5000/team/app 30 --dry-run
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, DateTime, Effect, Layer, Option, Schema, Stream } from "effect"
import { Digest } from "effect-oci/Digest"
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
  /** Manifests that it contains, at any depth. */
  readonly children: ReadonlyArray<Digest>
  /** The image that it refers to, as a signature does. */
  readonly subject: Digest | undefined
}

const decodeConfig = Schema.decodeEffect(
  Schema.fromJsonString(Schema.Struct({ created: Schema.optionalKey(Schema.DateTimeUtcFromString) }))
)

/** Returns when an image was created, if its config has a date. Reproducible builds write 1970, which is none. */
const createdOf = Effect.fnUntraced(function*(registry: Registry, repository: Reference.Repository, config: Digest) {
  const { stream } = yield* registry.getBlob(repository, config)
  const decoded = yield* stream.pipe(Stream.decodeText, Stream.mkString, Effect.flatMap(decodeConfig), Effect.option)
  const created = Option.getOrUndefined(decoded)?.created
  return created === undefined || DateTime.toEpochMillis(created) <= 0 ? undefined : created
}, Effect.scoped)

/** Inspects a manifest. An index is as old as its youngest image, and has no date if one of them has none. */
const inspect = Effect.fnUntraced(function*(
  registry: Registry,
  repository: Reference.Repository,
  reference: Reference.Tag | Digest
): Effect.fn.Return<Image, RegistryError | Manifest.ManifestError> {
  const { bytes, descriptor: { digest, mediaType } } = yield* registry.getManifest(repository, reference)
  const manifest = yield* Effect.fromResult(Manifest.decode(mediaType, bytes))
  // cosign puts the signatures of an image under a tag that is made of its digest
  const [, hex] = /^sha256-([0-9a-f]{64})/.exec(reference) ?? []
  const subject = hex === undefined ? manifest.content.subject?.digest : Digest.make(`sha256:${hex}`)
  if (manifest._tag === "Image") {
    const created = yield* createdOf(registry, repository, manifest.content.config.digest)
    return { digest, created, children: [], subject }
  }
  const parts = yield* Effect.forEach(
    Manifest.references(manifest).manifests,
    (part) =>
      inspect(registry, repository, part.digest).pipe(
        // BuildKit's attestations have no date
        Effect.map((image) => ({ ...image, isAttestation: part.platform?.os === "unknown" })),
        Effect.catchReason("RegistryError", "ManifestUnknown", () =>
          Effect.succeed({ digest: part.digest, created: undefined, children: [], isAttestation: false }))
      ),
    { concurrency: 4 }
  )
  const dates = parts.flatMap(({ created, isAttestation }) => isAttestation ? [] : [created])
  const known = dates.filter((date) => date !== undefined).sort((a, b) =>
    DateTime.toEpochMillis(b) - DateTime.toEpochMillis(a)
  )
  return {
    digest,
    created: known.length === dates.length ? known[0] : undefined,
    children: parts.flatMap(({ children, digest }) => [digest, ...children]),
    subject
  }
})

/** Finds the digests to delete: all that are old, except for what belongs to something that stays. */
const select = (images: ReadonlyArray<Image>, isOld: (image: Image) => boolean): ReadonlySet<Digest> => {
  const old = new Set(images.filter(isOld).map(({ digest }) => digest))
  let size: number
  do {
    size = old.size
    for (const { children, digest, subject } of images) {
      if (subject !== undefined && !old.has(subject)) old.delete(digest)
      if (!old.has(digest)) children.forEach((child) => old.delete(child))
    }
  } while (old.size < size)
  return old
}

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
  const old = select(images, ({ created }) => created !== undefined && DateTime.isLessThan(created, limit))
  for (const { created, digest, tag } of images) {
    yield* Console.log(
      `${old.has(digest) ? "-" : " "} ${tag}  ${created === undefined ? "?" : DateTime.formatIso(created)}`
    )
  }
  if (mode !== "--dry-run") yield* Effect.forEach(old, (digest) => registry.deleteManifest(repository, digest))
})

NodeRuntime.runMain(Effect.provide(program, HttpResolver.layer().pipe(Layer.provide(NodeHttp.layer()))))
