/**
 * Fingerprints of settings, which tell whether a new configuration changes a rule.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Hasher from "../Hasher.ts"
import type { MirrorConfig } from "./MirrorConfig.ts"
import type { MirrorRule } from "./MirrorRule.ts"

const plain = (_key: string, value: unknown): unknown => {
  if (value instanceof RegExp) return String(value)
  if (Redacted.isRedacted(value)) return Redacted.value(value)
  return Duration.isDuration(value) ? Duration.toMillis(value) : value
}

/**
 * Returns a text that is the same for two rules if all their settings are, with those of their registries. It contains
 * secrets, so that it must not be shown.
 */
export const make = (rule: MirrorRule, { onRepositoryMissing, registries }: MirrorConfig): string => {
  const hosts = new Set<string>([...rule.from, ...rule.to].map(({ registry }) => registry))
  return JSON.stringify([rule, registries.filter(({ host }) => hosts.has(host)), onRepositoryMissing], plain)
}

/** Returns a digest that is the same for two rules if all their settings are. It contains no secret. */
export const digest = (rule: MirrorRule): Effect.Effect<string> =>
  Effect.orDie(Hasher.digest(new TextEncoder().encode(JSON.stringify(rule, plain))))
