/**
 * The permits of limiters that a transfer holds for all requests that it sends.
 */
import * as Context from "effect/Context"
import type * as Fiber from "effect/Fiber"

/** Limiters of which `Limiter.withPermits` holds a permit. */
export const HeldPermits: Context.Reference<ReadonlySet<object>> = Context.Reference<ReadonlySet<object>>(
  "effect-oci/Limiter/Held",
  { defaultValue: () => new Set() }
)

/** Returns true if a fiber holds a permit of a limiter. */
export const isHeld = (fiber: Fiber.Fiber<unknown, unknown>, limiter: object): boolean =>
  fiber.getRef(HeldPermits).has(limiter)
