/**
 * Packs files of this repository into an image for two platforms, with a list of its parts that refers to it.
 */
import { Effect, FileSystem, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Descriptor from "effect-oci/Descriptor"
import * as MediaType from "effect-oci/MediaType"
import type * as Reference from "effect-oci/Reference"
import type { Registry } from "effect-oci/Registry"
import { Tar } from "effect/encoding"
import { gzipSync } from "node:zlib"

const json = (value: object) => new TextEncoder().encode(JSON.stringify(value, undefined, 2))

/** A folder as a layer. The same files give the same bytes. */
const packFolder = Effect.fnUntraced(function*(folder: string) {
  const files = yield* FileSystem.FileSystem
  const names = (yield* files.readDirectory(folder, { recursive: true })).filter((name) => name.endsWith(".ts")).sort()
  const entries = yield* Effect.forEach(
    names,
    (name) => Effect.map(files.readFile(`${folder}/${name}`), (content) => Tar.file(`app/${folder}/${name}`, content))
  )
  const tar = yield* Stream.fromIterable(entries).pipe(Stream.pipeThroughChannel(Tar.encode()), Stream.mkUint8Array)
  return { names, bytes: new Uint8Array(gzipSync(tar)) }
})

export const pack = Effect.fnUntraced(function*(
  registry: Registry,
  repository: Reference.Repository,
  tag: Reference.Tag
) {
  const pushBlob = Effect.fnUntraced(function*(bytes: Uint8Array, mediaType: string) {
    const descriptor = yield* Descriptor.fromBytes(bytes, { mediaType })
    yield* registry.pushBlob(repository, descriptor, BlobSource.fromBytes(bytes))
    return descriptor
  })
  const pushManifest = (
    content: { readonly mediaType: string; readonly [field: string]: unknown },
    tags: ReadonlyArray<Reference.Tag> = []
  ) =>
    registry.pushManifest(
      repository,
      { mediaType: content.mediaType, bytes: json({ schemaVersion: 2, ...content }) },
      tags
    )

  const sources = yield* packFolder("src")
  const examples = yield* packFolder("examples")
  const shared = yield* pushBlob(sources.bytes, MediaType.imageLayerGzip)

  const pushImage = Effect.fnUntraced(function*(architecture: string) {
    const platform = { architecture, os: "linux" }
    const own = gzipSync(json({ "built for": `linux/${architecture}`, examples: examples.names }))
    const layers = [shared, yield* pushBlob(new Uint8Array(own), MediaType.imageLayerGzip)]
    const config = yield* pushBlob(
      json({ ...platform, rootfs: { type: "layers", diff_ids: layers.map(({ digest }) => digest) } }),
      MediaType.imageConfig
    )
    return { ...yield* pushManifest({ mediaType: MediaType.imageManifest, config, layers }), platform }
  })

  const manifests = [yield* pushImage("amd64"), yield* pushImage("arm64")]
  const subject = yield* pushManifest({ mediaType: MediaType.imageIndex, manifests }, [tag])
  yield* pushManifest({
    mediaType: MediaType.imageManifest,
    artifactType: "application/spdx+json",
    config: yield* pushBlob(json({}), MediaType.empty),
    layers: [yield* pushBlob(json({ files: sources.names }), "application/spdx+json")],
    subject
  })
  return subject
})
