/**
 * The space that repositories take: the sizes of all blobs that their tags need.
 *
 * It is computed when it is asked for, at most once in a few minutes, one manifest at a time, and ends at a limit.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Digest from "../../Digest.ts"
import * as Manifest from "../../Manifest.ts"
import type { Repository, Tag } from "../../Reference.ts"
import type { Registry } from "../../Registry.ts"
import * as Content from "./Content.ts"

/** Limits of one computation. */
const limits = { repositories: 2000, manifests: 10_000, blobs: 100_000 }

/** Time after which it is computed again, in milliseconds. */
const timeToLive = Duration.toMillis("5 minutes")

/** Number of manifests that are read at the beginning without a pause, and between two pauses. */
const manifestsAtOnce = 64
const manifestsAtATime = 8

/** Number of times that a pause is longer than the work before it. */
const pauseFactor = 4

/** Time that a page waits for a computation. */
const patience = "400 millis"

/** Space of one repository. */
export interface RepositorySpace {
  readonly repository: Repository
  readonly tags: number
  readonly manifests: number
  /** Sizes of its blobs: configs and layers. */
  readonly blobs: ReadonlyMap<Digest.Digest, number>
}

/** Result of a computation. */
export interface Report {
  readonly at: DateTime.Utc
  readonly repositories: ReadonlyMap<string, RepositorySpace>
  /** True if a limit was reached, so that content is missing in the report. */
  readonly isPartial: boolean
}

export interface Space {
  /** Returns the last report, or `undefined` while the first one is being computed. */
  readonly report: Effect.Effect<Report | undefined>
  /** Has the report computed again when it is asked for next, after a change. */
  readonly expire: Effect.Effect<void>
}

/** Counters of one computation. */
interface Work {
  manifests: number
  blobs: number
  isPartial: boolean
  /** Time at which the last pause ended, in milliseconds. */
  resumedAt: number
}

const isFull = (work: Work): boolean => work.manifests >= limits.manifests || work.blobs >= limits.blobs

/** Counts a manifest, and pauses after some of them, so that most of the time is left to the requests of clients. */
const count = Effect.fnUntraced(function*(work: Work) {
  work.manifests++
  if (work.manifests < manifestsAtOnce || work.manifests % manifestsAtATime !== 0) return
  const worked = Math.max(1, (yield* Clock.currentTimeMillis) - work.resumedAt)
  yield* Effect.sleep(pauseFactor * worked)
  work.resumedAt = yield* Clock.currentTimeMillis
})

/** Adds what a tag or a manifest needs. */
const walk = (
  registry: Registry,
  work: Work,
  repository: Repository,
  found: { readonly manifests: Set<Digest.Digest>; readonly blobs: Map<Digest.Digest, number> },
  reference: Tag | Digest.Digest,
  depth: number
): Effect.Effect<void> =>
  Effect.gen(function*() {
    if (isFull(work)) {
      work.isPartial = true
      return
    }
    yield* count(work)
    const node = yield* Effect.option(Content.read(registry, repository, reference))
    if (node._tag === "None" || found.manifests.has(node.value.descriptor.digest)) return
    found.manifests.add(node.value.descriptor.digest)
    if (Result.isFailure(node.value.manifest)) return
    const { blobs, manifests } = Manifest.references(node.value.manifest.success)
    for (const { digest, size } of blobs) {
      if (found.blobs.has(digest)) continue
      found.blobs.set(digest, size)
      work.blobs++
    }
    if (depth === 0) return
    for (const { digest } of manifests) yield* walk(registry, work, repository, found, digest, depth - 1)
  })

/** Maximum depth of nested indexes. */
const depthLimit = 3

const measure = Effect.fnUntraced(function*(registry: Registry, work: Work, repository: Repository) {
  const found = { manifests: new Set<Digest.Digest>(), blobs: new Map<Digest.Digest, number>() }
  let tags = 0
  yield* Stream.runForEach(
    Stream.takeWhile(registry.tags(repository), () => !isFull(work)),
    (tag) => {
      tags++
      return walk(registry, work, repository, found, tag, depthLimit)
    }
  )
  if (isFull(work)) work.isPartial = true
  const space: RepositorySpace = { repository, tags, manifests: found.manifests.size, blobs: found.blobs }
  return space
})

const compute = Effect.fnUntraced(function*(registry: Registry) {
  const resumedAt = yield* Clock.currentTimeMillis
  const work: Work = { manifests: 0, blobs: 0, isPartial: false, resumedAt }
  const repositories = new Map<string, RepositorySpace>()
  yield* Stream.runForEach(
    Stream.take(registry.repositories(), limits.repositories),
    (repository) =>
      measure(registry, work, repository).pipe(
        Effect.map((space) => repositories.set(repository, space)),
        Effect.ignore
      )
  ).pipe(Effect.ignore)
  const isPartial = work.isPartial || repositories.size >= limits.repositories
  const report: Report = { at: yield* DateTime.now, repositories, isPartial }
  return report
})

/** Makes the space of a registry. Computations end with the scope. */
export const make = Effect.fnUntraced(function*(registry: Registry): Effect.fn.Return<Space, never, Scope.Scope> {
  const scope = yield* Effect.scope
  let last: { readonly report: Report; until: number } | undefined
  let running: Deferred.Deferred<Report> | undefined
  let changes = 0

  const start = Effect.suspend(() => {
    const done = Deferred.makeUnsafe<Report>()
    running = done
    const work = Effect.gen(function*() {
      const before = changes
      const report = yield* compute(registry)
      last = { report, until: changes === before ? (yield* Clock.currentTimeMillis) + timeToLive : 0 }
      running = undefined
      yield* Deferred.succeed(done, report)
    })
    return Effect.as(Effect.forkIn(work, scope), done)
  })

  return {
    report: Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      if (last !== undefined && last.until > now) return last.report
      const done = running ?? (yield* start)
      const computed = yield* Effect.timeoutOption(Deferred.await(done), patience)
      return computed._tag === "Some" ? computed.value : last?.report
    }),
    expire: Effect.sync(() => {
      changes++
      if (last !== undefined) last.until = 0
    })
  }
})
