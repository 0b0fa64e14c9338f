/**
 * Jobs of a run: each copies some tags of one unit to its destinations.
 *
 * A job begins with a new generation of each of its tags. The source is resolved after that, so that a later job never
 * sets an older image. The generation is checked immediately before a tag is set. A request that was already sent may
 * still arrive after another job has set the tag; so the generation is read again afterwards, and if it was lost, the
 * tag is copied again from the source as it is then. No tag stays at an older digest.
 */
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import type * as Copy from "../copy/Copy.ts"
import { type CopyError, isCopyError, TagRefused } from "../copy/CopyError.ts"
import type { CopyReport } from "../copy/CopyReport.ts"
import type { Digest } from "../Digest.ts"
import type { Tag } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import type { HookCopy } from "./Hooks.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import type { MirrorStateError, TagState } from "./MirrorState.ts"
import * as Selection from "./Selection.ts"
import type { Session } from "./Session.ts"
import * as TagBackup from "./TagBackup.ts"
import * as TagDecision from "./TagDecision.ts"
import * as TagRecord from "./TagRecord.ts"
import { reference, type Unit } from "./Unit.ts"
import type { Target } from "./UnitPlanner.ts"

/** A tag of a destination in a job. */
interface Held {
  readonly target: Target
  readonly row: TagState
  readonly registry: Registry
  /** True if the destination is not expected to have the tag, so that one that appears is not replaced. */
  readonly isNew: boolean
  /** Digest that the tag was about to get when its generation was checked. */
  sent: Digest | undefined
  /** True if another job has the tag. */
  isSuperseded: boolean
}

// number of times that a tag is copied again because another job has changed it
const maximumRepairs = 5

// number of times that a tag of the source is resolved again because it moves during the copy
const maximumMoves = 5

// ---------------------------------------------------------------------------------------------------------------------
// one copy
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the check that runs immediately before a tag is set. */
const fence = ({ state }: Session, held: ReadonlyArray<Held>) =>
  Effect.fnUntraced(function*(push: Copy.TagPush): Effect.fn.Return<void, TagRefused> {
    const { digest, registry, repository, tags } = push
    const own = held.filter(({ registry: other, target: { destination, tag } }) =>
      other === registry && destination.repository === repository && tags.includes(tag)
    )
    yield* Effect.forEach(own, (each) =>
      Effect.matchEffect(state.holds(each.row), {
        onFailure: ({ message }) => Effect.fail(new TagRefused({ tags: [each.target.tag], problem: message })),
        onSuccess: (holds) =>
          Effect.suspend(() => {
            each.isSuperseded = !holds
            if (holds) each.sent = digest
            return holds ? Effect.void : Effect.fail(
              new TagRefused({ tags: [each.target.tag], problem: "another run has taken the tag over" })
            )
          })
      }), { discard: true })
  })

export const optionsOf = (rule: MirrorRule): Copy.Options => ({
  platforms: rule.platforms,
  digestTags: rule.digestTags,
  ...rule.referrers._tag === "Skip"
    ? { referrers: "skip" }
    : { referrers: rule.referrers.required ? "require" : "copy", referrerFilter: rule.referrers.filter }
})

type Outcome = readonly [held: Held, exit: Exit.Exit<CopyReport, CopyError>]

/** Copies to one destination, and reports the progress. */
const toOne = Effect.fnUntraced(function*(
  { emit, namespace }: Session,
  held: Held,
  source: Parameters<typeof namespace.copyEvents>[0]["source"],
  options: Copy.Options
) {
  const { registry, target: { destination: { repository }, tag } } = held
  const subject = TagRecord.subjectOf(held.target)
  const sent = new Map<Digest, number>()
  let total = 0
  let report: CopyReport | undefined
  yield* Stream.runForEach(
    namespace.copyEvents({ ...options, source, destination: { registry, repository, tag } }),
    (event) => {
      if (event._tag === "Done") report = event.report
      if (event._tag !== "Progressed") return Effect.void
      total += event.bytes - (sent.get(event.descriptor.digest) ?? 0)
      sent.set(event.descriptor.digest, event.bytes)
      return emit({ ...subject, _tag: "Progressed", bytes: Math.max(0, total) })
    }
  )
  // a copy that does not fail ends with its report
  return report ?? (yield* Effect.die("a copy has ended without a report"))
})

/** Copies an image to several destinations, and reads the source once. */
const toMany = Effect.fnUntraced(function*(
  session: Session,
  held: ReadonlyArray<Held>,
  source: Parameters<Session["namespace"]["copyToMany"]>[0]["source"],
  options: Copy.Options
): Effect.fn.Return<ReadonlyArray<Outcome>> {
  const [only, ...others] = held
  if (only === undefined) return []
  if (others.length === 0) return [[only, yield* Effect.exit(toOne(session, only, source, options))]]
  const exit = yield* Effect.exit(session.namespace.copyToMany({
    ...options,
    source,
    destinations: held.map(({ registry, target: { destination: { repository }, tag } }) => ({
      registry,
      repository,
      tag
    }))
  }))
  return held.map((each, index): Outcome => [
    each,
    Exit.isSuccess(exit) ? exit.value[index] ?? Exit.interrupt() : Exit.failCause(exit.cause)
  ])
})

/** Returns the error of an exit, if it has failed with one. */
const errorOf = (exit: Exit.Exit<CopyReport, CopyError>): CopyError | undefined => {
  const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  return isCopyError(error) ? error : undefined
}

const hasMoved = ([, exit]: Outcome): boolean => {
  const error = errorOf(exit)
  return error?.end === "source" && error.reason._tag === "TagMismatch"
}

/** Copies a tag of the source, as it is when the copy begins, to the destinations. Returns the digest that it had. */
const transfer = Effect.fnUntraced(function*(
  session: Session,
  { rule, source }: Unit,
  sourceTag: Tag,
  digest: Digest,
  held: ReadonlyArray<Held>
) {
  const common = { ...optionsOf(rule), beforeTag: fence(session, held) }
  const run = (digest: Digest, held: ReadonlyArray<Held>) => {
    const from = reference(source, { tag: sourceTag, digest })
    const fresh = held.filter(({ isNew }) => isNew)
    return Effect.map(
      Effect.all([
        toMany(session, fresh, from, { ...common, onTagExists: "fail" }),
        toMany(session, held.filter((each) => !fresh.includes(each)), from, common)
      ], { concurrency: 2 }),
      (outcomes) => outcomes.flat()
    )
  }
  let current = digest
  let outcomes = yield* run(current, held)
  for (let moves = 0; moves < maximumMoves && outcomes.some(hasMoved); moves++) {
    const found = yield* Effect.orElseSucceed(Selection.resolve(session.namespace, source, sourceTag), () => undefined)
    if (found === undefined) break
    current = found
    outcomes = yield* run(current, held)
  }
  return { digest: current, outcomes }
})

// ---------------------------------------------------------------------------------------------------------------------
// outcomes
// ---------------------------------------------------------------------------------------------------------------------

/** Records a tag that has failed. Returns true if another job has it, and this one may have set it. */
const recordFailure = Effect.fnUntraced(function*(
  { emit, hooks, state }: Session,
  { row, sent, target }: Pick<Held, "row" | "sent" | "target">,
  error: { readonly message: string }
): Effect.fn.Return<boolean, MirrorStateError> {
  const now = yield* DateTime.now
  const cause = isCopyError(error) ? error : undefined
  const failed = TagRecord.failed(row, error.message, now, { retryAfter: cause?.retryAfter, sent })
  const lost = yield* state.record([failed])
  if (lost.length > 0 && sent !== undefined) return true
  const subject = TagRecord.subjectOf(target)
  yield* emit({ ...subject, _tag: "Failed", error: failed.error ?? error.message, cause, retryAt: failed.retryAt })
  yield* hooks.onFailure({ ...subject, error: error.message })
  return false
})

/** Records that the lookup of a tag has failed, so that the next attempt is made later. */
export const recordLookup = Effect.fnUntraced(function*(session: Session, target: Target) {
  const rows = target.row === undefined
    ? yield* TagRecord.begin(session.state, [target])
    : [[target, target.row] as const]
  for (const [, row] of rows) {
    yield* recordFailure(session, { target, row, sent: undefined }, { message: target.why })
  }
})

/** Omissions and warnings of a copy. */
const warningsOf = (
  { unknownReferrers, warnings }: CopyReport,
  { destination, tag }: Target
): ReadonlyArray<string> => [
  ...warnings,
  ...unknownReferrers.slice(0, 1).map(({ end, problem }) =>
    `the referrers of ${destination.name}:${tag} at the ${end} are unknown: ${problem}`
  )
]

/** Records the outcome of a copy. Returns true if another job has the tag, and this one may have set it. */
const record = Effect.fnUntraced(function*(
  session: Session,
  copy: HookCopy,
  [held, exit]: Outcome
): Effect.fn.Return<boolean, MirrorStateError> {
  const { emit, hooks, state } = session
  const { row, target } = held
  const subject = TagRecord.subjectOf(target)
  if (Exit.isSuccess(exit)) {
    const { bytes, root } = exit.value
    const lost = yield* state.record([
      TagRecord.copied(row, target, copy.digest, root.digest, yield* DateTime.now)
    ])
    if (lost.length > 0 && held.sent !== undefined) return true
    for (const text of warningsOf(exit.value, target)) {
      yield* emit({ _tag: "Warned", rule: subject.rule, text })
    }
    yield* emit(
      lost.length > 0
        ? { ...subject, _tag: "Superseded" }
        : { ...subject, _tag: "Copied", digest: root.digest, bytes }
    )
    if (lost.length === 0) yield* hooks.afterCopy(copy)
    return false
  }
  if (Cause.hasInterruptsOnly(exit.cause)) return yield* Effect.interrupt
  if (held.isSuperseded) {
    yield* emit({ ...subject, _tag: "Superseded" })
    return held.sent !== undefined
  }
  const error = errorOf(exit)
  const defect = Cause.squash(exit.cause)
  return yield* recordFailure(session, held, error ?? { message: String(defect) })
})

// ---------------------------------------------------------------------------------------------------------------------
// jobs
// ---------------------------------------------------------------------------------------------------------------------

/** Makes the backup of the image that a tag points at, if the policy wants one. */
const backUp = Effect.fnUntraced(function*({ namespace }: Session, { target }: Held) {
  const { action, destination, found, row, tag, unit: { rule } } = target
  const digest = found === "trusted" ? row?.destinationDigest : found
  if (action !== "backup" || digest === undefined || digest === "absent" || typeof rule.onTagMoved === "string") return
  yield* TagBackup.make(namespace, destination, rule.onTagMoved.tag, tag, digest)
})

/** Copies one tag of the source to some destinations. Copies it again to those that another job has taken over. */
const copyTag: (
  session: Session,
  unit: Unit,
  held: ReadonlyArray<Held>,
  digest: Digest,
  repairs: number
) => Effect.Effect<void, MirrorStateError> = Effect.fnUntraced(function*(session, unit, held, digest, repairs) {
  const { emit, hooks, namespace, state } = session
  const [first] = held
  if (first === undefined) return
  const { sourceTag } = first.target
  const copy: HookCopy = {
    rule: unit.rule.name,
    source: unit.source.name,
    sourceTag,
    digest,
    destinations: held.map(({ target: { destination, tag } }) => `${destination.name}:${tag}`)
  }
  for (const { target } of held) yield* emit({ ...TagRecord.subjectOf(target), _tag: "Copying" })
  const failAll = (error: { readonly message: string }) =>
    Effect.forEach(held, (each) => recordFailure(session, each, error), { discard: true })
  const ready = yield* Effect.result(
    Effect.andThen(hooks.beforeCopy(copy), Effect.forEach(held, (each) => backUp(session, each)))
  )
  if (ready._tag === "Failure") return yield* failAll(ready.failure)
  const transferred = yield* transfer(session, unit, sourceTag, digest, held)
  const lost: Array<Target> = []
  for (const outcome of transferred.outcomes) {
    const isLost = yield* record(session, { ...copy, digest: transferred.digest }, outcome)
    if (isLost) lost.push(outcome[0].target)
  }
  if (lost.length === 0) return
  // a request of this job may have arrived after another job has set the tag
  const current = yield* Effect.orElseSucceed(Selection.resolve(namespace, unit.source, sourceTag), () => undefined)
  const again = (yield* TagRecord.begin(state, lost)).flatMap(([target, row]) => {
    const before = held.find((each) => each.target === target)
    return before === undefined ? [] : [{ ...before, row, isNew: false, sent: undefined, isSuperseded: false }]
  })
  yield* current === undefined || repairs >= maximumRepairs
    ? Effect.forEach(again, (each) => recordFailure(session, each, { message: "another run has changed the tag" }))
    : copyTag(session, unit, again, current, repairs + 1)
})

/** Finds the registries of the destinations, and begins. Tags whose registry is unknown fail. */
const begin = Effect.fnUntraced(function*(session: Session, targets: ReadonlyArray<Target>) {
  const begun = yield* TagRecord.begin(session.state, targets)
  const held = yield* Effect.forEach(
    begun,
    ([target, row]) =>
      session.namespace.registry(target.destination.registry).pipe(
        Effect.map((registry): ReadonlyArray<Held> => [{
          target,
          row,
          registry,
          isNew: !TagDecision.isOurs(target.row) && target.found === "absent",
          sent: undefined,
          isSuperseded: false
        }]),
        Effect.catch((error) =>
          Effect.as(recordFailure(session, { target, row, sent: undefined }, error), new Array<Held>())
        )
      )
  )
  return held.flat()
})

/** Runs a job. `targets` are tags of one unit that are to be copied. */
export const run = Effect.fnUntraced(function*(
  session: Session,
  unit: Unit,
  targets: ReadonlyArray<Target>
): Effect.fn.Return<void, MirrorStateError> {
  const held = yield* begin(session, targets)
  const byTag = Array.from(Map.groupBy(held, ({ target }) => target.sourceTag).values())
  yield* Effect.forEach(byTag, (held) => {
    const digest = held[0]?.target.source
    return digest === undefined
      ? Effect.void
      : session.copying.withPermit(copyTag(session, unit, held, digest, 0))
  }, { concurrency: "unbounded", discard: true })
})
