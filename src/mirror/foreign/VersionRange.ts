/**
 * Translates the ranges of versions of other tools.
 *
 * Their bounds may omit numbers, and their rules for pre-releases differ: regsync and ocync compare versions only,
 * while skopeo (Masterminds/semver) requires a pre-release in the range.
 */
import * as Result from "effect/Result"
import * as SemVerRange from "effect/SemVerRange"
import type { Spelled } from "../Spelling.ts"

const fail = (range: string) => Result.fail(`the range ${JSON.stringify(range)} has no counterpart`)

/** Numbers and pre-release of a bound: `1`, `v1.2` or `1.2.3-rc.1`. */
interface Bound {
  readonly numbers: readonly [major: number, minor: number, patch: number]
  readonly preRelease: string
}

const boundOf = (text: string): Bound | undefined => {
  const [, numbers = "", preRelease = ""] = /^v?(\d{1,15}(?:\.\d{1,15}){0,2})(-[0-9A-Za-z.-]+)?$/.exec(text) ?? []
  if (numbers === "") return undefined
  const [major = 0, minor = 0, patch = 0] = numbers.split(".").map(Number)
  return { numbers: [major, minor, patch], preRelease }
}

const format = ({ numbers, preRelease }: Bound): string => numbers.join(".") + preRelease

const release = (...numbers: Bound["numbers"]): string => numbers.join(".")

const valid = (range: string, text: string): Spelled<string> =>
  Result.match(SemVerRange.parse(text), { onFailure: () => fail(range), onSuccess: () => Result.succeed(text) })

/** Translates a range of regsync: comparators, `^` and `~`, of which all must hold. Pre-releases are versions. */
export const ofRegsync = (range: string): Spelled<string> => {
  const parts = range.trim().split(/\s+/).map((part): string | undefined => {
    const [, operator = "", text = ""] = /^(\^|~|>=|<=|>|<|=)?(.*)$/.exec(part) ?? []
    const bound = boundOf(text)
    if (bound === undefined) return undefined
    const [major, minor, patch] = bound.numbers
    switch (operator) {
      case "^":
        return `>=${format(bound)} <${
          major > 0 ? release(major + 1, 0, 0) : minor > 0 ? release(0, minor + 1, 0) : release(0, 0, patch + 1)
        }`
      case "~":
        return `>=${format(bound)} <${release(major, minor + 1, 0)}`
      default:
        return `${operator}${format(bound)}`
    }
  })
  return parts.includes(undefined) ? fail(range) : valid(range, parts.join(" "))
}

/** Translates a range of ocync: comparators that compare numbers only, whatever follows them in a tag. */
export const ofOcync = (range: string): Spelled<string> => {
  const parts = range.split(",").map((part): string | undefined => {
    const [, operator = "", text = ""] = /^\s*(>=|<=|>|<|=)?\s*(.*?)\s*$/.exec(part) ?? []
    const bound = boundOf(text)
    if (bound === undefined || bound.preRelease !== "") return undefined
    const version = format(bound)
    switch (operator) {
      case ">=":
        return `>=${version}-0`
      case "<":
        return `<${version}-0`
      case ">":
      case "<=":
        return `${operator}${version}`
      default:
        return `>=${version}-0 <=${version}`
    }
  })
  return parts.includes(undefined) ? fail(range) : valid(range, parts.join(" "))
}

/** A range of skopeo, and what it says about pre-releases. */
export interface SkopeoRange {
  readonly range: string
  readonly preReleases: "named" | "all"
}

/** Translates a range of skopeo. */
export const ofSkopeo = (range: string): Spelled<SkopeoRange> => {
  if (range.includes("!=")) return fail(range)
  const sets = range.split("||").map((set) =>
    set.replaceAll(",", " ").replaceAll("=>", ">=").replaceAll("=<", "<=").replaceAll("~>", "~")
      .replace(/(^|[\s<>=~^])v(?=\d)/g, "$1").replace(/([<>=~^])\s+/g, "$1").trim().replace(/\s+/g, " ")
  )
  const named = sets.map((set) => set.split(" ").filter((part) => part !== "-").map((part) => part.includes("-")))
  const isAll = named.every((set) => set.every((isNamed) => isNamed))
  if (!isAll && named.some((set) => set.includes(true))) return fail(range)
  return Result.map(valid(range, sets.join(" || ")), (text) => ({ range: text, preReleases: isAll ? "all" : "named" }))
}
