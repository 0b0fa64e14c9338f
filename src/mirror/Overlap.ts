/**
 * Finds destination tags that several rules, or several sources of one rule, claim.
 */
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import * as SemVerRange from "effect/SemVerRange"
import type { Tag } from "../Reference.ts"
import * as Reference from "../Reference.ts"
import type { MirrorRule, TagRule } from "./MirrorRule.ts"
import * as Pattern from "./Pattern.ts"
import * as RepositoryRule from "./RepositoryRule.ts"
import * as TagRules from "./TagRule.ts"

/** A destination tag that is claimed more than once. */
export interface Overlap {
  /** Repository of the destination, with its registry. */
  readonly destination: string
  /** The tag, or undefined for every tag that both rules select. */
  readonly tag: Tag | undefined
  readonly rules: readonly [one: string, other: string]
  readonly sources: readonly [one: string, other: string]
}

/** Formats an overlap as a sentence. */
export const format = ({ destination, rules: [rule, otherRule], sources: [source, other], tag }: Overlap): string => {
  const place = tag === undefined ? `tags of ${destination}` : `${destination}:${tag}`
  if (rule === otherRule && source === other) return `${place} would come from ${source} more than once`
  return rule === otherRule
    ? `${place} would come from ${source} and from ${other}`
    : `${place} would come from ${source} (rule ${rule}) and from ${other} (rule ${otherRule})`
}

/** A repository that a rule claims tags of. */
interface Claim {
  readonly rule: MirrorRule
  readonly source: string
  readonly destination: string
  readonly tag: string
}

// ---------------------------------------------------------------------------------------------------------------------
// without the tags
// ---------------------------------------------------------------------------------------------------------------------

const claimsOf = (rule: MirrorRule): ReadonlyArray<Claim> =>
  rule.from.flatMap(({ registry, repositories }) =>
    repositories._tag === "Catalog" ? [] : repositories.repositories.flatMap(({ captures, name }) => {
      const pair = RepositoryRule.pairOf(rule, registry, name, captures)
      return Result.isFailure(pair) ? [] : pair.success.destinations.map(({ registry: host, repository, tag }) => ({
        rule,
        source: `${registry}/${name}`,
        destination: `${host}/${repository}`,
        tag
      }))
    })
  )

/** Returns a text that is the same for two rules that select the same tags of every repository. */
const fingerprint = (rule: TagRule): string =>
  JSON.stringify({
    ...rule,
    match: rule.match.map(Pattern.format),
    exclude: rule.exclude.map(Pattern.format),
    include: rule.include.map(Pattern.format),
    semver: rule.semver === undefined ? null : SemVerRange.format(rule.semver),
    pushedWithin: rule.pushedWithin === undefined ? null : Duration.toMillis(rule.pushedWithin),
    atLeast: 0,
    alternatives: rule.alternatives.map(fingerprint)
  })

const isUnrestricted = ({ alternatives, exclude, match, names, newest, pushedWithin, semver }: TagRule): boolean =>
  alternatives.length === 0 && exclude.length + match.length === 0 && names === undefined && newest === undefined &&
  pushedWithin === undefined && semver === undefined

/** Returns true if a rule decides on each tag by itself. */
const isLocal = ({ alternatives, newest, pushedWithin }: TagRule): boolean =>
  newest === undefined && pushedWithin === undefined && alternatives.every(isLocal)

const selects = (rule: TagRule, tag: Tag): boolean => TagRules.decide(rule, [tag]).some(({ selected }) => selected)

/** Returns a tag of the destination that both claims certainly make of the exact tags of one of them. */
const sharedTag = (one: Claim, other: Claim): Tag | undefined => {
  const exact = TagRules.exactTags(one.rule.tags)
  const others = TagRules.exactTags(other.rule.tags)
  if (exact === undefined) return others === undefined ? undefined : sharedTag(other, one)
  const made = exact.map((tag) => RepositoryRule.tagOf(one.tag, tag))
  const shared = others === undefined
    ? one.tag === other.tag && isLocal(other.rule.tags)
      ? exact.filter((tag) => selects(other.rule.tags, tag)).map((tag) => RepositoryRule.tagOf(one.tag, tag))
      : []
    : others.map((tag) => RepositoryRule.tagOf(other.tag, tag)).filter((tag) => made.includes(tag))
  return shared.flatMap((tag) => Result.getOrElse(Result.map(Reference.parseTag(tag), (tag) => [tag]), () => []))[0]
}

const between = (one: Claim, other: Claim): Overlap | undefined => {
  const overlap = (tag: Tag | undefined): Overlap => ({
    destination: one.destination,
    tag,
    rules: [one.rule.name, other.rule.name],
    sources: [one.source, other.source]
  })
  const tag = sharedTag(one, other)
  if (tag !== undefined) return overlap(tag)
  const isExact = [one, other].some(({ rule }) => TagRules.exactTags(rule.tags) !== undefined)
  if (isExact || one.tag !== other.tag) return undefined
  return isUnrestricted(one.rule.tags) || isUnrestricted(other.rule.tags) ||
      fingerprint(one.rule.tags) === fingerprint(other.rule.tags)
    ? overlap(undefined)
    : undefined
}

/**
 * Finds the overlaps that are certain without the lists of a registry: exact tags that two rules claim, and two rules
 * for one repository of which one selects all tags, or that select the same tags. Sources with a pattern and other
 * selections are left to {@link among}.
 */
export const certain = (rules: ReadonlyArray<MirrorRule>): ReadonlyArray<Overlap> => {
  const byDestination = new Map<string, Array<Claim>>()
  const found: Array<Overlap> = []
  for (const claim of rules.flatMap(claimsOf)) {
    const others = byDestination.get(claim.destination) ?? []
    const overlap = others.map((other) => between(other, claim)).find((overlap) => overlap !== undefined)
    if (overlap !== undefined) found.push(overlap)
    others.push(claim)
    byDestination.set(claim.destination, others)
  }
  return found
}

// ---------------------------------------------------------------------------------------------------------------------
// with the tags
// ---------------------------------------------------------------------------------------------------------------------

/** A tag that a rule means to copy to a repository. */
export interface TagClaim {
  readonly rule: string
  /** Repository of the source, with its registry. */
  readonly source: string
  /** Repository of the destination, with its registry. */
  readonly destination: string
  readonly tag: Tag
}

/** Finds tags that more than one rule or source claims. */
export const among = (claims: Iterable<TagClaim>): ReadonlyArray<Overlap> => {
  const byTag = new Map<string, TagClaim>()
  const found: Array<Overlap> = []
  for (const claim of claims) {
    const key = `${claim.destination}:${claim.tag}`
    const first = byTag.get(key)
    if (first === undefined) byTag.set(key, claim)
    else {
      found.push({
        destination: claim.destination,
        tag: claim.tag,
        rules: [first.rule, claim.rule],
        sources: [first.source, claim.source]
      })
    }
  }
  return found
}
