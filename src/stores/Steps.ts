/**
 * Work on many items in steps. Other fibers and the event loop run between the steps.
 */
import * as Effect from "effect/Effect"

/** Runs a generator to its end, with a pause after every `atATime` steps, and returns its result. */
export const run = Effect.fnUntraced(function*<A>(steps: Iterator<unknown, A>, atATime = 1): Effect.fn.Return<A> {
  let step = steps.next()
  for (let count = 1; step.done !== true; count++) {
    if (count % atATime === 0) yield* Effect.yieldNow
    step = steps.next()
  }
  return step.value
})

/** Runs a generator to its end without a pause. */
export const runSync = (steps: Iterator<unknown, unknown>): void => {
  while (steps.next().done !== true);
}

/** Combines items with a value one after another, with a pause after every `atATime` items. */
export const reduce = <A, B>(
  initial: B,
  items: Iterable<A>,
  atATime: number,
  combine: (value: B, item: A) => B
): Effect.Effect<B> =>
  run(
    function*() {
      let value = initial
      for (const item of items) {
        value = combine(value, item)
        yield
      }
      return value
    }(),
    atATime
  )

/** Returns all items, for example of a generator, with a pause after every `atATime` items. */
export const collect = <A>(items: Iterable<A>, atATime: number): Effect.Effect<Array<A>> =>
  Effect.suspend(() => {
    const all: Array<A> = []
    return Effect.as(forEach(items, atATime, (item) => all.push(item)), all)
  })

/** Runs a function for each item, with a pause after every `atATime` items. */
export const forEach = <A>(items: Iterable<A>, atATime: number, use: (item: A) => void): Effect.Effect<void> =>
  reduce<A, void>(undefined, items, atATime, (_, item) => use(item))

/** Changes a value until a change returns the same value, with a pause after each change. */
export const settle = <A>(value: A, change: (value: A) => A): Effect.Effect<A> =>
  run(function*() {
    let before = value
    for (let after = change(before); after !== before; after = change(before)) {
      before = after
      yield
    }
    return before
  }())
