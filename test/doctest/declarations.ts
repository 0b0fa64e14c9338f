import { readFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { parseAst } from "vitest/node"

/** A declaration that a user of the package can name, and the comment that stands before it. */
export interface Declaration {
  /** The module that exports it, as the package calls it. */
  readonly module: string
  readonly name: string
  readonly kind: "value" | "type" | "module"
  readonly comment: string
}

interface Local {
  readonly name: string
  readonly kind: "value" | "type"
  readonly comment: string
}

type Statement = ReturnType<typeof parseAst>["body"][number]

const root = fileURLToPath(new URL("../..", import.meta.url))

const read = (file: string) => {
  const text = readFileSync(file, "utf8")
  return { text, statements: parseAst(text, { lang: "ts" }).body }
}

const commentBefore = (text: string, start: number): string =>
  /\/\*\*(?:[^*]|\*(?!\/))*\*\/$/.exec(text.slice(0, start).trimEnd())?.[0] ?? ""

const namesOf = (statement: Statement): ReadonlyArray<Pick<Local, "name" | "kind">> => {
  switch (statement.type) {
    case "VariableDeclaration":
      return statement.declarations.flatMap(({ id }) =>
        id.type === "Identifier" ? [{ name: id.name, kind: "value" as const }] : []
      )
    case "ClassDeclaration":
    case "FunctionDeclaration":
      return statement.id === null ? [] : [{ name: statement.id.name, kind: "value" }]
    case "TSInterfaceDeclaration":
    case "TSTypeAliasDeclaration":
      return [{ name: statement.id.name, kind: "type" }]
    default:
      return []
  }
}

const localsOf = (text: string, statements: ReadonlyArray<Statement>): ReadonlyArray<Local> =>
  statements.flatMap((statement) => {
    const declared = statement.type === "ExportNamedDeclaration" ? statement.declaration : statement
    const comment = commentBefore(text, statement.start)
    return declared === null ? [] : namesOf(declared).map((local) => ({ ...local, comment }))
  })

const nameOf = (node: { readonly type: string } | null): string =>
  node !== null && "name" in node && typeof node.name === "string" ? node.name : ""

/** All that a module exports, also what it hands on from another file. */
const exportsOf = (module: string, file: string): ReadonlyArray<Declaration> => {
  const { statements, text } = read(file)
  const locals = localsOf(text, statements)
  const at = (specifier: string) => resolve(dirname(file), specifier)
  const header = { module, name: "", kind: "module", comment: /^\/\*\*[^]*?\*\//.exec(text)?.[0] ?? "" } as const

  const exported = statements.flatMap((statement): ReadonlyArray<Declaration> => {
    if (statement.type === "ExportAllDeclaration") {
      const name = nameOf(statement.exported)
      return name === "" || module === "." ? [] : exportsOf(`${module}.${name}`, at(statement.source.value))
    }
    if (statement.type !== "ExportNamedDeclaration") return []
    if (statement.declaration !== null) {
      const comment = commentBefore(text, statement.start)
      return namesOf(statement.declaration).map((local) => ({ module, ...local, comment }))
    }
    const source = statement.source === null ? undefined : exportsOf(module, at(statement.source.value))
    return statement.specifiers.flatMap((specifier) =>
      (source ?? locals)
        .filter(({ name }) => name !== "" && name === nameOf(specifier.local))
        .map((local) => {
          const comment = source === undefined ? commentBefore(text, specifier.start) : local.comment
          return { module, name: nameOf(specifier.exported), kind: local.kind, comment: comment || local.comment }
        })
    )
  })
  return [header, ...exported]
}

/** All that the package exports. */
export const declarations = (): ReadonlyArray<Declaration> => {
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    readonly exports: Readonly<Record<string, string | { readonly "effect-oci:source": string }>>
  }
  return Object.entries(exports).flatMap(([name, target]) =>
    typeof target === "string" ? [] : exportsOf(name, join(root, target["effect-oci:source"]))
  )
}
