/**
 * Ids that no other process creates.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

/** Returns 16 random hexadecimal digits. */
export const newId: Effect.Effect<string> = Effect.map(
  Effect.replicateEffect(Random.nextIntBetween(0, 0x1_0000), 4),
  (numbers) => numbers.map((number) => number.toString(16).padStart(4, "0")).join("")
)
