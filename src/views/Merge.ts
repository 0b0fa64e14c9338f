/**
 * Lists of several registries as one.
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import { isAbsence, type RegistryError } from "../RegistryError.ts"
import type { Policy } from "./ReadStrategy.ts"

type List<A> = Stream.Stream<A, RegistryError>

/** A list, which is empty where its registry does not know what is listed; that is noted. */
const ifKnown = <A>(list: List<A>, absences: Array<RegistryError>): List<A> =>
  Stream.catchIf(list, isAbsence, (error) =>
    Stream.suspend(() => {
      absences.push(error)
      return Stream.empty
    }))

/** What was read of a list, and how much of that was handed on. */
interface Head<A> {
  readonly pull: Pull.Pull<Arr.NonEmptyReadonlyArray<A>, RegistryError>
  items: ReadonlyArray<A>
  next: number
  isAtEnd: boolean
}

/** Reads on where nothing is left. */
const fill = <A>(head: Head<A>): Effect.Effect<void, RegistryError> =>
  head.isAtEnd || head.next < head.items.length ? Effect.void : Effect.map(
    Pull.catchDone(head.pull, () => Effect.succeed(undefined)),
    (items) => {
      head.items = items ?? []
      head.next = 0
      head.isAtEnd = items === undefined
    }
  )

/** Takes items in order, up to where one of the lists has to be read on. */
const take = <A extends string>(heads: ReadonlyArray<Head<A>>, seen: Set<A>): ReadonlyArray<A> => {
  const taken: Array<A> = []
  for (;;) {
    let first: Head<A> | undefined
    let least: A | undefined
    for (const head of heads) {
      if (head.isAtEnd) continue
      const item = head.items[head.next]
      if (item === undefined) return taken
      if (least === undefined || item < least) {
        first = head
        least = item
      }
    }
    if (first === undefined || least === undefined) return taken
    first.next++
    // a registry that lists out of order may name again what is long past
    if (!seen.has(least)) taken.push(least)
    seen.add(least)
  }
}

/** In the order of their characters, as far as each of the lists is; fails as the first if none knows what is listed. */
export const inOrder = <A extends string>(lists: ReadonlyArray<List<A>>, policy: Policy): List<A> =>
  Stream.unwrap(Effect.gen(function*() {
    const absences: Array<RegistryError> = []
    const seen = new Set<A>()
    const heads = yield* Effect.forEach(lists, (list) =>
      Effect.map(
        Stream.toPull(ifKnown(list, absences)),
        (pull): Head<A> => ({ pull, items: [], next: 0, isAtEnd: false })
      ))
    const concurrency = policy === "concurrent" ? "unbounded" : 1
    const next: Pull.Pull<Arr.NonEmptyReadonlyArray<A>, RegistryError> = Effect.gen(function*() {
      yield* Effect.forEach(heads, fill, { concurrency, discard: true })
      const [absence] = absences
      if (absence !== undefined && absences.length === lists.length) return yield* absence
      const taken = take(heads, seen)
      if (Arr.isReadonlyArrayNonEmpty(taken)) return taken
      return heads.every(({ isAtEnd }) => isAtEnd) ? yield* Cause.done() : yield* next
    })
    return Stream.fromPull(Effect.succeed(next))
  }))

/** One list behind another, nothing twice; nothing where none knows what is listed. */
export const inTurn = (lists: ReadonlyArray<List<Descriptor>>): List<Descriptor> =>
  Stream.suspend(() => {
    const seen = new Set<string>()
    return lists.map((list) => ifKnown(list, [])).reduce<List<Descriptor>>(
      (before, list) => Stream.concat(before, list),
      Stream.empty
    ).pipe(
      Stream.filter(({ digest }) => !seen.has(digest)),
      Stream.map((descriptor) => {
        seen.add(descriptor.digest)
        return descriptor
      })
    )
  })
