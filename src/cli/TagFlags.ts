/**
 * The flags that select tags of a repository.
 */
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as SemVerRange from "effect/SemVerRange"
import type { TagFilter } from "../TagFilter.ts"
import * as Flags from "./Flags.ts"

/** Reads a regular expression. */
export const readPattern = (text: string): Result.Result<RegExp, { readonly message: string }> =>
  Result.try({
    try: () => new RegExp(text),
    catch: () => ({ message: `${JSON.stringify(text)} is not a regular expression` })
  })

/** The flags. */
export const flags = {
  include: Flags.parsed(
    "include",
    "REGEX",
    "Only tags that match this pattern, anywhere unless it has ^ and $. If repeated, one of the patterns must match",
    readPattern
  ).pipe(Flag.atLeast(0)),
  exclude: Flags.parsed("exclude", "REGEX", "No tags that match this pattern. May be repeated", readPattern).pipe(
    Flag.atLeast(0)
  ),
  semver: Flags.parsed(
    "semver",
    "RANGE",
    "Only tags that are versions in this range, such as \"^1.4\" or \">=2 <3\"",
    SemVerRange.parse
  ).pipe(Flag.optional),
  latest: Flags.positive("latest", "Only the N highest versions among them").pipe(Flag.optional)
}

/** Values of these flags. */
export interface Values {
  readonly include: ReadonlyArray<RegExp>
  readonly exclude: ReadonlyArray<RegExp>
  readonly semver: Option.Option<SemVerRange.SemVerRange>
  readonly latest: Option.Option<number>
}

/** Returns true if any of the flags is given. */
export const isGiven = ({ exclude, include, latest, semver }: Values): boolean =>
  include.length + exclude.length > 0 || Option.isSome(latest) || Option.isSome(semver)

/** Returns the filter that the flags describe. */
export const filterOf = (
  { exclude, include, latest, semver }: Values,
  digestTags: NonNullable<TagFilter["digestTags"]>
): TagFilter => ({
  include,
  exclude,
  semver: Option.getOrUndefined(semver),
  latest: Option.getOrUndefined(latest),
  digestTags
})
