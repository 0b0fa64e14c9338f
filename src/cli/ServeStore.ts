/**
 * The registry that `serve` serves, and the folder of its content.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Os from "node:os"
import type { RegistryError } from "../RegistryError.ts"
import * as LayoutRegistry from "../stores/LayoutRegistry.ts"
import * as MemoryRegistry from "../stores/MemoryRegistry.ts"
import type * as CollectionFlags from "./CollectionFlags.ts"
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
  readonly verification: "changed" | "always" | undefined
}

/** The store, which lists its content and moves what is broken aside if it is in a folder. */
export interface Store extends CollectionFlags.Collected {
  readonly quarantine?: LayoutRegistry.LayoutRegistry["quarantine"] | undefined
  readonly contents?: LayoutRegistry.LayoutRegistry["contents"] | undefined
}

/** Opens the registry in a folder, or makes a registry in memory. Fails if the folder cannot be served. */
export const open = Effect.fnUntraced(
  function*(
    directory: Option.Option<string>,
    use: "read" | "write",
    { deletableBlobs, maxRepository, maxTotal, pieces, verification }: Options
  ): Effect.fn.Return<Store, Failure | RegistryError, FileSystem.FileSystem | Path.Path | Scope.Scope> {
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
      deletableBlobs,
      verification
    })
    yield* registry.ping
    yield* Stream.runDrain(Stream.take(registry.repositories(), 1))
    return registry
  }
)
