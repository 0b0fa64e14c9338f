/**
 * `effect-oci gc DIR`
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Stream from "effect/Stream"
import * as Reference from "../Reference.ts"
import * as LayoutRegistry from "../stores/LayoutRegistry.ts"
import * as CollectionFlags from "./CollectionFlags.ts"
import * as Flags from "./Flags.ts"
import * as Messages from "./Messages.ts"
import * as Output from "./Output.ts"

/** Name under which a single layout is addressed, which serves all names. */
const anyRepository = Reference.Repository.make("layout")

/** Opens the layout or the registry in a folder. Fails if it is neither. */
const open = Effect.fnUntraced(function*(directory: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const isThere = (...parts: ReadonlyArray<string>) =>
    Effect.orElseSucceed(fs.exists(path.join(directory, ...parts)), () => false)
  if (yield* isThere("oci-layout")) {
    const registry = yield* LayoutRegistry.make({ directory, form: "layout" })
    return { registry, repositories: Stream.succeed(anyRepository) }
  }
  const registry = yield* LayoutRegistry.make({ directory })
  const repositories = registry.repositories()
  const isRegistry = (yield* isThere(".effect-oci", "registry")) ||
    (yield* Stream.runCount(Stream.take(repositories, 1))) > 0
  return isRegistry ? { registry, repositories } : yield* new Output.Failure({
    message: `${directory} is neither an image layout nor a registry of image layouts`
  })
})

export const GcCommand = Command.make(
  "gc",
  {
    directory: Argument.String("DIR").pipe(
      Argument.withMetavar("DIR"),
      Argument.withDescription("Folder of an image layout, or of a registry that serve --dir has written")
    ),
    ...CollectionFlags.flags,
    dryRun: Flags.onOff("dry-run", "Show what would be removed, and remove nothing"),
    json: Flags.onOff("json", "Print the report as JSON")
  },
  Effect.fnUntraced(function*({ directory, dryRun, json, ...flags }) {
    const { registry, repositories } = yield* open(directory)
    const result = yield* CollectionFlags.run(registry, repositories, flags, dryRun)
    yield* json ? Output.json(CollectionFlags.Result, result) : Output.text(CollectionFlags.format(result))
    if (result.skipped.length === 0) return
    for (const { problem, repository } of result.skipped) {
      yield* Messages.send({
        type: "error",
        message: `skipped ${repository ?? directory}: ${problem}`,
        advice: "push the broken manifest again, or delete it with effect-oci manifest delete"
      })
    }
    return yield* new Output.Reported()
  })
).pipe(
  Command.withShortDescription("Removes content that nothing needs from a folder"),
  Command.withDescription(
    "Removes blobs that no manifest needs from an image layout or from a registry of serve --dir, also while other " +
      "processes use it; with --untagged and --dangling manifests as well, and with --keep-newest tags. Content that " +
      "was pushed or asked for recently stays, with all that it needs. A dry run does not count what becomes free " +
      "after tags are deleted."
  ),
  Command.withExamples([
    { command: "effect-oci gc --dry-run ./registry", description: "Show which blobs are not needed" },
    {
      command: "effect-oci gc --untagged collect --older-than 7d ./registry",
      description: "Remove manifests that have had no tag for a week, and their blobs"
    },
    {
      command: "effect-oci gc --keep-newest 5 --keep-by created --include '^pr-' --untagged collect ./registry",
      description: "Keep the five newest tags that begin with pr-, and all others"
    }
  ])
)
