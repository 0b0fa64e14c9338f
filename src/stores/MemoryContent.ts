/**
 * Content of a repository in memory, with tables for its lists, so that the time of a list depends on its length only.
 */
import type { Descriptor } from "../Descriptor.ts"
import type * as Digest from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import type { Tag } from "../Reference.ts"
import type { Blocks } from "./Blocks.ts"
import * as SortedMap from "./SortedMap.ts"

export interface StoredManifest {
  readonly descriptor: Descriptor
  readonly bytes: Blocks
  readonly subject?: Digest.Digest | undefined
}

export interface Content {
  readonly blobs: Map<Digest.Digest, Blocks>
  readonly manifests: Map<Digest.Digest, StoredManifest>
  tags: SortedMap.SortedMap<Tag, Digest.Digest>
  /** Tags of each manifest that has any. */
  readonly tagsOf: Map<Digest.Digest, Set<Tag>>
  /** Referrers of each subject, with the descriptors that lists contain. */
  readonly referrers: Map<Digest.Digest, Map<Digest.Digest, Descriptor>>
  /** Time at which each blob and manifest was last written or mentioned, in milliseconds. */
  readonly mentioned: Map<Digest.Digest, number>
}

/** Cost of a repository, blob, manifest or tag besides its content, in bytes: its name and its part of the tables. */
export const entryCost = 1024

/** Returns the cost of a manifest besides its content. A referrer counts twice, because lists contain it as well. */
export const costOf = (manifest: Pick<StoredManifest, "bytes" | "subject"> | undefined): number =>
  manifest === undefined ? 0 : entryCost + (manifest.subject === undefined ? 0 : manifest.bytes.size)

/** Creates an empty repository. */
export const make = (): Content => ({
  blobs: new Map(),
  manifests: new Map(),
  tags: SortedMap.empty(),
  tagsOf: new Map(),
  referrers: new Map(),
  mentioned: new Map()
})

/** Returns true if a repository has content of this digest, as a blob or as a manifest. */
export const has = ({ blobs, manifests }: Content, digest: Digest.Digest): boolean =>
  blobs.has(digest) || manifests.has(digest)

/** Marks content as mentioned if it exists, and returns true if so. */
export const mention = (self: Content, digest: Digest.Digest, now: number): boolean => {
  const isThere = has(self, digest)
  if (isThere) self.mentioned.set(digest, now)
  return isThere
}

/** Removes a blob. */
export const removeBlob = (self: Content, digest: Digest.Digest): void => {
  self.blobs.delete(digest)
  if (!self.manifests.has(digest)) self.mentioned.delete(digest)
}

/** Removes a tag if it exists. */
export const removeTag = (self: Content, tag: Tag): void => {
  const digest = SortedMap.get(self.tags, tag)
  if (digest === undefined) return
  self.tags = SortedMap.remove(self.tags, tag)
  const tags = self.tagsOf.get(digest)
  tags?.delete(tag)
  if (tags?.size === 0) self.tagsOf.delete(digest)
}

/** Points a tag at a manifest. */
export const point = (self: Content, tag: Tag, digest: Digest.Digest): void => {
  removeTag(self, tag)
  self.tags = SortedMap.set(self.tags, tag, digest)
  const tags = self.tagsOf.get(digest)
  if (tags === undefined) self.tagsOf.set(digest, new Set([tag]))
  else tags.add(tag)
}

const removeReferrer = ({ referrers }: Content, { descriptor: { digest }, subject }: StoredManifest): void => {
  if (subject === undefined) return
  const listed = referrers.get(subject)
  listed?.delete(digest)
  if (listed?.size === 0) referrers.delete(subject)
}

const addReferrer = ({ referrers }: Content, subject: Digest.Digest, referrer: Descriptor): void => {
  const listed = referrers.get(subject)
  if (listed === undefined) referrers.set(subject, new Map([[referrer.digest, referrer]]))
  else listed.set(referrer.digest, referrer)
}

/** Stores a manifest, and lists it as a referrer of its subject. */
export const putManifest = (
  self: Content,
  descriptor: Descriptor,
  bytes: Blocks,
  manifest: Manifest.Manifest | undefined
): void => {
  const { digest } = descriptor
  const before = self.manifests.get(digest)
  if (before !== undefined) removeReferrer(self, before)
  const subject = manifest?.content.subject?.digest
  self.manifests.set(digest, { descriptor, bytes, ...subject === undefined ? {} : { subject } })
  if (manifest !== undefined && subject !== undefined) {
    addReferrer(self, subject, Manifest.toReferrer(manifest, descriptor))
  }
}

/** Removes a manifest, and returns the tags that point at it. The caller removes them. */
export const removeManifest = (self: Content, manifest: StoredManifest): ReadonlyArray<Tag> => {
  const { digest } = manifest.descriptor
  self.manifests.delete(digest)
  if (!self.blobs.has(digest)) self.mentioned.delete(digest)
  removeReferrer(self, manifest)
  return Array.from(self.tagsOf.get(digest) ?? [])
}
