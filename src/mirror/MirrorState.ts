/**
 * State of a mirror: the tags that it has put at destinations, and its runs.
 *
 * One row per destination tag is at once the memory between runs, the status, the list of failures, and the fence: each
 * job that changes a tag gets the next `generation` of the row, and may change the tag only while it has the latest.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { Digest } from "../Digest.ts"
import type { Tag } from "../Reference.ts"
import { printable } from "../Text.ts"

/**
 * The store of the state cannot be read or written.
 *
 * @category errors
 * @since 0.1.0
 */
export class MirrorStateError extends Schema.TaggedError<MirrorStateError>("effect-oci/MirrorState/MirrorStateError")(
  "MirrorStateError",
  {
    /** Operation of `MirrorState` that failed. */
    operation: Schema.String,
    problem: Schema.String,
    cause: Schema.optionalKey(Schema.Defect()),
    /** True if another attempt may succeed: the store is away or locked. */
    isRetryable: Schema.Boolean
  }
) {
  override get message(): string {
    return printable(`the state of the mirror (${this.operation}): ${this.problem}`)
  }
}

/**
 * A tag of a destination.
 *
 * @category models
 * @since 0.1.0
 */
export interface TagState {
  /** Repository of the destination, with its registry: `harbor.local/library/alpine`. */
  readonly destination: string
  readonly tag: Tag
  readonly rule: string
  /** Repository of the source, with its registry. */
  readonly source: string
  readonly sourceTag: Tag
  /** Digest of the source when it was last copied or found to be unchanged. */
  readonly sourceDigest: Digest | undefined
  /** Digest that the destination got. It differs from that of the source if an index was rewritten. */
  readonly destinationDigest: Digest | undefined
  /** Fingerprint of the platforms and other settings that decide what the destination gets. */
  readonly filterKey: string
  readonly generation: number
  readonly status: "pending" | "copied" | "kept" | "failed"
  /** Text of the last failure. */
  readonly error: string | undefined
  /** Number of failures since the last success. */
  readonly attempts: number
  /** When the next attempt after a failure is due. */
  readonly retryAt: DateTime.Utc | undefined
  /** When the destination was last seen to have the digest. */
  readonly checkedAt: DateTime.Utc | undefined
  readonly copiedAt: DateTime.Utc | undefined
  /** When the referrers of the source were last looked at. */
  readonly referrersAt: DateTime.Utc | undefined
  /** Number of consecutive runs that meant to delete the tag. */
  readonly missing: number
}

/**
 * A run of a rule.
 *
 * @category models
 * @since 0.1.0
 */
export interface RunState {
  readonly id: string
  readonly rule: string
  /** Time for which the schedule planned the run. */
  readonly slot: DateTime.Utc | undefined
  readonly startedAt: DateTime.Utc
  readonly endedAt: DateTime.Utc | undefined
  /** Process that runs it. */
  readonly by: string
  readonly planned: number
  readonly copied: number
  readonly failed: number
  readonly pruned: number
  readonly bytes: number
  readonly requests: number
  /** Text of a failure of the run itself, such as of a list of tags. */
  readonly error: string | undefined
}

/**
 * A tag of a destination, without what is known about it.
 *
 * @category models
 * @since 0.1.0
 */
export type TagKey = Pick<TagState, "destination" | "tag">

/**
 * A tag of a destination with the generation of a job.
 *
 * @category models
 * @since 0.1.0
 */
export type Held = Pick<TagState, "destination" | "tag" | "generation">

/**
 * A repository of the source, as a rule last listed it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ListState {
  readonly rule: string
  readonly source: string
  /** Number of tags in the last list that was not suspiciously short. */
  readonly tags: number
  readonly listedAt: DateTime.Utc
}

/**
 * The state of a mirror.
 *
 * @category services
 * @since 0.1.0
 */
export class MirrorState extends Context.Service<MirrorState, {
  /** Returns the tags of a repository of a destination. */
  readonly tags: (destination: string) => Effect.Effect<ReadonlyArray<TagState>, MirrorStateError>
  /** Returns the tags of a rule, or of all rules, that have a status, ordered by destination and tag. */
  readonly find: (filter: {
    readonly rule?: string | undefined
    readonly status?: TagState["status"] | undefined
    /** Default: 1000. */
    readonly limit?: number | undefined
  }) => Effect.Effect<ReadonlyArray<TagState>, MirrorStateError>
  /** Returns the number of tags by rule and status, ordered by both. */
  readonly counts: Effect.Effect<
    ReadonlyArray<{ readonly rule: string; readonly status: TagState["status"]; readonly tags: number }>,
    MirrorStateError
  >
  /**
   * Starts a change of tags of one repository: raises the generation of each, in one step, and returns their rows in
   * the same order. The status becomes `pending`. A tag without a row gets the given one, and the current time in
   * milliseconds as its generation, so that it never gets one that it had before its row was removed. A row that exists
   * gets the given rule, source and filter key, and keeps everything else.
   */
  readonly begin: (
    tags: ReadonlyArray<Omit<TagState, "generation">>
  ) => Effect.Effect<ReadonlyArray<TagState>, MirrorStateError>
  /** Returns true if the tag still has this generation, so that the job that got it may change the tag. */
  readonly holds: (tag: Held) => Effect.Effect<boolean, MirrorStateError>
  /**
   * Records tags, each of which must still have its generation. Returns the current rows of those that have another
   * one: they are left as they are. A row that was removed meanwhile is not recorded and not returned.
   */
  readonly record: (tags: ReadonlyArray<TagState>) => Effect.Effect<ReadonlyArray<TagState>, MirrorStateError>
  /** Removes the row of a tag, if it still has this generation. */
  readonly remove: (tag: Held) => Effect.Effect<void, MirrorStateError>
  /** Lets the failed tags of a rule, or of all rules, be tried again at once. Returns their number. */
  readonly retry: (filter: { readonly rule?: string | undefined }) => Effect.Effect<number, MirrorStateError>
  readonly list: (rule: string, source: string) => Effect.Effect<ListState | undefined, MirrorStateError>
  readonly recordList: (list: ListState) => Effect.Effect<void, MirrorStateError>
  /** Adds a run, or replaces the one with its id. Of each rule, the latest {@link KeptRuns} remain. */
  readonly recordRun: (run: RunState) => Effect.Effect<void, MirrorStateError>
  /** Returns the latest runs of a rule, or of all rules, latest first. */
  readonly runs: (filter: {
    readonly rule?: string | undefined
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<RunState>, MirrorStateError>
  /** Returns the fingerprint of the policy by which a person has let a rule delete tags. */
  readonly confirmedPrune: (rule: string) => Effect.Effect<string | undefined, MirrorStateError>
  readonly confirmPrune: (rule: string, policy: string) => Effect.Effect<void, MirrorStateError>
  /** Returns when images were created, as far as that is recorded. */
  readonly created: (
    digests: ReadonlyArray<Digest>
  ) => Effect.Effect<ReadonlyMap<Digest, DateTime.Utc>, MirrorStateError>
  /** Records when images were created. The latest {@link KeptDates} remain. */
  readonly recordCreated: (images: ReadonlyMap<Digest, DateTime.Utc>) => Effect.Effect<void, MirrorStateError>
}>()("effect-oci/MirrorState") {}

/**
 * Number of runs of each rule that are kept.
 *
 * @default 100
 * @category references
 * @since 0.1.0
 */
export const KeptRuns: Context.Reference<number> = Context.Reference("effect-oci/MirrorState/KeptRuns", {
  defaultValue: () => 100
})

/**
 * Number of images whose date of creation is kept.
 *
 * @default 100,000
 * @category references
 * @since 0.1.0
 */
export const KeptDates: Context.Reference<number> = Context.Reference("effect-oci/MirrorState/KeptDates", {
  defaultValue: () => 100_000
})

/**
 * Time for which an operation is tried again while the store is away, before it fails. While the store is away, no job
 * starts a change of a tag, because it waits for {@link MirrorState} to confirm its generation.
 *
 * @default 30 seconds
 * @category references
 * @since 0.1.0
 */
export const RetryTime: Context.Reference<Duration.Duration> = Context.Reference("effect-oci/MirrorState/RetryTime", {
  defaultValue: () => Duration.seconds(30)
})

// ---------------------------------------------------------------------------------------------------------------------
// in memory
// ---------------------------------------------------------------------------------------------------------------------

const byDestination = (a: TagState, b: TagState): number =>
  compareText(a.destination, b.destination) || compareText(a.tag, b.tag)

/** Compares texts by their code units, as SQLite does for ASCII. */
const compareText = (a: string, b: string): number => a < b ? -1 : a > b ? 1 : 0

const makeTags = (): Pick<
  MirrorState["Service"],
  "tags" | "find" | "counts" | "begin" | "holds" | "record" | "remove" | "retry"
> => {
  const rows = new Map<string, Map<Tag, TagState>>()
  const rowOf = ({ destination, tag }: TagKey): TagState | undefined => rows.get(destination)?.get(tag)
  const store = (row: TagState): TagState => {
    const repository = rows.get(row.destination) ?? new Map<Tag, TagState>()
    rows.set(row.destination, repository.set(row.tag, row))
    return row
  }
  const having = (rule: string | undefined, status: TagState["status"] | undefined): ReadonlyArray<TagState> =>
    Array.from(rows.values()).flatMap((repository) =>
      Array.from(repository.values()).filter((row) =>
        (rule === undefined || row.rule === rule) && (status === undefined || row.status === status)
      )
    )
  return {
    tags: (destination) => Effect.sync(() => Array.from(rows.get(destination)?.values() ?? []).sort(byDestination)),
    find: ({ limit = 1000, rule, status }) =>
      Effect.sync(() => Array.from(having(rule, status)).sort(byDestination).slice(0, limit)),
    counts: Effect.sync(() =>
      Array.from(Map.groupBy(having(undefined, undefined), ({ rule, status }) => `${status} ${rule}`).values())
        .flatMap((group) => group.slice(0, 1).map(({ rule, status }) => ({ rule, status, tags: group.length })))
        .sort((a, b) => compareText(a.rule, b.rule) || compareText(a.status, b.status))
    ),
    begin: (tags) =>
      Effect.map(Clock.currentTimeMillis, (now) =>
        tags.map((tag) => {
          const { filterKey, rule, source, sourceTag } = tag
          const row = rowOf(tag)
          const begun = row === undefined ? tag : { ...row, rule, source, sourceTag, filterKey }
          return store({ ...begun, status: "pending", generation: row === undefined ? now : row.generation + 1 })
        })),
    holds: (tag) => Effect.sync(() => rowOf(tag)?.generation === tag.generation),
    record: (tags) =>
      Effect.sync(() =>
        tags.flatMap((tag) => {
          const row = rowOf(tag)
          if (row?.generation === tag.generation) store(tag)
          return row === undefined || row.generation === tag.generation ? [] : [row]
        })
      ),
    remove: (tag) =>
      Effect.sync(() => {
        const repository = rows.get(tag.destination)
        if (rowOf(tag)?.generation === tag.generation) repository?.delete(tag.tag)
        if (repository?.size === 0) rows.delete(tag.destination)
      }),
    retry: ({ rule }) =>
      Effect.sync(() => {
        const failed = having(rule, "failed")
        for (const row of failed) store({ ...row, attempts: 0, retryAt: undefined })
        return failed.length
      })
  }
}

const startOf = ({ startedAt }: RunState): number => DateTime.toEpochMillis(startedAt)

const makeMemory = Effect.gen(function*() {
  const keptRuns = yield* KeptRuns
  const keptDates = yield* KeptDates
  const lists = new Map<string, ListState>()
  const runs = new Map<string, ReadonlyArray<RunState>>()
  const confirmed = new Map<string, string>()
  const dates = new Map<Digest, DateTime.Utc>()
  return MirrorState.of({
    ...makeTags(),
    list: (rule, source) => Effect.sync(() => lists.get(`${source} ${rule}`)),
    recordList: (list) => Effect.sync(() => void lists.set(`${list.source} ${list.rule}`, list)),
    recordRun: (run) =>
      Effect.sync(() => {
        const others = (runs.get(run.rule) ?? []).filter(({ id }) => id !== run.id)
        runs.set(run.rule, [run, ...others].sort((a, b) => startOf(b) - startOf(a)).slice(0, keptRuns))
      }),
    runs: ({ limit, rule }) =>
      Effect.sync(() =>
        Array.from(rule === undefined ? Array.from(runs.values()).flat() : runs.get(rule) ?? [])
          .sort((a, b) => startOf(b) - startOf(a))
          .slice(0, limit)
      ),
    confirmedPrune: (rule) => Effect.sync(() => confirmed.get(rule)),
    confirmPrune: (rule, policy) => Effect.sync(() => void confirmed.set(rule, policy)),
    created: (digests) =>
      Effect.sync(() =>
        new Map(digests.flatMap((digest) => {
          const date = dates.get(digest)
          return date === undefined ? [] : [[digest, date]]
        }))
      ),
    recordCreated: (images) =>
      Effect.sync(() => {
        for (const [digest, date] of images) dates.set(digest, date)
        for (const digest of Array.from(dates.keys()).slice(0, Math.max(0, dates.size - keptDates))) {
          dates.delete(digest)
        }
      })
  })
})

/**
 * Provides a state that is in memory, and is lost with the process.
 *
 * **Example** (A job that was superseded)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as MirrorState from "effect-oci/MirrorState"
 * import { Images } from "effect-oci/testing"
 *
 * const tag: Parameters<MirrorState.MirrorState["Service"]["begin"]>[0][number] = {
 *   destination: "harbor.local/library/alpine",
 *   tag: Images.tag("3.20"),
 *   rule: "bases",
 *   source: "docker.io/library/alpine",
 *   sourceTag: Images.tag("3.20"),
 *   sourceDigest: undefined,
 *   destinationDigest: undefined,
 *   filterKey: "",
 *   status: "pending",
 *   error: undefined,
 *   attempts: 0,
 *   retryAt: undefined,
 *   checkedAt: undefined,
 *   copiedAt: undefined,
 *   referrersAt: undefined,
 *   missing: 0
 * }
 *
 * const program = Effect.gen(function*() {
 *   const state = yield* MirrorState.MirrorState
 *   const first = yield* state.begin([tag])
 *   const second = yield* state.begin([tag])
 *   return yield* Effect.forEach([...first, ...second], state.holds)
 * })
 *
 * Effect.runSync(Effect.provide(program, MirrorState.layerMemory)) // => [false, true]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<MirrorState> = Layer.effect(MirrorState, makeMemory)
