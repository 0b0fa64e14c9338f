/**
 * Warnings that a registry sends with its responses (distribution-spec, "Warnings"), each reported to the `Observer`
 * once.
 */
import * as Effect from "effect/Effect"
import type { Secrets } from "../auth/Secrets.ts"
import * as Metrics from "../Metrics.ts"
import { excerpt } from "../Text.ts"

/** Reports the warnings in the `Warning` header of a response. */
export type Warnings = (header: string | undefined) => Effect.Effect<void>

// number of distinct warnings to remember, so that each is reported once
const limit = 100

// maximum number of warnings of one response that are read
const limitOfResponse = 10

export const make = (registry: string, secrets: Secrets): Warnings => {
  const reported = new Set<string>()
  const report = Effect.fnUntraced(function*(header: string) {
    const quotes = Array.from(header.matchAll(/299 \S+ "((?:[^"\\]|\\.)*)"/g))
    for (const [, quoted = ""] of quotes.slice(0, limitOfResponse)) {
      const warning = excerpt(secrets.strike(quoted.replaceAll(/\\(.)/g, "$1")))
      if (warning === "" || reported.has(warning) || reported.size > limit) continue
      const text = reported.size < limit ? warning : "it gives more warnings, which are not shown"
      reported.add(warning)
      yield* Metrics.tell({ _tag: "Warning", registry, text })
    }
  })
  return (header) => header === undefined || reported.size > limit ? Effect.void : report(header)
}
