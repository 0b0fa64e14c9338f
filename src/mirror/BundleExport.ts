/**
 * Writes bundles: copies what the rules select to an image layout, except what the other side has, and writes the list
 * of contents last.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import type { CopyError } from "../copy/CopyError.ts"
import type { CopyReport, Entry } from "../copy/CopyReport.ts"
import type { Digest } from "../Digest.ts"
import * as Namespace from "../Namespace.ts"
import * as Platform from "../Platform.ts"
import { parseTag, type Tag } from "../Reference.ts"
import type * as LayoutRegistry from "../stores/LayoutRegistry.ts"
import type { BundleContents } from "./BundleContents.ts"
import { failing } from "./BundleError.ts"
import * as BundleKnown from "./BundleKnown.ts"
import * as BundleStore from "./BundleStore.ts"
import { optionsOf } from "./CopyJob.ts"
import type { MirrorConfig } from "./MirrorConfig.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import * as RepositoryRule from "./RepositoryRule.ts"
import * as Selection from "./Selection.ts"
import { type Destination, reference, type Unit } from "./Unit.ts"
import * as Units from "./Unit.ts"

/** A tag of the source that could not be exported. */
type Omitted = BundleContents["omitted"][number]

/** A manifest with everything below it. */
interface Tree {
  readonly manifest: Digest
  readonly content: ReadonlyArray<Digest>
}

/** Manifests of one copy: the image, those that digest tags name, and the referrers. */
interface Copied {
  readonly tag: Tag
  readonly root: Digest
  readonly images: ReadonlyArray<Tree>
  readonly referrers: ReadonlyArray<Tree & { readonly subject: Digest }>
  readonly content: ReadonlyMap<Digest, BundleKnown.KnownContent>
}

/** Contribution of one unit to a bundle. */
interface UnitExport {
  readonly unit: Unit
  readonly assumed: BundleStore.Assumed
  readonly copied: ReadonlyArray<Copied>
  /** Digest tags, which the copies have found. */
  readonly digestTags: ReadonlyMap<Tag, Digest>
  readonly omitted: ReadonlyArray<Omitted>
}

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
// the list of contents
// ---------------------------------------------------------------------------------------------------------------------

/** Gives every digest a position. */
const makeTable = () => {
  const positions = new Map<Digest, number>()
  const entries: Array<BundleKnown.KnownContent> = []
  return {
    entries,
    positionOf: (content: BundleKnown.KnownContent): number => {
      const found = positions.get(content.digest) ?? entries.length
      if (found === entries.length) entries.push(content)
      positions.set(content.digest, found)
      return found
    },
    find: (digest: Digest): number | undefined => positions.get(digest)
  }
}

const platformsOf = ({ platforms }: MirrorRule): ReadonlyArray<string> | undefined =>
  typeof platforms === "object" && platforms._tag === "Index" && platforms.index === "keep"
    ? platforms.platforms.map(Platform.format)
    : undefined

/** Names the tags of a destination. Reports those that are not valid, and those that another unit has claimed. */
const nameTags = (
  { copied, digestTags }: UnitExport,
  destination: Destination,
  claims: Map<string, Digest>
): { readonly tags: ReadonlyMap<Tag, Digest>; readonly omitted: ReadonlyArray<Omitted> } => {
  const tags = new Map<Tag, Digest>()
  const omitted: Array<Omitted> = []
  const named = copied.map(({ root, tag }) => [RepositoryRule.tagOf(destination.tag, tag), root] as const)
  for (const [name, root] of [...digestTags, ...named]) {
    const tag = Result.getOrUndefined(parseTag(name))
    const claim = claims.get(`${destination.name}:${name}`) ?? root
    if (tag === undefined) omitted.push({ name: destination.name, tag: name, problem: "it is not a valid tag" })
    else if (claim !== root) {
      omitted.push({ name: destination.name, tag: name, problem: "several rules select different images for it" })
    } else {
      claims.set(`${destination.name}:${name}`, root)
      tags.set(tag, root)
    }
  }
  return { tags, omitted }
}

/** Makes the list of contents, without positions in pieces. */
const listContents = (
  exports: ReadonlyArray<UnitExport>,
  known: BundleKnown.BundleKnown
): Pick<BundleContents, "content" | "images" | "omitted" | "repositories"> => {
  const table = makeTable()
  const carried = new Set<Digest>()
  const images = new Map<number, ReadonlySet<number>>()
  for (const { assumed, copied } of exports) {
    for (const { content, images: trees } of copied) {
      for (const each of content.values()) {
        table.positionOf(each)
        if (assumed(each.digest) === undefined) carried.add(each.digest)
      }
      for (const tree of trees) {
        const manifest = table.find(tree.manifest)
        if (manifest === undefined) continue
        images.set(manifest, new Set([...images.get(manifest) ?? [], ...positionsOf(table, tree.content)]))
      }
    }
  }
  const claims = new Map<string, Digest>()
  const omitted: Array<Omitted> = exports.flatMap(({ omitted }) => omitted)
  const assumedAt = new Map<string, Set<number>>()
  const repositories = exports.flatMap((exported) =>
    exported.unit.destinations.map((destination): BundleContents["repositories"][number] => {
      const named = nameTags(exported, destination, claims)
      omitted.push(...named.omitted)
      for (const { content } of exported.copied) {
        for (const { digest } of content.values()) {
          const holder = carried.has(digest) ? undefined : BundleKnown.holderOf(known, destination.name, digest)
          const position = table.find(digest)
          if (holder === undefined || position === undefined) continue
          assumedAt.set(holder, (assumedAt.get(holder) ?? new Set()).add(position))
        }
      }
      return repositoryOf(exported, destination, named.tags, table, known)
    })
  )
  const holders = new Map(assumedAt)
  const withAssumed = repositories.map((repository) => {
    const assumed = holders.get(repository.name)
    holders.delete(repository.name)
    return { ...repository, assumed: Array.from(assumed ?? []) }
  })
  const others = Array.from(holders, ([name, assumed]): BundleContents["repositories"][number] => ({
    name,
    rule: "",
    source: "",
    onTagMoved: "keep",
    tags: [],
    referrers: [],
    assumed: Array.from(assumed)
  }))
  return {
    content: table.entries.map(({ digest, mediaType, size }) => ({
      digest,
      size,
      ...mediaType === undefined ? {} : { mediaType },
      ...carried.has(digest) ? {} : { assumed: true as const }
    })),
    images: Array.from(images, ([manifest, content]) => ({ manifest, content: Array.from(content) })),
    repositories: [...withAssumed, ...others],
    omitted
  }
}

const positionsOf = ({ find }: ReturnType<typeof makeTable>, digests: ReadonlyArray<Digest>): ReadonlyArray<number> =>
  digests.flatMap((digest) => find(digest) ?? [])

const repositoryOf = (
  { copied, unit: { rule, source } }: UnitExport,
  { name }: Destination,
  tags: ReadonlyMap<Tag, Digest>,
  table: ReturnType<typeof makeTable>,
  known: BundleKnown.BundleKnown
): BundleContents["repositories"][number] => {
  const before = known.repositories.get(name)?.tags
  const platforms = platformsOf(rule)
  const referrers = new Map(copied.flatMap(({ referrers }) => referrers.map((each) => [each.manifest, each] as const)))
  return {
    name,
    rule: rule.name,
    source: source.name,
    onTagMoved: rule.onTagMoved,
    ...platforms === undefined ? {} : { platforms },
    tags: Array.from(tags).flatMap(([tag, digest]) => {
      const was = before?.get(tag)
      return positionsOf(table, [digest]).map((manifest) => ({
        tag,
        manifest,
        ...was === undefined || was === digest ? {} : { was }
      }))
    }),
    referrers: Array.from(referrers.values()).flatMap(({ content, manifest, subject }) => {
      const [position, subjectPosition] = positionsOf(table, [manifest, subject])
      return position === undefined || subjectPosition === undefined
        ? []
        : [{ manifest: position, subject: subjectPosition, content: positionsOf(table, content) }]
    }),
    assumed: []
  }
}

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
  const chosen = rules.filter(({ rule }) => options.rules?.(rule) ?? true)
  const foreign = foreignBase(known, chosen)
  if (foreign !== undefined) return yield* failing(foreign.host)("Invalid", foreign.problem)
  const exports = yield* Effect.forEach(
    chosen.flatMap(({ units }) => units),
    (unit) => exportUnit(session, unit),
    { concurrency: unitsAtOnce }
  )
  const listed = listContents(exports, known)
  const lost = chosen.flatMap(({ problem, rule }) =>
    problem === undefined ? [] : [{ name: rule.name, tag: "*", problem }]
  )
  return {
    ...listed,
    omitted: [...lost, ...listed.omitted],
    at: DateTime.formatIso(yield* DateTime.now),
    base: known.base
  }
})
