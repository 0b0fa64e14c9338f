/**
 * Limiters whose rate and budget all processes of a mirror share.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import type { Limiter, ResponseHeaders } from "../Limiter.ts"
import * as RateLimitHeaders from "../RateLimitHeaders.ts"
import type { MirrorRates, SharedBudget } from "./MirrorRates.ts"
import { RetryTime } from "./MirrorState.ts"

type Rates = MirrorRates["Service"]

// time whose turns a process takes at once, and time by which it takes them in advance, in milliseconds
const span = 100
const advance = 30

/** Time after which a process does without the store, and time after which it tries the store again. */
const patience = Duration.seconds(2)
const pause = 5000

// processes notice at different times that the store is back
const settlingTime = pause + 2 * Duration.toMillis(patience)

/** Runs an operation of the store, which fails soon if the store is away. */
const soon = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A | undefined> =>
  effect.pipe(
    Effect.timeout(patience),
    Effect.provideService(RetryTime, Duration.zero),
    Effect.orElseSucceed(() => undefined)
  )

/** Turns that a process has, at equal distances. */
interface Turns {
  readonly left: number
  readonly due: number
  readonly interval: number
  /** When they lapse, because the requests that they were meant for were interrupted. */
  readonly end: number
}

/**
 * Limits the requests of all processes in each second.
 *
 * The process takes turns for the requests that wait, at most those of 100 milliseconds, shortly before they are due.
 * So a process that ends, or has little to do, wastes nothing. While the store is away, each process sends its share of
 * the rate, so that the sum stays the same.
 */
export const withRate = (
  self: Limiter,
  { host, rate, rates }: { readonly host: string; readonly rate: number; readonly rates: Rates }
): Limiter => {
  const interval = 1000 / rate
  const largest = Math.max(1, Math.floor(rate * span / 1000))
  const queue = Semaphore.makeUnsafe(1)
  let turns: Turns = { left: 0, due: 0, interval, end: 0 }
  let waiting = 0
  // requests that were sent without a turn
  let debt = 0
  let awayUntil = 0
  let sharedSince = 0

  /** Takes the own share of the rate, one turn at a time. */
  const takeShare = Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    const own = interval * (yield* rates.processes)
    const due = Math.max(turns.due, now) + debt * own
    debt = 0
    sharedSince = Infinity
    turns = { left: 1, due, interval: own, end: due + own }
  })
  const lease = Effect.gen(function*() {
    const asked = yield* Clock.currentTimeMillis
    if (asked < awayUntil) return yield* takeShare
    // while others may still do without the store, no more than the own share
    const isSettled = asked >= sharedSince
    const count = isSettled ? Math.min(largest, waiting) : 1
    const extra = debt
    const wait = yield* soon(rates.lease({ host, rate, count: count + extra }))
    const now = yield* Clock.currentTimeMillis
    if (wait === undefined) {
      awayUntil = now + pause
      return yield* takeShare
    }
    if (sharedSince === Infinity) sharedSince = now + settlingTime
    debt -= extra
    const own = isSettled ? interval : interval * (yield* rates.processes)
    const due = now + wait + extra * interval
    turns = {
      left: count,
      due: isSettled ? due : Math.max(due, turns.due),
      interval: own,
      end: Math.max(now, due + count * own)
    }
  })
  /** Returns when the next turn is due. */
  const next = Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    if (turns.left === 0 || now > turns.end + span) {
      const ahead = turns.due - advance - now
      if (ahead > 0) yield* Effect.sleep(ahead)
      yield* lease
    }
    const { due } = turns
    turns = { ...turns, left: turns.left - 1, due: due + turns.interval }
    return due
  })
  const turn = Effect.acquireUseRelease(
    Effect.sync(() => waiting++),
    () => Semaphore.withPermit(queue, next),
    () => Effect.sync(() => waiting--)
  ).pipe(
    Effect.flatMap((due) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => due > now ? Effect.sleep(due - now) : Effect.void)
    )
  )
  const { heed = () => Effect.void, turn: turnBefore = Effect.void } = self
  return {
    ...self,
    rate,
    turn: Effect.andThen(turn, turnBefore),
    // a request that is sent again with a token counts twice
    heed: (status, headers) =>
      Effect.suspend(() => {
        if (status === 401) debt++
        return heed(status, headers)
      })
  }
}

// time between two looks at the budget of the others, in milliseconds
const lookInterval = 1000

/** Returns the headers that show a budget. Without a reset, each of the processes sends its share of the attempts. */
const headersOf = ({ limit, remaining, reset, window }: SharedBudget, processes: number): ResponseHeaders => {
  const length = window === undefined ? "" : `;w=${Math.ceil(window * (reset === undefined ? processes : 1) / 1000)}`
  return {
    "ratelimit-remaining": `${remaining}${length}`,
    "ratelimit-limit": limit === undefined ? undefined : `${limit}${length}`,
    "ratelimit-reset": reset === undefined ? undefined : `${Math.ceil(reset / 1000)}`
  }
}

/** Shares the budget of a limiter that was created by `Limiter.withBudget`: a pause of one process pauses all. */
export const withBudget = (
  self: Limiter,
  { host, rates }: { readonly host: string; readonly rates: Rates }
): Limiter => {
  const { heed = () => Effect.void, turn = Effect.void } = self
  let looked = 0
  let version = 0

  /** Records what a response has shown, and tells the limiter what is known. */
  const share = Effect.fnUntraced(function*(status: number, seen: SharedBudget | undefined) {
    looked = yield* Clock.currentTimeMillis
    const known = yield* soon(rates.budget(host, seen))
    const isNew = known !== undefined && known.version !== version
    if (isNew) version = known.version
    const budget = isNew ? known : seen
    if (budget !== undefined) yield* heed(status, headersOf(budget, yield* rates.processes))
  })
  const isDue = Effect.map(Clock.currentTimeMillis, (now) => now - looked >= lookInterval)
  return {
    ...self,
    turn: Effect.andThen(Effect.flatMap(isDue, (isDue) => isDue ? share(200, undefined) : Effect.void), turn),
    heed: Effect.fnUntraced(function*(status, headers) {
      const now = yield* Clock.currentTimeMillis
      const seen = RateLimitHeaders.parse(headers, now)
      if (seen === undefined) return yield* heed(status, headers)
      if (yield* isDue) return yield* share(status, seen)
      yield* heed(status, headersOf(seen, yield* rates.processes))
    })
  }
}
