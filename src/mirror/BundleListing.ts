/**
 * Makes the list of contents of a bundle from the copies of an export.
 */
import * as Result from "effect/Result"
import type { Digest } from "../Digest.ts"
import * as Platform from "../Platform.ts"
import { parseTag, type Tag } from "../Reference.ts"
import type { BundleContents } from "./BundleContents.ts"
import * as BundleKnown from "./BundleKnown.ts"
import type { Assumed } from "./BundleStore.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import * as RepositoryRule from "./RepositoryRule.ts"
import type { Destination, Unit } from "./Unit.ts"

/** A tag of the source that could not be exported. */
export type Omitted = BundleContents["omitted"][number]

/** A manifest with everything below it. */
export interface Tree {
  readonly manifest: Digest
  readonly content: ReadonlyArray<Digest>
}

/** Manifests of one copy: the image, those that digest tags name, and the referrers. */
export interface Copied {
  readonly tag: Tag
  readonly root: Digest
  readonly images: ReadonlyArray<Tree>
  readonly referrers: ReadonlyArray<Tree & { readonly subject: Digest }>
  readonly content: ReadonlyMap<Digest, BundleKnown.KnownContent>
}

/** Contribution of one unit to a bundle. */
export interface UnitExport {
  readonly unit: Unit
  readonly assumed: Assumed
  readonly copied: ReadonlyArray<Copied>
  /** Digest tags, which the copies have found. */
  readonly digestTags: ReadonlyMap<Tag, Digest>
  readonly omitted: ReadonlyArray<Omitted>
}

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

/** Content of a bundle, before it is known which repositories have the rest of it. */
interface Collected {
  readonly table: ReturnType<typeof makeTable>
  /** Digests that the bundle has, because a destination may lack them. */
  readonly carried: ReadonlySet<Digest>
  /** Everything below each image, by positions. */
  readonly images: ReadonlyMap<number, ReadonlySet<number>>
}

const collect = (exports: ReadonlyArray<UnitExport>): Collected => {
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
  return { table, carried, images }
}

/** Returns the positions of the content that each repository is expected to have for the copies of some units. */
const findHolders = (
  { carried, table }: Collected,
  exports: ReadonlyArray<UnitExport>,
  known: BundleKnown.BundleKnown
): ReadonlyMap<string, ReadonlySet<number>> => {
  const holders = new Map<string, Set<number>>()
  for (const { copied, unit: { destinations } } of exports) {
    const assumed = copied.flatMap(({ content }) => Array.from(content.keys())).filter((digest) => !carried.has(digest))
    for (const { name } of destinations) {
      for (const digest of new Set(assumed)) {
        const holder = BundleKnown.holderOf(known, name, digest)
        const position = table.find(digest)
        if (holder === undefined || position === undefined) continue
        holders.set(holder, (holders.get(holder) ?? new Set()).add(position))
      }
    }
  }
  return holders
}

/** Returns a repository without tags, which only has content for others. */
const holderOnly = (name: string, assumed: ReadonlySet<number>): BundleContents["repositories"][number] => ({
  name,
  rule: "",
  source: "",
  onTagMoved: "keep",
  tags: [],
  referrers: [],
  assumed: Array.from(assumed)
})

/** Makes the list of contents, without positions in pieces. */
export const make = (
  exports: ReadonlyArray<UnitExport>,
  known: BundleKnown.BundleKnown
): Pick<BundleContents, "content" | "images" | "omitted" | "repositories"> => {
  const collected = collect(exports)
  const { carried, images, table } = collected
  const claims = new Map<string, Digest>()
  const omitted: Array<Omitted> = exports.flatMap(({ omitted }) => omitted)
  const holders = new Map(findHolders(collected, exports, known))
  const repositories = exports.flatMap((exported) =>
    exported.unit.destinations.map((destination) => {
      const named = nameTags(exported, destination, claims)
      omitted.push(...named.omitted)
      const assumed = holders.get(destination.name) ?? new Set()
      // units with the same destination share what it has
      holders.delete(destination.name)
      return { ...repositoryOf(exported, destination, named.tags, table, known), assumed: Array.from(assumed) }
    })
  )
  const others = Array.from(holders, ([name, assumed]) => holderOnly(name, assumed))
  return {
    content: table.entries.map(({ digest, mediaType, size }) => ({
      digest,
      size,
      ...mediaType === undefined ? {} : { mediaType },
      ...carried.has(digest) ? {} : { assumed: true as const }
    })),
    images: Array.from(images, ([manifest, content]) => ({ manifest, content: Array.from(content) })),
    repositories: [...repositories, ...others],
    omitted
  }
}

const positionsOf = ({ find }: ReturnType<typeof makeTable>, digests: ReadonlyArray<Digest>): ReadonlyArray<number> =>
  digests.flatMap((digest) => find(digest) ?? [])

/** Returns a repository of a destination, without the content that it is expected to have. */
const repositoryOf = (
  { copied, unit: { rule, source } }: UnitExport,
  { name }: Destination,
  tags: ReadonlyMap<Tag, Digest>,
  table: ReturnType<typeof makeTable>,
  known: BundleKnown.BundleKnown
): Omit<BundleContents["repositories"][number], "assumed"> => {
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
    })
  }
}
