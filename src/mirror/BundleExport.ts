/**
 * Copies what the rules select to the image layout of a bundle, except what the other side has, and lists it.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import type { CopyError } from "../copy/CopyError.ts"
import type { CopyReport, Entry } from "../copy/CopyReport.ts"
import type { Digest } from "../Digest.ts"
import * as Namespace from "../Namespace.ts"
import type { Tag } from "../Reference.ts"
import type * as LayoutRegistry from "../stores/LayoutRegistry.ts"
import { failing } from "./BundleError.ts"
import * as BundleKnown from "./BundleKnown.ts"
import * as BundleListing from "./BundleListing.ts"
import type { Copied, Omitted, Tree, UnitExport } from "./BundleListing.ts"
import * as BundleStore from "./BundleStore.ts"
import { optionsOf } from "./CopyJob.ts"
import type { MirrorConfig } from "./MirrorConfig.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import * as Selection from "./Selection.ts"
import { reference, type Unit } from "./Unit.ts"
import * as Units from "./Unit.ts"

// maximum number of units that are exported at the same time
const unitsAtOnce = 4

/** Maximum number of tags that are copied at the same time, by default. */
const copiesAtOnce = 8

// ---------------------------------------------------------------------------------------------------------------------
// copying
// ---------------------------------------------------------------------------------------------------------------------

const isOwner = ({ role }: Entry): boolean => role === "referrer" || role === "digestTag"

/** Divides the entries of a report by the manifests that they come with. */
const divide = (
  tag: Tag,
  { entries, root }: CopyReport,
  known: BundleKnown.BundleKnown,
  assumed: BundleStore.Assumed
): Copied => {
  const there = entries.filter(({ outcome }) => outcome !== "external" && outcome !== "missing")
  const owners = new Map(there.filter(isOwner).map((entry) => [entry.descriptor.digest, entry]))
  const below = new Map<Digest, Set<Digest>>()
  const trees = new Map<Digest, Entry | undefined>([[root.digest, undefined], ...owners])
  for (const { descriptor: { digest }, path } of there) {
    const owner = path.findLast((above) => owners.has(above)) ?? root.digest
    if (trees.has(digest)) continue
    const content = below.get(owner) ?? new Set<Digest>()
    below.set(owner, content.add(digest))
  }
  const treeOf = (manifest: Digest): Tree => ({
    manifest,
    // an assumed manifest is not read, so the base says what is below it
    content: Array.from(
      new Set([
        ...below.get(manifest) ?? [],
        ...(known.images.get(manifest) ?? []).filter((digest) => assumed(digest) !== undefined)
      ])
    )
  })
  const content = new Map<Digest, BundleKnown.KnownContent>()
  const images: Array<Tree> = []
  const referrers: Array<Tree & { readonly subject: Digest }> = []
  for (const [digest, entry] of trees) {
    const tree = treeOf(digest)
    const subject = entry?.path.at(-1)
    if (entry?.role === "referrer" && subject !== undefined) referrers.push({ ...tree, subject })
    else images.push(tree)
    for (const each of tree.content) {
      const found = known.content.get(each)
      if (found !== undefined) content.set(each, found)
    }
  }
  for (const { descriptor: { digest, mediaType, size }, role } of there) {
    content.set(digest, { digest, size, mediaType: role === "blob" ? undefined : mediaType })
  }
  content.set(root.digest, { digest: root.digest, size: root.size, mediaType: root.mediaType })
  return { tag, root: root.digest, images, referrers, content }
}

interface Session {
  readonly namespace: Namespace.Namespace["Service"]
  readonly known: BundleKnown.BundleKnown
  readonly store: BundleStore.BundleStore
  readonly copying: Semaphore.Semaphore
  readonly progress: (text: string) => Effect.Effect<void>
}

/** Creates the state that selections need, and that an export does not keep. */
const noState: Selection.Dates = {
  created: () => Effect.succeed(new Map()),
  recordCreated: () => Effect.void
}

/** Copies the selected tags of a unit to the store. */
const exportUnit = Effect.fnUntraced(function*(
  { copying, known, namespace, progress, store }: Session,
  unit: Unit
): Effect.fn.Return<UnitExport> {
  const { destinations, rule, source } = unit
  const assumed = BundleKnown.onAll(known, new Set(destinations.map(({ registry }) => registry)))
  const failed = (tag: string, problem: string): Omitted => ({ name: source.name, tag, problem })
  const selection = yield* Selection.select({ namespace, state: noState, isRun: false }, unit)
  if (selection._tag === "Unknown") {
    return { unit, assumed, copied: [], digestTags: new Map(), omitted: [failed("*", selection.problem)] }
  }
  const { repository, tags } = store.unit(assumed)
  const copy = (tag: Tag): Effect.Effect<Result.Result<Copied, Omitted>> =>
    namespace.copyManifest({
      ...optionsOf(rule),
      source: reference(source, { tag }),
      destination: { registry: store.registry, repository }
    }).pipe(
      Effect.map((report) => divide(tag, report, known, assumed)),
      Effect.tap(() => progress(`exported ${source.name}:${tag}`)),
      Effect.mapError(({ message }: CopyError) => failed(tag, message)),
      Effect.result
    )
  const results = yield* Effect.forEach(selection.tags, (tag) => copying.withPermit(copy(tag)), {
    concurrency: "unbounded"
  })
  return {
    unit,
    assumed,
    copied: results.flatMap((result) => Result.isSuccess(result) ? [result.success] : []),
    digestTags: tags,
    omitted: results.flatMap((result) => Result.isFailure(result) ? [result.failure] : [])
  }
})

// ---------------------------------------------------------------------------------------------------------------------
// exporting
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the problem of a base that is about other registries than the rules, so that it would be of no use. */
const foreignBase = ({ hosts }: BundleKnown.BundleKnown, rules: ReadonlyArray<Units.RuleUnits>) => {
  const wanted = new Set(rules.flatMap(({ rule }) => rule.to.map(({ registry }) => registry)))
  const [host] = wanted
  return hosts.size === 0 || host === undefined || Array.from(wanted).some((each) => hosts.has(each))
    ? undefined
    : { host, problem: `the base has no content of this registry, but of ${Array.from(hosts.keys()).join(", ")}` }
}

/** Copies what the rules select to a layout. Returns the list of contents, without positions in pieces. */
export const toLayout = Effect.fnUntraced(function*(
  config: Pick<MirrorConfig, "rules">,
  known: BundleKnown.BundleKnown,
  layout: LayoutRegistry.LayoutRegistry,
  options: {
    readonly rules?: ((rule: MirrorRule) => boolean) | undefined
    readonly copies?: number | undefined
    readonly progress?: ((text: string) => Effect.Effect<void>) | undefined
  }
) {
  const namespace = yield* Namespace.Namespace
  const session: Session = {
    namespace,
    known,
    store: BundleStore.make(layout),
    copying: Semaphore.makeUnsafe(Math.max(1, options.copies ?? copiesAtOnce)),
    progress: options.progress ?? (() => Effect.void)
  }
  const { rules } = yield* Units.find(namespace, config.rules, options.rules ?? (() => true))
  const foreign = foreignBase(known, rules)
  if (foreign !== undefined) return yield* failing(foreign.host)("Invalid", foreign.problem)
  const exports = yield* Effect.forEach(
    rules.flatMap(({ units }) => units),
    (unit) => exportUnit(session, unit),
    { concurrency: unitsAtOnce }
  )
  const listed = BundleListing.make(exports, known)
  const lost = rules.flatMap(({ problem, rule }) =>
    problem === undefined ? [] : [{ name: rule.name, tag: "*", problem }]
  )
  return {
    ...listed,
    omitted: [...lost, ...listed.omitted],
    at: DateTime.formatIso(yield* DateTime.now),
    base: known.base
  }
})
