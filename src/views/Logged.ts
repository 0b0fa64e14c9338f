/**
 * A view of a registry that logs its calls.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Registry } from "../Registry.ts"
import { isRegistryError } from "../RegistryError.ts"
import { type Call, intercept } from "./Intercept.ts"

/**
 * A call that has ended. A list and the bytes of a blob (`read`) end when they were read to the end, or when the reader
 * stops.
 *
 * @category models
 * @since 0.1.0
 */
export interface CallEnded {
  readonly call: Call
  readonly outcome: "succeeded" | "failed" | "interrupted"
  readonly duration: Duration.Duration
  /** Reason of a failure, on one line and without secrets. */
  readonly error?: string | undefined
  /** Number of listed items, or number of bytes that were read. */
  readonly count?: number | undefined
}

/**
 * Creates a view that reports the end of each call: as a line of the log at level `Debug`, and to `onCall` if given.
 * The calls themselves are unchanged. For a stream of events, offer them to a `Queue` in `onCall`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const logged = (
  self: Registry,
  options?: { readonly onCall?: ((event: CallEnded) => Effect.Effect<void>) | undefined }
): Registry => {
  const report = (event: CallEnded) =>
    Effect.andThen(
      Effect.annotateLogs(Effect.logDebug(line(event)), attributesOf(event)),
      options?.onCall?.(event) ?? Effect.void
    )

  const ended = (call: Call, start: number, exit: Exit.Exit<unknown, unknown>, count?: number) =>
    Effect.flatMap(Clock.currentTimeMillis, (end) =>
      report({
        call,
        ...outcomeOf(exit),
        duration: Duration.millis(end - start),
        ...count === undefined ? {} : { count }
      }))

  return intercept(self, {
    effect: (call, effect) =>
      Effect.flatMap(
        Clock.currentTimeMillis,
        (start) => Effect.onExit(effect, (exit) => ended(call, start, exit))
      ),
    stream: (call, stream) =>
      Stream.unwrap(Effect.map(Clock.currentTimeMillis, (start) => {
        let count = 0
        return stream.pipe(
          Stream.mapArray((items) => {
            for (const item of items) count += item instanceof Uint8Array ? item.length : 1
            return items
          }),
          Stream.onExit((exit) => ended(call, start, exit, count))
        )
      }))
  })
}

const outcomeOf = (exit: Exit.Exit<unknown, unknown>): Pick<CallEnded, "outcome" | "error"> => {
  if (Exit.isSuccess(exit)) return { outcome: "succeeded" }
  if (Cause.hasInterruptsOnly(exit.cause)) return { outcome: "interrupted" }
  const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  return { outcome: "failed", error: isRegistryError(error) ? error.reason.message : "not a failure of the registry" }
}

const attributesOf = ({ call, duration }: CallEnded) => ({
  "oci.registry": call.registry,
  ...call.repository === undefined ? {} : { "oci.repository": call.repository },
  ...call.reference === undefined ? {} : { "oci.reference": call.reference },
  "oci.duration": Duration.format(duration)
})

const line = ({ call, count, error, outcome }: CallEnded): string => {
  const { operation, reference, repository } = call
  const about = [operation, repository, reference].filter((word) => word !== undefined).join(" ")
  return `${about} ${outcome}${count === undefined ? "" : ` with ${count}`}${error === undefined ? "" : `: ${error}`}`
}
