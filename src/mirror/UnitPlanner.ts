/**
 * Plans a unit: compares the tags that its rule selects with what each destination has, with as few requests as
 * possible.
 *
 * 1. The tags of the source are listed and selected (Selection).
 * 2. For each destination, the state decides which tags need no request at all: those that are immutable, and those
 *    whose next attempt is not due.
 * 3. Each of the other tags is looked up once at the source, for all destinations.
 * 4. A destination is asked only for tags that the state does not know, or that it is not trusted to have.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { Digest } from "../Digest.ts"
import type { TagList } from "../KnownTags.ts"
import type * as Namespace from "../Namespace.ts"
import { parseTag, type Tag } from "../Reference.ts"
import { isRegistryError } from "../RegistryError.ts"
import * as Backoff from "./Backoff.ts"
import * as FilterKey from "./FilterKey.ts"
import type { Action } from "./MirrorPlan.ts"
import type { MirrorStateError, TagState } from "./MirrorState.ts"
import * as Overlap from "./Overlap.ts"
import type * as PruneDecision from "./PruneDecision.ts"
import * as PrunePlanner from "./PrunePlanner.ts"
import * as RepositoryRule from "./RepositoryRule.ts"
import * as Selection from "./Selection.ts"
import type { Session } from "./Session.ts"
import * as TagDecision from "./TagDecision.ts"
import { type Destination, type Place, reference, type Unit } from "./Unit.ts"

/** A tag of a destination, with what a run does with it. */
export interface Target {
  readonly unit: Unit
  readonly destination: Destination
  readonly tag: Tag
  readonly sourceTag: Tag
  readonly action: Action
  readonly why: string
  readonly row: TagState | undefined
  readonly source: Digest | undefined
  readonly found: TagDecision.Found | undefined
  /** True if a lookup failed, so that another attempt is made later. */
  readonly hasFailed: boolean
}

/** The plan for one destination of a unit. */
export interface DestinationPlan {
  readonly destination: Destination
  readonly targets: ReadonlyArray<Target>
  readonly deletions: ReadonlyArray<PruneDecision.Deletion>
  /** Rows whose number of missing runs starts again, which were looked up, or which another rule had before. */
  readonly updates: ReadonlyArray<TagState>
  /** Rows of tags that have failed, that the destination never got, and that the rule does not select any more. */
  readonly forgotten: ReadonlyArray<TagState>
  readonly problems: ReadonlyArray<string>
  /** True if the destination does not have the repository. */
  readonly isRepositoryMissing: boolean
}

export interface UnitPlan {
  readonly unit: Unit
  readonly destinations: ReadonlyArray<DestinationPlan>
  readonly dropped: ReadonlyArray<{ readonly tag: Tag; readonly why: string }>
  /** Tags that the source lists. `undefined` if they were not listed. */
  readonly listed: ReadonlySet<Tag> | undefined
  /** Lists of the source and of the destinations, as far as they were read. */
  readonly lists: ReadonlyArray<TagList>
  readonly problem: string | undefined
}

/** Result of a lookup: a digest, `absent`, or the error. */
export type LookedUp = Digest | "absent" | { readonly error: string }

// number of tags that are looked up at the same time
const concurrency = 16

const isDigest = (found: LookedUp): found is Digest => typeof found === "string" && found !== "absent"

const lookUp = (namespace: Namespace.Namespace["Service"], place: Parameters<typeof reference>[0], tag: Tag) =>
  Effect.match(Selection.resolve(namespace, place, tag), {
    onFailure: ({ message }): LookedUp => ({ error: message }),
    onSuccess: (digest): LookedUp => digest ?? "absent"
  })

const lookUpAll = (
  namespace: Namespace.Namespace["Service"],
  place: Parameters<typeof reference>[0],
  tags: ReadonlyArray<Tag>
) =>
  Effect.map(
    Effect.forEach(tags, (tag) => Effect.map(lookUp(namespace, place, tag), (found) => [tag, found] as const), {
      concurrency
    }),
    (found): ReadonlyMap<Tag, LookedUp> => new Map(found)
  )

// ---------------------------------------------------------------------------------------------------------------------
// without requests
// ---------------------------------------------------------------------------------------------------------------------

type Draft = Pick<Target, "destination" | "row" | "sourceTag" | "tag" | "unit">

/** A destination with the tags that its unit gives it. */
interface Drafts {
  readonly destination: Destination
  readonly rows: ReadonlyMap<Tag, TagState>
  /** Tags that are compared. */
  readonly open: ReadonlyArray<Draft>
  /** Tags that are decided already. */
  readonly decided: ReadonlyArray<Target>
  readonly problems: ReadonlyArray<string>
  /** All tags that the rule selects. */
  readonly selected: ReadonlySet<Tag>
}

const decided = (draft: Draft, action: Action, why: string, fields: Partial<Target> = {}): Target => ({
  source: undefined,
  found: undefined,
  hasFailed: false,
  ...draft,
  action,
  why,
  ...fields
})

/** Returns true if a run with a limited scope looks at a tag. */
const isInScope = ({ only }: Session, row: TagState | undefined): boolean => {
  switch (only) {
    case "all":
      return true
    case "missing":
      return !TagDecision.isOurs(row) || row.status === "pending" || row.status === "failed"
    case "failed":
      return row?.status === "failed"
  }
}

const isLater = (row: TagState | undefined, now: DateTime.Utc): boolean =>
  row?.status === "failed" && row.retryAt !== undefined && Backoff.isWaiting(row.retryAt, now)

/** Names the tags of a destination that the selected tags become. */
const nameTags = (unit: Unit, destination: Destination, tags: ReadonlyArray<Tag>) => {
  const problems: Array<string> = []
  const drafts = tags.flatMap((sourceTag): ReadonlyArray<Omit<Draft, "row">> => {
    const name = RepositoryRule.tagOf(destination.tag, sourceTag)
    const tag = Result.getOrUndefined(parseTag(name))
    if (tag === undefined) problems.push(`${destination.name} cannot have a tag ${JSON.stringify(name)}`)
    return tag === undefined ? [] : [{ unit, destination, sourceTag, tag }]
  })
  return { drafts, problems }
}

/** Returns the claims of the other units with the same destination that are planned, or have put some `rows` there. */
const claimsOfOthers = Effect.fnUntraced(function*(
  session: Session,
  unit: Unit,
  destination: Destination,
  rows: ReadonlyArray<TagState>
) {
  const planned = new Set(session.units.rules.flatMap(({ units }) => units))
  const owners = new Set(rows.map(({ rule, source }) => `${rule} ${source}`))
  const others = session.units.sharing(unit, destination).filter((other) =>
    planned.has(other) || owners.has(`${other.rule.name} ${other.source.name}`)
  )
  return (yield* Effect.forEach(others, (other) => PrunePlanner.claimsOf(session, other, destination)))
    .flatMap((claims) => typeof claims === "string" ? [] : claims)
})

const draft = Effect.fnUntraced(function*(
  session: Session,
  unit: Unit,
  destination: Destination,
  tags: ReadonlyArray<Tag>,
  filterKey: string
): Effect.fn.Return<Drafts, MirrorStateError> {
  const now = yield* DateTime.now
  const rows = new Map((yield* session.state.tags(destination.name)).map((row) => [row.tag, row]))
  const { drafts, problems } = nameTags(unit, destination, tags)
  const own = drafts.map(({ tag }) => ({
    rule: unit.rule.name,
    source: unit.source.name,
    destination: destination.name,
    tag
  }))
  const overlaps = new Map(
    Overlap.among([
      ...own,
      ...yield* claimsOfOthers(session, unit, destination, own.flatMap(({ tag }) => rows.get(tag) ?? []))
    ])
      .flatMap((overlap) => overlap.tag === undefined ? [] : [[overlap.tag, Overlap.format(overlap)]])
  )
  const open: Array<Draft> = []
  const done: Array<Target> = []
  for (const { sourceTag, tag } of drafts) {
    const row = rows.get(tag)
    const draft = { unit, destination, tag, sourceTag, row }
    const overlap = overlaps.get(tag)
    const isSettled = TagDecision.isSettled(unit.rule, row) && row.filterKey === filterKey &&
      TagDecision.isTrusted(unit.rule, row, now)
    if (overlap !== undefined) done.push(decided(draft, "refused", overlap))
    else if (!isInScope(session, row)) done.push(decided(draft, "unchanged", "this run does not look at it"))
    else if (isLater(row, now)) {
      done.push(decided(draft, "later", `${row?.error ?? "it has failed"}; the next attempt is not due yet`))
    } else if (isSettled) done.push(decided(draft, "immutable", "the destination has the tag, which is immutable"))
    else open.push(draft)
  }
  return { destination, rows, open, decided: done, problems, selected: new Set(drafts.map(({ tag }) => tag)) }
})

// ---------------------------------------------------------------------------------------------------------------------
// with requests
// ---------------------------------------------------------------------------------------------------------------------

/** The tags that a destination has, or `undefined` if it does not list them. */
interface Listed {
  readonly tags: ReadonlySet<string> | undefined
  readonly isRepositoryMissing: boolean
}

const notListed: Listed = { tags: undefined, isRepositoryMissing: false }

const listDestination = (namespace: Namespace.Namespace["Service"], destination: Destination) =>
  Stream.runCollect(Stream.take(namespace.tags(reference(destination)), Selection.maximumTags + 1)).pipe(
    // without the end of a list, nothing is known of the tags that it lacks
    Effect.map((tags): Listed =>
      tags.length > Selection.maximumTags ? notListed : { tags: new Set(tags), isRepositoryMissing: false }
    ),
    Effect.catch((error): Effect.Effect<Listed> =>
      Effect.succeed(
        isRegistryError(error) && error.reason._tag === "NameUnknown"
          ? { tags: new Set(), isRepositoryMissing: true }
          : notListed
      )
    )
  )

/** Lists the tags of a destination, if some of them are unknown to the state, or immutable and not trusted. */
const list = Effect.fnUntraced(function*({ namespace }: Session, { destination, open }: Drafts) {
  const isNeeded = open.some(({ row, sourceTag, unit: { rule } }) =>
    !TagDecision.isOurs(row) || TagDecision.isImmutable(rule, sourceTag)
  )
  return isNeeded ? yield* listDestination(namespace, destination) : notListed
})

/** Decides on immutable tags that the destination lists, without looking them up. */
const settle = ({ tags }: Listed, draft: Draft, filterKey: string): Target | undefined => {
  const { row, sourceTag, tag, unit: { rule } } = draft
  if (tags?.has(tag) !== true || !TagDecision.isImmutable(rule, sourceTag)) return undefined
  if (TagDecision.isSettled(rule, row)) {
    return row.filterKey === filterKey
      ? decided(draft, "immutable", "the destination has the tag, which is immutable", { found: row.destinationDigest })
      : undefined
  }
  return TagDecision.isOurs(row) || rule.foreignTags === "adopt"
    ? undefined
    : decided(draft, "immutable", "the destination has the tag, which is immutable; another tool has put it there")
}

/** Looks up the tag of a destination, unless it is known to be absent or trusted to be there. */
const findAt = Effect.fnUntraced(function*(
  { namespace }: Session,
  { tags }: Listed,
  { destination, row, tag, unit: { rule } }: Draft,
  now: DateTime.Utc
): Effect.fn.Return<LookedUp | "trusted"> {
  if (TagDecision.isOurs(row) && TagDecision.isTrusted(rule, row, now)) return "trusted"
  if (tags !== undefined && !tags.has(tag)) return "absent"
  return yield* lookUp(namespace, destination, tag)
})

/** Compares a tag of a destination with its source. */
const compare = Effect.fnUntraced(function*(
  session: Session,
  listed: Listed,
  draft: Draft,
  source: LookedUp,
  filterKey: string
): Effect.fn.Return<Target> {
  const { row, unit: { rule } } = draft
  const now = yield* DateTime.now
  if (source === "absent") return decided(draft, "failed", "the source has no such tag")
  if (!isDigest(source)) return decided(draft, "failed", source.error, { hasFailed: true })
  const found = yield* findAt(session, listed, draft, now)
  if (typeof found === "object") return decided(draft, "failed", found.error, { source, hasFailed: true })
  const { action, why } = TagDecision.decide({ rule, filterKey, now, row, source, found })
  return decided(draft, action, why, { source, found })
})

/**
 * Returns the rows that a run updates without a job: those that were seen, that are selected again, or that another
 * rule or source had before.
 */
const updatesOf = (targets: ReadonlyArray<Target>, now: DateTime.Utc): ReadonlyArray<TagState> =>
  targets.flatMap(({ action, found, row: before, sourceTag, unit }): ReadonlyArray<TagState> => {
    if (before === undefined) return []
    const isKept = action === "unchanged" || action === "immutable" || action === "keep"
    const isOwn = before.rule === unit.rule.name && before.source === unit.source.name
    const isTaken = !isOwn && isKept && before.status !== "pending" && TagDecision.isOurs(before)
    const row = isTaken ? { ...before, rule: unit.rule.name, source: unit.source.name, sourceTag } : before
    const isSeen = found !== undefined && found !== "trusted" && found !== "absent"
    if ((action === "unchanged" || action === "immutable") && isSeen && TagDecision.isOurs(row)) {
      return [{ ...row, checkedAt: now, missing: 0 }]
    }
    if (action === "keep" && row.status !== "kept") return [{ ...row, status: "kept", missing: 0 }]
    return isTaken || row.missing > 0 && row.status !== "pending" ? [{ ...row, missing: 0 }] : []
  })

/** Returns the rows of failed tags that a unit does not select any more. */
const formerFailures = ({ rule, source }: Unit, { rows, selected }: Drafts): ReadonlyArray<TagState> =>
  Array.from(rows.values()).filter((row) =>
    row.status === "failed" && row.rule === rule.name && row.source === source.name && !selected.has(row.tag)
  )

/** Ends the attempts to copy a tag. What the destination has is not known for certain. */
const endAttempts = (row: TagState): TagState =>
  row.status === "failed"
    ? { ...row, status: "kept", error: undefined, attempts: 0, retryAt: undefined, checkedAt: undefined }
    : row

const tagListOf = (
  { registry, repository }: Place,
  tags: ReadonlySet<string> | undefined,
  listedAt: number
): ReadonlyArray<TagList> => tags === undefined ? [] : [{ registry, repository, tags, listedAt }]

/** The tags that the rule of a unit selects. */
type Selected = Extract<Selection.Selection, { readonly _tag: "Selected" }>

/**
 * Returns the tags that the source has, or the reason why they are unknown. If the rule names its tags, the source is
 * not listed: then those tags are looked up, and those that the destination has got from there.
 */
const presentAtSource = Effect.fnUntraced(function*(
  { namespace }: Session,
  { rule, source }: Unit,
  { listed, tags }: Selected,
  { rows }: Drafts,
  known: ReadonlyMap<Tag, LookedUp>
): Effect.fn.Return<ReadonlySet<Tag> | string> {
  if (listed !== undefined) return listed
  const own = Array.from(rows.values()).filter((row) => row.rule === rule.name && row.source === source.name)
  const wanted = new Set([...tags, ...own.map(({ sourceTag }) => sourceTag)])
  const unknown = Array.from(wanted).filter((tag) => !known.has(tag))
  const found = [...known, ...yield* lookUpAll(namespace, source, unknown)]
  const failed = found.map(([, found]) => found).find((found) => typeof found === "object")
  return failed?.error ?? new Set(found.flatMap(([tag, found]) => isDigest(found) ? [tag] : []))
})

/** A destination whose tags are compared, as far as they could not be decided by its list. */
interface Settled {
  readonly drafts: Drafts
  readonly listed: Listed
  readonly open: ReadonlyArray<Draft>
  readonly decided: ReadonlyArray<Target>
}

const settleAll = (drafts: Drafts, listed: Listed, filterKey: string): Settled => {
  const targets = new Map(drafts.open.flatMap((draft) => {
    const target = settle(listed, draft, filterKey)
    return target === undefined ? [] : [[draft, target] as const]
  }))
  return {
    drafts,
    listed,
    open: drafts.open.filter((draft) => !targets.has(draft)),
    decided: [...drafts.decided, ...targets.values()]
  }
}

/** Plans one destination of a unit. `sources` has the tags of the source that were looked up. */
const planDestination = Effect.fnUntraced(function*(
  session: Session,
  unit: Unit,
  selection: Selected,
  { decided, drafts, listed, open }: Settled,
  sources: ReadonlyMap<Tag, LookedUp>
): Effect.fn.Return<DestinationPlan, MirrorStateError> {
  const filterKey = FilterKey.make(unit.rule)
  const compared = yield* Effect.forEach(
    open,
    (draft) => compare(session, listed, draft, sources.get(draft.sourceTag) ?? "absent", filterKey),
    { concurrency }
  )
  // a tag that was deleted after the source was listed
  const isGone = ({ action, hasFailed, source, sourceTag }: Target) =>
    action === "failed" && !hasFailed && source === undefined && selection.listed?.has(sourceTag) === true
  const targets = [...decided, ...compared].filter((target) => !isGone(target))
  const present = presentAtSource(session, unit, selection, drafts, sources)
  const pruning = yield* PrunePlanner.plan(session, unit, drafts, present)
  const counted = new Set(pruning.updates.map(({ tag }) => tag))
  const former = formerFailures(unit, drafts).filter(({ tag }) => !counted.has(tag))
  return {
    destination: drafts.destination,
    targets,
    deletions: pruning.deletions,
    updates: [
      ...updatesOf(targets, yield* DateTime.now),
      ...[...former.filter(TagDecision.isOurs), ...pruning.updates].map(endAttempts)
    ],
    forgotten: former.filter((row) => !TagDecision.isOurs(row)),
    problems: [...drafts.problems, ...pruning.problem === undefined ? [] : [pruning.problem]],
    isRepositoryMissing: listed.isRepositoryMissing
  }
})

/** Plans a unit. */
export const plan = Effect.fnUntraced(function*(
  session: Session,
  unit: Unit
): Effect.fn.Return<UnitPlan, MirrorStateError> {
  const { rule, source } = unit
  const selection = yield* session.select(unit)
  if (selection._tag === "Unknown") {
    return { unit, destinations: [], dropped: [], listed: undefined, lists: [], problem: selection.problem }
  }
  const filterKey = FilterKey.make(rule)
  const drafts = yield* Effect.forEach(
    unit.destinations,
    (destination) => draft(session, unit, destination, selection.tags, filterKey)
  )
  const listedAt = yield* Clock.currentTimeMillis
  const settled = yield* Effect.forEach(
    drafts,
    (drafts) => Effect.map(list(session, drafts), (listed) => settleAll(drafts, listed, filterKey)),
    { concurrency }
  )
  const wanted = new Set(settled.flatMap(({ open }) => open.map(({ sourceTag }) => sourceTag)))
  const sources = new Map<Tag, LookedUp>([
    ...selection.digests,
    ...yield* lookUpAll(
      session.namespace,
      source,
      Array.from(wanted).filter((tag) => !selection.digests.has(tag))
    )
  ])
  const destinations = yield* Effect.forEach(
    settled,
    (settled) => planDestination(session, unit, selection, settled, sources)
  )
  return {
    unit,
    destinations,
    dropped: selection.dropped,
    listed: selection.listed,
    lists: [
      ...tagListOf(source, selection.listed, selection.listedAt),
      ...settled.flatMap(({ drafts: { destination }, listed }) => tagListOf(destination, listed.tags, listedAt))
    ],
    problem: undefined
  }
})
