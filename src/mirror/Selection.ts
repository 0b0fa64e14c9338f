/**
 * Tags of a repository of a source that a rule selects.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { Digest } from "../Digest.ts"
import type * as Namespace from "../Namespace.ts"
import type { Tag } from "../Reference.ts"
import { isAbsence, isRegistryError } from "../RegistryError.ts"
import * as CreatedDate from "./CreatedDate.ts"
import type { MirrorState } from "./MirrorState.ts"
import * as TagRule from "./TagRule.ts"
import { type Place, reference, type Unit } from "./Unit.ts"

/** Tags that a rule selects, or the reason why they are unknown. */
export type Selection =
  | {
    readonly _tag: "Selected"
    /** Tags that the source lists. `undefined` if the rule names all of its tags, so that they are not listed. */
    readonly listed: ReadonlySet<Tag> | undefined
    /** When they were requested, in milliseconds since the epoch. */
    readonly listedAt: number
    readonly tags: ReadonlyArray<Tag>
    readonly dropped: ReadonlyArray<{ readonly tag: Tag; readonly why: string }>
    /** Digests that were looked up for the selection. */
    readonly digests: ReadonlyMap<Tag, Digest>
  }
  | { readonly _tag: "Unknown"; readonly problem: string }

/** Dates of images that are known. */
export type Dates = Pick<MirrorState["Service"], "created" | "recordCreated">

interface Context {
  readonly namespace: Namespace.Namespace["Service"]
  readonly state: Dates
  readonly isRun: boolean
}

/** Maximum number of tags of a repository. */
export const maximumTags = 200_000

// number of tags that are looked up at the same time
const concurrency = 16

const unknown = (problem: string): Selection => ({ _tag: "Unknown", problem })

/** Returns the digest that a tag points at, or `undefined` if it does not exist. */
export const resolve = (
  namespace: Namespace.Namespace["Service"],
  place: Place,
  tag: Tag
): Effect.Effect<Digest | undefined, Namespace.NamespaceError> =>
  namespace.resolveManifest(reference(place, { tag })).pipe(
    Effect.map(({ digest }) => digest),
    Effect.catchIf((error) => isRegistryError(error) && isAbsence(error), () => Effect.undefined)
  )

/** Finds the dates of the images behind some tags. Tags whose image has gone meanwhile are left out. */
const datesOf = Effect.fnUntraced(function*(
  { isRun, namespace, state }: Context,
  { source }: Unit,
  tags: ReadonlyArray<Tag>
) {
  const found = yield* Effect.forEach(
    tags,
    (tag) => Effect.map(resolve(namespace, source, tag), (digest) => [tag, digest] as const),
    { concurrency }
  )
  const digests = new Map(found.flatMap(([tag, digest]) => digest === undefined ? [] : [[tag, digest] as const]))
  const known = new Map(yield* state.created(Array.from(new Set(digests.values()))))
  const missing = Array.from(new Set(digests.values())).filter((digest) => !known.has(digest))
  const read = yield* Effect.forEach(
    missing,
    (digest) => Effect.map(CreatedDate.of(namespace, source, digest), (date) => [digest, date] as const),
    { concurrency }
  )
  const dated = read.flatMap(([digest, date]) => date === undefined ? [] : [[digest, date] as const])
  for (const [digest, date] of dated) known.set(digest, date)
  if (isRun && dated.length > 0) yield* state.recordCreated(new Map(dated))
  const dates = new Map(Array.from(digests, ([tag, digest]) => [tag, known.get(digest)] as const))
  return { digests, dates }
})

/** Returns the tags that a rule selects of the repository of its source. */
export const select = (context: Context, unit: Unit): Effect.Effect<Selection> =>
  Effect.gen(function*() {
    const { rule, source } = unit
    const listedAt = yield* Clock.currentTimeMillis
    const exact = TagRule.exactTags(rule.tags)
    const tags = exact ?? (yield* Stream.runCollect(
      Stream.take(context.namespace.tags(reference(source)), maximumTags + 1)
    ))
    if (tags.length > maximumTags) return unknown(`${source.name} has more than ${maximumTags} tags`)
    const decisions = TagRule.decide(rule.tags, tags)
    const undated = decisions.flatMap(({ tag, within }) => within === undefined ? [] : [tag])
    const { dates, digests } = yield* datesOf(context, unit, undated)
    const decided = TagRule.decideByDate(decisions, { now: yield* DateTime.now, dates })
    return Result.match(TagRule.selected(rule.tags, decided), {
      onFailure: ({ message }) => unknown(message),
      onSuccess: (selected): Selection => ({
        _tag: "Selected",
        listed: exact === undefined ? new Set(tags) : undefined,
        listedAt,
        tags: selected,
        dropped: decided.flatMap(({ selected, tag, why }) => selected ? [] : [{ tag, why }]),
        digests
      })
    })
  }).pipe(Effect.catch(({ message }) => Effect.succeed(unknown(message))))
