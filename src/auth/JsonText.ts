/**
 * Changes of a text of JSON that leave the rest of it as it is, to the byte.
 */
import * as GoJson from "./GoJson.ts"

/** A member of an object, by where it stands in the text. */
interface Member {
  readonly key: string
  /** Start of the key. */
  readonly start: number
  /** Start of the value. */
  readonly value: number
  readonly end: number
}

const tokens = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/gs

/** Lists the members of the object that a text consists of. The text is JSON already. */
const members = (text: string): ReadonlyArray<Member> => {
  const found: Array<Member> = []
  let depth = 0
  let key: { readonly text: string; readonly start: number } | undefined
  let value: number | undefined
  for (const { 0: token, index } of text.matchAll(tokens)) {
    const isOpening = token === "{" || token === "["
    const isClosing = token === "}" || token === "]"
    if (depth === 1 && key === undefined && token.startsWith("\"")) {
      key = { text: JSON.parse(token) as string, start: index } // JSON that begins with a quote is a string
      continue
    }
    if (depth === 1 && key !== undefined && token !== ":") value ??= index
    if (isOpening) depth++
    if (isClosing) depth--
    if (depth === 1 && key !== undefined && value !== undefined) {
      found.push({ key: key.text, start: key.start, value, end: index + token.length })
      key = undefined
      value = undefined
    }
  }
  return found
}

/** Returns the member of a name; the last one, if there are several. */
const memberOf = (all: ReadonlyArray<Member>, name: string): Member | undefined => {
  const key = GoJson.keyOf(all.map(({ key }) => key), name)
  return all.findLast((member) => member.key === key)
}

/** Writes a value as docker does. */
const encode = (value: GoJson.Fields, indent: string): string =>
  JSON.stringify(value, null, "\t").replaceAll("\n", `\n${indent}`)

/**
 * Replaces the entries of the object that is the member `name` of an object: those whose key is to go are removed, and
 * a new one is appended. Without a member of that name, one is made.
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
