/**
 * What can go wrong, and in which calls.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Descriptor } from "../../Descriptor.ts"
import type { Digest } from "../../Digest.ts"
import type { Repository, Tag } from "../../Reference.ts"
import { type Reason, TooManyRequests, Transport } from "../../RegistryError.ts"
import type { Call, Operation } from "../../views/Intercept.ts"

/**
 * Which of the calls that fit, counted from 1: those with these numbers; the first so many; all from one on; or a share
 * of them, from 0 to 1, that a seed decides.
 *
 * @category models
 * @since 0.1.0
 */
export type Calls =
  | ReadonlyArray<number>
  | { readonly first: number }
  | { readonly from: number }
  | { readonly share: number; readonly seed: number }

/**
 * The calls to which a fault happens; all that its kind can happen to, as far as nothing else is said.
 *
 * @category models
 * @since 0.1.0
 */
export interface Which {
  readonly operation?: Operation | ReadonlyArray<Operation>
  readonly repository?: Repository
  /** The tag or digest that the call is about. */
  readonly reference?: Tag | Digest
  readonly calls?: Calls
}

/**
 * Something that goes wrong.
 *
 * @category models
 * @since 0.1.0
 */
export type Fault = { readonly which: Which } & Kind

/**
 * What goes wrong. `at` counts bytes from 0, from where the call begins to read or write.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind =
  /** The call fails: before it reaches the registry, or after that did what was asked, so that only the answer is lost. */
  | { readonly _tag: "Fail"; readonly reason: Reason; readonly when: "before" | "after" }
  /** The call waits. */
  | { readonly _tag: "Wait"; readonly until: Effect.Effect<unknown> }
  /** What is read or written of a blob breaks off behind so many bytes, which have come through. */
  | { readonly _tag: "Break"; readonly at: number; readonly reason: Reason }
  /** What is read or written of a blob stops behind so many bytes, and then goes on. */
  | { readonly _tag: "Stall"; readonly at: number; readonly until: Effect.Effect<unknown> }
  /**
   * One bit of what is read is another: of the byte `at`, if there is such a byte. A registry finds that out where it
   * verifies, and fails with `DigestMismatch`, unless this goes through unnoticed.
   */
  | { readonly _tag: "Flip"; readonly at: number; readonly isNoticed: boolean }
  /**
   * What is read ends behind so many bytes, as if that were all. A registry finds that out where it verifies, and fails
   * with `SizeMismatch` or `DigestMismatch`, unless this goes through unnoticed.
   */
  | { readonly _tag: "Truncate"; readonly at: number; readonly isNoticed: boolean }
  /** A blob is said to be there that is not. */
  | { readonly _tag: "Claim"; readonly descriptor: Descriptor }
  /** A mount becomes an upload session. */
  | { readonly _tag: "DeclineMount" }
  /** A manifest whose subject is not there is refused, with `ManifestBlobUnknown`. */
  | { readonly _tag: "RefuseSubject" }
  /** A manifest is stored, and its tags, or some of them, are not set. */
  | { readonly _tag: "LoseTags"; readonly tags?: ReadonlyArray<Tag> }

/**
 * Calls fail instead of reaching the registry.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fail = (reason: Reason, which: Which = {}): Fault => ({ _tag: "Fail", reason, when: "before", which })

/**
 * Calls do what was asked, and fail then: only the answer is lost.
 *
 * @category constructors
 * @since 0.1.0
 */
export const loseAnswer = (which: Which = {}, reason: Reason = new Transport({ code: "ECONNRESET" })): Fault => ({
  _tag: "Fail",
  reason,
  when: "after",
  which
})

/**
 * The first calls fail with `TooManyRequests`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const throttle = (
  options: { readonly times: number; readonly retryAfter?: Duration.Input },
  which: Which = {}
): Fault => {
  const { retryAfter, times } = options
  const pause = retryAfter === undefined ? {} : { retryAfter: Duration.fromInputUnsafe(retryAfter) }
  return fail(new TooManyRequests({ status: 429, ...pause }), { calls: { first: times }, ...which })
}

/**
 * Calls wait for something before they reach the registry, such as `Deferred.await`, or `Effect.never`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const wait = (until: Effect.Effect<unknown>, which: Which = {}): Fault => ({ _tag: "Wait", until, which })

/**
 * Calls take longer. In tests, time is that of the `TestClock`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const delay = (duration: Duration.Input, which: Which = {}): Fault => wait(Effect.sleep(duration), which)

/**
 * What is read of a blob breaks off behind so many bytes, or what is written, if `which` names `pushBlob`, `append` or
 * `commit`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const breakAt = (
  at: number,
  which: Which = {},
  reason: Reason = new Transport({ code: "ECONNRESET" })
): Fault => ({ _tag: "Break", at, reason, which: { operation: "read", ...which } })

/**
 * What is read of a blob stops behind so many bytes until something happens, or what is written, if `which` names
 * `pushBlob`, `append` or `commit`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stallAt = (at: number, until: Effect.Effect<unknown>, which: Which = {}): Fault => ({
  _tag: "Stall",
  at,
  until,
  which: { operation: "read", ...which }
})

/**
 * One bit of a blob that is read is another, or of a manifest, if `which` names `getManifest`. The registry notices,
 * unless it is told not to.
 *
 * @category constructors
 * @since 0.1.0
 */
export const flipAt = (at: number, which: Which = {}, options?: { readonly isNoticed?: boolean }): Fault => ({
  _tag: "Flip",
  at,
  isNoticed: options?.isNoticed ?? true,
  which: { operation: "read", ...which }
})

/**
 * A blob that is read ends early, or a manifest, if `which` names `getManifest`. The registry notices, unless it is told
 * not to.
 *
 * @category constructors
 * @since 0.1.0
 */
export const truncateAt = (at: number, which: Which = {}, options?: { readonly isNoticed?: boolean }): Fault => ({
  _tag: "Truncate",
  at,
  isNoticed: options?.isNoticed ?? true,
  which: { operation: "read", ...which }
})

/**
 * `resolveBlob` says that a blob is there, which is not.
 *
 * @category constructors
 * @since 0.1.0
 */
export const claim = (descriptor: Descriptor, which: Which = {}): Fault => ({
  _tag: "Claim",
  descriptor,
  which: { operation: "resolveBlob", reference: descriptor.digest, ...which }
})

/**
 * Mounts become upload sessions.
 *
 * @category constructors
 * @since 0.1.0
 */
export const declineMounts = (which: Which = {}): Fault => ({
  _tag: "DeclineMount",
  which: { operation: "startUpload", ...which }
})

/**
 * Manifests whose subject is not there are refused, with `ManifestBlobUnknown`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const refuseSubjects = (which: Which = {}): Fault => ({
  _tag: "RefuseSubject",
  which: { operation: "pushManifest", ...which }
})

/**
 * Manifests are stored, and their tags, or those named, are not set.
 *
 * @category constructors
 * @since 0.1.0
 */
export const loseTags = (which: Which = {}, tags?: ReadonlyArray<Tag>): Fault => ({
  _tag: "LoseTags",
  ...tags === undefined ? {} : { tags },
  which: { operation: "pushManifest", ...which }
})

// ---------------------------------------------------------------------------------------------------------------------

const fits = ({ operation, reference, repository }: Which, call: Call): boolean =>
  (operation === undefined || operation === call.operation || operation.includes(call.operation)) &&
  (repository === undefined || repository === call.repository) &&
  (reference === undefined || reference === call.reference)

/** A number from 0 to 1 that looks like chance, and is the same for the same seed and place. */
const chance = (seed: number, place: number): number => {
  let state = Math.imul(seed ^ Math.imul(place, 0x9e3779b1), 0x85ebca6b)
  state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35)
  return ((state ^ (state >>> 16)) >>> 0) / 0x1_0000_0000
}

const isDue = (calls: Calls | undefined, count: number): boolean => {
  if (calls === undefined) return true
  if ("first" in calls) return count <= calls.first
  if ("from" in calls) return count >= calls.from
  if ("share" in calls) return chance(calls.seed, count) < calls.share
  return calls.includes(count)
}

/** Tells what happens to a call, and counts it. */
export const scheduler = <K extends Kind["_tag"]>(faults: ReadonlyArray<Fault>, kinds: ReadonlyArray<K>) => {
  const counted = faults.flatMap((fault) => isOf(fault, kinds) ? [{ fault, seen: 0 }] : [])
  return (call: Call): ReadonlyArray<Extract<Kind, { readonly _tag: K }>> =>
    counted.flatMap((entry) => {
      if (!fits(entry.fault.which, call)) return []
      entry.seen++
      return isDue(entry.fault.which.calls, entry.seen) ? [entry.fault] : []
    })
}

const isOf = <K extends Kind["_tag"]>(
  fault: Fault,
  kinds: ReadonlyArray<K>
): fault is Fault & Extract<Kind, { readonly _tag: K }> => kinds.some((kind) => kind === fault._tag)
