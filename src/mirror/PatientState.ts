/**
 * A state whose operations wait while its store is away, so that what is in flight ends later instead of failing.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { MirrorState, type MirrorStateError } from "./MirrorState.ts"

const retries = Schedule.min([Schedule.exponential("200 millis"), Schedule.spaced("2 seconds")])

/** Tries an operation again until its store can be used. */
export const patiently = <A, R>(effect: Effect.Effect<A, MirrorStateError, R>): Effect.Effect<A, MirrorStateError, R> =>
  Effect.retry(effect, { schedule: retries, while: ({ isRetryable }) => isRetryable })

const waiting =
  <Args extends ReadonlyArray<unknown>, A>(operation: (...args: Args) => Effect.Effect<A, MirrorStateError>) =>
  (...args: Args): Effect.Effect<A, MirrorStateError> => patiently(operation(...args))

/** Returns a state whose operations wait. Each of them may be repeated after an answer was lost. */
export const make = (state: MirrorState["Service"]): MirrorState["Service"] =>
  MirrorState.of({
    tags: waiting(state.tags),
    find: waiting(state.find),
    counts: patiently(state.counts),
    begin: waiting(state.begin),
    holds: waiting(state.holds),
    record: waiting(state.record),
    remove: waiting(state.remove),
    retry: waiting(state.retry),
    list: waiting(state.list),
    recordList: waiting(state.recordList),
    recordRun: waiting(state.recordRun),
    runs: waiting(state.runs),
    confirmedPrune: waiting(state.confirmedPrune),
    confirmPrune: waiting(state.confirmPrune),
    created: waiting(state.created),
    recordCreated: waiting(state.recordCreated)
  })
