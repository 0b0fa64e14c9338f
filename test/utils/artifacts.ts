/**
 * Artifacts in a registry in memory, and folders to pull them into.
 */
import { NodeServices } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import * as Manifest from "effect-oci/Manifest"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Namespace from "effect-oci/Namespace"
import type { Registry } from "effect-oci/Registry"
import * as Resolver from "effect-oci/Resolver"
import { Images } from "effect-oci/testing"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { gzipSync } from "node:zlib"
import { temporaryFolder } from "./layouts.ts"

export const app = Images.repository("app")

/** Reference of the tag `1` in the registry of {@link within}. */
export const reference = "mem.local/app:1"

/** Runs an effect with a registry in memory at `mem.local`, and a temporary folder. */
export const within = <A, E>(
  use: (
    world: { readonly registry: Registry; readonly folder: string }
  ) => Effect.Effect<A, E, Namespace.Namespace | Layer.Success<typeof NodeServices.layer>>
) =>
  Effect.scoped(Effect.gen(function*() {
    const registry = yield* MemoryRegistry.make()
    const folder = yield* temporaryFolder
    const namespace = Namespace.layer.pipe(Layer.provide(Resolver.layerStatic({ "mem.local": registry })))
    return yield* Effect.provide(use({ registry, folder }), namespace)
  })).pipe(Effect.provide(NodeServices.layer))

/** Writes files by their paths in a folder. */
export const write = (folder: string, files: Readonly<Record<string, string | Uint8Array>>): void => {
  for (const [name, content] of Object.entries(files)) {
    const path = Path.join(folder, name)
    Fs.mkdirSync(Path.dirname(path), { recursive: true })
    Fs.writeFileSync(path, content)
  }
}

/** Reads everything below a folder: the content of files, the target of links after `->`, and `/` for folders. */
export const read = (folder: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Fs.readdirSync(folder, { recursive: true, withFileTypes: true }).map((entry) => {
      const path = Path.join(entry.parentPath, entry.name)
      const content = entry.isSymbolicLink()
        ? `-> ${Fs.readlinkSync(path)}`
        : entry.isDirectory()
        ? "/"
        : Fs.readFileSync(path, "latin1")
      return [Path.relative(folder, path), content] as const
    }).sort(([a], [b]) => a < b ? -1 : 1)
  )

/** Content of an artifact that another program has made. */
export interface TitledLayer {
  readonly title?: string
  readonly content: string | Uint8Array
  readonly annotations?: Readonly<Record<string, string>>
}

/** Pushes an artifact whose layers have any names, with the tag `1`. */
export const pushTitled = Effect.fnUntraced(function*(registry: Registry, ...layers: ReadonlyArray<TitledLayer>) {
  const descriptors = yield* Effect.forEach(
    layers,
    Effect.fnUntraced(function*({ annotations, content, title }) {
      const descriptor = yield* Images.pushBlob(registry, app, content, "application/octet-stream")
      const all = { ...annotations, ...title === undefined ? {} : { "org.opencontainers.image.title": title } }
      return { ...descriptor, annotations: all }
    })
  )
  yield* Images.pushBlob(registry, app, "{}", MediaType.empty)
  const manifest = yield* Manifest.artifact({ artifactType: "application/vnd.example", layers: descriptors })
  yield* registry.pushManifest(app, manifest, [Images.tag("1")])
  return manifest
})

/** A layer that holds a folder, as oras marks it. */
export const folderLayer = (title: string, tar: Uint8Array, digest?: string): TitledLayer => ({
  title,
  content: gzipSync(tar),
  annotations: {
    "io.deis.oras.content.unpack": "true",
    ...digest === undefined ? {} : { "io.deis.oras.content.digest": digest }
  }
})
