/**
 * Makes rules of what a file says about them and of its defaults.
 */
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import * as SemVerRange from "effect/SemVerRange"
import type { Platforms } from "../copy/Options.ts"
import * as Platform from "../Platform.ts"
import * as Reference from "../Reference.ts"
import * as MirrorFile from "./MirrorFile.ts"
import type { Destination, MirrorRule, OnTagMoved, Prune, Referrers, Source, TagRule, Timing } from "./MirrorRule.ts"
import * as Pattern from "./Pattern.ts"
import type { FilePath, Problem } from "./Problem.ts"
import * as RepositoryRule from "./RepositoryRule.ts"
import * as RepositoryText from "./RepositoryText.ts"
import * as Spelling from "./Spelling.ts"

type Settings = { readonly [Key in keyof MirrorFile.Defaults]?: MirrorFile.Defaults[Key] }

/** A rule of a file, as far as it could be decoded. */
export interface Written {
  readonly rule: { readonly [Key in keyof MirrorFile.Rule]?: MirrorFile.Rule[Key] }
  readonly defaults: Settings
  readonly aliases: RepositoryText.Aliases
  readonly path: FilePath
}

const listOf = <A>(value: A | ReadonlyArray<A> | undefined): ReadonlyArray<A> =>
  value === undefined ? [] : Arr.ensure(value)

// the schema of the file has checked the texts
const pattern = (text: string): RegExp => Result.getOrThrow(Pattern.parse(text))
const duration = (text: string): Duration.Duration => Result.getOrThrow(Spelling.duration(text))

const durationOr = (text: string | undefined, otherwise: Duration.Duration): Duration.Duration =>
  text === undefined ? otherwise : duration(text)

// ---------------------------------------------------------------------------------------------------------------------
// tags
// ---------------------------------------------------------------------------------------------------------------------

const selectionOf = (
  selection: MirrorFile.Selection,
  alternatives: ReadonlyArray<TagRule> = []
): TagRule => ({
  names: selection.names === undefined ? undefined : listOf(selection.names).map((name) => Reference.Tag.make(name)),
  match: listOf(selection.match).map(pattern),
  exclude: listOf(selection.exclude).map(pattern),
  include: listOf(selection.include).map(pattern),
  semver: selection.semver === undefined ? undefined : Result.getOrThrow(SemVerRange.parse(selection.semver)),
  versions: selection.versions ?? "full",
  preReleases: selection.preReleases ?? "named",
  newest: selection.newest,
  per: selection.per ?? "all",
  pushedWithin: selection.pushedWithin === undefined ? undefined : duration(selection.pushedWithin),
  digestTags: selection.digestTags === true ? "include" : "exclude",
  atLeast: selection.atLeast ?? 0,
  alternatives
})

const isList = (
  tags: MirrorFile.Rule["tags"]
): tags is ReadonlyArray<string | MirrorFile.Selection> => Arr.isArray(tags)

/** Makes the rule for tags. A list stands for its tags together, and for each of its selections. */
const tagsOf = (tags: MirrorFile.Rule["tags"]): TagRule => {
  if (!isList(tags)) return selectionOf(tags ?? {})
  const names = tags.flatMap((tag) => typeof tag === "string" ? [tag] : [])
  const selections = tags.flatMap((tag) => typeof tag === "string" ? [] : [tag])
  const [first = { names: [] }, ...rest] = [...names.length === 0 ? [] : [{ names }], ...selections]
  const atLeast = Math.max(0, ...selections.map(({ atLeast = 0 }) => atLeast))
  return { ...selectionOf(first, rest.map((selection) => ({ ...selectionOf(selection), atLeast: 0 }))), atLeast }
}

const isRestricted = (
  { exclude, include, match, names, newest, pushedWithin, semver }: MirrorFile.Selection
): boolean =>
  names !== undefined || match !== undefined || exclude !== undefined || include !== undefined ||
  newest !== undefined ||
  pushedWithin !== undefined || semver !== undefined

const problemsOfTags = ({ rule, path }: Written): ReadonlyArray<Problem> => {
  const { tags } = rule
  const problemsOf = (selection: MirrorFile.Selection, path: FilePath): ReadonlyArray<Problem> => [
    ...selection.per !== undefined && selection.newest === undefined
      ? [{ path: [...path, "per"], message: "requires newest: N" }]
      : [],
    ...selection.preReleases !== undefined && selection.semver === undefined
      ? [{ path: [...path, "preReleases"], message: "requires semver" }]
      : [],
    ...listOf(selection.names).length === 0 && selection.names !== undefined
      ? [{ path: [...path, "names"], message: "write at least one tag" }]
      : []
  ]
  if (tags === undefined) return []
  if (!isList(tags)) return problemsOf(tags, [...path, "tags"])
  if (tags.length === 0) return [{ path: [...path, "tags"], message: "write at least one tag or selection" }]
  return tags.flatMap((tag, index) => {
    if (typeof tag === "string") return []
    const own = [...path, "tags", index]
    return [
      ...problemsOf(tag, own),
      ...tags.length > 1 && !isRestricted(tag) ? [{ path: own, message: "selects all tags: omit the others" }] : []
    ]
  })
}

// ---------------------------------------------------------------------------------------------------------------------
// settings
// ---------------------------------------------------------------------------------------------------------------------

const platformOf = (text: string): Platform.Platform => Result.getOrThrow(Platform.parse(text))

const platformsOf = (
  platforms: Settings["platforms"],
  index: Settings["index"],
  isOwnIndex: boolean
): Result.Result<Platforms, string> => {
  const isList = platforms !== undefined && typeof platforms !== "string"
  if (isOwnIndex && !isList) return Result.fail("index requires platforms: [OS/ARCH, …]")
  if (platforms === undefined || platforms === "all") return Result.succeed("all")
  if (!isList) return Result.succeed({ _tag: "Image", platform: platformOf(platforms) })
  if (platforms.length === 0) return Result.fail("write at least one platform, or all")
  return index === undefined
    ? Result.fail("a list requires index: keep, rewrite or fail, for an index that lists other platforms")
    : Result.succeed({ _tag: "Index", platforms: platforms.map(platformOf), index })
}

const referrersOf = (referrers: Settings["referrers"] = true): Referrers => {
  if (referrers === false) return { _tag: "Skip" }
  const { annotations, every, required = false, types } = referrers === true ? {} : referrers
  return {
    _tag: "Copy",
    filter: {
      ...types === undefined ? {} : { artifactTypes: listOf(types) },
      ...annotations === undefined ? {} : { annotations }
    },
    required,
    every: durationOr(every, Duration.hours(24))
  }
}

const onTagMovedOf = (onTagMoved: Settings["onTagMoved"] = "replace"): OnTagMoved =>
  typeof onTagMoved === "string" ? onTagMoved : { _tag: "Backup", tag: onTagMoved.backup }

const pruneOf = (prune: Settings["prune"] = "none"): Prune => {
  const { after = 2, keep, max = "10%", policy } = typeof prune === "string" ? { policy: prune } : prune
  if (policy === "none") return { _tag: "None" }
  return {
    _tag: "Prune",
    policy,
    keep: listOf(keep).map(pattern),
    most: Result.getOrThrow(Spelling.share(max)),
    runs: typeof after === "number" ? after : Result.getOrThrow(Spelling.runs(after))
  }
}

const timingOf = (schedule: Settings["schedule"] = "manual"): Result.Result<Timing, string> => {
  if (schedule === "manual") return Result.succeed({ _tag: "Manual" })
  const { cron, every, jitter: written, timeZone } = typeof schedule === "string" ? { cron: schedule } : schedule
  const jitter = durationOr(written, Duration.zero)
  if (cron !== undefined && every !== undefined) return Result.fail("write either cron or every")
  if (cron !== undefined) {
    return Result.map(MirrorFile.cron(cron, timeZone), (cron) => ({ _tag: "Cron", cron, jitter }))
  }
  if (timeZone !== undefined) return Result.fail("timeZone requires cron")
  if (every === undefined) return Result.fail("write cron: \"15 3 * * *\" or every: 1h")
  const interval = duration(every)
  return Duration.toMillis(interval) < 1000
    ? Result.fail("write every: with at least 1s")
    : Result.succeed({ _tag: "Every", interval, jitter })
}

// ---------------------------------------------------------------------------------------------------------------------
// repositories
// ---------------------------------------------------------------------------------------------------------------------

type Found<A> = Result.Result<A, ReadonlyArray<Problem>>

/** Collects results: all values, or all problems. */
const together = <A>(results: ReadonlyArray<Result.Result<A, Problem>>): Found<ReadonlyArray<A>> => {
  const problems = results.flatMap((result) => Result.isFailure(result) ? [result.failure] : [])
  return problems.length > 0
    ? Result.fail(problems)
    : Result.succeed(results.flatMap((result) => Result.isSuccess(result) ? [result.success] : []))
}

const sourcesOf = ({ aliases, path, rule: { from } }: Written): Found<ReadonlyArray<Source>> => {
  if (from === undefined) return Result.fail([])
  const isList = Arr.isArray(from)
  const sources = listOf(from)
  if (sources.length === 0) return Result.fail([{ path: [...path, "from"], message: "write at least one source" }])
  return together(sources.map((source, index) => {
    const place = [...path, "from", ...isList ? [index] : []]
    return typeof source === "string"
      ? Result.mapError(RepositoryText.readSource(source, aliases), (message) => ({ path: place, message }))
      : Result.mapBoth(RepositoryText.readRegistry(source.registry, aliases), {
        onSuccess: (registry): Source => ({
          registry,
          repositories: { _tag: "Catalog", pattern: pattern(source.match) }
        }),
        onFailure: (message) => ({ path: [...place, "registry"], message })
      })
  }))
}

/** Returns true if a rule can have more than one repository. */
const hasSeveral = (sources: ReadonlyArray<Source>): boolean =>
  sources.length > 1 ||
  sources.some(({ repositories }) => repositories._tag === "Catalog" || repositories.repositories.length > 1)

const destinationsOf = (
  { aliases, defaults, path, rule }: Written,
  sources: ReadonlyArray<Source>
): Found<ReadonlyArray<Destination>> => {
  const isPrefix = rule.to === undefined
  const to = rule.to ?? defaults.to
  const destinations = listOf(to)
  if (destinations.length === 0) {
    return Result.fail([{
      path: [...path, "to"],
      message: "is missing: write to: HOST/REPOSITORY, here or in defaults"
    }])
  }
  const captures = Math.min(9, ...sources.map(RepositoryRule.captureCount))
  const isSeveral = hasSeveral(sources)
  return together(destinations.map((text, index) => {
    const place = [...isPrefix ? ["defaults"] : path, "to", ...Arr.isArray(to) ? [index] : []]
    return RepositoryText.readDestination(text, aliases, isPrefix, captures).pipe(
      Result.flatMap((destination) =>
        isSeveral && RepositoryRule.isConstant(destination)
          ? Result.fail(
            `several repositories would become one: write ${text.replace(/:[^/]*$/, "")}/$0${
              captures === 0 ? "" : ", or $1 for the first capture"
            }`
          )
          : Result.succeed(destination)
      ),
      Result.mapError((message) => ({ path: place, message }))
    )
  }))
}

const invalidPairs = (
  rule: Pick<MirrorRule, "from" | "name" | "to">,
  path: FilePath
): ReadonlyArray<Problem> =>
  rule.from.flatMap(({ registry, repositories }) =>
    repositories._tag === "Catalog" ? [] : repositories.repositories.flatMap(({ captures, name }) => {
      const pair = RepositoryRule.pairOf(rule, registry, name, captures)
      return Result.isSuccess(pair) ? [] : [{ path: [...path, "to"], message: pair.failure.message }]
    })
  )

// ---------------------------------------------------------------------------------------------------------------------
// rules
// ---------------------------------------------------------------------------------------------------------------------

const problemsOf = <A>(result: Found<A>): ReadonlyArray<Problem> => Result.isFailure(result) ? result.failure : []

const placed = <A>(result: Result.Result<A, string>, path: FilePath): Found<A> =>
  Result.mapError(result, (message) => [{ path, message }])

/** Makes a rule. */
export const decode = (written: Written, name: string): Found<MirrorRule> => {
  const { defaults, path, rule } = written
  const at = (key: keyof Settings): FilePath => [...Object.hasOwn(rule, key) ? path : ["defaults"], key]
  const from = sourcesOf(written)
  const to = Result.flatMap(from, (sources) => destinationsOf(written, sources))
  const platforms = placed(
    platformsOf(
      rule.platforms ?? defaults.platforms,
      rule.index ?? defaults.index,
      rule.index !== undefined
    ),
    rule.index === undefined || Arr.isArray(rule.platforms ?? defaults.platforms)
      ? at("platforms")
      : [...path, "index"]
  )
  const timing = placed(timingOf(rule.schedule ?? defaults.schedule), at("schedule"))
  const tagProblems = rule.tags === undefined
    ? problemsOfTags({ ...written, rule: defaults, path: ["defaults"] })
    : problemsOfTags(written)
  if (Result.isFailure(to) || Result.isFailure(from) || Result.isFailure(platforms) || Result.isFailure(timing)) {
    return Result.fail([...problemsOf(to), ...problemsOf(platforms), ...problemsOf(timing), ...tagProblems])
  }
  const pairProblems = invalidPairs({ name, from: from.success, to: to.success }, path)
  if (tagProblems.length + pairProblems.length > 0) return Result.fail([...tagProblems, ...pairProblems])
  const trust = rule.trust ?? defaults.trust
  return Result.succeed({
    name,
    from: from.success,
    to: to.success,
    tags: tagsOf(rule.tags ?? defaults.tags),
    platforms: platforms.success,
    referrers: referrersOf(rule.referrers ?? defaults.referrers),
    digestTags: (rule.digestTags ?? defaults.digestTags) === true ? "copy" : "skip",
    onTagMoved: onTagMovedOf(rule.onTagMoved ?? defaults.onTagMoved),
    immutable: listOf(rule.immutable ?? defaults.immutable).map(pattern),
    trust: trust === 0 ? Duration.zero : durationOr(trust, Duration.hours(12)),
    foreignTags: (rule.adopt ?? defaults.adopt) === true ? "adopt" : "refuse",
    prune: pruneOf(rule.prune ?? defaults.prune),
    timing: timing.success,
    atStart: rule.atStart ?? defaults.atStart ?? "missing",
    onError: rule.onError ?? defaults.onError ?? "continue"
  })
}

/** Returns the name of a rule that has none: made of its first source. */
export const nameOf = (rule: Written["rule"], index: number): string => {
  const [first] = listOf(rule.from)
  const text = first === undefined ? "" : typeof first === "string" ? first : first.registry
  const name = text.replace(/[^\w.]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 100)
  return name === "" ? `rule-${index + 1}` : name
}
