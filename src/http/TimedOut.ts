/**
 * Time limits that a transport keeps itself, with timers of its own instead of fibers.
 */
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"

/** Nothing came in time: no answer, or no more of a body. */
export class TimedOut extends Data.Error<
  { readonly phase: "headers" | "body"; readonly after: Duration.Duration; readonly message: string }
> {}
