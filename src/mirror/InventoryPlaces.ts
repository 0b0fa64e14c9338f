/**
 * Repositories that an inventory lists: the destinations of rules, or those of registries.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type * as Namespace from "../Namespace.ts"
import * as Reference from "../Reference.ts"
import { type BundleError, failing } from "./BundleError.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import * as RepositoryRule from "./RepositoryRule.ts"
import * as Unit from "./Unit.ts"

type Places = Stream.Stream<Unit.Place, BundleError | Namespace.NamespaceError>

// maximum number of repositories of an inventory
const maximumRepositories = 100_000

/** Lists the repositories of a registry. */
const catalogOf = (namespace: Namespace.Namespace["Service"], registry: Reference.Host): Places =>
  Stream.unwrap(Effect.map(namespace.registry(registry), (found) => found.repositories())).pipe(
    Stream.map((repository) => ({ registry, repository }))
  )

/** Removes repositories that came before, and fails if there are too many. */
const distinct = (places: Places): Places => {
  const seen = new Set<string>()
  return places.pipe(
    Stream.filter(({ registry, repository }) => {
      const name = `${registry}/${repository}`
      return !seen.has(name) && seen.add(name).size > 0
    }),
    Stream.tap(() =>
      seen.size > maximumRepositories
        ? failing("inventory")("Invalid", `there are more than ${maximumRepositories} repositories`)
        : Effect.void
    )
  )
}

/**
 * Returns the destinations of a rule. The source is not asked: if its repositories are a pattern, the catalogs of the
 * destinations are searched for repositories that the rule may have.
 */
const ofRule = (namespace: Namespace.Namespace["Service"], rule: MirrorRule): Places => {
  const named = rule.from.filter(({ repositories }) => repositories._tag === "Named")
  const fixed = RepositoryRule.expand({ ...rule, from: named }, () => Stream.empty).pipe(
    Stream.flatMap(({ destinations }) => Stream.fromIterable(destinations)),
    Stream.mapError(({ message }) => failing(rule.name)("Invalid", message))
  )
  if (named.length === rule.from.length) return fixed
  const hosts = new Set(rule.to.map(({ registry }) => registry))
  const found = Stream.fromIterable(hosts).pipe(
    Stream.flatMap((host) => catalogOf(namespace, host)),
    Stream.filter((place) => Unit.mayHave(rule, place))
  )
  return Stream.concat(fixed, found)
}

/** Returns the destinations of some rules. */
export const ofRules = (namespace: Namespace.Namespace["Service"], rules: ReadonlyArray<MirrorRule>): Places =>
  distinct(Stream.flatMap(Stream.fromIterable(rules), (rule) => ofRule(namespace, rule)))

/** Returns the repositories of registries, each with a prefix of their names if there is one. */
export const ofRegistries = (namespace: Namespace.Namespace["Service"], registries: ReadonlyArray<string>): Places =>
  distinct(
    Stream.fromIterable(registries).pipe(
      Stream.flatMap((text) => {
        const [host = "", ...path] = text.replace(/\/+$/, "").split("/")
        const prefix = path.join("/")
        const isBelow = (repository: string) =>
          prefix === "" || repository === prefix || repository.startsWith(`${prefix}/`)
        return Stream.unwrap(Effect.map(
          Effect.fromResult(Reference.parseHost(host)),
          (registry) => Stream.filter(catalogOf(namespace, registry), ({ repository }) => isBelow(repository))
        ))
      })
    )
  )
