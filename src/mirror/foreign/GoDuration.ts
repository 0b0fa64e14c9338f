/**
 * Durations of Go: `60m`, `1h30m`, or a number of nanoseconds.
 */
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Spelling from "../Spelling.ts"

/** Schema of a duration. */
const Encoded = Schema.Union([Schema.String, Schema.Number])

export { Encoded as Duration }

/** Spells a duration for the file of a mirror. */
export const spell = (written: string | number): Spelling.Spelled<string> =>
  typeof written === "number"
    ? Result.succeed(Spelling.formatDuration(Duration.millis(written / 1e6)))
    : Result.map(Spelling.duration(written), Spelling.formatDuration)
