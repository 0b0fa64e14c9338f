/**
 * Mirrors whose runs copy nothing: a state in memory, rules, and a runner that does what a test says.
 */
import { type DateTime, Deferred, Duration, Effect } from "effect"
import type { MirrorConfig } from "effect-oci/MirrorConfig"
import type * as MirrorRunner from "effect-oci/MirrorRunner"
import { layerMemory, MirrorState, type RunState, type TagState } from "effect-oci/MirrorState"
import * as Reference from "effect-oci/Reference"
import type { MirrorRule } from "../../src/mirror/MirrorRule.ts"
import { repository, tag } from "./images.ts"

/** A rule that is run by hand, with these settings. */
export const rule = (name: string, settings: Partial<MirrorRule> = {}): MirrorRule => ({
  name,
  from: [{
    registry: Reference.Host.make("source.test"),
    repositories: { _tag: "Named", repositories: [{ name: repository(`team/${name}`), captures: [] }] }
  }],
  to: [{ registry: Reference.Host.make("mirror.test"), repository: `copies/${name}`, tag: "{tag}" }],
  tags: {
    names: undefined,
    match: [],
    exclude: [],
    include: [],
    semver: undefined,
    newest: undefined,
    per: "all",
    pushedWithin: undefined,
    digestTags: "exclude",
    atLeast: 0,
    versions: "full",
    preReleases: "named",
    alternatives: []
  },
  platforms: "all",
  referrers: { _tag: "Skip" },
  digestTags: "skip",
  onTagMoved: "replace",
  immutable: [],
  trust: Duration.zero,
  foreignTags: "refuse",
  prune: { _tag: "None" },
  timing: { _tag: "Manual" },
  atStart: "nothing",
  onError: "continue",
  ...settings
})

/** A rule that runs at regular intervals. */
export const every = (name: string, interval: Duration.Input, settings: Partial<MirrorRule> = {}): MirrorRule =>
  rule(name, {
    timing: { _tag: "Every", interval: Duration.fromInputUnsafe(interval), jitter: Duration.zero },
    ...settings
  })

export const config = (rules: ReadonlyArray<MirrorRule>, settings: Partial<MirrorConfig> = {}): MirrorConfig => ({
  registries: [],
  rules,
  store: undefined,
  notify: [],
  onRepositoryMissing: undefined,
  ...settings
})

/** A failed tag of a rule. */
export const failed = (rule: string, name: string, settings: Partial<TagState> = {}): TagState => ({
  destination: `mirror.test/copies/${rule}`,
  tag: tag(name),
  rule,
  source: `source.test/team/${rule}`,
  sourceTag: tag(name),
  sourceDigest: undefined,
  destinationDigest: undefined,
  filterKey: "",
  generation: 1,
  status: "failed",
  error: "the registry is away",
  attempts: 3,
  retryAt: undefined,
  checkedAt: undefined,
  copiedAt: undefined,
  referrersAt: undefined,
  missing: 0,
  ...settings
})

/** A state in memory that holds these tags and runs. */
export const state = (tags: ReadonlyArray<TagState> = [], runs: ReadonlyArray<RunState> = []) =>
  Effect.gen(function*() {
    const state = yield* MirrorState
    const begun = yield* state.begin(tags)
    yield* state.record(tags.map((row, index) => ({ ...row, generation: begun[index]?.generation ?? 0 })))
    for (const run of runs) yield* state.recordRun(run)
    return state
  }).pipe(Effect.provide(layerMemory), Effect.orDie)

/** A run that copied nothing. */
export const runState = (rule: string, startedAt: DateTime.Utc, settings: Partial<RunState> = {}): RunState => ({
  id: `${rule} ${startedAt.epochMilliseconds}`,
  rule,
  slot: undefined,
  startedAt,
  endedAt: startedAt,
  by: "test",
  planned: 0,
  copied: 0,
  failed: 0,
  pruned: 0,
  bytes: 0,
  requests: 0,
  error: undefined,
  ...settings
})

/** Run that a runner was asked for. */
export interface Asked extends MirrorRunner.RunRequest {
  readonly rule: MirrorRule
  readonly watch: (activity: MirrorRunner.Activity) => Effect.Effect<void>
  /** Ends the run. Until then, it goes on. */
  readonly end: (result: Effect.Effect<RunState, { readonly message: string }>) => Effect.Effect<void>
  readonly isInterrupted: () => boolean
}

/** A runner whose runs go on until the test ends them. */
export const runner = (hosts: ReadonlyArray<MirrorRunner.HostStatus> = []) => {
  const asked: Array<Asked> = []
  const made: Array<MirrorConfig> = []
  let closed = 0
  const make = (config: MirrorConfig) =>
    Effect.acquireRelease(
      Effect.sync((): MirrorRunner.MirrorRunner => {
        made.push(config)
        return {
          hosts: Effect.succeed(hosts),
          copy: () => Effect.succeed({ requests: 0, events: [] }),
          run: (rule, request, watch) =>
            Effect.gen(function*() {
              const result = yield* Deferred.make<RunState, { readonly message: string }>()
              let isInterrupted = false
              asked.push({
                ...request,
                rule,
                watch,
                end: (effect) => Effect.asVoid(Deferred.complete(result, effect)),
                isInterrupted: () => isInterrupted
              })
              return yield* Deferred.await(result).pipe(
                Effect.onInterrupt(() => Effect.sync(() => void (isInterrupted = true)))
              )
            })
        }
      }),
      () => Effect.sync(() => void closed++)
    )
  return { make, asked, made, closed: () => closed }
}
