/**
 * The text of an `index.json`, read in steps and written in pieces, so that a large one does not block other fibers.
 *
 * The text is edited, not rebuilt: entries and fields of other tools are preserved to the byte. An entry that is not
 * valid is preserved as well, and is an error only if its tag is requested.
 */
import * as Result from "effect/Result"
import * as Bytes from "../Bytes.ts"
import * as JsonScan from "../JsonScan.ts"
import * as LayoutEntry from "./LayoutEntry.ts"
import * as LayoutIndex from "./LayoutIndex.ts"

const parseJson = (json: string): Result.Result<unknown, unknown> => Result.try((): unknown => JSON.parse(json))

/** Maximum length of the space that is repeated before each new entry. */
const spaceLimit = 100

/** Number of entries that are read without a pause. */
const entriesAtATime = 200

interface List {
  readonly index: LayoutIndex.LayoutIndex
  /** Position after the closing bracket. */
  readonly end: number
}

/** Reads the list of entries that begins at a position. Returns `undefined` if it is not JSON. */
const parseList = function*(json: string, start: number): Generator<void, List | undefined> {
  const before = json.slice(0, start + 1)
  const first = JsonScan.endOfSpace(json, start + 1)
  if (json[first] === "]") return { index: LayoutIndex.makeEmpty(before, json.slice(start + 1), ""), end: first + 1 }
  const entries = LayoutIndex.builder()
  let from = start + 1
  while (true) {
    const end = JsonScan.endOfValue(json, JsonScan.endOfSpace(json, from))
    const next = JsonScan.endOfSpace(json, end)
    const isLast = json[next] !== ","
    // the space after an entry is part of its text, except after the last one
    const text = json.slice(from, isLast ? end : next)
    const value = parseJson(text)
    if (Result.isFailure(value) || isLast && json[next] !== "]") return undefined
    entries.add(LayoutEntry.make(text, value.success))
    if (isLast) {
      const space = json.slice(start + 1, first)
      const empty = LayoutIndex.makeEmpty(before, json.slice(end), space.length > spaceLimit ? "" : space)
      return { index: { ...empty, ...entries.build() }, end: next + 1 }
    }
    from = next + 1
    if (entries.count() % entriesAtATime === 0) yield
  }
}

interface Field {
  readonly name: string
  /** Position of the value. */
  readonly start: number
}

/** Reads the name of the field that begins at a position. Returns `undefined` if it is not JSON. */
const parseName = (json: string, start: number): Field | undefined => {
  const end = JsonScan.endOfString(json, start)
  const name = parseJson(json.slice(start, end))
  const colon = JsonScan.endOfSpace(json, end)
  return Result.isFailure(name) || typeof name.success !== "string" || json[colon] !== ":"
    ? undefined
    : { name: name.success, start: JsonScan.endOfSpace(json, colon + 1) }
}

const notJson = Result.fail("it is not JSON")

/** Reads an index in steps. Fails with a description of the problem. */
export const parsing = function*(json: string): Generator<void, Result.Result<LayoutIndex.LayoutIndex, string>> {
  const start = JsonScan.endOfSpace(json, 0)
  if (json[start] !== "{") return Result.isSuccess(parseJson(json)) ? Result.fail("it is not a JSON object") : notJson
  let found: Result.Result<LayoutIndex.LayoutIndex, string> | undefined
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
    // the last of several fields with the same name counts, as in JSON.parse
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

/** Reads an index that has no list, or `null` for it: Go writes `null` for an empty list. */
const withoutList = (json: string): Result.Result<LayoutIndex.LayoutIndex, string> => {
  const value = Result.getOrUndefined(parseJson(json))
  const { manifests: _, ...rest } = LayoutEntry.isObject(value) ? value : {}
  return Result.succeed(LayoutIndex.makeEmpty(JSON.stringify({ ...rest, manifests: [] }).slice(0, -2), "]}", ""))
}

/** Reads an index. Fails with a description of the problem. */
export const parse = (json: string): Result.Result<LayoutIndex.LayoutIndex, string> => {
  const steps = parsing(json)
  let step = steps.next()
  while (step.done !== true) step = steps.next()
  return step.value
}

type Chunk = LayoutIndex.LayoutIndex["entries"]["chunks"][number]

const textOf = ({ values }: Chunk): string => values.map(({ text }) => text).join(",")

/** Returns the text of an index in pieces. */
export const texts = function*({ after, before, entries }: LayoutIndex.LayoutIndex): Generator<string> {
  yield before
  for (const [position, chunk] of entries.chunks.entries()) yield (position === 0 ? "" : ",") + textOf(chunk)
  yield after
}

/** Returns the text of an index. */
export const format = (index: LayoutIndex.LayoutIndex): string => Array.from(texts(index)).join("")

const encoder = new TextEncoder()
const separator = encoder.encode(",")

/** Texts of chunks in UTF-8. A changed index shares most of its chunks with the former one. */
const encoded = new WeakMap<Chunk, Uint8Array>()

const encode = (chunk: Chunk): Uint8Array => {
  const bytes = encoded.get(chunk) ?? encoder.encode(textOf(chunk))
  encoded.set(chunk, bytes)
  return bytes
}

/** Length from which on the bytes of an index are written, in bytes. */
const pieceLength = 2 * 1024 * 1024

/** Returns the text of an index in UTF-8 in pieces. */
export const pieces = function*({ after, before, entries }: LayoutIndex.LayoutIndex): Generator<Uint8Array> {
  let parts: Array<Uint8Array> = [encoder.encode(before)]
  let length = 0
  for (const [position, chunk] of entries.chunks.entries()) {
    const bytes = encode(chunk)
    if (position > 0) parts.push(separator)
    parts.push(bytes)
    length += bytes.length
    if (length < pieceLength) continue
    yield Bytes.concat(parts)
    parts = []
    length = 0
  }
  yield Bytes.concat([...parts, encoder.encode(after)])
}
