/**
 * `effect-oci mirror check -c FILE`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as MirrorSummary from "../mirror/MirrorSummary.ts"
import * as Flags from "./Flags.ts"
import * as MirrorFlags from "./MirrorFlags.ts"
import * as Output from "./Output.ts"

/** Schema of the result. */
export const CheckedMirror = Schema.Struct({
  format: Schema.Literals(["native", "regsync", "skopeo", "image-syncer", "ocync"]),
  rules: Schema.Array(MirrorSummary.MirrorSummary),
  omissions: Schema.Array(Schema.Struct({ path: Schema.String, message: Schema.String }))
})

const heading = { name: "RULE", from: "FROM", to: "TO", tags: "TAGS", schedule: "SCHEDULE" }

/** Returns the lines of a table of rules. A rule has a line for each of its sources and destinations. */
const table = (rules: ReadonlyArray<MirrorSummary.MirrorSummary>): ReadonlyArray<string> => {
  const rows = rules.flatMap(({ from, name, schedule, tags, to }) =>
    Array.from({ length: Math.max(from.length, to.length) }, (_, index) => ({
      name: index === 0 ? name : "",
      from: from[index] ?? "",
      to: to[index] ?? "",
      tags: index === 0 ? tags : "",
      schedule: index === 0 ? schedule : ""
    }))
  )
  const all = [heading, ...rows]
  const width = (column: keyof typeof heading) => Math.max(...all.map((row) => row[column].length))
  const widths = { name: width("name"), from: width("from"), to: width("to"), tags: width("tags") }
  return all.map(({ from, name, schedule, tags, to }) =>
    [
      name.padEnd(widths.name),
      from.padEnd(widths.from),
      to.padEnd(widths.to),
      tags.padEnd(widths.tags),
      schedule
    ].join("  ").trimEnd()
  )
}

export const MirrorCheckCommand = Command.make(
  "check",
  { file: MirrorFlags.file, config: MirrorFlags.config, ...MirrorFlags.foreign, json: Flags.json },
  Effect.fnUntraced(function*({ config, file, json, ...foreign }) {
    const name = yield* MirrorFlags.nameOf(file, config)
    const { config: { rules }, format, omissions } = yield* MirrorFlags.load(name, foreign)
    const summaries = rules.map(MirrorSummary.of)
    yield* json
      ? Output.json(CheckedMirror, { format, rules: summaries, omissions })
      : Output.text(table(summaries))
  })
).pipe(
  Command.withShortDescription("Validates the file of a mirror, and prints its rules"),
  Command.withDescription(
    "Validates the file of a mirror without a network, and prints its rules. Each problem is one line on stderr, with " +
      "its line or its path in the file; the exit code is then 2. What has no counterpart in a file of another tool is " +
      "a warning."
  ),
  Command.withExamples([
    { command: "effect-oci mirror check -c mirror.yml", description: "Validate a file" },
    { command: "effect-oci mirror check -c regsync.yml", description: "Show the rules of a file of regsync" }
  ])
)
