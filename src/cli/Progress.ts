/**
 * The progress of a copy on stderr. On a terminal: bars for large blobs, and a line with the totals, which are redrawn.
 * Elsewhere, and with `--json` or `--debug`: one message for each event.
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Terminal from "effect/Terminal"
import type * as Artifact from "../artifact/Artifact.ts"
import * as CopyProgress from "../copy/CopyProgress.ts"
import type { CopyReport, Entry, Outcome } from "../copy/CopyReport.ts"
import type { Digest } from "../Digest.ts"
import * as MediaType from "../MediaType.ts"
import { lasting, plural, seconds, size } from "./Format.ts"
import * as Messages from "./Messages.ts"
import type { Mode } from "./Mode.ts"

// ---------------------------------------------------------------------------------------------------------------------
// text
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

/** Returns the number of pieces per outcome. */
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

/** Returns the message about a copy that has succeeded. `prefix` names the destination, if there are several. */
export const conclusion = (
  { bytes, destination, entries, requests, unknownReferrers }: CopyReport,
  elapsed: Duration.Duration,
  prefix = ""
): Messages.Message => {
  const { length } = unknownReferrers
  const unknown = length === 0 ? "" : `; the referrers of ${plural(length, "manifest")} are unknown`
  const millis = Duration.toMillis(elapsed)
  return {
    type: "copied",
    message: `${prefix}${summary(entries)}, in ${seconds(millis)}${unknown}`,
    destination,
    bytes,
    requests,
    milliseconds: Math.round(millis)
  }
}

/** Returns the message about a piece of content that is done. */
export const settled = ({ descriptor, outcome, role }: Entry, destination?: string): Messages.Message => {
  const { digest, mediaType, size: bytes } = descriptor
  return {
    type: "settled",
    message: `${outcome} ${role} ${digest} (${size(bytes)})`,
    role,
    digest,
    mediaType,
    size: bytes,
    ...destination === undefined ? {} : { destination },
    outcome
  }
}

/** An event of a copy, or of the push or pull of an artifact. */
type Event<Report = unknown> = Artifact.Event<Report>

/** Returns the message about an event, except for the last one. */
const messageOf = (event: Event): Messages.Message | undefined => {
  switch (event._tag) {
    case "Planned": {
      const { descriptor: { digest, mediaType, size: bytes }, role } = event
      const message = `planned ${role} ${digest} (${size(bytes)})`
      return { type: "planned", message, role, digest, mediaType, size: bytes }
    }
    case "Started": {
      const { digest, size: bytes } = event.descriptor
      return { type: "started", message: `started ${digest} (${size(bytes)})`, digest, size: bytes }
    }
    case "Progressed": {
      const { bytes, descriptor: { digest, size: total } } = event
      const message = `${digest}: ${size(bytes)} of ${size(total)}`
      return { type: "progressed", message, digest, size: total, bytes }
    }
    case "Settled":
      return settled(event.entry)
    case "Retried":
      return Messages.retried(event.error.registry, event.error.message, event.delay)
    case "Warned":
      return Messages.warning(event.registry, event.text)
    case "Paused":
      return Messages.paused(event.registry, event.duration)
    case "Done":
      return undefined
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// bars
// ---------------------------------------------------------------------------------------------------------------------

// minimum size of a blob with a bar, in bytes: bars of smaller blobs disappear before they can be read
const largeEnough = 8 * 1024 * 1024
const barsAtMost = 6
const barWidth = 30

const bar = (digest: Digest, piece: { readonly size: number; readonly bytes: number }, width: number): string => {
  const part = piece.size === 0 ? 1 : Math.min(1, piece.bytes / piece.size)
  const percent = `${Math.floor(part * 100)}%`.padStart(4)
  const hex = digest.slice(digest.indexOf(":") + 1)
  const name = digest.slice(0, digest.length - hex.length + 12)
  const numbers = `${percent} of ${size(piece.size)}`
  // on a narrow terminal the bar is left out first, then the name
  const room = Math.min(barWidth, width - name.length - numbers.length - " [] ".length)
  if (room < 3) return `${hex.slice(0, Math.max(4, Math.min(12, width - numbers.length - 1)))} ${numbers}`
  const filled = Math.round(part * room)
  return `${name} [${"#".repeat(filled)}${".".repeat(room - filled)}] ${numbers}`
}

/**
 * Returns the lines about a running copy at `now`, in milliseconds, for a terminal of `width` columns and `rows` rows.
 */
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
// writing
// ---------------------------------------------------------------------------------------------------------------------

// it is "dumb" for a terminal that cannot move its cursor
const term = Config.String("TERM").pipe(Config.withDefault(""))

/** Runs a copy, a push or a pull, reports its progress, and returns its report. */
export const shown = Effect.fnUntraced(function*<Report, E, R>(events: Stream.Stream<Event<Report>, E, R>) {
  const { detail, format, isTerminal } = yield* Messages.CurrentMode
  const hasBars = isTerminal && format === "text" && detail === "normal" && (yield* Effect.orDie(term)) !== "dumb"
  const show = hasBars ? onTerminal : inLines
  let report: Report | undefined
  yield* show(Stream.tap(events, (event) =>
    Effect.sync(() => {
      if (event._tag === "Done") report = event.report
    })))
  // a copy that does not fail ends with its report
  return report ?? (yield* Effect.die("a copy has ended without a report"))
})

const inLines = <E, R>(events: Stream.Stream<Event, E, R>) =>
  Stream.runForEach(events, (event) => {
    const message = messageOf(event)
    return message === undefined ? Effect.void : Messages.send(message)
  })

// size of a terminal that does not report its own
const usualWidth = 80
const usualHeight = 24

/** Returns the line above the bars about an event, if it deserves one. */
const remarkOf = (event: Event, mode: Mode): string | undefined => {
  const message = event._tag === "Warned" || event._tag === "Paused" ? messageOf(event) : undefined
  return message === undefined ? undefined : Messages.render(message, mode)
}

const onTerminal = Effect.fnUntraced(function*<E, R>(events: Stream.Stream<Event, E, R>) {
  const mode = yield* Messages.CurrentMode
  const stdio = yield* Stdio.Stdio
  const { columns, rows } = yield* Terminal.Terminal
  const write = (text: string) => Effect.ignore(Stream.run(Stream.succeed(text), stdio.stderr({ endOnDone: false })))
  let progress = CopyProgress.empty
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
    if (event._tag !== "Done") progress = CopyProgress.update(progress, event, clock.currentTimeMillisUnsafe())
    const remark = remarkOf(event, mode)
    return remark === undefined ? Effect.void : redraw(`${remark}\n`)
  })
  yield* Effect.raceFirst(following, Effect.repeat(redraw(), Schedule.spaced("100 millis"))).pipe(
    Effect.ensuring(erase)
  )
})
