/**
 * The last step of the build: marks every call that a module makes while it is loaded as free of side effects, so that
 * bundlers drop what a program does not use. This is true of all declarations in this project. Statements that are not
 * declarations stay as they are.
 */
import remapping from "@jridgewell/remapping"
import { MagicString } from "magic-string"
import { globSync, readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { parseAst } from "rolldown/parseAst"
import { isNode, type Node } from "./ast.ts"

const annotation = "/*#__PURE__*/ "

/** Returns true if the code of a node runs later, or never. */
const isDeferred = (node: Node): boolean =>
  /Function/.test(node.type) || node.type === "MethodDefinition" ||
  node.type === "PropertyDefinition" && "static" in node && node.static === false

/** Returns the offsets of the calls that run when the node is evaluated. */
const callsIn = (value: unknown): ReadonlyArray<number> => {
  if (Array.isArray(value)) return value.flatMap(callsIn)
  if (!isNode(value) || isDeferred(value)) return []
  const own = value.type === "CallExpression" || value.type === "NewExpression" ? [value.start] : []
  return [...own, ...Object.values(value).flatMap(callsIn)]
}

const annotate = (file: string) => {
  const code = readFileSync(file, "utf8")
  const statements = parseAst(code).body.filter(({ type }) => type !== "ExpressionStatement")
  const annotated = new MagicString(code)
  for (const call of new Set(callsIn(statements))) annotated.appendLeft(call, annotation)
  const toCode = annotated.generateMap({ hires: "boundary" }).toString()
  const toSource = readFileSync(`${file}.map`, "utf8")
  writeFileSync(file, annotated.toString())
  writeFileSync(`${file}.map`, remapping([toCode, toSource], () => null).toString())
}

const dist = fileURLToPath(new URL("../dist", import.meta.url))
// the command is a bundle already
for (const file of globSync("**/*.js", { cwd: dist, exclude: ["cli/**"] })) annotate(`${dist}/${file}`)
