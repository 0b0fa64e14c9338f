/**
 * Decides which repositories a rule copies, and to which repositories.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Host, Repository } from "../Reference.ts"
import * as Reference from "../Reference.ts"
import type { Destination, MirrorRule, Source } from "./MirrorRule.ts"
import * as Pattern from "./Pattern.ts"

/**
 * A repository of a source, and the repositories that its tags are copied to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Pair {
  readonly source: { readonly registry: Host; readonly repository: Repository }
  readonly destinations: ReadonlyArray<{
    readonly registry: Host
    readonly repository: Repository
    /** Template in which `{tag}` stands for the tag of the source. */
    readonly tag: string
  }>
}

/**
 * A template makes no valid name of a repository.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidDestination extends Schema.TaggedError<InvalidDestination>(
  "effect-oci/RepositoryRule/InvalidDestination"
)("InvalidDestination", {
  rule: Schema.String,
  /** Repository of the source, with its registry. */
  source: Schema.String,
  template: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `rule ${this.rule}: ${this.source} has no destination ${this.template}: ${this.problem}`
  }
}

/**
 * Returns the repository that a template makes of the captures of a source.
 *
 * @category combinators
 * @since 0.1.0
 */
export const fill = (template: string, repository: string, captures: ReadonlyArray<string>): string =>
  template.replace(/\$(\d)/g, (_, index: string) => index === "0" ? repository : captures[Number(index) - 1] ?? "")

/**
 * Returns the pair of one repository of a source.
 *
 * @category combinators
 * @since 0.1.0
 */
export const pairOf = (
  rule: Pick<MirrorRule, "name" | "to">,
  registry: Host,
  repository: Repository,
  captures: ReadonlyArray<string>
): Result.Result<Pair, InvalidDestination> =>
  Result.map(
    Result.all(rule.to.map((destination) =>
      Reference.parseRepository(fill(destination.repository, repository, captures)).pipe(
        Result.map((repository) => ({ registry: destination.registry, repository, tag: destination.tag })),
        Result.mapError(({ problem }) =>
          new InvalidDestination({
            rule: rule.name,
            source: `${registry}/${repository}`,
            template: `${destination.registry}/${destination.repository}`,
            problem
          })
        )
      )
    )),
    (destinations) => ({ source: { registry, repository }, destinations })
  )

/**
 * Returns the captures of a repository, or `undefined` if a source does not have it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const capturesOf = ({ repositories }: Source, repository: string): ReadonlyArray<string> | undefined => {
  if (repositories._tag === "Named") {
    return repositories.repositories.find(({ name }) => name === repository)?.captures
  }
  const found = new RegExp(repositories.pattern.source, repositories.pattern.flags.replace(/[gy]/g, "")).exec(
    repository
  )
  return found === null ? undefined : Array.from(found).slice(1).map((capture: string | undefined) => capture ?? "")
}

/**
 * Finds the pairs of a rule. `catalog` lists the repositories of a registry; it is used only for sources with a
 * pattern. A repository that two sources of the rule have comes once.
 *
 * **Example** (Repositories of a catalog)
 *
 * ```ts import.meta.vitest
 * import { Effect, Result, Stream } from "effect"
 * import * as MirrorConfig from "effect-oci/MirrorConfig"
 * import * as RepositoryRule from "effect-oci/RepositoryRule"
 * import { Images } from "effect-oci/testing"
 *
 * const { rules } = Result.getOrThrow(MirrorConfig.decode({
 *   version: 1,
 *   rules: [{ from: "a.test/team/*", to: "b.test/copies/$1" }]
 * }))
 * const catalog = () => Stream.fromIterable(["team/app", "other/app"].map(Images.repository))
 *
 * const destinations = Stream.fromIterable(rules).pipe(
 *   Stream.flatMap((rule) => RepositoryRule.expand(rule, catalog)),
 *   Stream.flatMap(({ destinations }) => Stream.fromIterable(destinations)),
 *   Stream.map(({ registry, repository }) => `${registry}/${repository}`),
 *   Stream.runCollect
 * )
 *
 * Effect.runSync(destinations) // => ["b.test/copies/app"]
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const expand = <E, R>(
  rule: Pick<MirrorRule, "from" | "name" | "to">,
  catalog: (registry: Host) => Stream.Stream<Repository, E, R>
): Stream.Stream<Pair, E | InvalidDestination, R> =>
  Stream.suspend(() => {
    const seen = new Set<string>()
    return Stream.fromIterable(rule.from).pipe(
      Stream.flatMap((source) =>
        (source.repositories._tag === "Named"
          ? Stream.fromIterable(source.repositories.repositories.map(({ name }) => name))
          : catalog(source.registry)).pipe(
            Stream.map((repository) => ({
              registry: source.registry,
              repository,
              captures: capturesOf(source, repository)
            }))
          )
      ),
      Stream.filter(({ captures, registry, repository }) => {
        const key = `${registry}/${repository}`
        if (captures === undefined || seen.has(key)) return false
        seen.add(key)
        return true
      }),
      Stream.mapEffect(({ captures = [], registry, repository }) =>
        Effect.fromResult(pairOf(rule, registry, repository, captures))
      )
    )
  })

/**
 * Returns the tag that a destination gets.
 *
 * @category combinators
 * @since 0.1.0
 */
export const tagOf = (template: string, tag: string): string => template.replaceAll("{tag}", tag)

/**
 * Returns the number of captures that every repository of a source has.
 *
 * @category combinators
 * @since 0.1.0
 */
export const captureCount = ({ repositories }: Source): number =>
  repositories._tag === "Catalog"
    ? Pattern.groups(repositories.pattern)
    : Math.min(...repositories.repositories.map(({ captures }) => captures.length))

/**
 * Returns true if a destination has the same repository for every source.
 *
 * @category combinators
 * @since 0.1.0
 */
export const isConstant = ({ repository }: Destination): boolean => !/\$\d/.test(repository)
