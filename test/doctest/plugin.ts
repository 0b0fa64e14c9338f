import { relative } from "node:path"
import { fileURLToPath } from "node:url"
import type { Plugin } from "vitest/config"
import { examplesIn } from "./examples.ts"

const checkModule = fileURLToPath(new URL("check.ts", import.meta.url))

interface Statement {
  readonly end: number
  readonly expression: { readonly start: number; readonly end: number }
}

const isStatement = (node: object): node is Statement => "type" in node && node.type === "ExpressionStatement"

const statements = (node: unknown): ReadonlyArray<Statement> =>
  typeof node === "object" && node !== null
    ? [...(isStatement(node) ? [node] : []), ...Object.values(node).flatMap(statements)]
    : []

/** Turns every `actual // => expected` into `check(actual, expected)`, on the same line. */
const instrument = (code: string, program: unknown): string => {
  const edits = statements(program).flatMap(({ end, expression }) => {
    const expected = /^[ \t]*\/\/ => (.+)/.exec(code.slice(end))
    return expected === null ? [] : [
      { start: expression.start, end: expression.start, text: "$check(" },
      { start: expression.end, end: end + expected[0].length, text: `, ${expected[1]})` }
    ]
  })
  if (edits.length !== 2 * code.split("// =>").length - 2) {
    throw new Error("an expectation `// =>` stands behind something that is not an expression")
  }
  return edits
    .toSorted((a, b) => b.start - a.start)
    .reduce((text, edit) => text.slice(0, edit.start) + edit.text + text.slice(edit.end), code)
}

/** Serves the example on line `N` of a file as the module `<file>?doctest=N`, with the same line numbers. */
export const doctest = (): Plugin => ({
  name: "doctest",
  enforce: "pre",
  load(id) {
    const [, file, line] = /^(.+)\?doctest=(\d+)/.exec(id) ?? []
    if (file === undefined) return undefined
    const example = examplesIn(relative(this.environment.config.root, file)).find((each) => each.line === Number(line))
    if (example === undefined) return undefined
    const code = instrument(example.code, this.parse(example.code, { lang: "ts" }))
    return `import { check as $check } from ${JSON.stringify(checkModule)}${"\n".repeat(example.line)}${code}`
  }
})
