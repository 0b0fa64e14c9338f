/**
 * The last step of the build: says of every call that a module makes when it is loaded that it has no effect, so that
 * bundlers leave out what a program does not use of a module. That is so of all declarations here: what a module does
 * beyond declaring, it does in statements of their own, which stay as they are.
 */
import { globSync, readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { parseAst } from "rolldown/parseAst"

const annotation = "/*#__PURE__*/ "

const isNode = (value: unknown): value is { readonly type: string; readonly start: number } =>
  typeof value === "object" && value !== null && "type" in value && "start" in value

/** What runs later, if at all. */
const isDeferred = (node: { readonly type: string }): boolean =>
  /Function/.test(node.type) || node.type === "MethodDefinition" ||
  node.type === "PropertyDefinition" && "static" in node && node.static === false

/** Where calls begin that are made on the way through a node. */
const callsIn = (value: unknown): ReadonlyArray<number> => {
  if (Array.isArray(value)) return value.flatMap(callsIn)
  if (!isNode(value) || isDeferred(value)) return []
  const own = value.type === "CallExpression" || value.type === "NewExpression" ? [value.start] : []
  return [...own, ...Object.values(value).flatMap(callsIn)]
}

// ---------------------------------------------------------------------------------------------------------------------
// source maps (ECMA-426): the first number of each segment is how far it is from the one before it on its line
// ---------------------------------------------------------------------------------------------------------------------

const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

const encode = (distance: number): string => {
  const digit = distance % 32
  return distance < 32 ? digits.charAt(digit) : digits.charAt(digit + 32) + encode(Math.floor(distance / 32))
}

/** The first number of a segment, which is not negative, and the rest of it. */
const decode = (segment: string): readonly [distance: number, rest: string] => {
  const [first = ""] = /^[g-z0-9+/]*[A-Za-f]/.exec(segment) ?? []
  const distance = [...first].reduceRight((sum, digit) => sum * 32 + digits.indexOf(digit) % 32, 0)
  return [distance / 2, segment.slice(first.length)]
}

/** The segments of a line into which something was put at some columns. */
const shift = (line: string, columns: ReadonlyArray<number>): string => {
  let column = 0
  let passed = 0
  return line.split(",").map((segment) => {
    if (segment === "") return segment
    const [distance, rest] = decode(segment)
    column += distance
    const before = columns.filter((each) => each <= column).length
    const moved = distance + (before - passed) * annotation.length
    passed = before
    return encode(moved * 2) + rest
  }).join(",")
}

// ---------------------------------------------------------------------------------------------------------------------

const annotate = (file: string) => {
  const code = readFileSync(file, "utf8")
  const statements = parseAst(code).body.filter(({ type }) => type !== "ExpressionStatement")
  const calls = [...new Set(callsIn(statements))].sort((a, b) => a - b)
  const lines = code.split("\n")
  const columns = lines.map((): Array<number> => [])
  let [line, start] = [0, 0]
  for (const call of calls) {
    for (; call > start + (lines[line]?.length ?? 0); line++) start += (lines[line]?.length ?? 0) + 1
    columns[line]?.push(call - start)
  }
  const annotated = lines.map((text, index) =>
    (columns[index] ?? []).reduceRight((text, at) => text.slice(0, at) + annotation + text.slice(at), text)
  )
  writeFileSync(file, annotated.join("\n"))
  const map = JSON.parse(readFileSync(`${file}.map`, "utf8")) as { readonly mappings: string }
  const mappings = map.mappings.split(";").map((segments, index) => shift(segments, columns[index] ?? [])).join(";")
  writeFileSync(`${file}.map`, JSON.stringify({ ...map, mappings }))
}

const dist = fileURLToPath(new URL("../../dist", import.meta.url))
// nobody bundles the command
for (const file of globSync("**/*.js", { cwd: dist, exclude: ["cli/**"] })) annotate(`${dist}/${file}`)
