/**
 * Rates and budgets of registries that the processes of one mirror share: when the next request may be sent, and how
 * many the registry still accepts.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { MirrorStateError } from "./MirrorState.ts"

/**
 * Turns of one host that a process takes at once.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lease {
  readonly host: string
  /** Largest number of requests of all processes in each second. */
  readonly rate: number
  /** Number of turns. */
  readonly count: number
}

/**
 * Requests that a registry still accepts, by the response that one of the processes has got.
 *
 * @category models
 * @since 0.1.0
 */
export interface SharedBudget {
  readonly remaining: number
  readonly limit: number | undefined
  /** Milliseconds until the budget is full again. */
  readonly reset: number | undefined
  /** Length of the window, in milliseconds. */
  readonly window: number | undefined
}

/**
 * Rates and budgets that the processes of one mirror share.
 *
 * @category services
 * @since 0.1.0
 */
export class MirrorRates extends Context.Service<MirrorRates, {
  /**
   * Takes turns. Returns the milliseconds until the first of them, which is negative if it was due before. The others
   * follow at equal distances. The time after the last one belongs to the next lease, of whichever process.
   */
  readonly lease: (lease: Lease) => Effect.Effect<number, MirrorStateError>
  /**
   * Records the budget that a response has shown, if any. Returns the budget that is known of the host: of responses of
   * the same window, the lowest. `version` changes with each record.
   */
  readonly budget: (
    host: string,
    seen: SharedBudget | undefined
  ) => Effect.Effect<(SharedBudget & { readonly version: number }) | undefined, MirrorStateError>
  /** Number of processes that were seen in the last minute, including this one. */
  readonly processes: Effect.Effect<number>
}>()("effect-oci/MirrorRates") {}
