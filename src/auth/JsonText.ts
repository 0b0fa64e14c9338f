/**
 * Changes of JSON text that keep the rest of it as it is, to the byte.
 */
import * as JsonScan from "../JsonScan.ts"
import * as GoJson from "./GoJson.ts"

/** Position of a member of an object in the text. */
interface Member {
  readonly key: string
  readonly start: number
  /** Start of the value. */
  readonly value: number
  readonly end: number
}

/** Lists the members of the object that a text consists of. The text has been parsed before. */
const members = (text: string): ReadonlyArray<Member> => {
  const found: Array<Member> = []
  let start = JsonScan.endOfSpace(text, 1)
  while (text.charCodeAt(start) === JsonScan.quote) {
    const keyEnd = JsonScan.endOfString(text, start)
    const value = JsonScan.endOfSpace(text, JsonScan.endOfSpace(text, keyEnd) + 1)
    const end = JsonScan.endOfValue(text, value)
    const key = JSON.parse(text.slice(start, keyEnd)) as string // JSON that begins with a quote is a string
    found.push({ key, start, value, end })
    start = JsonScan.endOfSpace(text, JsonScan.endOfSpace(text, end) + 1)
  }
  return found
}

/** Returns the member with a name, or the last one if there are several. */
const memberOf = (all: ReadonlyArray<Member>, name: string): Member | undefined => {
  const key = GoJson.keyOf(all.map(({ key }) => key), name)
  return all.findLast((member) => member.key === key)
}

/** Returns the JSON of a value, indented as docker writes it. */
const encode = (value: GoJson.Fields, indent: string): string =>
  JSON.stringify(value, null, "\t").replaceAll("\n", `\n${indent}`)

/**
 * Changes the entries of the object under `name`: removes those for which `isRemoved` is true, and appends `added`. If
 * there is no such object, it is created.
 */
export const replaceEntries = (
  text: string,
  name: string,
  isRemoved: (key: string) => boolean,
  added: Readonly<Record<string, GoJson.Fields>>
): string => {
  const all = members(text)
  const member = memberOf(all, name)
  const inner = member === undefined ? "{}" : text.slice(member.value, member.end)
  const entries = [
    ...members(inner).filter(({ key }) => !isRemoved(key)).map(({ end, start }) => inner.slice(start, end)),
    ...Object.entries(added).map(([key, value]) => `${JSON.stringify(key)}: ${encode(value, "\t\t")}`)
  ]
  const value = entries.length === 0 ? "{}" : `{\n\t\t${entries.join(",\n\t\t")}\n\t}`
  if (member !== undefined) return text.slice(0, member.value) + value + text.slice(member.end)
  const last = all.at(-1)
  const [before, after] = last === undefined ? ["{", "\n}"] : [`${text.slice(0, last.end)},`, text.slice(last.end)]
  return `${before}\n\t${JSON.stringify(name)}: ${value}${after}`
}
