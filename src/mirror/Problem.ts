/**
 * Problems of a configuration file: a path in the file, and a sentence that says what to write.
 *
 * They come from a schema, as issues, or from the meaning of values. Each is one line.
 */
import * as Predicate from "effect/Predicate"
import type * as SchemaAST from "effect/SchemaAST"
import type * as SchemaIssue from "effect/SchemaIssue"
import { printable } from "../Text.ts"

/** Path of a value in a file. */
export type FilePath = ReadonlyArray<string | number>

/** A problem of a value. */
export interface Problem {
  readonly path: FilePath
  readonly message: string
}

const isPlain = (key: string): boolean => /^[\w$-]+$/.test(key)

/** Formats a path, such as `rules[2].tags.semver` or `registries["docker.io"].rate`. */
export const formatPath = (path: FilePath): string =>
  path.map((key, index) =>
    typeof key === "number"
      ? `[${key}]`
      : isPlain(key)
      ? `${index === 0 ? "" : "."}${key}`
      : `[${JSON.stringify(key)}]`
  ).join("")

/** Formats a problem as one line. */
const format = ({ message, path }: Problem): string =>
  printable(path.length === 0 ? message : `${formatPath(path)}: ${message}`)

/** Removes problems that have been reported before. */
export const withoutDoubles = (problems: ReadonlyArray<Problem>): ReadonlyArray<Problem> => {
  const lines = problems.map(format)
  const first = new Map(lines.toReversed().map((line, index) => [line, lines.length - 1 - index]))
  return problems.filter((_, index) => first.get(lines[index] ?? "") === index)
}

// ---------------------------------------------------------------------------------------------------------------------
// spelling
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the number of characters to insert, delete, replace or swap with their neighbour. */
const distance = (one: string, other: string): number => {
  let before: ReadonlyArray<number> = []
  let row: ReadonlyArray<number> = Array.from({ length: other.length + 1 }, (_, index) => index)
  for (let i = 1; i <= one.length; i++) {
    const next = [i]
    for (let j = 1; j <= other.length; j++) {
      const isSame = one[i - 1] === other[j - 1]
      const swapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1]
        ? (before[j - 2] ?? 0) + 1
        : Infinity
      next.push(
        Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (isSame ? 0 : 1), swapped)
      )
    }
    before = row
    row = next
  }
  return row[other.length] ?? 0
}

const longestName = 40

/** Returns the known name that was probably meant, or `undefined`. */
export const meant = (input: string, known: ReadonlyArray<string>): string | undefined => {
  if (input.length > longestName) return undefined
  const [best] = known
    .map((name) => ({ name, distance: distance(input.toLowerCase(), name.toLowerCase()) }))
    .filter(({ distance, name }) => distance <= Math.max(1, Math.floor(Math.min(name.length, input.length) / 3)))
    .sort((a, b) => a.distance - b.distance)
  return best?.name
}

/** Maximum number of known names in a text. */
const namedAtOnce = 12

/** Returns the names that share the beginning of a word with the input, or else the first ones. */
const similar = (input: string, known: ReadonlyArray<string>): ReadonlyArray<string> => {
  const start = input.toLowerCase().slice(0, 3)
  const alike = known.filter((name) => start !== "" && name.toLowerCase().includes(start))
  return (alike.length === 0 ? known : alike).slice(0, namedAtOnce)
}

/** Returns the text about an unknown name. It suggests the nearest name, or names some of many. */
export const unknown = (kind: string, input: string, known: ReadonlyArray<string>): string => {
  const name = meant(input, known)
  const named = known.length <= namedAtOnce ? known : similar(input, known)
  const more = named.length < known.length ? ` (${named.length} of ${known.length})` : ""
  const rest = name === undefined ? `use one of ${named.join(", ")}${more}` : `did you mean ${name}?`
  return `unknown ${kind} ${JSON.stringify(input.slice(0, longestName))}${name === undefined ? ": " : "; "}${rest}`
}

// ---------------------------------------------------------------------------------------------------------------------
// issues of schemas
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the description of a value that a file has instead of the expected one. It contains no text of the file. */
export const found = (value: unknown): string =>
  value === null || value === undefined
    ? "nothing"
    : Array.isArray(value)
    ? "a list"
    : typeof value === "string"
    ? "text"
    : typeof value === "object"
    ? "a mapping"
    : String(value)

/** Annotation of a schema with the words for its values. */
const expectedOf = (ast: SchemaAST.AST): string | undefined => {
  const own = ast.annotations?.["expected"] ?? ast.checks?.[0].annotations?.["expected"]
  return typeof own === "string" ? own : undefined
}

/** Returns words for the values that a schema accepts. */
const words = (ast: SchemaAST.AST): string => {
  const own = expectedOf(ast)
  if (own !== undefined) return own
  switch (ast._tag) {
    case "String":
      return "text"
    case "Number":
      return "a number"
    case "Boolean":
      return "true or false"
    case "Literal":
      return String(ast.literal)
    case "Arrays":
      return "a list"
    case "Union": {
      const all = Array.from(new Set(ast.types.map(words)))
      return all.length < 2 ? all.join("") : `${all.slice(0, -1).join(", ")} or ${all.at(-1)}`
    }
    default:
      return "a mapping"
  }
}

const takesText = (ast: SchemaAST.AST): boolean =>
  ast._tag === "String" || ast._tag === "Union" && ast.types.some(takesText)

const mistyped = (ast: SchemaAST.AST, value: unknown): string => {
  const isScalar = typeof value === "number" || typeof value === "boolean"
  if (isScalar && takesText(ast)) return `expected ${words(ast)}, found ${value}: write it in quotes`
  const literals = ast._tag === "Union"
    ? ast.types.flatMap((type) => type._tag === "Literal" ? [type.literal] : [])
    : []
  const guess = typeof value === "string" ? meant(value, literals.map(String)) : undefined
  const what = typeof value === "string" && literals.length > 0
    ? JSON.stringify(value.slice(0, longestName))
    : found(value)
  return `expected ${words(ast)}, found ${what}${guess === undefined ? "" : `; did you mean ${guess}?`}`
}

const keysOf = (ast: SchemaAST.AST): ReadonlyArray<string> =>
  ast._tag === "Objects" ? ast.propertySignatures.map(({ name }) => String(name)) : []

const at = (value: unknown, path: FilePath): unknown =>
  path.reduce<unknown>(
    (inner, key) => Predicate.isObjectOrArray(inner) ? Reflect.get(inner, key) : undefined,
    value
  )

const messageOf = (annotations: { readonly message?: unknown } | undefined): string | undefined =>
  typeof annotations?.message === "string" ? annotations.message : undefined

/** Hints about keys that do not exist, by their name. */
export type Hints = Readonly<Record<string, string>>

/** Returns the problems that an issue of a schema stands for. `value` is the value that the schema refuses. */
export const fromIssue = (
  issue: SchemaIssue.Issue,
  value: unknown,
  base: FilePath,
  hints: Hints
): ReadonlyArray<Problem> => {
  const walk = (issue: SchemaIssue.Issue, path: FilePath, ast: SchemaAST.AST | undefined): ReadonlyArray<Problem> => {
    const one = (message: string) => [{ path: [...base, ...path], message }]
    switch (issue._tag) {
      case "Pointer":
        return walk(
          issue.issue,
          [...path, ...issue.path.map((key) => typeof key === "number" ? key : String(key))],
          ast
        )
      case "Encoding":
        return walk(issue.issue, path, ast)
      case "Filter":
        return walk(issue.issue, path, ast).map((problem) => ({
          ...problem,
          message: messageOf(issue.filter.annotations) ?? problem.message
        }))
      case "Composite":
        return issue.issues.flatMap((inner) => walk(inner, path, issue.ast))
      case "AnyOf":
        return issue.issues.length === 0
          ? one(mistyped(issue.ast, at(value, path)))
          : issue.issues.flatMap((inner) => walk(inner, path, issue.ast))
      case "UnexpectedKey": {
        const key = String(path.at(-1))
        const hint = Object.hasOwn(hints, key) ? hints[key] : undefined
        return one(hint ?? unknown("key", key, keysOf(issue.ast)))
      }
      case "MissingKey":
        return one("is missing")
      case "InvalidType":
        return one(mistyped(issue.ast, at(value, path)))
      case "InvalidValue":
        return one(
          messageOf(issue.annotations) ??
            (ast === undefined ? "is not valid" : mistyped(ast, at(value, path)))
        )
      default:
        return one("is not valid")
    }
  }
  return walk(issue, [], undefined)
}
