/**
 * Selects tags of a repository by pattern, by version, or the latest versions only.
 *
 * A tag is a version if it follows Semantic Versioning, with or without a leading `v`: `1.2.3`, `v2.0.0-rc.1`. Build
 * metadata follows `_` instead of `+`, because a tag cannot contain `+`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import * as Result from "effect/Result"
import * as SemVer from "effect/SemVer"
import * as SemVerRange from "effect/SemVerRange"
import * as Stream from "effect/Stream"
import type { Tag } from "./Reference.ts"

/**
 * The conditions that a tag must meet. An absent condition holds for every tag.
 *
 * @category models
 * @since 0.1.0
 */
export interface TagFilter {
  /** Patterns of which at least one must match. They match anywhere in the tag, unless they have anchors. */
  readonly include?: ReadonlyArray<RegExp> | undefined
  /** Patterns of which none may match. */
  readonly exclude?: ReadonlyArray<RegExp> | undefined
  /** Range that must contain the version. Tags that are not versions do not meet it. */
  readonly semver?: SemVerRange.SemVerRange | undefined
  /** Number of the highest versions to select among the tags that meet the other conditions. */
  readonly latest?: number | undefined
  /** Policy for tags made of a digest (see {@link isDigestTag}). Default: `include`. */
  readonly digestTags?: "include" | "exclude" | undefined
}

/**
 * Returns true if a tag is made of a digest: `sha256-<hex>`, the referrers tag schema (distribution-spec), or
 * `sha256-<hex>.sig` and similar tags, in which cosign stores signatures.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isDigestTag = (tag: string): boolean => /^sha(?:256|512)-[0-9a-f]{64}/.test(tag)

/**
 * Returns the version that a tag stands for, or `None` if it is not a version.
 *
 * @category accessors
 * @since 0.1.0
 */
export const version = (tag: string): Option.Option<SemVer.SemVer> =>
  Result.getSuccess(SemVer.parse(tag.replace(/^v/, "").replaceAll("_", "+")))

/**
 * Returns the version that a tag stands for, if it may omit its last numbers, which count as 0: `1.2`, `v1`,
 * `3.20-alpine`. Returns `None` if it is not a version.
 *
 * @category accessors
 * @since 0.1.0
 */
export const partialVersion = (tag: string): Option.Option<SemVer.SemVer> => {
  const [, numbers, rest = ""] = /^v?(\d+(?:\.\d+){0,2})([-_].*)?$/.exec(tag) ?? []
  if (numbers === undefined) return Option.none()
  // a number of a version has no leading zeros
  const [major = "0", minor = "0", patch = "0"] = numbers.split(".").map((number) => number.replace(/^0+(?=\d)/, ""))
  return version(`${major}.${minor}.${patch}${rest}`)
}

// unlike `test`, `search` ignores the `lastIndex` of a global pattern
const matches = (tag: string) => (pattern: RegExp): boolean => tag.search(pattern) >= 0

/**
 * Returns true if a tag meets the conditions, except for `latest`, which is about all tags together.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isSelected = ({ digestTags, exclude = [], include, semver }: TagFilter, tag: string): boolean =>
  (include === undefined || include.length === 0 || include.some(matches(tag))) &&
  !exclude.some(matches(tag)) &&
  (semver === undefined || Option.exists(version(tag), (version) => SemVerRange.matches(semver, version))) &&
  (digestTags !== "exclude" || !isDigestTag(tag))

const highestFirst = Order.flip(
  Order.mapInput(SemVer.Order, ({ version }: { readonly version: SemVer.SemVer }) => version)
)

/**
 * Selects the tags that meet the conditions. They keep their order; with `latest` the highest version comes first, and
 * the result starts when the list has ended.
 *
 * **Example** (The two latest versions of a major version)
 *
 * ```ts import.meta.vitest
 * import { Effect, Result, SemVerRange, Stream } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as TagFilter from "effect-oci/TagFilter"
 * import { Images } from "effect-oci/testing"
 *
 * const repository = Images.repository("app")
 *
 * const program = Effect.gen(function*() {
 *   const registry = yield* MemoryRegistry.make()
 *   const tags = ["1.9.0", "1.10.0", "1.10.0-alpine", "1.11.0", "2.0.0", "edge"].map(Images.tag)
 *   yield* Images.pushImage(registry, repository, ["layer"], { tags })
 *   const semver = Result.getOrThrow(SemVerRange.parse("^1.4"))
 *   return yield* Stream.runCollect(
 *     TagFilter.apply(registry.tags(repository), { semver, exclude: [/-alpine$/], latest: 2 })
 *   )
 * })
 *
 * Effect.runSync(program) // => ["1.11.0", "1.10.0"]
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const apply: {
  (filter: TagFilter): <E, R>(tags: Stream.Stream<Tag, E, R>) => Stream.Stream<Tag, E, R>
  <E, R>(tags: Stream.Stream<Tag, E, R>, filter: TagFilter): Stream.Stream<Tag, E, R>
} = dual(2, <E, R>(tags: Stream.Stream<Tag, E, R>, filter: TagFilter): Stream.Stream<Tag, E, R> => {
  const { latest } = filter
  const selected = Stream.filter(tags, (tag) => isSelected(filter, tag))
  if (latest === undefined) return selected
  return Stream.fromArrayEffect(
    Effect.map(Stream.runCollect(selected), (tags) =>
      tags
        .flatMap((tag) => Option.toArray(Option.map(version(tag), (version) => ({ tag, version }))))
        .sort(highestFirst)
        .slice(0, latest)
        .map(({ tag }) => tag))
  )
})
