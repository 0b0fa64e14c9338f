/**
 * `effect-oci mirror convert FILE`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { MirrorFile } from "../mirror/MirrorConfig.ts"
import type { Loaded } from "../mirror/MirrorConfig.ts"
import * as YamlWriter from "../mirror/YamlWriter.ts"
import * as Flags from "./Flags.ts"
import * as Format from "./Format.ts"
import * as Messages from "./Messages.ts"
import * as MirrorFlags from "./MirrorFlags.ts"
import * as Output from "./Output.ts"

/** Schema of the result. */
export const ConvertedMirror = Schema.Struct({
  format: Schema.Literals(["native", "regsync", "skopeo", "image-syncer", "ocync"]),
  file: MirrorFile,
  omissions: Schema.Array(Schema.Struct({ path: Schema.String, message: Schema.String }))
})

/** Returns notes about the passwords that the file of the other tool contains. */
const passwordNotes = ({ config, file }: Loaded): ReadonlyArray<string> =>
  config.registries.flatMap(({ credentials, host }) => {
    if (credentials._tag !== "Password") return []
    const prefix = Object.entries(file.registries ?? {})
      .find(([key, entry]) => (entry.host ?? key) === host)?.[1].credentials?.replace(/^env:/, "") ?? ""
    return [`${host}: the password is not written: set ${prefix}_USERNAME and ${prefix}_PASSWORD`]
  })

/** Returns the comment about what has no counterpart. */
const comment = ({ format, omissions }: Loaded, notes: ReadonlyArray<string>): ReadonlyArray<string> => {
  if (format === "native") return []
  const lines = omissions.map(({ message, path }) => path === "" ? message : `${path}: ${message}`)
  return [
    `Made of a file of ${format}.`,
    "",
    "Tags that another tool has put at a destination are left alone. To treat them as those of this mirror: adopt: true",
    ...lines.length === 0 ? [] : ["", "Without a counterpart:", ...lines.map((line) => `- ${line}`)],
    ...notes.length === 0 ? [] : ["", ...notes.map((line) => `- ${line}`)]
  ].map((line) => `# ${Format.oneLine(line)}`.trimEnd())
}

export const MirrorConvertCommand = Command.make(
  "convert",
  { file: MirrorFlags.file, config: MirrorFlags.config, ...MirrorFlags.foreign, json: Flags.json },
  Effect.fnUntraced(function*({ config, file, json, ...foreign }) {
    const name = yield* MirrorFlags.nameOf(file, config)
    const loaded = yield* MirrorFlags.load(name, foreign)
    const notes = passwordNotes(loaded)
    for (const note of notes) yield* Messages.note(note)
    if (json) {
      return yield* Output.json(ConvertedMirror, {
        format: loaded.format,
        file: loaded.file,
        omissions: loaded.omissions
      })
    }
    yield* Output.text([...comment(loaded, notes), ...YamlWriter.write(loaded.file).trimEnd().split("\n")])
  })
).pipe(
  Command.withShortDescription("Prints the file of another tool as the file of a mirror"),
  Command.withDescription(
    "Prints the file of regsync, skopeo sync, image-syncer or ocync as the file of a mirror, in YAML. What has no " +
      "counterpart is a comment in the file and a warning on stderr. Passwords are not printed: the file names " +
      "environment variables for them."
  ),
  Command.withExamples([
    { command: "effect-oci mirror convert regsync.yml > mirror.yml", description: "Convert a file of regsync" },
    {
      command: "effect-oci mirror convert sync.yml --to registry.example.com/mirror > mirror.yml",
      description: "Convert a file of skopeo sync"
    }
  ])
)
