/**
 * The scrub of `serve`.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Metric from "effect/Metric"
import type * as Path from "effect/Path"
import type * as Scrub from "../artifact/Scrub.ts"
import type { RegistryError } from "../RegistryError.ts"
import type { Check } from "../server/RegistryPage.ts"
import * as LayoutRegistry from "../stores/LayoutRegistry.ts"
import * as Format from "./Format.ts"
import * as Messages from "./Messages.ts"
import { misuse } from "./ReferenceInput.ts"
import type * as ServeSettings from "./ServeSettings.ts"
import type { Store } from "./ServeStore.ts"

/** The settings of `serve` that matter for scrubs. */
type Settings = Pick<ServeSettings.Values, "scrub" | "scrubRate" | "scrubBroken" | "dir" | "proxy" | "readOnly">

/** Fails if the settings ask to move content aside, but it must not change. That of a cache always may. */
export const check = ({ proxy = [], readOnly, scrub, scrubBroken }: Settings) => {
  if (scrubBroken !== undefined && scrub === undefined) return Effect.fail(misuse("--scrub-broken requires --scrub"))
  return scrubBroken === "quarantine" && readOnly === true && proxy.length === 0
    ? Effect.fail(misuse("--scrub-broken quarantine and --read-only contradict each other"))
    : Effect.void
}

// ---------------------------------------------------------------------------------------------------------------------
// metrics
// ---------------------------------------------------------------------------------------------------------------------

const problems = Metric.gauge("registry_scrub_problems", { description: "Problems that the last scrub found" })
const ended = Metric.gauge("registry_scrub_last_end_timestamp_seconds", {
  description: "Time at which the last scrub ended, in seconds since 1970"
})
const scrubs = Metric.counter("registry_scrubs_total", {
  description: "Scrubs that ended, by their result",
  incremental: true
})
const bytes = Metric.counter("registry_scrub_bytes_total", {
  description: "Bytes of blobs that scrubs have read",
  incremental: true
})
const quarantined = Metric.counter("registry_scrub_quarantined_total", {
  description: "Manifests and blobs that scrubs have moved aside",
  incremental: true
})

const counted = (result: "complete" | "failed") => Metric.update(Metric.withAttributes(scrubs, { result }), 1)

// ---------------------------------------------------------------------------------------------------------------------
// scrubs
// ---------------------------------------------------------------------------------------------------------------------

/** Maximum number of problems that one scrub writes to the log. The report has more. */
const maximumWarnings = 100

const warningOf = ({ digest, message, outcome, repository, tag }: Scrub.Problem): string => {
  const name = `${repository}${tag === undefined ? "" : `:${tag}`}${digest === undefined ? "" : `@${digest}`}`
  return `the scrub found a problem in ${name}: ${message}${outcome === "quarantined" ? "; it was moved aside" : ""}`
}

/** Returns a registry that knows nothing of the files that were verified earlier. */
const unverified = ({ dir }: Settings, store: Store) =>
  dir === undefined ? Effect.succeed(store) : LayoutRegistry.make({ directory: dir, verification: "always" })

/**
 * Returns what moves broken content of the store aside. A cache forgets it as well, so that it is fetched again, and a
 * collection does not wait for a client that pushes it.
 */
const quarantineOf = (store: Store, isCache: boolean): "report" | Scrub.Quarantine => {
  const { quarantine } = store
  if (quarantine === undefined) return "report"
  return {
    quarantine: (repository, digest) =>
      Effect.tap(
        quarantine(repository, digest),
        (outcome) =>
          isCache && outcome === "quarantined" ? Effect.ignore(store.deleteManifest(repository, digest)) : Effect.void
      )
  }
}

/** Scrubs, and the result of the last one. */
export interface Scrubs {
  readonly last: Effect.Effect<Check | undefined>
  /** Scrubs again and again, with an interval before each scrub. */
  readonly repeat: (
    interval: Duration.Input
  ) => Effect.Effect<never, never, FileSystem.FileSystem | Path.Path>
}

/** Makes the scrubs of a store. */
export const make = (store: Store, settings: Settings): Scrubs => {
  let last: Check | undefined
  const { proxy = [], scrubBroken, scrubRate } = settings
  const isCache = proxy.length > 0
  const broken = scrubBroken === "quarantine" ? quarantineOf(store, isCache) : "report"

  const scrub = Effect.fnUntraced(
    function*() {
      const began = yield* Clock.currentTimeMillis
      const { run } = yield* Effect.promise(() => import("../artifact/Scrub.ts"))
      let warnings = 0
      const report = yield* run(yield* unverified(settings, store), {
        rate: scrubRate,
        broken,
        // a cache lacks what no client has asked for
        missing: isCache ? "ignore" : "report",
        onProblem: (problem) =>
          Effect.andThen(
            problem.outcome === "quarantined" ? Metric.update(quarantined, 1) : Effect.void,
            warnings++ < maximumWarnings ? Messages.warn(warningOf(problem)) : Effect.void
          )
      })
      if (warnings > maximumWarnings) {
        yield* Messages.warn(`the scrub found ${warnings - maximumWarnings} more problems`)
      }
      const now = yield* Clock.currentTimeMillis
      last = { ...report, endedAt: DateTime.makeUnsafe(now) }
      yield* Metric.update(problems, report.problems.length)
      yield* Metric.update(ended, Math.floor(now / 1000))
      yield* Metric.update(bytes, report.bytes)
      yield* counted("complete")
      yield* Messages.send({
        type: "scrubbed",
        message: `scrubbed ${Format.plural(report.manifests, "manifest")} and ${Format.plural(report.blobs, "blob")}, ${
          Format.plural(report.bytes, "byte")
        }, in ${Format.plural(report.repositories, "repository")}: ${
          report.problems.length === 0 ? "no problems" : Format.plural(report.problems.length, "problem")
        }`,
        manifests: report.manifests,
        blobs: report.blobs,
        bytes: report.bytes,
        problems: report.problems.length,
        quarantined: report.problems.filter(({ outcome }) => outcome === "quarantined").length,
        milliseconds: now - began
      })
    },
    Effect.catch(({ message }: RegistryError) =>
      Effect.andThen(counted("failed"), Messages.warn(`the scrub failed: ${message}`))
    )
  )

  return {
    last: Effect.sync(() => last),
    repeat: (interval) => Effect.forever(Effect.delay(scrub(), interval))
  }
}
