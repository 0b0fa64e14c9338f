/**
 * Translates regular expressions of Go.
 */
import * as Result from "effect/Result"
import * as Pattern from "../Pattern.ts"
import type { Spelled } from "../Spelling.ts"

const classes: Readonly<Record<string, string>> = {
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  ascii: "\\x00-\\x7F",
  blank: "\\t ",
  cntrl: "\\x00-\\x1F\\x7F",
  digit: "0-9",
  graph: "!-~",
  lower: "a-z",
  print: " -~",
  punct: "!-/:-@[-`{-~",
  space: "\\t\\n\\v\\f\\r ",
  upper: "A-Z",
  word: "0-9A-Za-z_",
  xdigit: "0-9A-Fa-f"
}

const tokens = /\\Q([\s\S]*?)(?:\\E|$)|\[:(\^?)([a-z]+):\]|\(\?P<|\(\?([imsU-]+)\)|\\([AzpPCa])|\\[\s\S]|[\s\S]/g

/** Translates the source of a pattern. */
const translated = (source: string): Spelled<string> => {
  const problems: Array<string> = []
  const text = source.replace(
    tokens,
    (token, quoted?: string, not?: string, name?: string, flags?: string, letter?: string) => {
      if (quoted !== undefined) return Pattern.escape(quoted)
      if (name !== undefined) {
        const known = classes[name]
        if (known === undefined || not === "^") problems.push(token)
        // punct contains a bracket and a hyphen
        return (known ?? "").replace("[-`", "\\[-`")
      }
      if (token === "(?P<") return "(?<"
      if (flags !== undefined) {
        // a tag has one line
        if (!/^[ms]+$/.test(flags)) problems.push(token)
        return ""
      }
      switch (letter) {
        case undefined:
          return token
        case "A":
          return "^"
        case "z":
          return "$"
        case "a":
          return "\\x07"
        default:
          problems.push(token)
          return token
      }
    }
  )
  return problems.length === 0
    ? Result.succeed(text)
    : Result.fail(`${problems[0]} has no counterpart in a pattern here`)
}

/** Translates a pattern of Go, between a text before and a text after it. */
export const translate = (pattern: string, before = "", after = ""): Spelled<string> => {
  const ignoresCase = /^\(\?[ms]*i[ims]*\)/.exec(pattern)?.[0]
  return Result.flatMap(translated(pattern.slice(ignoresCase?.length ?? 0)), (source) => {
    const text = `${ignoresCase === undefined ? "" : "(?i)"}${before}${source}${after}`
    return Result.map(Pattern.parse(text), () => text)
  })
}

/** Returns true if a pattern has a `|` outside of groups. */
const hasAlternatives = (pattern: string): boolean => {
  let depth = 0
  for (const [token] of pattern.matchAll(/\\[\s\S]|\[(?:\\[\s\S]|[^\]\\])*\]|[()|]/g)) {
    if (token === "(") depth++
    else if (token === ")") depth--
    else if (token === "|" && depth === 0) return true
  }
  return false
}

/**
 * Returns a pattern for names that match one of the patterns `allow`, if there are any, and none of `deny`. Each
 * pattern stands between `^` and `$`, without a group around it, as regsync does it.
 */
export const allowed = (allow: ReadonlyArray<string>, deny: ReadonlyArray<string>): Spelled<string> => {
  const anchored = (patterns: ReadonlyArray<string>) =>
    Result.map(
      Result.all(patterns.map((pattern) => Result.map(translate(pattern, "^", "$"), (text) => ({ pattern, text })))),
      (all) =>
        all.some(({ pattern }) => hasAlternatives(pattern))
          ? `.*(?:${all.map(({ text }) => text).join("|")})`
          : `(?:${all.map(({ text }) => text.slice(1, -1)).join("|")})$`
    )
  if ([...allow, ...deny].some((pattern) => pattern.startsWith("(?"))) {
    return Result.fail("flags such as (?i) have no counterpart in a pattern for repositories")
  }
  return Result.map(
    Result.all([anchored(allow), anchored(deny)]),
    ([allow_, deny_]) => `^${deny.length === 0 ? "" : `(?!${deny_})`}${allow.length === 0 ? "" : `(?=${allow_})`}`
  )
}
