/**
 * Parses the text of a file: YAML, JSON or TOML.
 */
import * as Toml from "effect/encoding/Toml"
import * as Yaml from "effect/encoding/Yaml"
import { isObjectOrArray } from "effect/Predicate"
import * as Result from "effect/Result"
import { excerpt } from "../Text.ts"

/** Maximum size of a file, in UTF-16 code units. */
export const maximumSize: number = 1024 * 1024

const maximumDepth = 64

/** Maximum number of values in a file. An alias in YAML counts each time. */
const maximumValues = 500_000

/** Languages of a file. */
export type Language = "yaml" | "json" | "toml"

/** The text of a file is not valid. `line` is undefined if the parser does not report it. */
export interface SyntaxProblem {
  readonly line: number | undefined
  readonly message: string
}

/** Returns the language of a file: that of its extension, or else of its content. */
const languageOf = (file: string, text: string): Language => {
  const extension = /\.(ya?ml|json|toml)$/i.exec(file)?.[1]?.toLowerCase()
  if (extension === "json" || extension === "toml") return extension
  if (extension !== undefined) return "yaml"
  const first = text.split("\n").map((line) => line.trim()).find((line) => line !== "" && !line.startsWith("#")) ?? ""
  if (first.startsWith("{")) return "json"
  return /^(?:\[\[?[\w.-]+\]\]?|[\w.-]+\s*=.*)$/.test(first) ? "toml" : "yaml"
}

const textOf = (cause: unknown): string =>
  cause instanceof RangeError
    ? "it is nested too deeply"
    : cause instanceof Error
    ? excerpt(cause.message)
    : "it cannot be parsed"

const withoutPlace = (message: string): string =>
  message.replace(/ at (?:line \d+(?:, column \d+)?|flow offset \d+)$/, "").replace(
    /,? (?:\.\.\.)?".*is not valid JSON$| in JSON at position .*$/s,
    ""
  )

const lineAt = (text: string, offset: number): number => text.slice(0, offset).split("\n").length

// the search for the line of an error parses the beginning of the file once for each line
const searchedLines = 1000

const attempt = (text: string): string | undefined =>
  Result.match(Result.try(() => Yaml.parse(text)), { onSuccess: () => undefined, onFailure: textOf })

/** Returns the first line with which the beginning of the file has the same error as the whole. */
const lineOfYaml = (text: string, message: string): number | undefined => {
  const own = / at line (\d+)$/.exec(message)?.[1]
  if (own !== undefined) return Number(own)
  // the end of the file is where its text ends
  const lines = text.trimEnd().split("\n")
  if (lines.length > searchedLines) return undefined
  const whole = attempt(lines.join("\n"))
  const index = lines.findIndex((_, index) => attempt(lines.slice(0, index + 1).join("\n")) === whole)
  return index < 0 ? undefined : index + 1
}

const problemOf = (language: Language, text: string, cause: unknown): SyntaxProblem => {
  const message = textOf(cause)
  const line = language === "yaml"
    ? lineOfYaml(text, message)
    : language === "toml"
    ? Number(/ at line (\d+)/.exec(message)?.[1] ?? 1)
    : lineAt(text, Number(/ at position (\d+)/.exec(message)?.[1] ?? text.length))
  const names = { yaml: "YAML", json: "JSON", toml: "TOML" }
  return { line, message: `invalid ${names[language]}: ${withoutPlace(message)}` }
}

/** Returns true if a value has too many parts. It stops at the limit. */
const isTooLarge = (root: unknown): boolean => {
  let count = 0
  const visit = (value: unknown, depth: number): boolean => {
    count++
    if (depth > maximumDepth || count > maximumValues) return true
    return isObjectOrArray(value) && Object.values(value).some((inner) => visit(inner, depth + 1))
  }
  return visit(root, 0)
}

const parsers: Readonly<Record<Language, (text: string) => Result.Result<unknown, unknown>>> = {
  yaml: (text) => Result.try(() => Yaml.parse(text)),
  json: (text) => Result.try((): unknown => JSON.parse(text.replace(/^\uFEFF/, ""))),
  toml: Toml.parse
}

/** Parses the text of a file. */
export const parse = (file: string, text: string): Result.Result<unknown, SyntaxProblem> => {
  if (text.length > maximumSize) {
    return Result.fail({ line: undefined, message: `the file is larger than ${maximumSize} characters` })
  }
  const language = languageOf(file, text)
  return parsers[language](text).pipe(
    Result.mapError((cause) => problemOf(language, text, cause)),
    Result.flatMap((value) =>
      isTooLarge(value)
        ? Result.fail({
          line: undefined,
          message: `the file has more than ${maximumValues} values, or nests them more than ${maximumDepth} deep`
        })
        : Result.succeed(value)
    )
  )
}
