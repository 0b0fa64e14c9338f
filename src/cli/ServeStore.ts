/**
 * The registry that `serve` serves, and the folder of its content.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Os from "node:os"
import * as Namespace from "../Namespace.ts"
import { type Host, Repository } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import * as LayoutRegistry from "../stores/LayoutRegistry.ts"
import * as MemoryRegistry from "../stores/MemoryRegistry.ts"
import { Failure } from "./Output.ts"

const problems: Readonly<Record<string, string>> = {
  BadResource: "it is not a folder",
  NotFound: "there is no such folder",
  PermissionDenied: "its permissions do not allow it"
}

const unusable = (directory: string, verb: string) => ({ reason }: PlatformError) =>
  new Failure({ message: `cannot ${verb} the folder ${directory}: ${problems[reason._tag] ?? reason._tag}` })

/** Creates a folder and those above it. Node's own way to do that does not end below `/proc`. */
const create = (directory: string): Effect.Effect<void, PlatformError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const parent = path.dirname(directory)
    const made = fs.makeDirectory(directory)
    yield* Effect.catchIf(
      made,
      ({ reason }) => reason._tag === "NotFound" && parent !== directory,
      () => Effect.andThen(create(parent), made)
    )
  }).pipe(Effect.catchIf(({ reason }) => reason._tag === "AlreadyExists", () => Effect.void))

/** Fails unless the folder can be used: read, and created and written to if the registry may change. */
const checkFolder = Effect.fnUntraced(
  function*(directory: string, use: "read" | "write") {
    const fs = yield* FileSystem.FileSystem
    if (use === "write") {
      const path = yield* Path.Path
      yield* Effect.mapError(create(path.resolve(directory)), unusable(directory, "create"))
      yield* Effect.mapError(
        fs.makeTempDirectoryScoped({ directory, prefix: ".effect-oci-" }),
        unusable(directory, "write to")
      )
    }
    yield* Effect.mapError(fs.readDirectory(directory), unusable(directory, "read"))
  },
  Effect.scoped
)

/** Opens the registry in a folder, or makes one in memory. Fails if the folder cannot be served. */
export const open = Effect.fnUntraced(function*(directory: Option.Option<string>, use: "read" | "write") {
  if (Option.isNone(directory)) return yield* MemoryRegistry.make()
  yield* checkFolder(directory.value, use)
  const registry = yield* LayoutRegistry.make({ directory: directory.value })
  yield* registry.ping
  yield* Stream.runDrain(Stream.take(registry.repositories(), 1))
  return registry
})

const isRepository = Schema.is(Repository)

/** Measures the repositories in a folder, in bytes. Each is an image layout; `_` is in front of names in its way. */
const measure = Effect.fnUntraced(function*(directory: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const sizes = new Map<Repository, number>()
  for (const entry of yield* fs.readDirectory(directory, { recursive: true })) {
    const [, folder] = /^(.+)\/blobs\/[^/]+\/[^/]+$/.exec(entry.replaceAll(path.sep, "/")) ?? []
    const name = folder?.split("/").map((part) => part.replace(/^_/, "")).join("/")
    if (!isRepository(name)) continue
    const { size } = yield* fs.stat(path.join(directory, entry))
    sizes.set(name, (sizes.get(name) ?? 0) + Number(size))
  }
  return sizes
})

/** Limits how much the store may hold, and each of its repositories. Measures what is there first. */
export const limited = Effect.fnUntraced(function*(
  store: Registry,
  directory: Option.Option<string>,
  limits: { readonly maxRepository: Option.Option<number>; readonly maxTotal: Option.Option<number> }
) {
  const repository = Option.getOrUndefined(limits.maxRepository)
  // what is in memory must leave some of it for the rest of the machine
  const total = Option.getOrElse(limits.maxTotal, () => Option.isNone(directory) ? Os.totalmem() / 2 : undefined)
  if (repository === undefined && total === undefined) return store
  const used = Option.isNone(directory)
    ? undefined
    : yield* Effect.mapError(measure(directory.value), unusable(directory.value, "measure"))
  const { limited } = yield* Effect.promise(() => import("../views/View.ts"))
  return limited(store, { repository, total, used })
})

/** Returns the registry to serve: the store; or a registry elsewhere, with the store as its cache. */
export const inFrontOf = Effect.fnUntraced(function*(proxied: Option.Option<Host>, store: Registry) {
  if (Option.isNone(proxied)) return store
  const namespace = yield* Namespace.Namespace
  const [CacheRegistry, View] = yield* Effect.promise(() =>
    Promise.all([import("../views/CacheRegistry.ts"), import("../views/View.ts")])
  )
  // upstream requests use our credentials, so clients must not write through the cache
  return View.readOnly(yield* CacheRegistry.make(yield* namespace.registry(proxied.value), { store }))
})
