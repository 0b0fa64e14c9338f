/**
 * The registry that `serve` serves, and the folder of its content.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import * as Stream from "effect/Stream"
import * as Os from "node:os"
import * as Namespace from "../Namespace.ts"
import type { Host } from "../Reference.ts"
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

/**
 * Creates a folder and its parents. The recursive option of Node is not used, because it does not end below `/proc`.
 */
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

/** Fails unless the folder can be read, and for `write` also created and written to. */
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

/** Limits of the size of the store, the owner of the pieces of blobs that are read, and the blobs that may go. */
interface Options {
  readonly maxRepository: Option.Option<number>
  readonly maxTotal: Option.Option<number>
  readonly pieces: "owned" | "lent"
  readonly deletableBlobs: "unneeded" | "all"
}

/** Opens the registry in a folder, or makes a registry in memory. Fails if the folder cannot be served. */
export const open = Effect.fnUntraced(
  function*(
    directory: Option.Option<string>,
    use: "read" | "write",
    { deletableBlobs, maxRepository, maxTotal, pieces }: Options
  ) {
    const maximumRepositorySize = Option.getOrUndefined(maxRepository)
    if (Option.isNone(directory)) {
      // half, because other processes need memory as well
      const maximumSize = Option.getOrElse(maxTotal, () => Math.floor(Os.totalmem() / 2))
      return yield* MemoryRegistry.make({ maximumRepositorySize, maximumSize, pieces, deletableBlobs })
    }
    yield* checkFolder(directory.value, use)
    const maximumSize = Option.getOrUndefined(maxTotal)
    const registry = yield* LayoutRegistry.make({
      directory: directory.value,
      maximumRepositorySize,
      maximumSize,
      pieces,
      deletableBlobs
    })
    yield* registry.ping
    yield* Stream.runDrain(Stream.take(registry.repositories(), 1))
    return registry
  }
)

/** Returns the registry to serve: the store, or the registry of `--proxy` with the store as its cache. */
export const inFrontOf = Effect.fnUntraced(function*(proxied: Option.Option<Host>, store: Registry) {
  if (Option.isNone(proxied)) return store
  const namespace = yield* Namespace.Namespace
  const [CacheRegistry, View] = yield* Effect.promise(() =>
    Promise.all([import("../views/CacheRegistry.ts"), import("../views/View.ts")])
  )
  // upstream requests use the credentials of this machine, so clients must not write through the cache
  return View.readOnly(yield* CacheRegistry.make(yield* namespace.registry(proxied.value), { store }))
})
