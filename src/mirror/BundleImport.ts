/**
 * Imports bundles: verifies the bundle, looks up at the destination what the bundle expects there, and only then copies
 * the content and sets tags.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { TagRefused } from "../copy/CopyError.ts"
import type { Options, TagPush } from "../copy/Options.ts"
import type { Digest } from "../Digest.ts"
import * as Namespace from "../Namespace.ts"
import * as Platform from "../Platform.ts"
import type { Host, Repository, Tag } from "../Reference.ts"
import * as RegistryError from "../RegistryError.ts"
import type * as BundleCheck from "./BundleCheck.ts"
import * as BundleDestination from "./BundleDestination.ts"
import { type BundleError, failing } from "./BundleError.ts"
import { Hooks, type Refused } from "./Hooks.ts"
import type { OnTagMoved } from "./MirrorRule.ts"
import * as TagBackup from "./TagBackup.ts"

/** Action of an import for a tag. */
export type TagAction = "set" | "unchanged" | "kept" | "refused"

/** A tag of the destination, with what an import does with it. */
interface Decision {
  readonly target: BundleDestination.Target
  readonly at: BundleDestination.BundleDestination
  readonly tag: Tag
  readonly digest: Digest
  /** Digest that the tag points at. */
  readonly current: Digest | undefined
  readonly action: TagAction
  /** Template of the tag under which the current image is kept. */
  readonly backup: string | undefined
  readonly why: string | undefined
}

/** Result for one tag. */
export interface TagResult {
  readonly name: string
  readonly outcome: TagAction | "failed"
  readonly bytes: number
  readonly mounted: number
  readonly problem: string | undefined
}

export interface ImportSettings {
  /** Returns the policy of a rule. Default: that in the bundle. */
  readonly onTagMoved?: ((rule: string) => OnTagMoved | undefined) | undefined
  /** Number of tags that are copied at the same time. Default: 8. */
  readonly copies?: number | undefined
  readonly progress: (text: string) => Effect.Effect<void>
}

// number of tags that are looked up at the same time
const lookups = 16

// default number of tags that are copied at the same time
const copiesAtOnce = 8

// number of repositories that are prepared at the same time
const repositoriesAtOnce = 4

const nameOf = ({ target: { place }, tag }: Pick<Decision, "tag" | "target">): string =>
  `${place.registry}/${place.repository}:${tag}`

// ---------------------------------------------------------------------------------------------------------------------
// deciding
// ---------------------------------------------------------------------------------------------------------------------

/** Fails if repositories of a bundle go to one place, and have different images for the same tag. */
const checkTags = ({ file }: BundleCheck.CheckedBundle, targets: ReadonlyArray<BundleDestination.Target>) => {
  const manifests = new Map<string, number>()
  const refused = targets.flatMap((target) =>
    target.entry.tags.flatMap(({ manifest, tag }) => {
      const name = nameOf({ target, tag })
      const first = manifests.get(name) ?? manifest
      manifests.set(name, first)
      return first === manifest ? [] : [name]
    })
  )
  return refused.length === 0
    ? Effect.void
    : Effect.fail(failing(file.path)("Invalid", "its repositories have different images for the same tag", refused))
}

/** Returns the digest that a tag of the destination points at. */
const currentOf = ({ registry }: BundleDestination.BundleDestination, { place }: BundleDestination.Target, tag: Tag) =>
  Effect.map(
    RegistryError.orAbsent(registry.resolveManifest(place.repository, tag)),
    (found) => found?.digest
  )

/** Decides on a tag that points at another image. */
const moved = (
  policy: OnTagMoved,
  current: Digest,
  was: Digest | undefined
): Pick<Decision, "action" | "backup" | "why"> => {
  // a tag that is as the base says has moved at the source only
  const why = current === was ? undefined : `it pointed at ${current}, which is not what the base of the bundle has`
  if (policy === "keep") return { action: "kept", backup: undefined, why: "onTagMoved is keep" }
  if (policy === "fail") {
    return { action: "refused", backup: undefined, why: `it points at ${current}; onTagMoved is fail` }
  }
  return { action: "set", backup: policy === "replace" ? undefined : policy.tag, why }
}

/** Decides on all tags of one repository. */
const decide = Effect.fnUntraced(function*(
  { file: { contents } }: BundleCheck.CheckedBundle,
  at: BundleDestination.BundleDestination,
  target: BundleDestination.Target,
  { onTagMoved }: Pick<ImportSettings, "onTagMoved">
) {
  const { entry } = target
  const policy = onTagMoved?.(entry.rule) ?? entry.onTagMoved
  return yield* Effect.forEach(
    entry.tags,
    ({ manifest, tag, was }) =>
      Effect.map(currentOf(at, target, tag), (current): ReadonlyArray<Decision> => {
        const digest = contents.content[manifest]?.digest
        if (digest === undefined) return []
        const plain = { target, at, tag, digest, current, backup: undefined, why: undefined }
        if (current === undefined) return [{ ...plain, action: "set" }]
        if (current === digest) return [{ ...plain, action: "unchanged" }]
        return [{ ...plain, ...moved(policy, current, was) }]
      }),
    { concurrency: lookups }
  ).pipe(Effect.map((decisions) => decisions.flat()))
})

/** A referrer of an image. */
interface Referrer {
  readonly digest: Digest
  readonly isCarried: boolean
  readonly isOfRoot: boolean
}

/** Creates the function that returns the referrers of an image: of all its manifests, and of these referrers. */
const referrersIn = ({ file: { contents } }: BundleCheck.CheckedBundle) => {
  const images = new Map(contents.images.map((image) => [contents.content[image.manifest]?.digest, image]))
  const bySubject = new Map(
    contents.repositories.map((entry) => [entry, Map.groupBy(entry.referrers, ({ subject }) => subject)])
  )
  return ({ digest, target: { entry } }: Decision): ReadonlyArray<Referrer> => {
    const image = images.get(digest)
    const below = new Set(image === undefined ? [] : [image.manifest, ...image.content])
    const found: Array<Referrer> = []
    for (const position of below) {
      for (const { content, manifest } of bySubject.get(entry)?.get(position) ?? []) {
        const known = contents.content[manifest]
        if (below.has(manifest) || known === undefined) continue
        for (const each of [manifest, ...content]) below.add(each)
        found.push({
          digest: known.digest,
          isCarried: known.assumed !== true,
          isOfRoot: position === image?.manifest
        })
      }
    }
    return found
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// looking up the base
// ---------------------------------------------------------------------------------------------------------------------

/** A tag that is copied. */
interface Work {
  readonly decision: Decision
  readonly referrers: ReadonlyArray<Referrer>
}

/** Fails if the destination lacks content that the bundle expects there. */
const checkBase = Effect.fnUntraced(function*({ file }: BundleCheck.CheckedBundle, work: ReadonlyArray<Work>) {
  const lists = yield* Effect.forEach(
    work,
    ({ decision: { at, digest, target: { place } }, referrers }) =>
      Effect.forEach(
        [digest, ...referrers.map(({ digest }) => digest)],
        (manifest) =>
          Effect.map(
            at.findMissing(place.repository, manifest),
            (missing) => missing.map((digest) => `${place.registry}/${place.repository}@${digest}`)
          )
      ),
    { concurrency: lookups }
  )
  const missing = Array.from(new Set(lists.flat(2)))
  if (missing.length === 0) return
  const base = file.contents.base.map(({ at, id, kind }) => `the ${kind} ${id} of ${at}`).join(" and ")
  return yield* failing(file.path)(
    "MissingBase",
    `the bundle is based on ${base === "" ? "other content" : base}, but the destination lacks`,
    missing
  )
})

// ---------------------------------------------------------------------------------------------------------------------
// copying
// ---------------------------------------------------------------------------------------------------------------------

/** Mounts a blob from another repository. If the registry declines that, the copy sends the blob. */
const mount = (
  { registry }: BundleDestination.BundleDestination,
  repository: Repository,
  digest: Digest,
  from: Repository
) =>
  Effect.scoped(registry.startUpload(repository, { mount: { digest, from } })).pipe(
    Effect.map(({ _tag }) => _tag === "Mounted" ? 1 : 0),
    Effect.orElseSucceed(() => 0)
  )

/** Returns true if the destination says that it does not have a repository. */
const isMissing = (at: BundleDestination.BundleDestination, repository: Repository) =>
  at.registry.tags(repository).pipe(
    Stream.take(1),
    Stream.runDrain,
    Effect.as(false),
    Effect.catchIf(({ reason }) => reason._tag === "NameUnknown", () => Effect.succeed(true)),
    Effect.orElseSucceed(() => false)
  )

/**
 * Prepares a repository for the copies to it: creates it if a hook does that, and mounts blobs that it lacks. Returns
 * the number of mounted blobs.
 */
const prepare = Effect.fnUntraced(function*(work: ReadonlyArray<Work>) {
  const [first] = work
  if (first === undefined) return 0
  const { at, target: { place: { registry, repository } } } = first.decision
  const { onRepositoryMissing } = yield* Hooks
  const isNew = work.every(({ decision: { current } }) => current === undefined) && (yield* isMissing(at, repository))
  if (isNew) yield* onRepositoryMissing(registry, repository)
  const mounted = yield* Effect.forEach(
    at.mounts(repository),
    ([digest, from]) => mount(at, repository, digest, from),
    { concurrency: lookups }
  )
  return mounted.reduce((sum: number, each) => sum + each, 0)
})

/** Refuses to set a tag that has changed since it was looked up. */
const fence = ({ at, current, digest, target }: Decision) => ({ tags }: TagPush): Effect.Effect<void, TagRefused> =>
  Effect.forEach(tags, (tag) =>
    currentOf(at, target, tag).pipe(
      Effect.mapError(({ message }) => new TagRefused({ tags: [tag], problem: message })),
      Effect.filterOrFail(
        (found) => found === current || found === digest,
        () => new TagRefused({ tags: [tag], problem: "another client has changed it meanwhile" })
      )
    ), { discard: true })

const platformsOf = ({ platforms }: BundleDestination.Target["entry"]): Pick<Options, "platforms"> => {
  const parsed = platforms?.flatMap((platform) => Result.getOrUndefined(Platform.parse(platform)) ?? [])
  return parsed === undefined ? {} : { platforms: { _tag: "Index", platforms: parsed, index: "keep" } }
}

/** Copies one tag with its referrers. */
const copyTag = Effect.fnUntraced(function*({ decision, referrers }: Work) {
  const { at, backup, current, digest, tag, target: { entry, place } } = decision
  const namespace = yield* Namespace.Namespace
  if (backup !== undefined && current !== undefined) {
    const destination = { ...place, name: `${place.registry}/${place.repository}`, tag: "{tag}" }
    yield* TagBackup.make(namespace, destination, backup, tag, current)
  }
  return yield* namespace.copyManifest({
    ...platformsOf(entry),
    source: { registry: at.source, repository: place.repository, digest },
    destination: { registry: at.registry, repository: place.repository, tag },
    trust: referrers.every(({ isOfRoot }) => isOfRoot) ? "manifest" : "children",
    beforeTag: fence(decision)
  })
})

/** Copies one tag, and returns what came of it. */
const runTag = (work: Work, progress: ImportSettings["progress"]) => {
  const { decision } = work
  const name = nameOf(decision)
  const known = decision.at.mounts(decision.target.place.repository)
  const base = { name, bytes: 0, mounted: 0, problem: decision.why }
  return copyTag(work).pipe(
    Effect.tap(() => decision.action === "set" ? progress(`set ${name}`) : Effect.void),
    Effect.match({
      onFailure: ({ message }): TagResult => ({ ...base, outcome: "failed", problem: message }),
      onSuccess: (report): TagResult => ({
        ...base,
        outcome: decision.action,
        bytes: report.bytes,
        // those of `prepare` are counted there
        mounted: report.having("mounted").filter(({ descriptor }) => !known.has(descriptor.digest)).length
      })
    })
  )
}

type PrepareResult = Result.Result<number, Refused>

/** Imports a verified bundle to its targets. Returns a result for each tag, and the number of mounted blobs. */
export const run = Effect.fnUntraced(function*(
  bundle: BundleCheck.CheckedBundle,
  targets: ReadonlyArray<BundleDestination.Target>,
  options: ImportSettings
): Effect.fn.Return<
  { readonly results: ReadonlyArray<TagResult>; readonly mounted: number },
  BundleError | Namespace.NamespaceError,
  Namespace.Namespace
> {
  yield* checkTags(bundle, targets)
  const namespace = yield* Namespace.Namespace
  const byHost = Map.groupBy(targets, ({ place }) => place.registry)
  const destinations = new Map<Host, BundleDestination.BundleDestination>()
  for (const [host, own] of byHost) {
    destinations.set(host, BundleDestination.make(bundle, host, yield* namespace.registry(host), own))
  }
  const decisions = yield* Effect.forEach(targets, (target) => {
    const at = destinations.get(target.place.registry)
    return at === undefined ? Effect.succeed([]) : decide(bundle, at, target, options)
  }, { concurrency: lookups })
  const referrersOf = referrersIn(bundle)
  const work = decisions.flat().map((decision): Work => ({ decision, referrers: referrersOf(decision) }))
  const isCopied = ({ decision: { action }, referrers }: Work) =>
    action === "set" || action === "unchanged" && referrers.some(({ isCarried }) => isCarried)
  yield* checkBase(bundle, work.filter(isCopied))
  yield* options.progress("the destination has everything that the bundle expects there")
  const byRepository = Map.groupBy(
    work.filter(isCopied),
    ({ decision: { target: { place } } }) => `${place.registry}/${place.repository}`
  )
  const prepared = new Map<string, PrepareResult>()
  yield* Effect.forEach(
    byRepository,
    ([name, own]) => Effect.map(Effect.result(prepare(own)), (result) => prepared.set(name, result)),
    {
      concurrency: repositoriesAtOnce,
      discard: true
    }
  )
  const results = yield* Effect.forEach(work, (each) => {
    const { decision } = each
    const { place } = decision.target
    const problem = Result.getFailure(prepared.get(`${place.registry}/${place.repository}`) ?? Result.succeed(0))
    if (isCopied(each) && Option.isNone(problem)) return runTag(each, options.progress)
    return Effect.succeed<TagResult>({
      name: nameOf(decision),
      outcome: Option.isSome(problem) && isCopied(each) ? "failed" : decision.action,
      bytes: 0,
      mounted: 0,
      problem: Option.match(problem, { onNone: () => decision.why, onSome: ({ message }) => message })
    })
  }, { concurrency: Math.max(1, options.copies ?? copiesAtOnce) })
  const mounted = Array.from(prepared.values()).reduce((sum, result) => sum + Result.getOrElse(result, () => 0), 0)
  return { results, mounted }
})
