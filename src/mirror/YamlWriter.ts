/**
 * Writes values as YAML.
 */
import { isObject } from "effect/Predicate"
import { escapeUnprintable } from "../Text.ts"

// words that stay text without quotes
const plain = /^(?!(?:true|false|null|yes|no|on|off)$)[A-Za-z_/][\w./-]*(?: [A-Za-z][\w./-]*)*$/i

const quoted = (text: string): string => plain.test(text) ? text : escapeUnprintable(JSON.stringify(text))

const isScalar = (value: unknown): boolean => typeof value !== "object" || value === null

const scalar = (value: unknown): string => typeof value === "string" ? quoted(value) : String(value)

const maximumWidth = 80

/** Returns a value that fits in one line, or `undefined`. */
const inLine = (value: unknown): string | undefined => {
  if (isScalar(value)) return scalar(value)
  if (!Array.isArray(value)) return isObject(value) && Object.keys(value).length === 0 ? "{}" : undefined
  const line = `[${value.map(scalar).join(", ")}]`
  return value.every(isScalar) && line.length <= maximumWidth ? line : undefined
}

/** Returns the lines of a mapping or list that does not fit in one line. */
const block = (value: object): ReadonlyArray<string> =>
  Array.isArray(value)
    ? value.flatMap((item: unknown) => {
      const line = inLine(item)
      const lines = line !== undefined || !isObject(item) ? [line ?? ""] : block(item)
      return lines.map((line, index) => `${index === 0 ? "- " : "  "}${line}`)
    })
    : Object.entries(value).flatMap(([key, inner]: [string, unknown]) => {
      const line = inLine(inner)
      return line !== undefined || typeof inner !== "object" || inner === null
        ? [`${quoted(key)}: ${line ?? ""}`]
        : [`${quoted(key)}:`, ...block(inner).map((line) => `  ${line}`)]
    })

/** Writes a mapping, whose values are texts, numbers, booleans, lists and mappings. */
export const write = (value: object): string => `${block(value).join("\n")}\n`
