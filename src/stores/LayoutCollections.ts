/**
 * Garbage collection of all layouts of a folder, and of its uploads.
 */
import * as ByteSize from "effect/ByteSize"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Reference from "../Reference.ts"
import type { Reason } from "../RegistryError.ts"
import * as Cutoff from "./Cutoff.ts"
import type * as GarbageCollection from "./GarbageCollection.ts"
import * as LayoutCollection from "./LayoutCollection.ts"
import type { LayoutTarget } from "./LayoutTarget.ts"
import type { Uploads } from "./LayoutUploads.ts"

/** Name under which a single layout is found, which serves all names. */
const anyRepository = Reference.Repository.make("layout")

interface Options {
  readonly policies: GarbageCollection.Options
  readonly uploads: Uploads
  /** All repositories, or `undefined` if they share one layout. */
  readonly repositories: Stream.Stream<Reference.Repository, Reason> | undefined
  readonly find: (repository: Reference.Repository) => Effect.Effect<LayoutTarget, Reason>
  /** Waits until existing content is counted. */
  readonly ready: (target: LayoutTarget) => Effect.Effect<void, Reason>
}

/**
 * Returns a function that returns the bytes that become free with a file: none while other repositories have links to
 * it. A dry run counts the links that it has seen, because it removes none.
 */
const makeFreed = (isDry: boolean) => {
  const seen = new Map<string, number>()
  return ({ info: { dev, ino, nlink, size } }: LayoutCollection.Removed): number => {
    const file = `${dev} ${Option.getOrElse(ino, () => "")}`
    const before = isDry ? seen.get(file) ?? 0 : 0
    const left = Number(Option.getOrElse(nlink, () => 1)) - before
    if (isDry && left > 1) seen.set(file, before + 1)
    return left > 1 ? 0 : ByteSize.toNumberUnsafe(size)
  }
}

/** Collects all repositories. One that fails is skipped, unless there is no other. */
export const run = Effect.fnUntraced(
  function*({ find, policies, ready, repositories, uploads }: Options): Effect.fn.Return<
    GarbageCollection.Report,
    Reason
  > {
    const isDry = policies.dryRun === true
    const cutoff = Cutoff.make(yield* Clock.currentTimeMillis, policies.olderThan)
    const freed = makeFreed(isDry)
    const removed: Array<GarbageCollection.Entry> = []
    const skipped: Array<GarbageCollection.Skipped> = []
    let [bytes, count] = [0, 0]
    const collect = Effect.fnUntraced(function*(name: Reference.Repository) {
      count++
      const repository = repositories === undefined ? {} : { repository: name }
      const target = yield* find(name)
      if (!isDry) yield* ready(target)
      const record = (content: LayoutCollection.Removed) => {
        bytes += freed(content)
        removed.push({ ...repository, ...content.entry })
      }
      const skip = ({ message }: Reason) => Effect.sync(() => skipped.push({ ...repository, problem: message }))
      yield* Effect.catch(LayoutCollection.run({ target, policies, cutoff, record }), skip)
    })
    const abandoned = yield* uploads.collect(isDry)
    yield* repositories === undefined ? collect(anyRepository) : Stream.runForEach(
      repositories,
      // a repository may be gone since it was listed
      (name) => Effect.catchTag(collect(name), "NameUnknown", () => Effect.void)
    )
    return {
      dryRun: isDry,
      repositories: count,
      removed,
      bytes: bytes + abandoned.bytes,
      uploads: abandoned.count,
      skipped
    }
  }
)
