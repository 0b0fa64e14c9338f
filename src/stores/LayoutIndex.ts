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
import * as MediaType from "../MediaType.ts"
import * as Reference from "../Reference.ts"
import { AmbiguousTag } from "../RegistryError.ts"

/** What the manifest is called: a tag, or a whole reference with one. */
const refName = "org.opencontainers.image.ref.name"
/** What containerd and docker call it: a whole reference. */
const containerName = "io.containerd.image.name"

/** Maximum number of images that an error about an ambiguous tag lists. */
const candidateLimit = 10

type Fields = Readonly<Record<string, unknown>>

export interface Entry {
  /** As it stands in the file, with the space around it. */
  readonly text: string
  readonly fields: Fields
  /** Type, digest and size; or what is wrong with them. */
  readonly descriptor: Result.Result<Descriptor, string>
  /** The tag it answers to. */
  readonly tag: Reference.Tag | undefined
  /** Is the tag all of its name? */
  readonly isExact: boolean
}

export interface LayoutIndex {
  readonly before: string
  readonly entries: ReadonlyArray<Entry>
  readonly after: string
  /** What stands before an entry. */
  readonly space: string
}

// ---------------------------------------------------------------------------------------------------------------------
// reading
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

const makeEntry = (text: string, value: unknown): Entry => {
  const fields = isObject(value) ? value : {}
  const descriptor = Result.mapError(decodeDescriptor(value), ({ message }) => message.slice(0, 300))
  return { text, fields, descriptor, ...tagOf(annotationsOf(fields)[refName]) }
}

const written = ({ space }: Pick<LayoutIndex, "space">, fields: Fields): Entry =>
  makeEntry(space + JSON.stringify(fields), fields)

/** Makes an index of manifests and the names that they have. */
export const make = (
  manifests: ReadonlyArray<{ readonly descriptor: Descriptor; readonly tag?: Reference.Tag; readonly name?: string }>
): LayoutIndex => ({
  ...empty,
  entries: manifests.map(({ descriptor, name, tag }) =>
    written(empty, {
      ...plain(descriptor),
      ...tag === undefined ? {} : { annotations: { [refName]: tag, [containerName]: name } }
    })
  )
})

/** An index without manifests. */
export const empty: LayoutIndex = {
  before: `{"schemaVersion":2,"mediaType":"${MediaType.imageIndex}","manifests":[`,
  entries: [],
  after: "]}",
  space: ""
}

const endOfString = (json: string, start: number): number => {
  let at = start + 1
  while (json[at] !== `"`) at += json[at] === "\\" ? 2 : 1
  return at + 1
}

const endOfSpace = (json: string, start: number): number => {
  let at = start
  while (/\s/.test(json.charAt(at))) at++
  return at
}

/** Where a value that begins here ends, in JSON that is known to be valid. */
const endOfValue = (json: string, start: number): number => {
  const first = json.charAt(start)
  let at = start
  if (!/["{[]/.test(first)) {
    while (at < json.length && !/[,\]}\s]/.test(json.charAt(at))) at++
    return at
  }
  let depth = 0
  do {
    const character = json.charAt(at)
    if (character === "{" || character === "[") depth++
    if (character === "}" || character === "]") depth--
    at = character === `"` ? endOfString(json, at) : at + 1
  } while (depth > 0)
  return at
}

/** Where the values of an array or object begin and end, with the names of an object's. */
const valuesOf = (json: string, start: number): ReadonlyArray<{ name: string; start: number; end: number }> => {
  const values: Array<{ name: string; start: number; end: number }> = []
  const isArray = json[start] === "["
  let at = endOfSpace(json, start + 1)
  while (json[at] !== "]" && json[at] !== "}") {
    let name = ""
    if (!isArray) {
      const end = endOfString(json, at)
      name = JSON.parse(json.slice(at, end))
      at = endOfSpace(json, endOfSpace(json, end) + 1)
    }
    const end = endOfValue(json, at)
    values.push({ name, start: at, end })
    at = endOfSpace(json, end)
    if (json[at] === ",") at = endOfSpace(json, at + 1)
  }
  return values
}

/** Reads an index, or says what is wrong with it. */
export const parse = (json: string): Result.Result<LayoutIndex, string> => {
  const parsed = Result.try((): unknown => JSON.parse(json))
  if (Result.isFailure(parsed)) return Result.fail("it is not JSON")
  const value = parsed.success
  if (!isObject(value)) return Result.fail("it is not a JSON object")
  const { manifests = null } = value
  if (manifests === null) {
    // Go writes null for an empty list
    const { manifests: _, ...rest } = value
    const fields = JSON.stringify({ ...rest, manifests: [] })
    return Result.succeed({ before: fields.slice(0, -2), entries: [], after: "]}", space: "" })
  }
  if (!Array.isArray(manifests)) return Result.fail("its manifests are not a list")
  // of fields of the same name the last one counts, to JSON.parse too
  const list = valuesOf(json, endOfSpace(json, 0)).findLast(({ name }) => name === "manifests")
  const start = list?.start ?? 0
  const values = valuesOf(json, start)
  const [first] = values
  const end = values.at(-1)?.end ?? start + 1
  return Result.succeed({
    before: json.slice(0, start + 1),
    entries: values.map(({ end }, index) => {
      const next = values[index + 1]
      const from = index === 0 ? start + 1 : json.lastIndexOf(",", values[index]?.start) + 1
      const to = next === undefined ? end : json.lastIndexOf(",", next.start)
      return makeEntry(json.slice(from, to), manifests[index])
    }),
    after: json.slice(end),
    space: first === undefined ? "" : json.slice(start + 1, first.start)
  })
}

/** The index as text. */
export const format = ({ after, before, entries }: LayoutIndex): string =>
  before + entries.map(({ text }) => text).join(",") + after

// ---------------------------------------------------------------------------------------------------------------------
// asking
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Everything that each tag names: the entries that are called exactly that, or else those whose name has the tag. There
 * is one entry for each digest, so that more than one make the tag ambiguous.
 */
const tables = new WeakMap<LayoutIndex, ReadonlyMap<Reference.Tag, ReadonlyArray<Entry>>>()

const tableOf = (self: LayoutIndex): ReadonlyMap<Reference.Tag, ReadonlyArray<Entry>> => {
  const known = tables.get(self)
  if (known !== undefined) return known
  const table = new Map<Reference.Tag, Array<Entry>>()
  for (const entry of self.entries) {
    if (entry.tag === undefined) continue
    const others = table.get(entry.tag)
    const [first] = others ?? []
    if (others === undefined || entry.isExact && first?.isExact === false) table.set(entry.tag, [entry])
    else if (
      entry.isExact === first?.isExact && others.length < candidateLimit &&
      others.every((other) => isAnother(entry, other))
    ) others.push(entry)
  }
  tables.set(self, table)
  return table
}

/** What a tag names first. */
const byTag = (self: LayoutIndex, tag: Reference.Tag): Entry | undefined => tableOf(self).get(tag)?.[0]

/** The names of an entry, the longest kind first. BuildKit separates several of them by commas. */
const namesIn = ({ fields }: Entry): ReadonlyArray<string> => {
  const { [containerName]: long, [refName]: short } = annotationsOf(fields)
  const names = [long, short].flatMap((name) => typeof name === "string" ? name.split(",") : [])
  return Array.from(new Set(names.map((name) => name.trim()).filter((name) => name !== "")))
}

const digestOf = ({ descriptor }: Entry): Digest.Digest | undefined => Result.getOrUndefined(descriptor)?.digest

/** Returns true if two entries are of different content, as far as both make sense. */
const isAnother = (entry: Entry, other: Entry): boolean => {
  const [one, two] = [digestOf(entry), digestOf(other)]
  return one !== undefined && two !== undefined && one !== two
}

/** All manifests that a tag names, with their full names, if it names several. */
export const ambiguity = (self: LayoutIndex, tag: Reference.Tag): AmbiguousTag | undefined => {
  const entries = tableOf(self).get(tag) ?? []
  return entries.length < 2 ? undefined : new AmbiguousTag({
    tag,
    candidates: entries.flatMap((entry) => {
      const digest = digestOf(entry)
      const [name] = namesIn(entry)
      return digest === undefined ? [] : [{ digest, ...name === undefined ? {} : { name } }]
    })
  })
}

/** What a tag names, if anything; or what is wrong with the entry that it names. */
export const resolve = (
  self: LayoutIndex,
  tag: Reference.Tag
): Result.Result<Descriptor | undefined, string | AmbiguousTag> => {
  const ambiguous = ambiguity(self, tag)
  return ambiguous === undefined
    ? byTag(self, tag)?.descriptor ?? Result.succeed(undefined)
    : Result.fail(ambiguous)
}

/** What is listed under a digest, with a tag or without. */
export const find = (self: LayoutIndex, digest: Digest.Digest): Descriptor | undefined => {
  const entry = self.entries.find((entry) => digestOf(entry) === digest)
  return entry === undefined ? undefined : Result.getOrUndefined(entry.descriptor)
}

/** Everything that is listed and makes sense, once each. */
export const roots = (self: LayoutIndex): ReadonlyArray<Descriptor> => {
  const found = new Map<Digest.Digest, Descriptor>()
  for (const { descriptor } of self.entries) {
    if (Result.isSuccess(descriptor) && !found.has(descriptor.success.digest)) {
      found.set(descriptor.success.digest, descriptor.success)
    }
  }
  return Array.from(found.values())
}

/** A manifest, and one of its names. */
export interface Named {
  readonly descriptor: Descriptor
  /** Whole reference or tag, as the tool that wrote the index has put it there. */
  readonly name: string
}

/** Every name in the index, of what makes sense, with the manifest that has it. */
export const named = (self: LayoutIndex): ReadonlyArray<Named> =>
  self.entries.flatMap((entry) => {
    const descriptor = Result.getOrUndefined(entry.descriptor)
    return descriptor === undefined ? [] : namesIn(entry).map((name) => ({ descriptor, name }))
  })

/** All tags, in order. */
export const tags = (self: LayoutIndex): ReadonlyArray<Reference.Tag> => Array.from(tableOf(self).keys()).sort()

// ---------------------------------------------------------------------------------------------------------------------
// changing
// ---------------------------------------------------------------------------------------------------------------------

const withEntries = (self: LayoutIndex, entries: ReadonlyArray<Entry>): LayoutIndex => ({ ...self, entries })

const namesOf = (entry: Entry): Fields =>
  Object.fromEntries(
    Object.entries(annotationsOf(entry.fields)).filter(([key]) => key === refName || key === containerName)
  )

const withAnnotations = (self: LayoutIndex, entry: Entry, annotations: Fields): Entry => {
  const { annotations: _, ...fields } = entry.fields
  return written(self, Object.keys(annotations).length === 0 ? fields : { ...fields, annotations })
}

const withoutName = (self: LayoutIndex, entry: Entry): Entry => {
  const { [refName]: _, [containerName]: __, ...annotations } = annotationsOf(entry.fields)
  return withAnnotations(self, entry, annotations)
}

/** Does an entry say no more than what it is the entry of? */
const isPlain = ({ fields }: Entry): boolean =>
  Object.keys(fields).every((key) => key === "mediaType" || key === "digest" || key === "size")

/** Without names that were taken away, and without what they leave behind where the digest is listed anyway. */
const unnamed = (self: LayoutIndex, isNamed: (entry: Entry) => boolean): ReadonlyArray<Entry> => {
  const entries = self.entries.map((entry) => isNamed(entry) ? withoutName(self, entry) : entry)
  const seen = new Set(self.entries.filter((entry) => !isNamed(entry)).map(digestOf))
  return entries.filter((entry, index) => {
    if (entry === self.entries[index] || !isPlain(entry)) return true
    const isListed = seen.has(digestOf(entry))
    seen.add(digestOf(entry))
    return !isListed
  })
}

const plain = ({ digest, mediaType, size }: Descriptor) => ({ mediaType, digest, size })

/** Lists a manifest, unless it is. Of two types for the same bytes the later one counts. */
export const add = (self: LayoutIndex, descriptor: Descriptor): LayoutIndex => {
  const { digest, mediaType } = descriptor
  const listed = find(self, digest)
  if (listed === undefined) return withEntries(self, [...self.entries, written(self, plain(descriptor))])
  if (listed.mediaType === mediaType) return self
  return withEntries(
    self,
    self.entries.map((entry) => digestOf(entry) === digest ? written(self, { ...entry.fields, mediaType }) : entry)
  )
}

/**
 * Points a tag at a manifest. The whole name of what had the tag moves along, as containerd and skopeo may have written
 * it; what had it stays listed.
 */
export const point = (self: LayoutIndex, tag: Reference.Tag, descriptor: Descriptor): LayoutIndex => {
  const current = byTag(self, tag)
  if (current !== undefined && digestOf(current) === descriptor.digest) return self
  const names = current === undefined ? { [refName]: tag } : namesOf(current)
  const free = self.entries.find((entry) => entry.tag === undefined && digestOf(entry) === descriptor.digest)
  const named = free === undefined
    ? written(self, { ...plain(descriptor), annotations: names })
    : withAnnotations(self, free, { ...annotationsOf(free.fields), ...names })
  const others = self.entries.filter((entry) => entry !== free)
  if (current === undefined) {
    return withEntries(
      self,
      free === undefined ? [...others, named] : self.entries.map((entry) => entry === free ? named : entry)
    )
  }
  const left = withoutName(self, current)
  const isListed = others.some((entry) => entry !== current && digestOf(entry) === digestOf(current))
  const entries = others.map((entry) => entry === current ? named : entry)
  return withEntries(self, isListed && isPlain(left) ? entries : [...entries, left])
}

/** Takes a tag away. What it named stays listed. */
export const withoutTag = (self: LayoutIndex, tag: Reference.Tag): LayoutIndex =>
  withEntries(self, unnamed(self, (entry) => entry.tag === tag))

/** Takes a manifest away, with its tags. */
export const without = (self: LayoutIndex, digest: Digest.Digest): LayoutIndex =>
  withEntries(self, self.entries.filter((entry) => digestOf(entry) !== digest))

/** Takes away what need not be listed, because a manifest that is listed contains it. */
export const withoutChildren = (self: LayoutIndex, children: ReadonlySet<Digest.Digest>): LayoutIndex => {
  const entries = self.entries.filter((entry) => {
    const digest = digestOf(entry)
    return digest === undefined || !children.has(digest) || !isPlain(entry)
  })
  return entries.length === self.entries.length ? self : withEntries(self, entries)
}
