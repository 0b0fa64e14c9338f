/**
 * The progress of a copy on stderr. On a terminal: bars for large blobs, and a line with the totals, which are redrawn.
 * Elsewhere, and with `--json` or `--debug`: one message for each event.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type * as Artifact from "../artifact/Artifact.ts"
import * as CopyProgress from "../copy/CopyProgress.ts"
import type { CopyReport, Entry, Outcome } from "../copy/CopyReport.ts"
import type { Digest } from "../Digest.ts"
import * as MediaType from "../MediaType.ts"
import { lasting, plural, seconds, size } from "./Format.ts"
import * as Messages from "./Messages.ts"
import type { Mode } from "./Mode.ts"
import * as Redraw from "./Redraw.ts"

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

/** Runs a copy, a push or a pull, reports its progress, and returns its report. */
export const shown = Effect.fnUntraced(function*<Report, E, R>(events: Stream.Stream<Event<Report>, E, R>) {
  const show = (yield* Redraw.isPossible) ? onTerminal : inLines
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

/** Returns the line above the bars about an event, if it deserves one. */
const remarkOf = (event: Event, mode: Mode): string | undefined => {
  const message = event._tag === "Warned" || event._tag === "Paused" ? messageOf(event) : undefined
  return message === undefined ? undefined : Messages.render(message, mode)
}

const onTerminal = Effect.fnUntraced(function*<E, R>(events: Stream.Stream<Event, E, R>) {
  const mode = yield* Messages.CurrentMode
  let progress = CopyProgress.empty
  yield* Redraw.follow(events, {
    update: (event, now) => {
      if (event._tag !== "Done") progress = CopyProgress.update(progress, event, now)
    },
    draw: (now, width, rows) => draw(progress, now, width, rows),
    remark: (event) => Effect.succeed(remarkOf(event, mode))
  })
})
