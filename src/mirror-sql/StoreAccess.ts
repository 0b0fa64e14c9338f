/**
 * Operations on the database of a mirror: their time limit, their retries while the database is away, and the
 * conversion of their failures.
 */
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import { SqlError } from "effect/sql/SqlError"
import { MirrorStateError, RetryTime } from "../mirror/MirrorState.ts"

// time after which an attempt is cut off, because the connection may be lost without a sign
const attemptTime = "10 seconds"

// classes of PostgreSQL: lack of resources, and operator intervention, which includes its start and its end
const isTemporary = (code: string): boolean => code.startsWith("53") || code.startsWith("57P")

// a standby that is not promoted yet (25006); a connection that was ended while it was idle (25P03)
const otherTemporary = ["25006", "25P03"]

const codeOf = (cause: unknown): string =>
  hasProperty(cause, "code") && typeof cause.code === "string" ? cause.code : ""

/** Returns true if another attempt may succeed. */
const isRetryable = (error: SqlError): boolean => {
  const code = codeOf(error.reason.cause)
  return error.isRetryable || isTemporary(code) || otherTemporary.includes(code)
}

/** Returns the message of the driver with that of the database. */
const textOf = ({ message, reason: { cause } }: SqlError): string => {
  const text = message.replace(/^Pg\w+: /, "PostgreSQL: ")
  if (!(cause instanceof Error)) return text
  // several addresses of one name have failed if the error has no message of its own
  const detail = cause.message === "" ? codeOf(cause) : cause.message
  return detail === "" || text.includes(detail) ? text : `${text}: ${detail}`
}

type Problem = SqlError | Schema.SchemaError | MirrorStateError

/** Converts a failure of an operation, unless that is done already. */
export const failure = (operation: string) => (cause: Problem): MirrorStateError => {
  if (cause instanceof MirrorStateError) return cause
  return cause instanceof SqlError
    ? new MirrorStateError({ operation, problem: textOf(cause), cause, isRetryable: isRetryable(cause) })
    : new MirrorStateError({ operation, problem: cause.message, cause, isRetryable: false })
}

const pauses = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("2 seconds")]).pipe(Schedule.jittered)

// a file that is locked has already waited for its lock, and blocks the process meanwhile
const isWorthRetrying = ({ cause, isRetryable }: MirrorStateError): boolean =>
  isRetryable && !(cause instanceof SqlError && cause.reason._tag === "LockTimeoutError")

/**
 * Fails with the error of a rollback. `withTransaction` of Effect dies with it, for example when a connection is lost
 * during a transaction.
 */
const catchRollback = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
  Effect.catchDefect(effect, (defect) => defect instanceof SqlError ? Effect.fail(defect) : Effect.die(defect))

/** Limits the time of an attempt. */
export const inTime = (operation: string) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.timeoutOrElse(effect, {
    duration: attemptTime,
    orElse: () =>
      Effect.fail(
        new MirrorStateError({
          operation,
          problem: `the database did not answer for ${attemptTime}`,
          isRetryable: true
        })
      )
  })

/** Runs an operation that takes any time. Tries it again for `RetryTime` while the database is away. */
export const retrying = (operation: string) =>
<A, R>(
  effect: Effect.Effect<A, Problem, R>
): Effect.Effect<A, MirrorStateError, R> =>
  Effect.flatMap(RetryTime, (time) =>
    catchRollback(effect).pipe(
      Effect.mapError(failure(operation)),
      Effect.retry({ while: isWorthRetrying, schedule: Schedule.upTo(pauses, { duration: time }) })
    ))

/** Runs an operation within a limited time. Tries it again for `RetryTime` while the database is away. */
export const attempt = (operation: string) =>
<A, R>(
  effect: Effect.Effect<A, Problem, R>
): Effect.Effect<A, MirrorStateError, R> => retrying(operation)(inTime(operation)(catchRollback(effect)))
