/**
 * Units of a mirror: one repository of a source, with the repositories of destinations that get its tags.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Digest } from "../Digest.ts"
import type * as Namespace from "../Namespace.ts"
import type { Host, Repository, Tag } from "../Reference.ts"
import * as Reference from "../Reference.ts"
import type { RegistryError } from "../RegistryError.ts"
import type { ResolveError } from "../Resolver.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import * as RepositoryRule from "./RepositoryRule.ts"

/** A repository of a registry. */
export interface Place {
  readonly registry: Host
  readonly repository: Repository
}

/** A repository of a destination. */
export interface Destination extends Place {
  /** The repository with its registry. */
  readonly name: string
  /** Template in which `{tag}` stands for the tag of the source. */
  readonly tag: string
}

export interface Unit {
  readonly rule: MirrorRule
  readonly source: Place & { readonly name: string }
  readonly destinations: ReadonlyArray<Destination>
}

/** A rule with its units. */
export interface RuleUnits {
  readonly rule: MirrorRule
  readonly units: ReadonlyArray<Unit>
  /** Reason why the repositories of the rule cannot be found. */
  readonly problem: string | undefined
}

/** Returns the reference to a tag or a digest of a repository. */
export const reference = (
  { registry, repository }: Place,
  parts: { readonly tag?: Tag | undefined; readonly digest?: Digest | undefined } = {}
): Reference.Reference =>
  new Reference.Reference({
    registry,
    repository,
    ...parts.tag === undefined ? {} : { tag: parts.tag },
    ...parts.digest === undefined ? {} : { digest: parts.digest }
  })

const nameOf = ({ registry, repository }: Place): string => `${registry}/${repository}`

/** Lists the repositories of a registry. */
const catalogOf = (namespace: Namespace.Namespace["Service"]) => (host: Host) =>
  Stream.unwrap(Effect.map(namespace.registry(host), (registry) => registry.repositories())) satisfies Stream.Stream<
    Repository,
    RegistryError | ResolveError
  >

// maximum number of repositories that a rule takes from a catalog
const maximumUnits = 50_000

/** Finds the units of a rule. */
const unitsOf = (namespace: Namespace.Namespace["Service"], rule: MirrorRule): Effect.Effect<RuleUnits> =>
  RepositoryRule.expand(rule, catalogOf(namespace)).pipe(
    Stream.map(({ destinations, source }): Unit => ({
      rule,
      source: { ...source, name: nameOf(source) },
      destinations: destinations.map((destination) => ({ ...destination, name: nameOf(destination) }))
    })),
    Stream.take(maximumUnits + 1),
    Stream.runCollect,
    Effect.match({
      onFailure: ({ message }): RuleUnits => ({ rule, units: [], problem: message }),
      onSuccess: (units): RuleUnits =>
        units.length > maximumUnits
          ? { rule, units: [], problem: `the rule selects more than ${maximumUnits} repositories` }
          : { rule, units, problem: undefined }
    })
  )

/** Returns true if a rule may have a repository among its destinations. */
export const mayHave = ({ to }: MirrorRule, { registry, repository }: Place): boolean =>
  to.some((destination) => {
    if (destination.registry !== registry) return false
    const parts = destination.repository.split(/\$\d/).map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"))
    return new RegExp(`^${parts.join(".*")}$`).test(repository)
  })

const isCatalog = ({ from }: MirrorRule): boolean => from.some(({ repositories }) => repositories._tag === "Catalog")

// number of rules whose repositories are looked up at the same time
const concurrency = 4

/** The units of some rules, and those of other rules that have the same destinations. */
export interface Units {
  readonly rules: ReadonlyArray<RuleUnits>
  /** Returns the other units that have a destination. */
  readonly sharing: (unit: Unit, destination: Destination) => ReadonlyArray<Unit>
  /** Returns the rules that may have a destination, but whose repositories cannot be found. */
  readonly unknown: (unit: Unit, destination: Destination) => ReadonlyArray<MirrorRule>
}

/**
 * Finds the units of the rules that `isChosen` accepts. Catalogs of other rules are listed only if those rules may have
 * the same destinations.
 */
export const find = Effect.fnUntraced(function*(
  namespace: Namespace.Namespace["Service"],
  rules: ReadonlyArray<MirrorRule>,
  isChosen: (rule: MirrorRule) => boolean
): Effect.fn.Return<Units> {
  const chosen = yield* Effect.forEach(rules.filter(isChosen), (rule) => unitsOf(namespace, rule), { concurrency })
  const places = chosen.flatMap(({ units }) => units.flatMap(({ destinations }) => destinations))
  const others = yield* Effect.forEach(
    rules.filter((rule) => !isChosen(rule) && (!isCatalog(rule) || places.some((place) => mayHave(rule, place)))),
    (rule) => unitsOf(namespace, rule),
    { concurrency }
  )
  const all = [...chosen, ...others]
  const byDestination = new Map<string, Array<Unit>>()
  for (const unit of all.flatMap(({ units }) => units)) {
    for (const { name } of unit.destinations) {
      const units = byDestination.get(name) ?? []
      byDestination.set(name, units)
      if (!units.includes(unit)) units.push(unit)
    }
  }
  const lost = all.filter(({ problem }) => problem !== undefined)
  return {
    rules: chosen,
    sharing: (unit, { name }) => (byDestination.get(name) ?? []).filter((other) => other !== unit),
    unknown: (unit, destination) =>
      lost.flatMap(({ rule }) => rule !== unit.rule && mayHave(rule, destination) ? [rule] : [])
  }
})
