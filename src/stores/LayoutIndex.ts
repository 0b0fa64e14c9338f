/**
 * The entries of an `index.json` (image-spec, `image-layout.md`): which manifests a layout lists, and their names.
 *
 * An index is immutable. It finds entries by tag and by digest without reading all of them.
 */
import * as Result from "effect/Result"
import type { Descriptor } from "../Descriptor.ts"
import type * as Digest from "../Digest.ts"
import * as MediaType from "../MediaType.ts"
import type * as Reference from "../Reference.ts"
import { AmbiguousTag } from "../RegistryError.ts"
import * as LayoutEntry from "./LayoutEntry.ts"
import * as SortedMap from "./SortedMap.ts"

type Entry = LayoutEntry.LayoutEntry

/** Maximum number of images that an error about an ambiguous tag lists. */
const candidateLimit = 10

/** Maximum number of entries of one tag that are searched for those images. */
const sameTagLimit = 1000

/** Number that orders the entries as in the file. It stays the same when an entry is edited. */
type Place = number

type Places = SortedMap.SortedMap<string, Place>

export interface LayoutIndex {
  /** Text before the entries. */
  readonly before: string
  readonly entries: SortedMap.SortedMap<Place, Entry>
  /** Text after the entries. */
  readonly after: string
  /** Space before each new entry. */
  readonly space: string
  /** Places of the entries with a tag, by the tag. */
  readonly tagged: Places
  /** Places of the entries with a descriptor, by its digest. */
  readonly listed: Places
  /** Length of the texts of all entries in UTF-8, in bytes. */
  readonly bytes: number
}

// ---------------------------------------------------------------------------------------------------------------------
// places of entries
// ---------------------------------------------------------------------------------------------------------------------

const keyOf = (name: string, isSecond: boolean, place: Place): string =>
  `${name} ${isSecond ? 1 : 0}${`${place}`.padStart(12, "0")}`

/**
 * Returns the key of an entry under its tag. Entries whose name is the tag alone sort first. Keys of one tag are
 * adjacent, because no character of a tag sorts before the space.
 */
const tagKey = ({ isExact, tag }: Entry, place: Place): string | undefined =>
  tag === undefined ? undefined : keyOf(tag, !isExact, place)

/** Returns the key of an entry under its digest. Entries without a tag sort first. */
const digestKey = (entry: Entry, place: Place): string | undefined => {
  const digest = LayoutEntry.digestOf(entry)
  return digest === undefined ? undefined : keyOf(digest, entry.tag !== undefined, place)
}

/** Returns the places of a tag or digest, in the order of their keys. */
const placesOf = function*(places: Places, name: string): Generator<Place> {
  const prefix = `${name} `
  for (const [key, place] of SortedMap.entries(places, prefix)) {
    if (!key.startsWith(prefix)) return
    yield place
  }
}

const firstPlace = (places: Places, prefix: string): Place | undefined => {
  const found = SortedMap.first(places, prefix)
  return found?.[0].startsWith(prefix) === true ? found[1] : undefined
}

const withKey = (places: Places, key: string | undefined, place: Place): Places =>
  key === undefined ? places : SortedMap.set(places, key, place)

const withoutKey = (places: Places, key: string | undefined): Places =>
  key === undefined ? places : SortedMap.remove(places, key)

const removed = (self: LayoutIndex, place: Place): LayoutIndex => {
  const entry = SortedMap.get(self.entries, place)
  return entry === undefined ? self : {
    ...self,
    entries: SortedMap.remove(self.entries, place),
    tagged: withoutKey(self.tagged, tagKey(entry, place)),
    listed: withoutKey(self.listed, digestKey(entry, place)),
    bytes: self.bytes - entry.bytes
  }
}

/** Inserts an entry at a free place. */
const inserted = (self: LayoutIndex, place: Place, entry: Entry): LayoutIndex => ({
  ...self,
  entries: SortedMap.set(self.entries, place, entry),
  tagged: withKey(self.tagged, tagKey(entry, place), place),
  listed: withKey(self.listed, digestKey(entry, place), place),
  bytes: self.bytes + entry.bytes
})

const replaced = (self: LayoutIndex, place: Place, entry: Entry): LayoutIndex =>
  inserted(removed(self, place), place, entry)

const appended = (self: LayoutIndex, entry: Entry): LayoutIndex =>
  inserted(self, (SortedMap.lastKey(self.entries) ?? 0) + 1, entry)

/** Collects the entries of an index, without a copy for each entry. */
export interface Builder {
  /** Returns the number of entries. */
  readonly count: () => number
  readonly add: (entry: Entry) => void
  /** Returns the entries. The builder must not be used after that. */
  readonly build: () => Pick<LayoutIndex, "entries" | "tagged" | "listed" | "bytes">
}

/** Creates a builder. */
export const builder = (): Builder => {
  const entries = SortedMap.builder<Place, Entry>()
  const tagged = SortedMap.builder<string, Place>()
  const listed = SortedMap.builder<string, Place>()
  let place = 0
  let bytes = 0
  return {
    count: () => place,
    add: (entry: Entry) => {
      place++
      bytes += entry.bytes
      entries.add(place, entry)
      const [tag, digest] = [tagKey(entry, place), digestKey(entry, place)]
      if (tag !== undefined) tagged.add(tag, place)
      if (digest !== undefined) listed.add(digest, place)
    },
    build: () => ({ entries: entries.build(), tagged: tagged.build(), listed: listed.build(), bytes })
  }
}

/** Returns an entry with its place. */
const at = (
  self: LayoutIndex,
  place: Place | undefined
): { readonly place: Place; readonly entry: Entry } | undefined => {
  const entry = place === undefined ? undefined : SortedMap.get(self.entries, place)
  return place === undefined || entry === undefined ? undefined : { place, entry }
}

/** Creates an index without entries from the texts around them. */
export const makeEmpty = (before: string, after: string, space: string): LayoutIndex => ({
  before,
  entries: SortedMap.empty(),
  after,
  space,
  tagged: SortedMap.empty(),
  listed: SortedMap.empty(),
  bytes: 0
})

/** An index without manifests. */
export const empty: LayoutIndex = makeEmpty(
  `{"schemaVersion":2,"mediaType":"${MediaType.imageIndex}","manifests":[`,
  "]}",
  ""
)

/** Returns the length of the text of an index in UTF-8, in bytes. */
export const size = ({ after, before, bytes, entries }: LayoutIndex): number =>
  LayoutEntry.bytesOf(before) + bytes + Math.max(0, entries.size - 1) + LayoutEntry.bytesOf(after)

// ---------------------------------------------------------------------------------------------------------------------
// reading
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the first entry of a tag: one whose name is the tag alone, or else the first in the file. */
const byTag = (self: LayoutIndex, tag: Reference.Tag) => at(self, firstPlace(self.tagged, `${tag} `))

/**
 * Returns the entries that a tag names: those whose name is the tag alone, or else those whose name contains it. There
 * is one entry for each digest, so that more than one entry makes the tag ambiguous.
 */
const candidatesOf = (self: LayoutIndex, tag: Reference.Tag): ReadonlyArray<Entry> => {
  const found: Array<Entry> = []
  let seen = 0
  for (const place of placesOf(self.tagged, tag)) {
    const entry = SortedMap.get(self.entries, place)
    const [first] = found
    if (entry === undefined || ++seen > sameTagLimit || found.length === candidateLimit) break
    if (first !== undefined && first.isExact !== entry.isExact) break
    if (found.every((other) => LayoutEntry.isAnother(entry, other))) found.push(entry)
  }
  return found
}

/** Returns an error with all manifests that a tag names, and their full names, if it names several. */
export const ambiguity = (self: LayoutIndex, tag: Reference.Tag): AmbiguousTag | undefined => {
  const entries = candidatesOf(self, tag)
  return entries.length < 2 ? undefined : new AmbiguousTag({
    tag,
    candidates: entries.flatMap((entry) => {
      const digest = LayoutEntry.digestOf(entry)
      const [name] = LayoutEntry.namesOf(entry)
      return digest === undefined ? [] : [{ digest, ...name === undefined ? {} : { name } }]
    })
  })
}

/** Returns true if a tag exists. */
export const hasTag = (self: LayoutIndex, tag: Reference.Tag): boolean => byTag(self, tag) !== undefined

/** Returns the manifest that a tag names, if any. Fails if the tag is ambiguous, or its entry is not valid. */
export const resolve = (
  self: LayoutIndex,
  tag: Reference.Tag
): Result.Result<Descriptor | undefined, string | AmbiguousTag> => {
  const ambiguous = ambiguity(self, tag)
  return ambiguous === undefined
    ? byTag(self, tag)?.entry.descriptor ?? Result.succeed(undefined)
    : Result.fail(ambiguous)
}

/** Returns the descriptor that is listed under a digest, with a tag or without. */
export const find = (self: LayoutIndex, digest: Digest.Digest): Descriptor | undefined => {
  const [free, tagged] = [firstPlace(self.listed, `${digest} 0`), firstPlace(self.listed, `${digest} 1`)]
  const found = at(self, Math.min(free ?? Infinity, tagged ?? Infinity))
  return found === undefined ? undefined : Result.getOrUndefined(found.entry.descriptor)
}

/** Returns the entries that are listed under a digest. */
export const entriesOf = function*(self: LayoutIndex, digest: Digest.Digest): Generator<Entry> {
  for (const place of placesOf(self.listed, digest)) {
    const entry = SortedMap.get(self.entries, place)
    if (entry !== undefined) yield entry
  }
}

/** Returns all listed manifests, once each. Entries that are not valid are ignored. */
export const roots = (self: LayoutIndex): ReadonlyArray<Descriptor> => {
  const found = new Map<Digest.Digest, Descriptor>()
  for (const [, { descriptor }] of SortedMap.entries(self.entries)) {
    if (Result.isSuccess(descriptor) && !found.has(descriptor.success.digest)) {
      found.set(descriptor.success.digest, descriptor.success)
    }
  }
  return Array.from(found.values())
}

/** Returns the manifests that an index lists and an earlier one did not, or not under that type. */
export const added = function*(before: LayoutIndex, after: LayoutIndex): Generator<Descriptor> {
  for (const [, { descriptor }] of SortedMap.added(before.entries, after.entries)) {
    if (Result.isFailure(descriptor)) continue
    const { digest, mediaType } = descriptor.success
    if (find(before, digest)?.mediaType !== mediaType) yield descriptor.success
  }
}

/** A manifest, and one of its names. */
export interface Named {
  readonly descriptor: Descriptor
  /** Full reference or tag, as the tool that wrote the index named it. */
  readonly name: string
}

/** Returns every name in the index with its manifest. Entries that are not valid are ignored. */
export const named = (self: LayoutIndex): ReadonlyArray<Named> =>
  Array.from(SortedMap.entries(self.entries)).flatMap(([, entry]) => {
    const descriptor = Result.getOrUndefined(entry.descriptor)
    return descriptor === undefined ? [] : LayoutEntry.namesOf(entry).map((name) => ({ descriptor, name }))
  })

/** Returns all tags after a name, in order. */
export const tags = function*(self: LayoutIndex, after: string = ""): Generator<Reference.Tag> {
  let last = after
  // the keys of a tag end in digits
  for (const [, place] of SortedMap.entries(self.tagged, `${after} ~`)) {
    const tag = SortedMap.get(self.entries, place)?.tag
    if (tag === undefined || tag <= last) continue
    last = tag
    yield tag
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// changing
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Returns true if an entry has nothing but its descriptor, and another entry that `isOther` accepts has the same
 * digest.
 */
const isRedundant = (self: LayoutIndex, entry: Entry, isOther: (place: Place) => boolean): boolean => {
  const digest = LayoutEntry.digestOf(entry)
  if (digest === undefined || !entry.isPlain) return false
  for (const place of placesOf(self.listed, digest)) if (isOther(place)) return true
  return false
}

/** Changes the media type of at most `most` entries of a digest. */
export const retype = (self: LayoutIndex, { digest, mediaType }: Descriptor, most: number = Infinity): LayoutIndex => {
  let index = self
  let count = 0
  for (const place of placesOf(self.listed, digest)) {
    const entry = SortedMap.get(self.entries, place)
    if (entry === undefined || Result.getOrUndefined(entry.descriptor)?.mediaType === mediaType) continue
    index = replaced(index, place, LayoutEntry.fromFields(self.space, { ...LayoutEntry.fieldsOf(entry), mediaType }))
    if (++count >= most) break
  }
  return index
}

/** Creates an index of manifests and their names. */
export const make = (
  manifests: ReadonlyArray<
    { readonly descriptor: Descriptor; readonly tag?: Reference.Tag | undefined; readonly name?: string | undefined }
  >
): LayoutIndex => {
  const entries = builder()
  for (const { descriptor, name, tag } of manifests) {
    const names = tag === undefined ? {} : LayoutEntry.tagAnnotations(tag, name)
    entries.add(LayoutEntry.named(empty.space, LayoutEntry.plain(descriptor), names))
  }
  return { ...empty, ...entries.build() }
}

/** Adds an entry for a manifest unless it has one. If the entry has another media type, the later type is kept. */
export const add = (self: LayoutIndex, descriptor: Descriptor): LayoutIndex =>
  find(self, descriptor.digest) === undefined
    ? appended(self, LayoutEntry.fromFields(self.space, LayoutEntry.plain(descriptor)))
    : retype(self, descriptor)

/**
 * Points a tag at a manifest. The full name of the entry that had the tag moves with the tag, because containerd and
 * skopeo write full references. The manifest that had the tag stays listed.
 */
export const point = (self: LayoutIndex, tag: Reference.Tag, descriptor: Descriptor): LayoutIndex => {
  const current = byTag(self, tag)
  if (current !== undefined && LayoutEntry.digestOf(current.entry) === descriptor.digest) return self
  const names = current === undefined ? LayoutEntry.tagAnnotations(tag) : LayoutEntry.nameAnnotations(current.entry)
  const free = at(self, firstPlace(self.listed, `${descriptor.digest} 0`))
  const fields = free === undefined ? LayoutEntry.plain(descriptor) : LayoutEntry.fieldsOf(free.entry)
  const named = LayoutEntry.named(self.space, fields, names)
  if (current === undefined) {
    return free === undefined ? appended(self, named) : replaced(self, free.place, named)
  }
  const others = free === undefined ? self : removed(self, free.place)
  const left = LayoutEntry.withoutName(self.space, current.entry)
  const pointed = replaced(others, current.place, named)
  return isRedundant(others, left, (place) => place !== current.place) ? pointed : appended(pointed, left)
}

/** Removes a tag. The manifests that it named stay listed. */
export const withoutTag = (self: LayoutIndex, tag: Reference.Tag): LayoutIndex => {
  const pending = new Set(Array.from(placesOf(self.tagged, tag)).sort((a, b) => a - b))
  let index = self
  for (const place of pending) {
    const entry = SortedMap.get(self.entries, place)
    if (entry === undefined) continue
    const left = LayoutEntry.withoutName(self.space, entry)
    // the set may shrink while it is read, because places that were handled are not read again
    const isListed = isRedundant(index, left, (other) => other !== place && !pending.has(other))
    index = isListed ? removed(index, place) : replaced(index, place, left)
    pending.delete(place)
  }
  return index
}

/** Removes at most `most` entries of a manifest, with their tags. */
export const without = (self: LayoutIndex, digest: Digest.Digest, most: number = Infinity): LayoutIndex => {
  let index = self
  let count = 0
  for (const place of placesOf(self.listed, digest)) {
    index = removed(index, place)
    if (++count >= most) break
  }
  return index
}

/** Removes the entries of these manifests that have no names. A listed manifest contains them. */
export const withoutChildren = (self: LayoutIndex, children: Iterable<Digest.Digest>): LayoutIndex => {
  let index = self
  for (const child of children) {
    for (const place of placesOf(index.listed, child)) {
      if (SortedMap.get(index.entries, place)?.isPlain === true) index = removed(index, place)
    }
  }
  return index
}
