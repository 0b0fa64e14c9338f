/**
 * Scrubs: validation of all repositories of a registry while it is in use, at a limited rate, so that damage of a disk
 * is found before a client finds it.
 *
 * A scrub does what {@link Validation.validateRegistry} does, one repository after another. Content is read again in
 * each repository, because each may have a copy of its own. Problems of content that is deleted or replaced meanwhile
 * are not reported.
 *
 * **Gotchas**
 *
 * A `LayoutRegistry` verifies the same file once by default. Scrub one with `verification: "always"`, made for each
 * scrub. It may be another one than the one that is served from the same folder.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as Digest from "../Digest.ts"
import type { Repository } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"
import * as Validation from "./Validation.ts"

// ---------------------------------------------------------------------------------------------------------------------
// models
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Schema of a problem that a scrub found.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Problem = Schema.Struct({
  ...Validation.Problem.fields,
  /** Fate of the content: it is where it was, or it was moved aside. */
  outcome: Schema.Literals(["reported", "quarantined"])
})

/**
 * A problem that a scrub found.
 *
 * @category models
 * @since 0.1.0
 */
export type Problem = typeof Problem.Type

/**
 * Schema of the report of a scrub.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Report = Schema.Struct({
  /** Number of repositories. */
  repositories: Schema.Natural,
  /** Number of manifests that were read. */
  manifests: Schema.Natural,
  /** Number of blobs that were read. */
  blobs: Schema.Natural,
  /** Number of bytes of these blobs. */
  bytes: Schema.Natural,
  problems: Schema.Array(Problem),
  /** True if there were more problems than the report lists. */
  truncated: Schema.Boolean
})

/**
 * The report of a scrub.
 *
 * @category models
 * @since 0.1.0
 */
export type Report = typeof Report.Type

/**
 * A store that can move broken content aside, such as `LayoutRegistry`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Quarantine {
  readonly quarantine: (
    repository: Repository,
    digest: Digest.Digest
  ) => Effect.Effect<"quarantined" | "intact" | "absent" | "changing", RegistryError>
}

/**
 * Options of a scrub.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Maximum number of bytes that are read per second. Default: 16 MiB. */
  readonly rate?: number | undefined
  /**
   * Policy for content that does not match its digest: `report` leaves it where it is, and a store moves it aside, so
   * that a client can push it again. Default: `report`.
   */
  readonly broken?: "report" | Quarantine | undefined
  /**
   * Policy for manifests and blobs that do not exist: a cache lacks those that no client has asked for. Default:
   * `report`.
   */
  readonly missing?: "report" | "ignore" | undefined
  /** Maximum number of problems in the report. Default: 1000. */
  readonly problemLimit?: number | undefined
  /** Receives every problem when it is found. */
  readonly onProblem?: ((problem: Problem) => Effect.Effect<void>) | undefined
}

// ---------------------------------------------------------------------------------------------------------------------
// pace
// ---------------------------------------------------------------------------------------------------------------------

/** Number of bytes that a manifest counts for at least, because small reads are not free. */
const minimumCost = 64 * 1024

/** Shortest pause, in milliseconds. Shorter ones accumulate. */
const shortestPause = 10

/** Creates a function that waits until a number of bytes may be read. */
const makePace = (rate: number) => {
  let next = 0
  return (bytes: number): Effect.Effect<void> =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      next = Math.max(now, next) + bytes * 1000 / rate
      return next - now < shortestPause ? Effect.yieldNow : Effect.sleep(next - now)
    })
}

/** Returns a view of a registry that returns content at a limited rate. */
const paced = <R extends Registry>(registry: R, rate: number): R => {
  const pace = makePace(rate)
  return {
    ...registry,
    getBlob: (repository, digest, options) =>
      Effect.map(registry.getBlob(repository, digest, options), ({ descriptor, stream }) => ({
        descriptor,
        stream: Stream.tap(stream, ({ length }) => pace(length))
      })),
    getManifest: (repository, reference) =>
      Effect.tap(
        Effect.andThen(pace(minimumCost), registry.getManifest(repository, reference)),
        ({ bytes }) => pace(Math.max(0, bytes.length - minimumCost))
      )
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// problems
// ---------------------------------------------------------------------------------------------------------------------

const isMissing = ({ kind }: Validation.Problem): boolean => kind === "MissingManifest" || kind === "MissingBlob"

/** Kinds of problems that content has which does not match its digest. */
const doubtful: ReadonlySet<Validation.Kind> = new Set([
  "WrongDigest",
  "WrongSize",
  "InvalidManifest",
  "InvalidConfig",
  "Unreadable"
])

/** Returns true if the registry still has what a problem is about: the root, or its tag. */
const isCurrent = (registry: Registry, { path: [root], repository, tag }: Validation.Problem) => {
  if (root !== undefined) return Effect.isSuccess(registry.getManifest(repository, root))
  if (tag === undefined) return Effect.succeed(true)
  const named = Stream.take(Stream.filter(registry.tags(repository), (name) => name === tag), 1)
  return Effect.match(Stream.runCount(named), { onFailure: () => true, onSuccess: (count) => count > 0 })
}

/**
 * Decides on a problem, and moves broken content aside. Returns `undefined` if the problem does not exist any more.
 */
const settle = Effect.fnUntraced(function*(
  registry: Registry,
  problem: Validation.Problem,
  { broken = "report", missing = "report" }: Options
): Effect.fn.Return<Problem["outcome"] | undefined> {
  const { digest, kind, repository } = problem
  if (isMissing(problem) && missing === "ignore") return undefined
  if (isMissing(problem) || digest === undefined || broken === "report" || !doubtful.has(kind)) {
    return (yield* isCurrent(registry, problem)) ? "reported" : undefined
  }
  const outcome = yield* Effect.orElseSucceed(broken.quarantine(repository, digest), () => "failed" as const)
  switch (outcome) {
    case "quarantined":
      return "quarantined"
    case "failed":
      return "reported"
    default:
      // the content was pushed again or deleted meanwhile, unless the problem is another one than its digest
      return kind === "WrongDigest" ? undefined : "reported"
  }
})

// ---------------------------------------------------------------------------------------------------------------------
// scrubs
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Scrubs all repositories of a registry. Fails if the registry cannot list them.
 *
 * **Example** (Moving broken content aside)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import * as LayoutRegistry from "effect-oci/LayoutRegistry"
 * import * as Scrub from "effect-oci/Scrub"
 * import { Images } from "effect-oci/testing"
 *
 * const program = Effect.gen(function*() {
 *   const registry = yield* LayoutRegistry.make({ directory: "registry", verification: "always" })
 *   yield* Images.pushImage(registry, Images.repository("team/app"), [], { tags: [Images.tag("1")] })
 *   const { manifests, problems } = yield* Scrub.run(registry, { broken: registry, rate: 50_000_000 })
 *   return [manifests, problems]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, NodeServices.layer)) // => [1, []]
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const run = Effect.fn("Scrub.run")(function*(
  registry: Registry,
  options: Options = {}
): Effect.fn.Return<Report, RegistryError> {
  const { onProblem, problemLimit = 1000, rate = 16 * 1024 * 1024 } = options
  const slow = paced(registry, Math.max(1, rate))
  const problems: Array<Problem> = []
  const count = { repositories: 0, manifests: 0, blobs: 0, bytes: 0 }
  let truncated = false

  const record = (problem: Problem) => {
    if (problems.length < problemLimit) problems.push(problem)
    else truncated = true
    return onProblem?.(problem) ?? Effect.void
  }

  const scrubRepository = Effect.fnUntraced(function*(repository: Repository) {
    count.repositories++
    const report = yield* Validation.validateRegistry({ registry: slow, repository }, { concurrency: 1, problemLimit })
    count.manifests += report.manifests
    count.blobs += report.blobs
    count.bytes += report.bytes
    truncated ||= report.truncated
    for (const found of report.problems) {
      const outcome = yield* settle(registry, found, options)
      if (outcome !== undefined) yield* record({ ...found, outcome })
    }
  })

  /** A repository that cannot be listed does not keep the others from being scrubbed. */
  const unlisted = (repository: Repository) => ({ message, reason }: RegistryError) =>
    // it was deleted meanwhile
    reason._tag === "NameUnknown"
      ? Effect.void
      : record({ kind: "Unreadable", message, repository, path: [], outcome: "reported" })

  yield* Stream.runForEach(
    registry.repositories(),
    (repository) => Effect.catch(scrubRepository(repository), unlisted(repository))
  )
  return { ...count, problems, truncated }
})
