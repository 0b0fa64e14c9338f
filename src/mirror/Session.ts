/**
 * Services and settings that all parts of one plan or run share.
 */
import * as Effect from "effect/Effect"
import type * as Semaphore from "effect/Semaphore"
import type * as Namespace from "../Namespace.ts"
import type { Hooks } from "./Hooks.ts"
import type { MirrorEvent } from "./MirrorEvent.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import type { SharedRun } from "./MirrorRunner.ts"
import type { MirrorState } from "./MirrorState.ts"
import * as Selection from "./Selection.ts"
import type { Unit, Units } from "./Unit.ts"

/**
 * Tags that a run looks at: all; those that the destination lacks, so that no tag moves; or those that have failed.
 *
 * @category models
 * @since 0.1.0
 */
export type Scope = "all" | "missing" | "failed"

export interface Session {
  readonly namespace: Namespace.Namespace["Service"]
  readonly state: MirrorState["Service"]
  readonly hooks: Hooks
  readonly units: Units
  readonly only: Scope
  /** True for a run, false for a plan, which writes nothing. */
  readonly isRun: boolean
  /** Returns true if a person has confirmed that a rule deletes tags. */
  readonly isPruning: (rule: MirrorRule) => boolean
  /** Limits how many tags are copied at the same time. */
  readonly copying: Semaphore.Semaphore
  /** Limits how many units are compared at the same time. */
  readonly planning: Semaphore.Semaphore
  /** Shares the jobs of the run with other processes. Absent if this process runs all of them. */
  readonly share: SharedRun | undefined
  readonly emit: (event: MirrorEvent) => Effect.Effect<void>
  /** Returns the tags that a unit selects. They are looked up once. */
  readonly select: (unit: Unit) => Effect.Effect<Selection.Selection>
}

/** Creates the function that looks up the tags of a unit once. */
export const makeSelect = (
  session: Pick<Session, "isRun" | "namespace" | "state" | "units">
): Session["select"] => {
  const known = new Map<Unit, Effect.Effect<Selection.Selection>>()
  return (unit) =>
    Effect.gen(function*() {
      // only units that share a destination are looked up again
      const isShared = unit.destinations.some((destination) => session.units.sharing(unit, destination).length > 0)
      if (!isShared) return yield* Selection.select(session, unit)
      const selection = known.get(unit) ?? (yield* Effect.cached(Selection.select(session, unit)))
      known.set(unit, selection)
      return yield* selection
    })
}
