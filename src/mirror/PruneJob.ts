/**
 * Deletes tags that a rule does not mean any more.
 *
 * First, the source is asked again for each tag that it lacked. Before each deletion, the destination still has
 * to have the image that this mirror has put there, and the generation is checked. Only tags are deleted. If a registry
 * deletes the manifest with them, the other tags of that image are set again, and nothing else is deleted there.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Digest } from "../Digest.ts"
import type * as Namespace from "../Namespace.ts"
import type { Tag } from "../Reference.ts"
import type { ManifestBytes } from "../Registry.ts"
import type { Subject } from "./MirrorEvent.ts"
import type { MirrorStateError, TagState } from "./MirrorState.ts"
import type * as PruneDecision from "./PruneDecision.ts"
import * as Selection from "./Selection.ts"
import type { Session } from "./Session.ts"
import * as TagRule from "./TagRule.ts"
import { type Destination, reference, type Unit } from "./Unit.ts"

/** Deletions at one destination. */
export interface Input {
  readonly unit: Unit
  readonly destination: Destination
  readonly deletions: ReadonlyArray<PruneDecision.Deletion>
  /** Tags that the source lists. `undefined` if the rule names all of its tags. */
  readonly listed: ReadonlySet<Tag> | undefined
}

/** The registry has deleted a manifest together with a tag. */
class ManifestDeleted extends Schema.TaggedError<ManifestDeleted>("effect-oci/mirror/PruneJob/ManifestDeleted")(
  "ManifestDeleted",
  {}
) {
  override get message(): string {
    return "the registry deletes the image with the tag; its other tags were set again"
  }
}

type Verdict = { readonly isDeleted: true } | { readonly isDeleted: false; readonly why: string }

const kept = (why: string): Verdict => ({ isDeleted: false, why })

/** Returns why a tag must not be deleted although the source lacked it when it was planned, or `undefined`. */
const objection = Effect.fnUntraced(function*(
  { namespace }: Session,
  { listed, unit: { rule, source } }: Input,
  { isGone, row }: PruneDecision.Deletion
) {
  if (!isGone) return undefined
  const isThere = (yield* Selection.resolve(namespace, source, row.sourceTag)) !== undefined
  if (!isThere) return undefined
  if (rule.prune._tag === "Prune" && rule.prune.policy === "unmatched") {
    const [own] = TagRule.decide(rule.tags, [row.sourceTag, ...listed ?? []])
    if (own?.selected === false && own.within === undefined) return undefined
  }
  return listed === undefined ? "the source has the tag again" : "the source has the tag, although its list lacks it"
})

/** Returns the other tags, of `rows`, that point at the same image and are not deleted. */
const siblingsOf = (rows: ReadonlyArray<TagState>, { deletions }: Input, row: TagState): ReadonlyArray<Tag> => {
  const going = new Set(deletions.map(({ row: { tag } }) => tag))
  return rows.flatMap(({ destinationDigest, tag }) =>
    !going.has(tag) && destinationDigest === row.destinationDigest ? [tag] : []
  )
}

/** Returns true if the row of a tag is as it was when the deletion was planned. */
const isAsPlanned = (rows: ReadonlyArray<TagState>, { generation, missing, tag }: TagState): boolean =>
  rows.some((row) => row.tag === tag && row.generation === generation && row.missing >= missing)

/** Deletes a tag. Sets the other tags of its image again if the registry has deleted the image with it. */
const deleteTag = Effect.fnUntraced(function*(
  namespace: Namespace.Namespace["Service"],
  destination: Destination,
  tag: Tag,
  siblings: ReadonlyArray<Tag>
): Effect.fn.Return<void, Namespace.NamespaceError | ManifestDeleted> {
  const [sibling] = siblings
  const before: ManifestBytes | undefined = sibling === undefined
    ? undefined
    : yield* namespace.getManifest(reference(destination, { tag: sibling }))
  yield* namespace.deleteTag(reference(destination, { tag }))
  if (sibling === undefined || before === undefined) return
  if ((yield* Selection.resolve(namespace, destination, sibling)) !== undefined) return
  const { bytes, descriptor: { digest, mediaType } } = before
  yield* namespace.pushManifest(reference(destination, { digest }), { mediaType, bytes }, siblings)
  return yield* new ManifestDeleted()
})

/**
 * Lets the next run look at a tag of the destination that another run has taken over, because the request that deleted
 * it may have arrived after that run has set it.
 */
const lookAgain = Effect.fnUntraced(function*({ state }: Session, { destination, tag }: TagState) {
  const row = (yield* state.tags(destination)).find((row) => row.tag === tag)
  if (row !== undefined) yield* state.record([{ ...row, checkedAt: undefined }])
})

/** Deletes one tag, unless something speaks against it. */
const deleteOne = Effect.fnUntraced(function*(
  session: Session,
  input: Input,
  deletion: PruneDecision.Deletion
): Effect.fn.Return<Verdict, MirrorStateError | Namespace.NamespaceError | ManifestDeleted> {
  const { namespace, state } = session
  const { destination } = input
  const { generation: _, ...row } = deletion.row
  const rows = yield* state.tags(row.destination)
  if (!isAsPlanned(rows, deletion.row)) return kept("another run has taken the tag over")
  const siblings = siblingsOf(rows, input, deletion.row)
  const [held] = yield* state.begin([row])
  if (held === undefined) return kept("its row is gone")
  const release = state.record([{ ...deletion.row, generation: held.generation }])
  const found: Digest | undefined = yield* Effect.tapError(
    Selection.resolve(namespace, destination, row.tag),
    () => release
  )
  if (found !== undefined && found !== row.destinationDigest) {
    // the tag is that of the other client from now on
    yield* state.remove(held)
    return kept("another client has moved the tag")
  }
  if (!(yield* state.holds(held))) return kept("another run has taken the tag over")
  if (found !== undefined) {
    yield* deleteTag(namespace, destination, row.tag, siblings).pipe(
      Effect.tapError((error) => error._tag === "ManifestDeleted" ? state.remove(held) : release)
    )
  }
  const isOurs = yield* state.holds(held)
  if (isOurs) yield* state.remove(held)
  else yield* lookAgain(session, held)
  return isOurs ? { isDeleted: true } : kept("another run has taken the tag over")
})

/** Runs the deletions at one destination. */
export const run = Effect.fnUntraced(function*(
  session: Session,
  input: Input
): Effect.fn.Return<void, MirrorStateError> {
  const { emit } = session
  const { destination, unit: { rule, source } } = input
  const problem = (problem: string) => emit({ _tag: "Problem", rule: rule.name, problem })
  const subjectOf = ({ row: { sourceTag, tag } }: PruneDecision.Deletion): Subject => ({
    rule: rule.name,
    source: source.name,
    sourceTag,
    destination: destination.name,
    tag
  })
  const keep = ({ row: { tag } }: PruneDecision.Deletion, why: string) =>
    problem(`${destination.name}:${tag} was not deleted: ${why}`)
  const fail = (deletion: PruneDecision.Deletion, { message }: { readonly message: string }) =>
    emit({ ...subjectOf(deletion), _tag: "Failed", error: `the tag was not deleted: ${message}`, retryAt: undefined })

  const going: Array<PruneDecision.Deletion> = []
  for (const deletion of input.deletions) {
    yield* Effect.matchEffect(objection(session, input, deletion), {
      onFailure: (error) => fail(deletion, error),
      onSuccess: (why) => why === undefined ? Effect.sync(() => void going.push(deletion)) : keep(deletion, why)
    })
  }
  let isStopped = false
  for (const deletion of going) {
    const { destinationDigest: digest } = deletion.row
    if (isStopped || digest === undefined) continue
    yield* deleteOne(session, { ...input, deletions: going }, deletion).pipe(
      Effect.flatMap((verdict) =>
        verdict.isDeleted ? emit({ ...subjectOf(deletion), _tag: "Pruned", digest }) : keep(deletion, verdict.why)
      ),
      Effect.catchIf((error) => error._tag !== "MirrorStateError", (error) => {
        isStopped = error._tag === "ManifestDeleted"
        return isStopped ? problem(`${destination.name}: ${error.message}`) : fail(deletion, error)
      })
    )
  }
})
