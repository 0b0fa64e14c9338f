/**
 * Tags that repositories had a moment ago. A program that has just listed a repository provides them, so that an
 * absent tag need not be looked up.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Repository, Tag } from "./Reference.ts"

/** List of the tags of a repository. */
export interface TagList {
  readonly registry: string
  readonly repository: Repository
  readonly tags: ReadonlySet<string>
  /** When the list was requested, in milliseconds since the epoch. */
  readonly listedAt: number
}

/** Lists that are complete. */
export const KnownTags: Context.Reference<ReadonlyArray<TagList>> = Context.Reference<ReadonlyArray<TagList>>(
  "effect-oci/KnownTags",
  { defaultValue: () => [] }
)

// age from which on a list may be outdated, in milliseconds
const maximumAge = 30_000

/** Returns true if a repository was listed a moment ago, and lacked the tag. */
export const lacks = (registry: string, repository: Repository, tag: Tag): Effect.Effect<boolean> =>
  Effect.flatMap(KnownTags, (lists) => {
    const list = lists.find((list) => list.registry === registry && list.repository === repository)
    return list === undefined || list.tags.has(tag)
      ? Effect.succeed(false)
      : Effect.map(Clock.currentTimeMillis, (now) => now - list.listedAt < maximumAge)
  })
