/**
 * `effect-oci mirror state copy FROM TO`
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Flags from "./Flags.ts"
import { plural } from "./Format.ts"
import * as MirrorServices from "./MirrorServices.ts"
import * as Output from "./Output.ts"

/** Schema of the result. */
export const CopiedMirrorState = Schema.Struct({
  tags: Schema.Natural,
  runs: Schema.Natural,
  lists: Schema.Natural,
  prunes: Schema.Natural,
  images: Schema.Natural
})

const store = (name: string, description: string) =>
  Argument.String(name).pipe(Argument.withMetavar(name), Argument.withDescription(description))

const MirrorStateCopyCommand = Command.make(
  "copy",
  {
    from: store("FROM", "Store to read: sqlite:FILE, postgres://… or env:NAME"),
    to: store("TO", "Store to write, which must be empty or have the same state"),
    json: Flags.json
  },
  Effect.fnUntraced(function*({ from, json, to }) {
    const copied = yield* MirrorServices.copyState(from, to)
    yield* json
      ? Output.json(CopiedMirrorState, copied)
      : Output.line(`copied ${plural(copied.tags, "tag")} and ${plural(copied.runs, "run")}; all rows were compared`)
  })
).pipe(
  Command.withShortDescription("Copies the state of a mirror to another store"),
  Command.withDescription(
    "Copies the state of a mirror from one store to another, for example from SQLite to PostgreSQL, and compares all " +
      "rows afterwards. Stop all processes that use either store before. If the other store has another state, nothing " +
      "is copied. An interrupted copy can be repeated."
  ),
  Command.withExamples([
    {
      command: "effect-oci mirror state copy sqlite:mirror.db env:DATABASE_URL",
      description: "Move a mirror to PostgreSQL, whose URL is in DATABASE_URL"
    }
  ])
)

export const MirrorStateCommand = Command.make("state").pipe(
  Command.withShortDescription("Copies the state of a mirror to another store"),
  Command.withDescription("Works on the state of a mirror."),
  Command.withSubcommands([MirrorStateCopyCommand])
)
