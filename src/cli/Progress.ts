/**
 * What a person sees of a copy while it runs, on stderr: on a terminal bars for the large blobs and a line about all of it,
 * which keep changing; elsewhere a line for each piece that moved.
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Terminal from "effect/Terminal"
import type { CopyEvent } from "../copy/CopyEvent.ts"
import * as CopyProgress from "../copy/CopyProgress.ts"
import type { CopyReport, Entry, Outcome } from "../copy/CopyReport.ts"
import type { Digest } from "../Digest.ts"
import * as MediaType from "../MediaType.ts"
import { lasting, oneLine, plural, seconds, size } from "./Format.ts"

// ---------------------------------------------------------------------------------------------------------------------
// words
// ---------------------------------------------------------------------------------------------------------------------

const isManifest = ({ descriptor, role }: Entry): boolean =>
  role !== "blob" && MediaType.isManifest(descriptor.mediaType)

const sentences: Readonly<Record<Exclude<Outcome, "copied">, string>> = {
  mounted: "mounted",
  present: "already there",
  external: "external and left out",
  missing: "listed but missing at the source",
  kept: "kept as it was"
}

/** One line about what was dealt with. */
const summary = (entries: ReadonlyArray<Entry>): string => {
  const byOutcome = Map.groupBy(entries, ({ outcome }) => outcome)
  const copied = byOutcome.get("copied") ?? []
  const manifests = copied.filter(isManifest)
  const bytes = copied.reduce((sum, { descriptor }) => sum + descriptor.size, 0)
  const others = (["mounted", "present", "external", "missing", "kept"] as const).flatMap((outcome) => {
    const count = byOutcome.get(outcome)?.length ?? 0
    return count === 0 ? [] : [`${count} ${sentences[outcome]}`]
  })
  if (copied.length === 0) return `nothing to copy: ${others.join(", ")}`
  const blobs = plural(copied.length - manifests.length, "blob")
  return [`copied ${blobs} and ${plural(manifests.length, "manifest")} (${size(bytes)})`, ...others].join(", ")
}

/** What happened, when all is done. */
export const conclusion = ({ entries, unknownReferrers }: CopyReport, elapsed: Duration.Duration): string => {
  const { length } = unknownReferrers
  const unknown = length === 0 ? "" : `; the referrers of ${plural(length, "manifest")} are unknown`
  return `${summary(entries)}, in ${seconds(Duration.toMillis(elapsed))}${unknown}`
}

/** What is said of an event of its own, if anything. */
const remark = (event: CopyEvent): string | undefined => {
  switch (event._tag) {
    case "Warned":
      return oneLine(`warning: ${event.registry}: ${event.text}`)
    case "Paused":
      return oneLine(`${event.registry} asks for a pause: waiting ${Duration.format(event.duration)}`)
    default:
      return undefined
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// bars
// ---------------------------------------------------------------------------------------------------------------------

// smaller ones are gone before they can be read
const largeEnough = 8 * 1024 * 1024
const barsAtMost = 6
const barWidth = 30

const bar = (digest: Digest, piece: { readonly size: number; readonly bytes: number }, width: number): string => {
  const part = piece.size === 0 ? 1 : Math.min(1, piece.bytes / piece.size)
  const percent = `${Math.floor(part * 100)}%`.padStart(4)
  const hex = digest.slice(digest.indexOf(":") + 1)
  const name = digest.slice(0, digest.length - hex.length + 12)
  const numbers = `${percent} of ${size(piece.size)}`
  // in a narrow place the bar gives way first, then the name
  const room = Math.min(barWidth, width - name.length - numbers.length - " [] ".length)
  if (room < 3) return `${hex.slice(0, Math.max(4, Math.min(12, width - numbers.length - 1)))} ${numbers}`
  const filled = Math.round(part * room)
  return `${name} [${"#".repeat(filled)}${".".repeat(room - filled)}] ${numbers}`
}

/** The lines about a copy that is under way, for a terminal of some size, at a time in milliseconds. */
const draw = (
  progress: CopyProgress.CopyProgress,
  now: number,
  width: number,
  rows: number
): ReadonlyArray<string> => {
  const most = Math.max(0, Math.min(barsAtMost, rows - 2))
  const bars = Array.from(progress.moving).filter(([, piece]) => piece.size >= largeEnough).slice(0, most)
  const rate = CopyProgress.rate(progress, now)
  const left = Duration.toMillis(CopyProgress.timeLeft(progress, now) ?? Duration.zero)
  const blobs = `${progress.blobs.done} of ${plural(progress.blobs.total, "blob")}`
  const amount = `${size(progress.bytes.done)} of ${size(progress.bytes.total)}`
  const time = left < 500 ? [] : [`${lasting(left)} left`]
  const total = [
    [
      blobs,
      amount,
      `${size(Math.round(rate))}/s`,
      ...time,
      ...progress.retries === 0 ? [] : [plural(progress.retries, "retry")]
    ],
    [blobs, amount, ...time],
    [amount, ...time],
    [amount]
  ].map((parts) => parts.join(", "))
  return [
    ...bars.map(([digest, piece]) => bar(digest, piece, width)),
    total.find((line) => line.length <= width) ?? amount
  ]
}

// ---------------------------------------------------------------------------------------------------------------------
// showing
// ---------------------------------------------------------------------------------------------------------------------

// one that cannot move its cursor is called so
const term = Config.String("TERM").pipe(Config.withDefault(""))

/** Runs a copy in sight of a person. */
export const shown = Effect.fnUntraced(function*<E, R>(events: Stream.Stream<CopyEvent, E, R>) {
  const stdio = yield* Stdio.Stdio
  const isTerminal = (yield* stdio.stderrIsTerminal) && (yield* Effect.orDie(term)) !== "dumb"
  const show = isTerminal ? onTerminal : inLines
  let report: CopyReport | undefined
  yield* show(Stream.tap(events, (event) =>
    Effect.sync(() => {
      if (event._tag === "Done") report = event.report
    })))
  // a copy that does not fail ends with its report
  return report ?? (yield* Effect.die("a copy has ended without a report"))
})

const inLines = <E, R>(events: Stream.Stream<CopyEvent, E, R>) =>
  Stream.runForEach(events, (event) => {
    const said = remark(event)
    if (said !== undefined) return Console.error(said)
    if (event._tag !== "Settled" || event.entry.outcome === "present") return Effect.void
    const { descriptor, outcome, role } = event.entry
    return Console.error(`${outcome} ${role} ${descriptor.digest} (${size(descriptor.size)})`)
  })

// of a terminal that does not tell
const usualWidth = 80
const usualHeight = 24

const onTerminal = Effect.fnUntraced(function*<E, R>(events: Stream.Stream<CopyEvent, E, R>) {
  const stdio = yield* Stdio.Stdio
  const { columns, rows } = yield* Terminal.Terminal
  const write = (text: string) => Effect.ignore(Stream.run(Stream.succeed(text), stdio.stderr({ endOnDone: false })))
  let progress = CopyProgress.empty
  let drawn: ReadonlyArray<string> = []
  // back to where the first line begins, and all from there on is gone; lines that were broken when the terminal became
  // narrower are several by now
  const erased = (width: number) => {
    const height = drawn.reduce((height, line) => height + Math.max(1, Math.ceil(line.length / width)), 0)
    return height === 0 ? "" : `\r${height === 1 ? "" : `\x1b[${height - 1}A`}\x1b[J`
  }
  const redraw = (above: string = "") =>
    Effect.gen(function*() {
      const width = (yield* columns) || usualWidth
      // a line that reaches the edge would be two on some terminals
      const room = Math.max(1, width - 1)
      const lines = draw(progress, yield* Clock.currentTimeMillis, room, (yield* rows) || usualHeight)
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
    progress = CopyProgress.update(progress, event, clock.currentTimeMillisUnsafe())
    const said = remark(event)
    return said === undefined ? Effect.void : redraw(`${said}\n`)
  })
  yield* Effect.raceFirst(following, Effect.repeat(redraw(), Schedule.spaced("100 millis"))).pipe(
    Effect.ensuring(erase)
  )
})
