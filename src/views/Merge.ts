/**
 * Merging of lists of several registries.
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

/** Returns a list that is empty if its registry does not know what is listed. The error is added to `absences`. */
const ifKnown = <A>(list: List<A>, absences: Array<RegistryError>): List<A> =>
  Stream.catchIf(list, isAbsence, (error) =>
    Stream.suspend(() => {
      absences.push(error)
      return Stream.empty
    }))

/** The items that were read from a list. `next` is the position of the first that was not returned yet. */
interface Head<A> {
  readonly pull: Pull.Pull<Arr.NonEmptyReadonlyArray<A>, RegistryError>
  items: ReadonlyArray<A>
  next: number
  isAtEnd: boolean
}

/** Reads more items if all were returned. */
const fill = <A>(head: Head<A>): Effect.Effect<void, RegistryError> =>
  head.isAtEnd || head.next < head.items.length ? Effect.void : Effect.map(
    Pull.catchDone(head.pull, () => Effect.succeed(undefined)),
    (items) => {
      head.items = items ?? []
      head.next = 0
      head.isAtEnd = items === undefined
    }
  )

/** Returns items in order, until more items of one of the lists are needed. */
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
    // a registry that does not list in order may repeat earlier names
    if (!seen.has(least)) taken.push(least)
    seen.add(least)
  }
}

/**
 * Merges lists in lexical order, as far as each list is in that order. Fails with the error of the first registry if no
 * registry knows what is listed.
 */
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

/** Concatenates lists without duplicates. The result is empty if no registry knows what is listed. */
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
