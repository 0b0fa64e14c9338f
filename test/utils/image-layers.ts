/**
 * Images with given layers in a registry in memory.
 */
import { Effect } from "effect"
import * as Image from "effect-oci/Image"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Namespace from "effect-oci/Namespace"
import type { Registry } from "effect-oci/Registry"
import * as Resolver from "effect-oci/Resolver"
import { createHash } from "node:crypto"
import { pushBlob, pushManifest, repository, tag } from "./images.ts"
import { override } from "./registries.ts"
import { tar } from "./tars.ts"

export const app = repository("app")

/** The bytes of a layer as it is in the registry, and those of its archive if they differ. */
type LayerBytes = readonly [bytes: Uint8Array, archive?: Uint8Array]

/** Makes the archive of a layer. */
export const layer: typeof tar = tar

const types = {
  manifest: MediaType.imageManifest,
  config: MediaType.imageConfig,
  layer: MediaType.imageLayer
}

export const diffIdOf = (archive: Uint8Array): string => `sha256:${createHash("sha256").update(archive).digest("hex")}`

/** Pushes an image with the tag `1`. `config` has further fields of its config. */
export const pushImageOf = Effect.fnUntraced(function*(
  registry: Registry,
  layers: ReadonlyArray<LayerBytes>,
  config: object = {},
  { config: configType, layer: layerType, manifest }: typeof types = types
) {
  const descriptors = yield* Effect.forEach(layers, ([bytes]) => pushBlob(registry, app, bytes, layerType))
  const diffIds = layers.map(([bytes, archive = bytes]) => diffIdOf(archive))
  const content = { os: "linux", architecture: "amd64", rootfs: { type: "layers", diff_ids: diffIds }, ...config }
  const described = yield* pushBlob(registry, app, JSON.stringify(content), configType)
  return yield* pushManifest(registry, app, { mediaType: manifest, config: described, layers: descriptors }, [tag("1")])
})

/** Provides a namespace with the registry as the host `a.test`. */
export const within = (registry: Registry) =>
  Effect.provideService(
    Namespace.Namespace,
    Namespace.make({ resolver: Resolver.static({ "a.test": registry }) })
  )

/** Pushes an image, and opens it. */
export const pushLayers = Effect.fnUntraced(function*(
  layers: ReadonlyArray<LayerBytes>,
  config: object = {},
  mediaTypes: typeof types = types
) {
  const registry = yield* MemoryRegistry.make()
  yield* pushImageOf(registry, layers, config, mediaTypes)
  return yield* within(registry)(Image.open("a.test/app:1"))
})

/** Opens an image of these layers, the lowest first. */
export const openImage = (...layers: ReadonlyArray<LayerBytes>) => pushLayers(layers)

/** Opens an image, and records which of its layers are read. */
export const layersRead = Effect.fnUntraced(function*(...layers: ReadonlyArray<LayerBytes>) {
  const registry = yield* MemoryRegistry.make()
  yield* pushImageOf(registry, layers)
  const digests: Array<string> = []
  const recorded = override(registry, {
    getBlob: (repository, digest, options) => {
      digests.push(digest)
      return registry.getBlob(repository, digest, options)
    }
  })
  const image = yield* within(recorded)(Image.open("a.test/app:1"))
  digests.length = 0
  return {
    image,
    reads: () => digests.map((digest) => image.layers.findIndex(({ descriptor }) => descriptor.digest === digest))
  }
})
