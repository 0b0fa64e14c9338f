/**
 * Translates glob patterns for tags: `*`, `?`, `[a-z]`, `[!a-z]` and `{a,b}`.
 */
import * as Result from "effect/Result"
import * as Pattern from "../Pattern.ts"
import type { Spelled } from "../Spelling.ts"

/** Returns true if a pattern matches only itself. */
export const isLiteral = (glob: string): boolean => !/[*?[{]/.test(glob)

const tokens = /\\([\s\S])|\*+|\?|\[([!^]?)(\]?[^\]]*)\]|[{},]|[\s\S]/g

/** Returns the source of a regular expression, without anchors. */
export const translate = (glob: string): Spelled<string> => {
  let depth = 0
  const source = glob.replace(tokens, (token, escaped?: string, not?: string, members?: string) => {
    if (escaped !== undefined) return Pattern.escape(escaped)
    if (members !== undefined) return `[${not === "" ? "" : "^"}${members.replace(/[\\\][^]/g, "\\$&")}]`
    if (token.startsWith("*")) return ".*"
    if (token === "?") return "."
    if (token === "{") {
      depth++
      return "(?:"
    }
    if (token === "}" && depth > 0) {
      depth--
      return ")"
    }
    return token === "," && depth > 0 ? "|" : Pattern.escape(token)
  })
  return depth === 0
    ? Result.map(Pattern.parse(source), () => source)
    : Result.fail(`${JSON.stringify(glob)} is not a glob pattern`)
}

/** Returns the source of a regular expression that also matches letters in the other case. */
export const anyCase = (source: string): string =>
  source.replace(/[a-z]/g, (letter) => `[${letter}${letter.toUpperCase()}]`)
