/**
 * Regular expressions of a configuration.
 *
 * **Details**
 *
 * They are those of JavaScript. A leading `(?i)` ignores case. A pattern matches anywhere, unless it has anchors.
 *
 * Registries choose the tags and repositories that patterns are tested on, so patterns must not take exponential time.
 * A pattern is refused if it is longer than 1000 characters, contains a back-reference, or repeats a part in a way that
 * can read the same text differently, such as `(a+)+` or `(a|a)*`. Protection ends there: a pattern with several
 * repetitions beside each other, such as `.*-.*-.*`, can still take time with a power of the length of its subject.
 * Tags have at most 128 characters, and repositories 255.
 */
import * as Result from "effect/Result"
import * as PatternSyntax from "./PatternSyntax.ts"
import type { Spelled } from "./Spelling.ts"

/** Maximum length of a pattern. */
const maximumLength = 1000

/** Compiles a pattern, or says what to write. */
export const parse = (text: string): Spelled<RegExp> => {
  if (text.length > maximumLength) return Result.fail(`use a pattern of at most ${maximumLength} characters`)
  const ignoresCase = text.startsWith("(?i)")
  const source = ignoresCase ? text.slice(4) : text
  return Result.try({
    // without the flag v or u, as in the flags of the command: \- and the like are allowed
    try: () => new RegExp(source, ignoresCase ? "i" : ""),
    catch: (cause) => `write a regular expression: ${reasonOf(cause)}`
  }).pipe(
    Result.flatMap((pattern) => {
      const problem = PatternSyntax.ambiguity(source, ignoresCase)
      return problem === undefined ? Result.succeed(pattern) : Result.fail(problem)
    })
  )
}

const reasonOf = (cause: unknown): string => {
  const message = cause instanceof Error ? cause.message : ""
  return (/: ([^:]*)$/.exec(message)?.[1] ?? "it is invalid").replace(/^[A-Z]/, (letter) => letter.toLowerCase())
}

/** Returns the text of a pattern, so that {@link parse} makes it again. */
export const format = (pattern: RegExp): string => `${pattern.flags.includes("i") ? "(?i)" : ""}${pattern.source}`

/** Returns true if a pattern matches, whatever its `lastIndex`. */
export const matches = (pattern: RegExp, text: string): boolean => text.search(pattern) >= 0

/** Escapes text, so that a pattern matches it literally. */
export const escape = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")

/** Returns the number of groups of a pattern. */
export const groups = (pattern: RegExp): number =>
  (new RegExp(`${pattern.source}|`, pattern.flags).exec("")?.length ?? 1) - 1
