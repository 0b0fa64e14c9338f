/**
 * Mode in which the command reports on stderr. It is read from the arguments before they are parsed, so that errors of
 * the parser are reported in it as well. This module has no imports, because it is loaded at the very start.
 */

/** Mode in which the command reports on stderr. */
export interface Mode {
  /** `json`: one JSON object per line. */
  readonly format: "text" | "json"
  /** `quiet`: errors only. `debug`: also requests and the decisions of the copy engine. */
  readonly detail: "quiet" | "normal" | "debug"
  /** True if stderr is a terminal. */
  readonly isTerminal: boolean
}

/** The spellings of false that the parser of the command accepts. */
const negative: ReadonlySet<string> = new Set(["false", "0", "n", "no", "off"])

/** Returns true if the arguments set one of these flags, which are boolean. */
const isSet = (args: ReadonlyArray<string>, ...flags: ReadonlyArray<string>): boolean => {
  const end = args.indexOf("--")
  const words = end < 0 ? args : args.slice(0, end)
  return words.some((word, index) =>
    flags.some((flag) =>
      word === flag
        ? !negative.has(words[index + 1]?.toLowerCase() ?? "")
        : word.startsWith(`${flag}=`) && !negative.has(word.slice(flag.length + 1).toLowerCase())
    )
  )
}

const isQuiet = (args: ReadonlyArray<string>): boolean => isSet(args, "--quiet", "-q")

const isDebug = (args: ReadonlyArray<string>): boolean => isSet(args, "--debug")

/** Returns true if the arguments set both `--quiet` and `--debug`. */
export const isContradictory = (args: ReadonlyArray<string>): boolean => isQuiet(args) && isDebug(args)

/** Returns true if the arguments set `--json`. */
export const isJson = (args: ReadonlyArray<string>): boolean => isSet(args, "--json")

/** Returns the mode that the arguments set. */
export const fromArguments = (args: ReadonlyArray<string>, isTerminal: boolean): Mode => ({
  format: isJson(args) ? "json" : "text",
  detail: isDebug(args) ? "debug" : isQuiet(args) ? "quiet" : "normal",
  isTerminal
})
