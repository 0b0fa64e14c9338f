/**
 * The garbage collection of `serve`.
 */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { RegistryError } from "../RegistryError.ts"
import * as CollectionFlags from "./CollectionFlags.ts"
import * as Messages from "./Messages.ts"

const prefix = "gc-"

/** The flags, besides the interval. */
export const flags = (() => {
  const { dangling, exclude, include, keepBy, keepNewest, olderThan, untagged } = CollectionFlags.make(prefix)
  return {
    gcOlderThan: olderThan,
    gcUntagged: untagged,
    gcDangling: dangling,
    gcKeepNewest: keepNewest,
    gcKeepBy: keepBy,
    gcInclude: include,
    gcExclude: exclude
  }
})()

interface Values {
  readonly gcOlderThan: CollectionFlags.Values["olderThan"]
  readonly gcUntagged: CollectionFlags.Values["untagged"]
  readonly gcDangling: CollectionFlags.Values["dangling"]
  readonly gcKeepNewest: CollectionFlags.Values["keepNewest"]
  readonly gcKeepBy: CollectionFlags.Values["keepBy"]
  readonly gcInclude: CollectionFlags.Values["include"]
  readonly gcExclude: CollectionFlags.Values["exclude"]
}

/** Collects once, and reports it. A failure is reported as well, because the next collection may succeed. */
const collect = Effect.fnUntraced(function*(registry: CollectionFlags.Collected, values: Values) {
  const began = yield* Clock.currentTimeMillis
  const result = yield* CollectionFlags.run(registry, registry.repositories(), {
    olderThan: values.gcOlderThan,
    untagged: values.gcUntagged,
    dangling: values.gcDangling,
    keepNewest: values.gcKeepNewest,
    keepBy: values.gcKeepBy,
    include: values.gcInclude,
    exclude: values.gcExclude
  }, false)
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
  values: Values
): Effect.Effect<never> => Effect.forever(Effect.delay(collect(registry, values), interval))
