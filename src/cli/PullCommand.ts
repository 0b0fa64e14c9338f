/**
 * `effect-oci pull REFERENCE`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Artifact from "../artifact/Artifact.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Format from "./Format.ts"
import * as Locations from "./Locations.ts"
import * as Messages from "./Messages.ts"
import * as Output from "./Output.ts"
import * as Progress from "./Progress.ts"

/** Writes the messages about a pull that has succeeded: what it has left out, and a summary. */
const conclude = Effect.fnUntraced(function*(
  { bytes, files, skipped, unnamed }: Artifact.PullReport,
  directory: string,
  elapsed: Duration.Duration
) {
  if (unnamed.length > 0) {
    yield* Messages.warn(
      `${Format.plural(unnamed.length, "layer")} without a file name ${
        unnamed.length === 1 ? "is" : "are"
      } left out; ` +
        "effect-oci copy copies an image into a folder"
    )
  }
  yield* Effect.forEach(skipped, ({ entry }) => Messages.warn(`${entry} is left out: it is not a file`))
  const milliseconds = Math.round(Duration.toMillis(elapsed))
  const present = files.filter(({ outcome }) => outcome === "present").length
  const kept = present === 0 ? "" : `, ${present} already there`
  const message = `pulled ${Format.plural(files.length - present, "file")}${kept} (${Format.size(bytes)}), in ` +
    Format.seconds(milliseconds)
  yield* Messages.send({ type: "pulled", message, directory, bytes, milliseconds })
})

export const PullCommand = Command.make(
  "pull",
  {
    artifact: Flags.place(
      "reference",
      "Artifact: host/repository, oci:DIR or oci-archive:FILE, with a tag or a digest"
    ),
    output: Flag.String("output").pipe(
      Flag.withAlias("o"),
      Flag.withMetavar("DIR"),
      Flag.withDescription("Folder for the files. Default: the current folder"),
      Flag.withDefault(".")
    ),
    overwrite: Flags.onOff(
      "overwrite",
      "Replace files that exist with other content. Default: fail before anything changes"
    ),
    platform: Flags.platform("Pull the files for this platform from an index. Default: those of all").pipe(
      Flag.optional
    ),
    keepArchives: Flags.onOff("keep-archives", "Write folders as the archives that they are, without unpacking them"),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ artifact, json, keepArchives, output, overwrite, platform }) {
    const { join } = yield* Path.Path
    const report = yield* artifact.use(
      Locations.image,
      Effect.fnUntraced(function*({ end, format }) {
        const events = Artifact.pullEvents({
          source: end,
          directory: output,
          onFileExists: overwrite ? "replace" : "fail",
          folders: keepArchives ? "archive" : "folder",
          ...Option.isNone(platform) ? {} : { platform: platform.value }
        })
        const [elapsed, report] = yield* Effect.timed(Progress.shown(events))
        yield* conclude(report, output, elapsed)
        return { ...report, reference: format({ digest: report.descriptor.digest }) }
      })
    )
    yield* json
      ? Output.json(Artifact.PullReport, report)
      : Output.text(report.files.map(({ name }) => join(output, name)))
  })
).pipe(
  Connection.provideUnwatched("artifact"),
  Command.withShortDescription("Pulls the files of an artifact into a folder"),
  Command.withDescription(
    "Pulls the files and folders of an artifact that this command or oras has pushed. Names that lead out of the " +
      "folder are refused, and a file gets its name after its content was verified. Prints the paths of the files."
  ),
  Command.withExamples([
    { command: "effect-oci pull registry.example.com/team/config:1", description: "Pull into the current folder" },
    {
      command: "effect-oci pull --output public --overwrite registry.example.com/team/site:1",
      description: "Pull into another folder, and replace files there"
    }
  ])
)
