/**
 * The garbage collection of `serve`.
 */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { RegistryError } from "../RegistryError.ts"
import * as CollectionFlags from "./CollectionFlags.ts"
import * as Messages from "./Messages.ts"
import { misuse } from "./ReferenceInput.ts"
import type * as ServeSettings from "./ServeSettings.ts"

/** The settings of `serve` about collections, besides the interval. */
type Settings = Pick<
  ServeSettings.Values,
  "gcOlderThan" | "gcUntagged" | "gcDangling" | "gcBroken" | "gcKeepNewest" | "gcKeepBy" | "gcInclude" | "gcExclude"
>

const valuesOf = (settings: Settings): CollectionFlags.Values => ({
  olderThan: settings.gcOlderThan ?? CollectionFlags.defaults.olderThan,
  untagged: settings.gcUntagged ?? CollectionFlags.defaults.untagged,
  dangling: settings.gcDangling ?? CollectionFlags.defaults.dangling,
  broken: settings.gcBroken ?? CollectionFlags.defaults.broken,
  keepNewest: Option.fromUndefinedOr(settings.gcKeepNewest),
  keepBy: settings.gcKeepBy ?? CollectionFlags.defaults.keepBy,
  include: (settings.gcInclude ?? []).map((pattern) => new RegExp(pattern)),
  exclude: (settings.gcExclude ?? []).map((pattern) => new RegExp(pattern))
})

/** Fails if the settings ask for collections, but the content must not change. That of a cache always may. */
export const check = ({ gc, proxy, readOnly }: Pick<ServeSettings.Values, "gc" | "proxy" | "readOnly">) =>
  gc !== undefined && readOnly === true && (proxy ?? []).length === 0
    ? Effect.fail(misuse("--gc and --read-only contradict each other"))
    : Effect.void

/** Collects once, and reports it. A failure is reported as well, because the next collection may succeed. */
const collect = Effect.fnUntraced(function*(registry: CollectionFlags.Collected, values: CollectionFlags.Values) {
  const began = yield* Clock.currentTimeMillis
  const result = yield* CollectionFlags.run(registry, registry.repositories(), values, false)
  for (const { problem, repository } of result.skipped) {
    yield* Messages.warn(`the garbage collection skipped ${repository ?? registry.name}: ${problem}`)
  }
  yield* Messages.send({
    type: "collected",
    message: CollectionFlags.summary(result),
    tags: result.tags.length,
    removed: result.removed.length,
    bytes: result.bytes,
    milliseconds: (yield* Clock.currentTimeMillis) - began
  })
}, Effect.catch(({ message }: RegistryError) => Messages.warn(`the garbage collection failed: ${message}`)))

/** Collects again and again, with this interval before each collection. */
export const repeat = (
  registry: CollectionFlags.Collected,
  interval: Duration.Input,
  settings: Settings
): Effect.Effect<never> => Effect.forever(Effect.delay(collect(registry, valuesOf(settings)), interval))
