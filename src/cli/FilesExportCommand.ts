/**
 * `effect-oci files export IMAGE [PATH]`
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Image from "../artifact/Image.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Format from "./Format.ts"
import * as ImageInput from "./ImageInput.ts"
import * as Locations from "./Locations.ts"
import * as Messages from "./Messages.ts"
import * as Output from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"

/** Schema of the result. */
export const ExportedFiles = Schema.Struct({
  directory: Schema.String,
  entries: Schema.Natural,
  /** Paths of devices, pipes, and hard links without a file, which were left out. */
  skipped: Schema.Array(Schema.String)
})

export const FilesExportCommand = Command.make(
  "export",
  {
    image: ImageInput.image,
    path: Argument.String("path").pipe(
      Argument.withMetavar("path"),
      Argument.withDescription("Export only this file or folder, and everything below it"),
      Argument.withDefault("")
    ),
    platform: ImageInput.platform,
    output: Flags.output,
    directory: Flag.String("directory").pipe(
      Flag.withMetavar("DIR"),
      Flag.withDescription("Write the files into this folder, which is empty or does not exist, instead of an archive"),
      Flag.optional
    ),
    json: Flags.onOff("json", "Print the number of files as JSON; requires --directory"),
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ directory, image, json, output, path, platform }) {
    if (Option.isSome(directory) && Option.isSome(output)) {
      return yield* misuse("--directory and --output contradict each other")
    }
    if (json && Option.isNone(directory)) return yield* misuse("--json requires --directory")
    yield* image.use(
      Locations.image,
      Effect.fnUntraced(function*(place) {
        const opened = yield* ImageInput.open(place, platform)
        if (Option.isNone(directory)) return yield* Output.to(output, Image.toTar(opened, path))
        const { entries, skipped } = yield* Image.toFolder(opened, directory.value, path)
        yield* Effect.forEach(
          skipped,
          (path) => Messages.warn(`${path} is left out: it is not a file, folder or link`),
          {
            discard: true
          }
        )
        if (json) return yield* Output.json(ExportedFiles, { directory: directory.value, entries, skipped })
        yield* Messages.note(`exported ${Format.plural(entries, "file")} and folders to ${directory.value}`)
      })
    )
  })
).pipe(
  Connection.provide("image"),
  Command.withShortDescription("Exports the files of an image"),
  Command.withDescription(
    "Exports the files of an image as a tar archive to stdout or a file, or into a folder. Nothing is written outside of " +
      "the folder, and no link leads out of it; devices and pipes are left out of it."
  ),
  Command.withExamples([
    { command: "effect-oci files export ghcr.io/team/app:1 | tar t", description: "Export all files as an archive" },
    {
      command: "effect-oci files export --directory root ghcr.io/team/app:1 usr/share",
      description: "Export a part of an image into a folder"
    }
  ])
)
