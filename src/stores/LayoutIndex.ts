/**
 * The `index.json` of an image layout (image-spec, `image-layout.md`): which manifests it has, and what they are called.
 *
 * The text is edited, not written anew: entries and fields of other tools stay as they are, to the byte. An entry that
 * makes no sense stays too, and is an error only to who asks for it by its tag.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as JsonScan from "../JsonScan.ts"
import * as MediaType from "../MediaType.ts"
import * as Reference from "../Reference.ts"
import { AmbiguousTag } from "../RegistryError.ts"
import * as SortedMap from "./SortedMap.ts"

/** What the manifest is called: a tag, or a whole reference with one. */
const refName = "org.opencontainers.image.ref.name"
/** What containerd and docker call it: a whole reference. */
const containerName = "io.containerd.image.name"

/** Maximum number of images that an error about an ambiguous tag lists. */
const candidateLimit = 10

/** Maximum number of entries of one tag that are looked at to find those. */
const sameTagLimit = 1000

type Fields = Readonly<Record<string, unknown>>

export interface Entry {
  /** Its text in the file, with the space around it. */
  readonly text: string
  /** Length of the text in UTF-8, in bytes. */
  readonly bytes: number
  /** Type, digest and size; or what is wrong with them. */
  readonly descriptor: Result.Result<Descriptor, string>
  /** The tag it answers to. */
  readonly tag: Reference.Tag | undefined
  /** Is the tag all of its name? */
  readonly isExact: boolean
  /** True if it has no other fields than type, digest and size. */
  readonly isPlain: boolean
}

/** A number that orders the entries as the file does. It stays the same while an entry is edited. */
type Place = number

type Places = SortedMap.SortedMap<string, Place>

export interface LayoutIndex {
  readonly before: string
  readonly entries: SortedMap.SortedMap<Place, Entry>
  readonly after: string
  /** What stands before an entry. */
  readonly space: string
  /** Places of the entries with a tag, by the tag. */
  readonly tagged: Places
  /** Places of the entries with a descriptor, by its digest. */
  readonly listed: Places
  /** Length of the texts of all entries in UTF-8, in bytes. */
  readonly bytes: number
}

// ---------------------------------------------------------------------------------------------------------------------
// entries
// ---------------------------------------------------------------------------------------------------------------------

const decodeDescriptor = Schema.decodeUnknownResult(Schema.Struct({
  mediaType: Schema.String,
  digest: Digest.Digest,
  size: Schema.Natural
}))

const isObject = (u: unknown): u is Fields => typeof u === "object" && u !== null && !Array.isArray(u)

const annotationsOf = (fields: Fields): Fields => isObject(fields["annotations"]) ? fields["annotations"] : {}

/** A name is a tag, or a reference that has one: `1.0`, as most tools write it, or `docker.io/library/app:1.0`. */
const tagOf = (name: unknown): Pick<Entry, "tag" | "isExact"> => {
  if (typeof name !== "string") return { tag: undefined, isExact: false }
  if (isTag(name)) return { tag: name, isExact: true }
  return { tag: Result.getOrUndefined(Reference.parseRelative(name))?.tag, isExact: false }
}

const isTag = Schema.is(Reference.Tag)

const encoder = new TextEncoder()
const bytesOf = (text: string): number => encoder.encode(text).length

const isPlainField = (key: string): boolean => key === "mediaType" || key === "digest" || key === "size"

const makeEntry = (text: string, value: unknown): Entry => {
  const fields = isObject(value) ? value : {}
  return {
    text,
    bytes: bytesOf(text),
    descriptor: Result.mapError(decodeDescriptor(value), ({ message }) => message.slice(0, 300)),
    isPlain: Object.keys(fields).every(isPlainField),
    ...tagOf(annotationsOf(fields)[refName])
  }
}

const written = ({ space }: Pick<LayoutIndex, "space">, fields: Fields): Entry =>
  makeEntry(space + JSON.stringify(fields), fields)

const fieldsOf = ({ text }: Entry): Fields => {
  const value: unknown = JSON.parse(text)
  return isObject(value) ? value : {}
}

const digestOf = ({ descriptor }: Entry): Digest.Digest | undefined => Result.getOrUndefined(descriptor)?.digest

// ---------------------------------------------------------------------------------------------------------------------
// where entries are
// ---------------------------------------------------------------------------------------------------------------------

const keyOf = (name: string, isSecond: boolean, place: Place): string =>
  `${name} ${isSecond ? 1 : 0}${`${place}`.padStart(12, "0")}`

/** Under a tag, entries that are called exactly that come first; no character of a tag sorts before the space. */
const tagKey = ({ isExact, tag }: Entry, place: Place): string | undefined =>
  tag === undefined ? undefined : keyOf(tag, !isExact, place)

/** Under a digest, entries without a tag come first. */
const digestKey = (entry: Entry, place: Place): string | undefined => {
  const digest = digestOf(entry)
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

/** Puts an entry in a place that has none. */
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

/** Collects the entries of an index. */
const builder = () => {
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

// ---------------------------------------------------------------------------------------------------------------------
// reading
// ---------------------------------------------------------------------------------------------------------------------

const makeEmpty = (before: string, after: string, space: string): LayoutIndex => ({
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

const parseJson = (json: string): Result.Result<unknown, unknown> => Result.try((): unknown => JSON.parse(json))

/** Largest length of the space that is repeated before each new entry. */
const spaceLimit = 100

/** Number of entries that are read without a pause. */
const entriesAtATime = 200

interface List {
  readonly index: LayoutIndex
  /** Where the list ends, after its bracket. */
  readonly end: number
}

/** Reads a list of entries that begins here, if it is JSON. */
const parseList = function*(json: string, start: number): Generator<void, List | undefined> {
  const before = json.slice(0, start + 1)
  const first = JsonScan.endOfSpace(json, start + 1)
  if (json[first] === "]") return { index: makeEmpty(before, json.slice(start + 1), ""), end: first + 1 }
  const entries = builder()
  let from = start + 1
  while (true) {
    const end = JsonScan.endOfValue(json, JsonScan.endOfSpace(json, from))
    const next = JsonScan.endOfSpace(json, end)
    const isLast = json[next] !== ","
    // what stands after an entry belongs to it, unless it is the last
    const text = json.slice(from, isLast ? end : next)
    const value = parseJson(text)
    if (Result.isFailure(value) || isLast && json[next] !== "]") return undefined
    entries.add(makeEntry(text, value.success))
    if (isLast) {
      const space = json.slice(start + 1, first)
      const empty = makeEmpty(before, json.slice(end), space.length > spaceLimit ? "" : space)
      return { index: { ...empty, ...entries.build() }, end: next + 1 }
    }
    from = next + 1
    if (entries.count() % entriesAtATime === 0) yield
  }
}

interface Field {
  /** Undefined if it is not JSON. */
  readonly name: unknown
  /** Where the value begins. */
  readonly start: number
}

/** Reads the name of a field that begins here. */
const parseName = (json: string, start: number): Field | undefined => {
  const end = JsonScan.endOfString(json, start)
  const name = parseJson(json.slice(start, end))
  const colon = JsonScan.endOfSpace(json, end)
  return Result.isFailure(name) || typeof name.success !== "string" || json[colon] !== ":"
    ? undefined
    : { name: name.success, start: JsonScan.endOfSpace(json, colon + 1) }
}

const notJson = Result.fail("it is not JSON")

/** Reads an index in steps, or says what is wrong with it. */
export const parsing = function*(json: string): Generator<void, Result.Result<LayoutIndex, string>> {
  const start = JsonScan.endOfSpace(json, 0)
  if (json[start] !== "{") return Result.isSuccess(parseJson(json)) ? Result.fail("it is not a JSON object") : notJson
  let found: Result.Result<LayoutIndex, string> | undefined
  let at = JsonScan.endOfSpace(json, start + 1)
  let isMore = json[at] !== "}"
  while (isMore) {
    const field = parseName(json, at)
    if (field === undefined) return notJson
    const isList = field.name === "manifests" && json[field.start] === "["
    const list = isList ? yield* parseList(json, field.start) : undefined
    const end = list?.end ?? JsonScan.endOfValue(json, field.start)
    const value = isList ? undefined : parseJson(json.slice(field.start, end))
    if (isList ? list === undefined : value === undefined || Result.isFailure(value)) return notJson
    // of fields of the same name the last one counts, to JSON.parse too
    if (list !== undefined) found = Result.succeed(list.index)
    else if (field.name === "manifests") {
      found = json.startsWith("null", field.start) ? undefined : Result.fail("its manifests are not a list")
    }
    at = JsonScan.endOfSpace(json, end)
    isMore = json[at] === ","
    if (isMore) at = JsonScan.endOfSpace(json, at + 1)
  }
  return json[at] === "}" && JsonScan.endOfSpace(json, at + 1) === json.length ? found ?? withoutList(json) : notJson
}

/** Go writes null for an empty list. */
const withoutList = (json: string): Result.Result<LayoutIndex, string> => {
  const value = Result.getOrUndefined(parseJson(json))
  const { manifests: _, ...rest } = isObject(value) ? value : {}
  return Result.succeed(makeEmpty(JSON.stringify({ ...rest, manifests: [] }).slice(0, -2), "]}", ""))
}

/** Reads an index, or says what is wrong with it. */
export const parse = (json: string): Result.Result<LayoutIndex, string> => {
  const steps = parsing(json)
  let step = steps.next()
  while (step.done !== true) step = steps.next()
  return step.value
}

/** Length of the pieces that an index is written in, in characters. */
const pieceLength = 256 * 1024

/** Returns the text of an index in pieces. */
export const pieces = function*(self: LayoutIndex): Generator<string> {
  let piece = self.before
  let separator = ""
  for (const [, { text }] of SortedMap.entries(self.entries)) {
    piece += separator + text
    separator = ","
    if (piece.length < pieceLength) continue
    yield piece
    piece = ""
  }
  yield piece + self.after
}

/** Returns the text of an index. */
export const format = (self: LayoutIndex): string => Array.from(pieces(self)).join("")

/** Returns the length of the text of an index in UTF-8, in bytes. */
export const size = ({ after, before, bytes, entries }: LayoutIndex): number =>
  bytesOf(before) + bytes + Math.max(0, entries.size - 1) + bytesOf(after)

// ---------------------------------------------------------------------------------------------------------------------
// asking
// ---------------------------------------------------------------------------------------------------------------------

/** What a tag names first: what is called exactly that, or else what stands first. */
const byTag = (self: LayoutIndex, tag: Reference.Tag) => at(self, firstPlace(self.tagged, `${tag} `))

/** The names of an entry, the longest kind first. BuildKit separates several of them by commas. */
const namesIn = (entry: Entry): ReadonlyArray<string> => {
  const { [containerName]: long, [refName]: short } = annotationsOf(fieldsOf(entry))
  const names = [long, short].flatMap((name) => typeof name === "string" ? name.split(",") : [])
  return Array.from(new Set(names.map((name) => name.trim()).filter((name) => name !== "")))
}

/** Returns true if two entries are of different content, as far as both make sense. */
const isAnother = (entry: Entry, other: Entry): boolean => {
  const [one, two] = [digestOf(entry), digestOf(other)]
  return one !== undefined && two !== undefined && one !== two
}

/**
 * Everything that a tag names: the entries that are called exactly that, or else those whose name has the tag. There is
 * one entry for each digest, so that more than one make the tag ambiguous.
 */
const candidatesOf = (self: LayoutIndex, tag: Reference.Tag): ReadonlyArray<Entry> => {
  const found: Array<Entry> = []
  let seen = 0
  for (const place of placesOf(self.tagged, tag)) {
    const entry = SortedMap.get(self.entries, place)
    const [first] = found
    if (entry === undefined || ++seen > sameTagLimit || found.length === candidateLimit) break
    if (first !== undefined && first.isExact !== entry.isExact) break
    if (found.every((other) => isAnother(entry, other))) found.push(entry)
  }
  return found
}

/** All manifests that a tag names, with their full names, if it names several. */
export const ambiguity = (self: LayoutIndex, tag: Reference.Tag): AmbiguousTag | undefined => {
  const entries = candidatesOf(self, tag)
  return entries.length < 2 ? undefined : new AmbiguousTag({
    tag,
    candidates: entries.flatMap((entry) => {
      const digest = digestOf(entry)
      const [name] = namesIn(entry)
      return digest === undefined ? [] : [{ digest, ...name === undefined ? {} : { name } }]
    })
  })
}

/** Returns true if a tag is there. */
export const hasTag = (self: LayoutIndex, tag: Reference.Tag): boolean => byTag(self, tag) !== undefined

/** What a tag names, if anything; or what is wrong with the entry that it names. */
export const resolve = (
  self: LayoutIndex,
  tag: Reference.Tag
): Result.Result<Descriptor | undefined, string | AmbiguousTag> => {
  const ambiguous = ambiguity(self, tag)
  return ambiguous === undefined
    ? byTag(self, tag)?.entry.descriptor ?? Result.succeed(undefined)
    : Result.fail(ambiguous)
}

/** What is listed under a digest, with a tag or without. */
export const find = (self: LayoutIndex, digest: Digest.Digest): Descriptor | undefined => {
  const [free, tagged] = [firstPlace(self.listed, `${digest} 0`), firstPlace(self.listed, `${digest} 1`)]
  const found = at(self, Math.min(free ?? Infinity, tagged ?? Infinity))
  return found === undefined ? undefined : Result.getOrUndefined(found.entry.descriptor)
}

/** Everything that is listed and makes sense, once each. */
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
  /** Whole reference or tag, as the tool that wrote the index has put it there. */
  readonly name: string
}

/** Every name in the index, of what makes sense, with the manifest that has it. */
export const named = (self: LayoutIndex): ReadonlyArray<Named> =>
  Array.from(SortedMap.entries(self.entries)).flatMap(([, entry]) => {
    const descriptor = Result.getOrUndefined(entry.descriptor)
    return descriptor === undefined ? [] : namesIn(entry).map((name) => ({ descriptor, name }))
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

const namesOf = (fields: Fields): Fields =>
  Object.fromEntries(
    Object.entries(annotationsOf(fields)).filter(([key]) => key === refName || key === containerName)
  )

const withAnnotations = (self: LayoutIndex, fields: Fields, annotations: Fields): Entry => {
  const { annotations: _, ...others } = fields
  return written(self, Object.keys(annotations).length === 0 ? others : { ...others, annotations })
}

const withoutName = (self: LayoutIndex, entry: Entry): Entry => {
  const fields = fieldsOf(entry)
  const { [refName]: _, [containerName]: __, ...annotations } = annotationsOf(fields)
  return withAnnotations(self, fields, annotations)
}

/** Returns true if an entry says no more than its descriptor, and another one has that digest as well. */
const isRedundant = (self: LayoutIndex, entry: Entry, isOther: (place: Place) => boolean): boolean => {
  const digest = digestOf(entry)
  if (digest === undefined || !entry.isPlain) return false
  for (const place of placesOf(self.listed, digest)) if (isOther(place)) return true
  return false
}

const plain = ({ digest, mediaType, size }: Descriptor) => ({ mediaType, digest, size })

/** Changes the type of entries of a digest, of at most `most` entries. */
export const retype = (self: LayoutIndex, { digest, mediaType }: Descriptor, most: number = Infinity): LayoutIndex => {
  let index = self
  let count = 0
  for (const place of placesOf(self.listed, digest)) {
    const entry = SortedMap.get(self.entries, place)
    if (entry === undefined || Result.getOrUndefined(entry.descriptor)?.mediaType === mediaType) continue
    index = replaced(index, place, written(self, { ...fieldsOf(entry), mediaType }))
    if (++count >= most) break
  }
  return index
}

/** Makes an index of manifests and the names that they have. */
export const make = (
  manifests: ReadonlyArray<
    { readonly descriptor: Descriptor; readonly tag?: Reference.Tag | undefined; readonly name?: string | undefined }
  >
): LayoutIndex => {
  const entries = builder()
  for (const { descriptor, name, tag } of manifests) {
    const annotations = tag === undefined ? {} : { annotations: { [refName]: tag, [containerName]: name } }
    entries.add(written(empty, { ...plain(descriptor), ...annotations }))
  }
  return { ...empty, ...entries.build() }
}

/** Lists a manifest, unless it is. Of two types for the same bytes the later one counts. */
export const add = (self: LayoutIndex, descriptor: Descriptor): LayoutIndex =>
  find(self, descriptor.digest) === undefined
    ? appended(self, written(self, plain(descriptor)))
    : retype(self, descriptor)

/**
 * Points a tag at a manifest. The whole name of what had the tag moves along, as containerd and skopeo may have written
 * it; what had it stays listed.
 */
export const point = (self: LayoutIndex, tag: Reference.Tag, descriptor: Descriptor): LayoutIndex => {
  const current = byTag(self, tag)
  if (current !== undefined && digestOf(current.entry) === descriptor.digest) return self
  const names = current === undefined ? { [refName]: tag } : namesOf(fieldsOf(current.entry))
  const free = at(self, firstPlace(self.listed, `${descriptor.digest} 0`))
  const fields = free === undefined ? plain(descriptor) : fieldsOf(free.entry)
  const named = withAnnotations(self, fields, { ...annotationsOf(fields), ...names })
  if (current === undefined) {
    return free === undefined ? appended(self, named) : replaced(self, free.place, named)
  }
  const others = free === undefined ? self : removed(self, free.place)
  const left = withoutName(self, current.entry)
  const pointed = replaced(others, current.place, named)
  return isRedundant(others, left, (place) => place !== current.place) ? pointed : appended(pointed, left)
}

/** Removes a tag. What it named stays listed. */
export const withoutTag = (self: LayoutIndex, tag: Reference.Tag): LayoutIndex => {
  const pending = new Set(Array.from(placesOf(self.tagged, tag)).sort((a, b) => a - b))
  let index = self
  for (const place of pending) {
    const entry = SortedMap.get(self.entries, place)
    if (entry === undefined) continue
    const left = withoutName(self, entry)
    // a set may be changed while it is read; those before are done
    const isListed = isRedundant(index, left, (other) => other !== place && !pending.has(other))
    index = isListed ? removed(index, place) : replaced(index, place, left)
    pending.delete(place)
  }
  return index
}

/** Removes up to a number of entries of a manifest, with their tags. */
export const without = (self: LayoutIndex, digest: Digest.Digest, most: number = Infinity): LayoutIndex => {
  let index = self
  let count = 0
  for (const place of placesOf(self.listed, digest)) {
    index = removed(index, place)
    if (++count >= most) break
  }
  return index
}

/** Removes entries that need not be there, because a manifest that is listed contains what they list. */
export const withoutChildren = (self: LayoutIndex, children: Iterable<Digest.Digest>): LayoutIndex => {
  let index = self
  for (const child of children) {
    for (const place of placesOf(index.listed, child)) {
      if (SortedMap.get(index.entries, place)?.isPlain === true) index = removed(index, place)
    }
  }
  return index
}
