/**
 * The end of `push` and `attach`: progress, message and result.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type * as Artifact from "../artifact/Artifact.ts"
import * as Format from "./Format.ts"
import type * as Locations from "./Locations.ts"
import * as Messages from "./Messages.ts"
import * as Progress from "./Progress.ts"

/** Writes the message about a push that has succeeded. */
const conclude = ({ bytes, files, reference, requests }: Artifact.PushReport, elapsed: Duration.Duration) => {
  const milliseconds = Math.round(Duration.toMillis(elapsed))
  const message = `pushed ${Format.plural(files.length, "file")} (${Format.size(bytes)} sent), in ` +
    Format.seconds(milliseconds)
  return Messages.send({ type: "copied", message, destination: reference, bytes, requests, milliseconds })
}

/** Runs a push, and returns its report and the line that the command prints. */
export const run = Effect.fnUntraced(function*<E, R>(
  events: Stream.Stream<Artifact.Event<Artifact.PushReport>, E, R>,
  format: Locations.Location["format"]
) {
  const [elapsed, report] = yield* Effect.timed(Progress.shown(events))
  yield* conclude(report, elapsed)
  const line = format({ digest: report.descriptor.digest })
  return { line, report: { ...report, reference: line } }
})
