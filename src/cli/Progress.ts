/**
 * What a person sees of a copy while it runs, on stderr: one line that keeps changing on a terminal, a line for each
 * piece that moved elsewhere.
 */
import * as ByteSize from "effect/ByteSize"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Terminal from "effect/Terminal"
import * as Copy from "../copy/Copy.ts"
import type { CopyReport, Entry } from "../copy/CopyReport.ts"
import * as MediaType from "../MediaType.ts"
import type { RegistryEvent } from "../Registry.ts"

/** A number of bytes, as people read it. */
const size = (bytes: number): string => ByteSize.format(ByteSize.bytes(bytes))

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`

const isManifest = ({ descriptor, role }: Entry): boolean =>
  role !== "blob" && MediaType.isManifest(descriptor.mediaType)

const sentences: Readonly<Record<Exclude<Entry["outcome"], "copied">, string>> = {
  mounted: "mounted",
  present: "already there",
  external: "external and left out",
  missing: "listed but missing at the source"
}

/** One line about everything that was dealt with so far. */
const summary = (entries: ReadonlyArray<Entry>): string => {
  const having = (outcome: Entry["outcome"]) => entries.filter((entry) => entry.outcome === outcome)
  const copied = having("copied")
  const manifests = copied.filter(isManifest)
  const bytes = copied.reduce((sum, { descriptor }) => sum + descriptor.size, 0)
  const others = (["mounted", "present", "external", "missing"] as const).flatMap((outcome) => {
    const count = having(outcome).length
    return count === 0 ? [] : [`${count} ${sentences[outcome]}`]
  })
  if (copied.length === 0) return `nothing to copy: ${others.join(", ")}`
  const blobs = plural(copied.length - manifests.length, "blob")
  return [`copied ${blobs} and ${plural(manifests.length, "manifest")} (${size(bytes)})`, ...others].join(", ")
}

/** What happened, when all is done. */
export const conclusion = (report: CopyReport, elapsed: Duration.Duration): string =>
  `${summary(report.entries)}, in ${(Duration.toMillis(elapsed) / 1000).toFixed(1)} s`

/** Says what happens below. */
export const tell = (event: RegistryEvent): Effect.Effect<void> => {
  switch (event._tag) {
    case "Requested":
    case "Retried":
      return Effect.void
    case "Warning":
      return Console.error(`warning from ${event.registry}: ${event.text}`)
    case "Paused":
      return Console.error(`${event.registry} asks for a pause: waiting ${Duration.format(event.duration)}`)
  }
}

/** Runs a copy in sight of a person. */
export const shown = Effect.fnUntraced(function*<A, E, R>(copy: Effect.Effect<A, E, R>) {
  const stdio = yield* Stdio.Stdio
  const isTerminal = yield* stdio.stderrIsTerminal
  const { columns } = yield* Terminal.Terminal
  const entries: Array<Entry> = []
  const write = (text: string) => Effect.ignore(Stream.run(Stream.succeed(text), stdio.stderr({ endOnDone: false })))
  const observe = (entry: Entry) => {
    entries.push(entry)
    // a line that wraps could not be erased
    if (isTerminal) return Effect.flatMap(columns, (width) => write(eraseLine + summary(entries).slice(0, width - 1)))
    return entry.outcome === "present"
      ? Effect.void
      : Console.error(`${entry.outcome} ${entry.role} ${entry.descriptor.digest} (${size(entry.descriptor.size)})`)
  }
  return yield* copy.pipe(
    Effect.provideService(Copy.Observer, observe),
    Effect.ensuring(isTerminal ? write(eraseLine) : Effect.void)
  )
})

const eraseLine = "\r\x1b[K"
