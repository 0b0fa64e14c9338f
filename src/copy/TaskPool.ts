/**
 * Tasks of which a limited number runs at a time, and which may add further tasks meanwhile.
 *
 * The number of tasks may be chosen by a registry, so a list of them is any iterable, from which a task is taken only
 * when it is about to run. What was added last is taken first: one branch of a graph is finished before the next is
 * begun. A task must not wait for another task of the pool, except for one that is running and waits for none itself.
 */
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"

type Task<E> = Effect.Effect<void, E>

export interface TaskPool<E> {
  /** Adds tasks to those of the run. */
  readonly add: (tasks: Iterable<Task<E>>) => Effect.Effect<void>
  /** Runs tasks, and all that they add. The first one that fails ends the others. */
  readonly run: (tasks: Iterable<Task<E>>) => Effect.Effect<void, E>
}

/** Creates a pool that runs so many tasks at a time. */
export const make = <E>(concurrency: number): TaskPool<E> => {
  const lists: Array<Iterator<Task<E>>> = []
  let running = 0
  let start: Effect.Effect<void> = Effect.void

  /** Takes a task for a worker. A worker that gets none ends. */
  const next = (): Task<E> | undefined => {
    for (let list = lists.at(-1); list !== undefined; list = lists.at(-1)) {
      const { done, value } = list.next()
      if (done !== true) return value
      lists.pop()
    }
    running--
    return undefined
  }

  const work = Effect.gen(function*() {
    for (let task = next(); task !== undefined; task = next()) yield* task
  })

  const add: TaskPool<E>["add"] = (tasks) =>
    Effect.suspend(() => {
      lists.push(tasks[Symbol.iterator]())
      // each begins with a task, in their order, before the next one starts
      return Effect.whileLoop({
        while: () => lists.length > 0 && running < concurrency,
        body: () => {
          running++
          return start
        },
        step: () => {}
      })
    })

  return {
    add,
    run: Effect.fnUntraced(function*(tasks) {
      const scope = yield* Effect.scope
      const context: Context.Context<never> = yield* Effect.context<never>()
      const ended = yield* Deferred.make<void, E>()
      const worker = work.pipe(
        Effect.andThen(Effect.suspend(() => running === 0 ? Deferred.succeed(ended, undefined) : Effect.void)),
        Effect.onError((cause) => Deferred.failCause(ended, cause)),
        // the caller that adds a task may hold permits, which the worker does not
        Effect.updateContext<never, never>(() => context)
      )
      // at once, so that a copy between registries in memory can be run by `Effect.runSync`
      start = Effect.asVoid(Effect.forkIn(worker, scope, { startImmediately: true }))
      yield* add(tasks)
      yield* Deferred.await(ended)
    }, Effect.scoped)
  }
}

// of items that are dealt with in one go
const sliceLength = 1024

/** Runs a function for each item of a list of any length, and lets other fibers and signals in between. */
export const forEachSliced = Effect.fnUntraced(function*<A>(items: Iterable<A>, f: (item: A) => void) {
  let count = 0
  for (const item of items) {
    f(item)
    if (++count % sliceLength === 0) yield* Effect.yieldNow
  }
})
