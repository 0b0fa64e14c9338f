/**
 * The folders of repositories, and the layouts in them.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Reference from "../Reference.ts"
import { NameInvalid, NameUnknown, type Reason, Storage } from "../RegistryError.ts"
import type { Files } from "./Files.ts"
import * as LayoutFolder from "./LayoutFolder.ts"
import type { ProcessIdentity } from "./ProcessIdentity.ts"
import type { VerifiedFiles } from "./VerifiedFiles.ts"

/** Maximum number of layouts in memory. One that was dropped is read again. */
const layoutLimit = 1000

export interface RepositoryFolders {
  /** Fails if the folder has the other form, or cannot be read. */
  readonly check: Effect.Effect<void, Storage>
  /** Returns the key of a repository: its name, or the same key for all repositories if they share one layout. */
  readonly keyOf: (repository: Reference.Repository) => string
  /** Returns the layout of a repository. Fails with `NameUnknown` if it does not exist. */
  readonly find: (repository: Reference.Repository) => Effect.Effect<LayoutFolder.LayoutFolder, Reason>
  /** Returns the layout of a repository, which need not exist yet. */
  readonly prepare: (
    repository: Reference.Repository
  ) => Effect.Effect<LayoutFolder.LayoutFolder, Storage | NameInvalid>
  /** Returns the names of all repositories after a name, in order. */
  readonly repositories: (after: string) => Stream.Stream<Reference.Repository, Storage>
}

// ---------------------------------------------------------------------------------------------------------------------
// names of folders
// ---------------------------------------------------------------------------------------------------------------------

const inTheWay = /^(?:blobs|index\.json|oci-layout|(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?)$/

const toFolder = (part: string): string => inTheWay.test(part) ? `_${part}` : part

const isRepository = Schema.is(Reference.Repository)

/** Returns the part of a repository name that a folder stands for, or nothing if it stands for none. */
const fromFolder = (name: string): ReadonlyArray<string> => {
  const part = name.startsWith("_") ? name.slice(1) : name
  return isRepository(part) && toFolder(part) === name ? [part] : []
}

// ---------------------------------------------------------------------------------------------------------------------
// the tree
// ---------------------------------------------------------------------------------------------------------------------

/** Runs an effect until it has succeeded once. */
const once = <E>(effect: Effect.Effect<unknown, E>): Effect.Effect<void, E> => {
  let isDone = false
  const done = Effect.sync(() => {
    isDone = true
  })
  return Effect.suspend(() => isDone ? Effect.void : Effect.andThen(effect, done))
}

export const make = (options: {
  readonly files: Files
  readonly form: "registry" | "layout"
  readonly owner: ProcessIdentity
  readonly temporary: Effect.Effect<string, Storage>
  readonly verified: VerifiedFiles
}): RepositoryFolders => {
  const { files, form, owner, temporary, verified } = options
  const { root } = files

  // -- one form or the other ------------------------------------------------------------------------------------------

  const mark = files.join(root, LayoutFolder.ours, "registry")
  const layoutFile = files.join(root, "oci-layout")

  const check = once(Effect.gen(function*() {
    if ((yield* files.stat(form === "layout" ? mark : layoutFile)) === undefined) return
    const problem = form === "layout"
      ? "it is a registry of image layouts, not a layout itself"
      : "it is an image layout itself, not a registry of them"
    return yield* new Storage({ path: root, problem })
  }))

  const begin = once(Effect.gen(function*() {
    if (form === "layout" || (yield* files.stat(mark)) !== undefined) return
    yield* files.makeFolder(files.dirname(mark))
    yield* Effect.catchIf(files.write(mark, new Uint8Array()), ({ code }) => code === "EEXIST", () => Effect.void)
  }))

  // -- layouts --------------------------------------------------------------------------------------------------------

  const layouts = new Map<string, LayoutFolder.LayoutFolder>()
  const keyOf = (repository: Reference.Repository) => form === "layout" ? "" : repository
  const absence = form === "layout"
    ? new NameUnknown({ detail: `${root} is not an image layout` })
    : new NameUnknown({})

  // the name becomes a path, so it is checked again
  const make = (key: string): Effect.Effect<LayoutFolder.LayoutFolder, NameInvalid> =>
    form === "registry" && !isRepository(key)
      ? Effect.fail(new NameInvalid({}))
      : Effect.succeed(LayoutFolder.make({
        files,
        owner,
        folder: form === "layout" ? root : files.join(root, ...key.split("/").map(toFolder)),
        temporary,
        verified,
        absence,
        begin
      }))

  /** Keeps a layout in memory as the most recently used one. */
  const use = (key: string, layout: LayoutFolder.LayoutFolder) => {
    layouts.delete(key)
    layouts.set(key, layout)
    const [oldest] = layouts.keys()
    if (layouts.size > layoutLimit && oldest !== undefined) layouts.delete(oldest)
    return layout
  }

  const find: RepositoryFolders["find"] = Effect.fnUntraced(function*(repository) {
    yield* check
    const key = keyOf(repository)
    const known = layouts.get(key)
    if (known !== undefined) return use(key, known)
    const layout = yield* make(key)
    // absent layouts are not kept, because clients could ask for any number of them
    return (yield* layout.exists) ? use(key, layouts.get(key) ?? layout) : yield* absence
  })

  const isLayout = (folder: string) =>
    Effect.map(files.stat(files.join(folder, "oci-layout")), (info) => info?.type === "File")

  /** Lists the repositories below a folder in the order of their names: `a-b` follows `a`, and precedes `a/b`. */
  const walk = (folder: string, prefix: string, after: string): Stream.Stream<Reference.Repository, Storage> =>
    Stream.unwrap(Effect.map(files.list(folder, "Directory"), (names) => {
      const parts = names.flatMap(fromFolder)
      const keys = parts.flatMap((part) => [part, `${part}/`]).sort()
      return Stream.flatMap(Stream.fromIterable(keys), (key) => {
        const name = prefix + key
        const at = files.join(folder, toFolder(key.replace("/", "")))
        if (key.endsWith("/")) return name > after || after.startsWith(name) ? walk(at, name, after) : Stream.empty
        if (name <= after || !isRepository(name)) return Stream.empty
        return Stream.flatMap(
          Stream.fromEffect(isLayout(at)),
          (isLayout) => isLayout ? Stream.succeed(name) : Stream.empty
        )
      })
    }))

  return {
    check,
    keyOf,
    find,
    prepare: Effect.fnUntraced(function*(repository) {
      yield* check
      const key = keyOf(repository)
      return use(key, layouts.get(key) ?? (yield* make(key)))
    }),
    repositories: (after) => Stream.unwrap(Effect.as(check, walk(root, "", after)))
  }
}
