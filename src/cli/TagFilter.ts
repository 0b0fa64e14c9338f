/**
 * Which tags of a repository are meant: by pattern, by version, the newest.
 *
 * A tag is a version if it is one of Semantic Versioning, with a `v` before it or without: `1.2.3`, `v2.0.0-rc.1`. A `+`,
 * which no tag may have, is written `_`.
 */
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import * as Result from "effect/Result"
import * as SemVer from "effect/SemVer"
import * as SemVerRange from "effect/SemVerRange"
import * as Stream from "effect/Stream"
import type { Tag } from "../Reference.ts"
import * as Flags from "./Flags.ts"

const readPattern = (text: string): Result.Result<RegExp, { readonly message: string }> =>
  Result.try({
    try: () => new RegExp(text),
    catch: () => ({ message: `${JSON.stringify(text)} is not a regular expression` })
  })

/** The flags, for the definition of a verb. */
export const flags = {
  include: Flags.parsed(
    "include",
    "REGEX",
    "Only tags in which this matches, anywhere unless it says ^ and $. May be repeated: one has to match",
    readPattern
  ).pipe(Flag.atLeast(0)),
  exclude: Flags.parsed("exclude", "REGEX", "No tags in which this matches. May be repeated", readPattern).pipe(
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

/** What the flags say. */
export interface TagFilter {
  readonly include: ReadonlyArray<RegExp>
  readonly exclude: ReadonlyArray<RegExp>
  readonly semver: Option.Option<SemVerRange.SemVerRange>
  readonly latest: Option.Option<number>
}

/** Does it leave out any? */
export const isAny = ({ exclude, include, latest, semver }: TagFilter): boolean =>
  include.length + exclude.length > 0 || Option.isSome(latest) || Option.isSome(semver)

/** Is this tag made of a digest, as those for referrers and those of cosign are? */
export const isDigestTag = (tag: string): boolean => /^sha(?:256|512)-[0-9a-f]{64}/.test(tag)

const versionOf = (tag: string): Option.Option<SemVer.SemVer> =>
  Result.getSuccess(SemVer.parse(tag.replace(/^v/, "").replaceAll("_", "+")))

/** The newest first. */
const byVersion = Order.flip(
  Order.mapInput(SemVer.Order, ({ version }: { readonly version: SemVer.SemVer }) => version)
)

/** The tags that are meant, in the order in which they come; or the newest first, where only these are. */
export const apply = (filter: TagFilter) => <E, R>(tags: Stream.Stream<Tag, E, R>): Stream.Stream<Tag, E, R> => {
  const { exclude, include, latest, semver } = filter
  const isMeant = (tag: Tag): boolean =>
    (include.length === 0 || include.some((pattern) => pattern.test(tag))) &&
    !exclude.some((pattern) => pattern.test(tag)) &&
    (Option.isNone(semver) ||
      Option.exists(versionOf(tag), (version) => SemVerRange.matches(semver.value, version)))
  const meant = Stream.filter(tags, isMeant)
  if (Option.isNone(latest)) return meant
  return Stream.fromArrayEffect(
    Stream.runCollect(meant).pipe(
      Effect.map((tags) =>
        tags
          .flatMap((tag) => Option.toArray(Option.map(versionOf(tag), (version) => ({ tag, version }))))
          .sort(byVersion)
          .slice(0, latest.value)
          .map(({ tag }) => tag)
      )
    )
  )
}
