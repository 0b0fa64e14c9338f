/**
 * Two sides of an air gap: the registry `outside.test`, and the registry `inside.test` with the repositories of the
 * mirror. They share nothing but files.
 */
import { NodeServices } from "@effect/platform-node"
import { it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as Bundle from "effect-oci/Bundle"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Namespace from "effect-oci/Namespace"
import type { Registry } from "effect-oci/Registry"
import * as Resolver from "effect-oci/Resolver"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { pushImage, repository, tag } from "./images.ts"
import { temporaryFolder } from "./layouts.ts"
import { configOf } from "./mirrors.ts"
import { override } from "./registries.ts"

/** Options of {@link setup}. */
export interface Options {
  /** Rules. Default: all tags of `app`. */
  readonly rules?: ReadonlyArray<unknown>
  readonly source?: (registry: Registry) => Registry
  readonly destination?: (registry: Registry) => Registry
}

const app = { name: "apps", from: "outside.test/app", to: "inside.test/mirror/app" }

/** Creates both sides, and functions that carry bundles from one to the other. */
export const setup = Effect.fnUntraced(function*({ destination, rules = [app], source }: Options = {}) {
  const folder = yield* temporaryFolder
  const outside = yield* MemoryRegistry.make({ name: "outside.test" })
  const inside = yield* MemoryRegistry.make({ name: "inside.test" })
  const same = (registry: Registry) => registry
  let reads = 0
  const counted = override((source ?? same)(outside), {
    getBlob: (repository, digest, options) => {
      reads++
      return (source ?? same)(outside).getBlob(repository, digest, options)
    }
  })
  const here = Namespace.make({ resolver: Resolver.static({ "outside.test": counted }) })
  const there = Namespace.make({ resolver: Resolver.static({ "inside.test": (destination ?? same)(inside) }) })
  const config = configOf(...rules)
  return {
    folder,
    outside,
    inside,
    config,
    /** Number of blobs that exports have read. */
    reads: () => reads,
    path: (name: string) => Path.join(folder, name),
    push: (name: string, ...layers: ReadonlyArray<string | Uint8Array>) =>
      pushImage(outside, repository("app"), layers, { tags: [tag(name)] }),
    write: (name: string, options?: Bundle.ExportOptions) =>
      Bundle.exportTo(Path.join(folder, name), config, options).pipe(
        Effect.provideService(Namespace.Namespace, here)
      ),
    read: (name: string, options?: Bundle.ImportOptions) =>
      Bundle.importFrom(Path.join(folder, name), options).pipe(
        Effect.provideService(Namespace.Namespace, there)
      ),
    there
  }
})

/** Returns the files below a folder, with their sizes. */
export const filesIn = (folder: string): ReadonlyMap<string, number> =>
  new Map(
    Fs.readdirSync(folder, { recursive: true, withFileTypes: true }).flatMap((entry) => {
      const path = Path.join(entry.parentPath, entry.name)
      return entry.isFile() ? [[Path.relative(folder, path), Fs.statSync(path).size] as const] : []
    })
  )

/** Declares a test that uses files. */
export const test = (
  name: string,
  body: Effect.Effect<void, unknown, NodeServices.NodeServices | Scope.Scope>,
  timeout?: number
) => it.live(name, () => body.pipe(Effect.scoped, Effect.provide(NodeServices.layer)), timeout)

/** Returns the outcomes of an import by tag. */
export const outcomes = ({ tags }: Bundle.ImportReport): Readonly<Record<string, string>> =>
  Object.fromEntries(tags.map(({ name, outcome }) => [name.slice(name.lastIndexOf(":") + 1), outcome]))
