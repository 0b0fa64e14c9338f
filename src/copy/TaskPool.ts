/**
 * Runs a limited number of tasks at the same time. A task may add further tasks.
 *
 * A registry may choose the number of tasks, so they are added as an iterable, from which a task is taken only when it
 * is about to run. Tasks that were added last run first, so that one branch of a graph is finished before the next one
 * begins. A task must not wait for another task of the pool, unless that one is running and waits for none itself.
 */
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"

type Task<E> = Effect.Effect<void, E>

export interface TaskPool<E> {
  /** Adds tasks to the current run. */
  readonly add: (tasks: Iterable<Task<E>>) => Effect.Effect<void>
  /** Runs tasks, and all tasks that they add. The first failure interrupts the others. */
  readonly run: (tasks: Iterable<Task<E>>) => Effect.Effect<void, E>
}

/** Creates a pool that runs at most `concurrency` tasks at the same time. */
export const make = <E>(concurrency: number): TaskPool<E> => {
  const lists: Array<Iterator<Task<E>>> = []
  let running = 0
  let start: Effect.Effect<void> = Effect.void

  /** Takes a task for a worker. If there is none, the worker ends. */
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
      // each worker takes its first task before the next worker starts, so that tasks begin in their order
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
        // the task that adds another may hold permits or a span, which the worker must not inherit
        Effect.updateContext<never, never>(() => context)
      )
      // immediately, so that `Effect.runSync` can run a copy between registries in memory
      start = Effect.asVoid(Effect.forkIn(worker, scope, { startImmediately: true }))
      yield* add(tasks)
      yield* Deferred.await(ended)
    }, Effect.scoped)
  }
}

// number of items that are processed without a pause for other fibers
const sliceLength = 1024

/** Runs a function for each item of a list of any length, with pauses in which other fibers and signals are handled. */
export const forEachSliced = Effect.fnUntraced(function*<A>(items: Iterable<A>, f: (item: A) => void) {
  let count = 0
  for (const item of items) {
    f(item)
    if (++count % sliceLength === 0) yield* Effect.yieldNow
  }
})
