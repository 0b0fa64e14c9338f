/**
 * Lines on a terminal that are redrawn while something is running.
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Terminal from "effect/Terminal"
import * as Messages from "./Messages.ts"

// it is "dumb" for a terminal that cannot move its cursor
const term = Config.String("TERM").pipe(Config.withDefault(""))

/** True if stderr is a terminal on which lines can be redrawn. */
export const isPossible = Effect.gen(function*() {
  const { detail, format, isTerminal } = yield* Messages.CurrentMode
  return isTerminal && format === "text" && detail === "normal" && (yield* Effect.orDie(term)) !== "dumb"
})

// size of a terminal that does not report its own
const usualWidth = 80
const usualHeight = 24

/** Drawing of some events. Times are in milliseconds since the epoch. */
export interface Drawing<A> {
  readonly update: (event: A, now: number) => void
  /** Returns the lines for a terminal of `width` columns and `rows` rows. */
  readonly draw: (now: number, width: number, rows: number) => ReadonlyArray<string>
  /** Returns the line about an event that stays above the others, if the event deserves one. */
  readonly remark: (event: A) => Effect.Effect<string | undefined>
}

/** Runs a stream, and draws lines about its events. They are erased when it ends. */
export const follow = Effect.fnUntraced(function*<A, E, R>(events: Stream.Stream<A, E, R>, drawing: Drawing<A>) {
  const stdio = yield* Stdio.Stdio
  const { columns, rows } = yield* Terminal.Terminal
  const write = (text: string) => Effect.ignore(Stream.run(Stream.succeed(text), stdio.stderr({ endOnDone: false })))
  let drawn: ReadonlyArray<string> = []
  // moves the cursor to the start of the first line, and erases everything below; a line takes several rows if the
  // terminal has become narrower than the line
  const erased = (width: number) => {
    const height = drawn.reduce((height, line) => height + Math.max(1, Math.ceil(line.length / width)), 0)
    return height === 0 ? "" : `\r${height === 1 ? "" : `\x1b[${height - 1}A`}\x1b[J`
  }
  const redraw = (above: string = "") =>
    Effect.gen(function*() {
      const width = (yield* columns) || usualWidth
      // some terminals break a line that reaches the right edge
      const room = Math.max(1, width - 1)
      const lines = drawing.draw(yield* Clock.currentTimeMillis, room, (yield* rows) || usualHeight)
        .map((line) => line.slice(0, room))
      const text = erased(width) + above + lines.join("\n")
      drawn = lines
      yield* write(text)
    })
  const erase = Effect.gen(function*() {
    const text = erased((yield* columns) || usualWidth)
    drawn = []
    yield* write(text)
  })
  const clock = yield* Clock.Clock
  const following = Stream.runForEach(events, (event) => {
    drawing.update(event, clock.currentTimeMillisUnsafe())
    return Effect.flatMap(
      drawing.remark(event),
      (remark) => remark === undefined ? Effect.void : redraw(`${remark}\n`)
    )
  })
  yield* Effect.raceFirst(following, Effect.repeat(redraw(), Schedule.spaced("100 millis"))).pipe(
    Effect.ensuring(erase)
  )
})
