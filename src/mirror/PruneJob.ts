/**
 * Deletes tags that a rule does not mean any more.
 *
 * Before each deletion, the source is asked again for a tag that its list lacked, the destination still has to have the
 * image that this mirror has put there, and the generation is checked. Only tags are deleted. If a registry deletes the
 * manifest with them, the other tags of that image are set again, and nothing else is deleted there.
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

/** Returns why a tag must not be deleted although the list of the source lacks it, or `undefined`. */
const objection = Effect.fnUntraced(function*(
  { namespace }: Session,
  { listed, unit: { rule, source } }: Input,
  { isUnlisted, row }: PruneDecision.Deletion
) {
  if (!isUnlisted) return undefined
  const isThere = (yield* Selection.resolve(namespace, source, row.sourceTag)) !== undefined
  if (!isThere) return undefined
  if (rule.prune._tag === "Prune" && rule.prune.policy === "unmatched") {
    const [own] = TagRule.decide(rule.tags, [row.sourceTag, ...listed ?? []])
    if (own?.selected === false && own.within === undefined) return undefined
  }
  return "the source has the tag, although its list lacks it"
})

/** Returns another tag that this mirror has put there, and that points at the same image. */
const siblingOf = Effect.fnUntraced(function*({ state }: Session, { deletions }: Input, row: TagState) {
  const going = new Set(deletions.map(({ row: { tag } }) => tag))
  const siblings = (yield* state.tags(row.destination)).filter((other) =>
    !going.has(other.tag) && other.destinationDigest === row.destinationDigest
  )
  return siblings.map(({ tag }) => tag)
})

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

/** Deletes one tag, unless something speaks against it. */
const deleteOne = Effect.fnUntraced(function*(
  session: Session,
  input: Input,
  deletion: PruneDecision.Deletion
): Effect.fn.Return<Verdict, MirrorStateError | Namespace.NamespaceError | ManifestDeleted> {
  const { namespace, state } = session
  const { destination } = input
  const { generation: _, ...row } = deletion.row
  const why = yield* objection(session, input, deletion)
  if (why !== undefined) return kept(why)
  const siblings = yield* siblingOf(session, input, deletion.row)
  const [held] = yield* state.begin([row])
  if (held === undefined) return kept("its row is gone")
  const release = state.record([{ ...deletion.row, generation: held.generation }])
  const found: Digest | undefined = yield* Effect.tapError(
    Selection.resolve(namespace, destination, row.tag),
    () => release
  )
  if (found !== undefined && found !== row.destinationDigest) {
    yield* release
    return kept("another client has moved the tag")
  }
  if (!(yield* state.holds(held))) return kept("another run has taken the tag over")
  if (found !== undefined) {
    yield* deleteTag(namespace, destination, row.tag, siblings).pipe(
      Effect.tapError((error) => error._tag === "ManifestDeleted" ? state.remove(held) : release)
    )
  }
  yield* state.remove(held)
  return { isDeleted: true }
})

/** Runs the deletions at one destination. */
export const run = Effect.fnUntraced(function*(
  session: Session,
  input: Input
): Effect.fn.Return<void, MirrorStateError> {
  const { emit } = session
  const { destination, unit: { rule, source } } = input
  let isStopped = false
  for (const deletion of input.deletions) {
    const { destinationDigest, sourceTag, tag } = deletion.row
    if (isStopped || destinationDigest === undefined) continue
    const subject: Subject = { rule: rule.name, source: source.name, sourceTag, destination: destination.name, tag }
    yield* deleteOne(session, input, deletion).pipe(
      Effect.flatMap((verdict) =>
        emit(
          verdict.isDeleted
            ? { ...subject, _tag: "Pruned", digest: destinationDigest }
            : {
              _tag: "Problem",
              rule: rule.name,
              problem: `${destination.name}:${tag} was not deleted: ${verdict.why}`
            }
        )
      ),
      Effect.catchIf((error) => error._tag !== "MirrorStateError", (error) => {
        isStopped = error._tag === "ManifestDeleted"
        return emit(
          isStopped
            ? { _tag: "Problem", rule: rule.name, problem: `${destination.name}: ${error.message}` }
            : { ...subject, _tag: "Failed", error: `the tag was not deleted: ${error.message}`, retryAt: undefined }
        )
      })
    )
  }
})
