/**
 * An entry of an `index.json`: the descriptor of a manifest, with the names of the manifest in its annotations.
 *
 * The name of an entry is its `org.opencontainers.image.ref.name`, which is a tag or a full reference that contains
 * one. An entry of another tool keeps its text to the byte until it is edited.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Reference from "../Reference.ts"

/** Annotation with the name of a manifest: a tag, or a full reference with a tag. */
const refName = "org.opencontainers.image.ref.name"

/** Annotation with the full reference under which containerd and docker know a manifest. */
const containerName = "io.containerd.image.name"

export type Fields = Readonly<Record<string, unknown>>

export interface LayoutEntry {
  /** Text of the entry in the file, with the space around it. */
  readonly text: string
  /** Length of the text in UTF-8, in bytes. */
  readonly bytes: number
  /** Type, digest and size, or what is wrong with them. */
  readonly descriptor: Result.Result<Descriptor, string>
  /** Tag under which the entry is found. */
  readonly tag: Reference.Tag | undefined
  /** True if the name of the entry is the tag alone. */
  readonly isExact: boolean
  /** True if it has no other fields than type, digest and size. */
  readonly isPlain: boolean
}

// ---------------------------------------------------------------------------------------------------------------------
// reading
// ---------------------------------------------------------------------------------------------------------------------

const decodeDescriptor = Schema.decodeUnknownResult(Schema.Struct({
  mediaType: Schema.String,
  digest: Digest.Digest,
  size: Schema.Natural
}))

export const isObject = (u: unknown): u is Fields => typeof u === "object" && u !== null && !Array.isArray(u)

const annotationsOf = (fields: Fields): Fields => isObject(fields["annotations"]) ? fields["annotations"] : {}

const isTag = Schema.is(Reference.Tag)

/** Returns the tag of a name: `1.0`, as most tools write it, or that of `docker.io/library/app:1.0`. */
const tagOf = (name: unknown): Pick<LayoutEntry, "tag" | "isExact"> => {
  if (typeof name !== "string") return { tag: undefined, isExact: false }
  if (isTag(name)) return { tag: name, isExact: true }
  return { tag: Result.getOrUndefined(Reference.parseRelative(name))?.tag, isExact: false }
}

const encoder = new TextEncoder()

/** Returns the length of a text in UTF-8, in bytes. */
export const bytesOf = (text: string): number => encoder.encode(text).length

const isPlainField = (key: string): boolean => key === "mediaType" || key === "digest" || key === "size"

/** Returns the entry of a text and its JSON value. */
export const make = (text: string, value: unknown): LayoutEntry => {
  const fields = isObject(value) ? value : {}
  return {
    text,
    bytes: bytesOf(text),
    descriptor: Result.mapError(decodeDescriptor(value), ({ message }) => message.slice(0, 300)),
    isPlain: Object.keys(fields).every(isPlainField),
    ...tagOf(annotationsOf(fields)[refName])
  }
}

/** Returns all fields of an entry. */
export const fieldsOf = ({ text }: LayoutEntry): Fields => {
  const value: unknown = JSON.parse(text)
  return isObject(value) ? value : {}
}

/** Returns the digest of an entry, or `undefined` if its descriptor is not valid. */
export const digestOf = ({ descriptor }: LayoutEntry): Digest.Digest | undefined =>
  Result.getOrUndefined(descriptor)?.digest

/** Returns the names of an entry, full references first. BuildKit separates several names by commas. */
export const namesOf = (entry: LayoutEntry): ReadonlyArray<string> => {
  const { [containerName]: long, [refName]: short } = annotationsOf(fieldsOf(entry))
  const names = [long, short].flatMap((name) => typeof name === "string" ? name.split(",") : [])
  return Array.from(new Set(names.map((name) => name.trim()).filter((name) => name !== "")))
}

/** Returns true if two entries have different digests. Entries without a valid descriptor are ignored. */
export const isAnother = (entry: LayoutEntry, other: LayoutEntry): boolean => {
  const [one, two] = [digestOf(entry), digestOf(other)]
  return one !== undefined && two !== undefined && one !== two
}

// ---------------------------------------------------------------------------------------------------------------------
// writing
// ---------------------------------------------------------------------------------------------------------------------

/** Returns an entry of these fields, with `space` before its text. */
export const fromFields = (space: string, fields: Fields): LayoutEntry => make(space + JSON.stringify(fields), fields)

/** Returns the fields of an entry without names. */
export const plain = ({ digest, mediaType, size }: Descriptor): Fields => ({ mediaType, digest, size })

/** Returns the annotations of a tag, and of a full reference if there is one. */
export const tagAnnotations = (tag: Reference.Tag, name?: string): Fields => ({
  [refName]: tag,
  ...name === undefined ? {} : { [containerName]: name }
})

/** Returns the annotations of an entry that hold its names. */
export const nameAnnotations = (entry: LayoutEntry): Fields =>
  Object.fromEntries(
    Object.entries(annotationsOf(fieldsOf(entry))).filter(([key]) => key === refName || key === containerName)
  )

const withAnnotations = (space: string, fields: Fields, annotations: Fields): LayoutEntry => {
  const { annotations: _, ...others } = fields
  return fromFields(space, Object.keys(annotations).length === 0 ? others : { ...others, annotations })
}

/** Returns an entry of these fields, with names from {@link tagAnnotations} or {@link nameAnnotations}. */
export const named = (space: string, fields: Fields, names: Fields): LayoutEntry =>
  withAnnotations(space, fields, { ...annotationsOf(fields), ...names })

/** Returns an entry without its names. Its other annotations are preserved. */
export const withoutName = (space: string, entry: LayoutEntry): LayoutEntry => {
  const fields = fieldsOf(entry)
  const { [refName]: _, [containerName]: __, ...annotations } = annotationsOf(fields)
  return withAnnotations(space, fields, annotations)
}
