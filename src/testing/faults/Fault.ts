/**
 * Faults, and the calls to which they happen.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Descriptor } from "../../Descriptor.ts"
import type { Digest } from "../../Digest.ts"
import type { Repository, Tag } from "../../Reference.ts"
import { type Reason, TooManyRequests, Transport } from "../../RegistryError.ts"
import type { Call, Operation } from "../../views/Intercept.ts"

/**
 * Selects among the matching calls, which are counted from 1. An array lists numbers of calls. `first` selects that
 * many calls from the beginning, and `from` all calls from that number on. `share` selects a share of them, from 0 to
 * 1, that depends on the seed only.
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
 * Calls to which a fault happens. Default: every call to which a fault of its kind can happen.
 *
 * @category models
 * @since 0.1.0
 */
export interface Which {
  readonly operation?: Operation | ReadonlyArray<Operation> | undefined
  readonly repository?: Repository | undefined
  /** Tag or digest of the call. */
  readonly reference?: Tag | Digest | undefined
  readonly calls?: Calls | undefined
}

/**
 * Fault: its kind, and the calls to which it happens.
 *
 * @category models
 * @since 0.1.0
 */
export type Fault = { readonly which: Which } & Kind

/**
 * Kind of a fault. `at` is a number of bytes, counted from the offset at which the call begins to read or write.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind =
  /**
   * The call fails before it reaches the registry, or after the registry has executed it, so that only the response is
   * lost.
   */
  | { readonly _tag: "Fail"; readonly reason: Reason; readonly when: "before" | "after" }
  /** The call waits. */
  | { readonly _tag: "Wait"; readonly until: Effect.Effect<unknown> }
  /** The body of a blob fails after `at` bytes. Those bytes are delivered. */
  | { readonly _tag: "Break"; readonly at: number; readonly reason: Reason }
  /** The body of a blob stops after `at` bytes, and continues after `until` has completed. */
  | { readonly _tag: "Stall"; readonly at: number; readonly until: Effect.Effect<unknown> }
  /**
   * One bit of the byte `at` is flipped in what is read, if there is such a byte. The registry verifies content and
   * fails with `DigestMismatch`, unless `isNoticed` is false.
   */
  | { readonly _tag: "Flip"; readonly at: number; readonly isNoticed: boolean }
  /**
   * Reading ends after `at` bytes without an error. The registry verifies content and fails with `SizeMismatch` or
   * `DigestMismatch`, unless `isNoticed` is false.
   */
  | { readonly _tag: "Truncate"; readonly at: number; readonly isNoticed: boolean }
  /** An absent blob is reported as present. */
  | { readonly _tag: "Claim"; readonly descriptor: Descriptor }
  /** A mount is declined with an upload session. */
  | { readonly _tag: "DeclineMount" }
  /** A manifest whose subject is absent is refused with `ManifestBlobUnknown`. */
  | { readonly _tag: "RefuseSubject" }
  /** A manifest is stored without its tags, or without those in `tags`. */
  | { readonly _tag: "LoseTags"; readonly tags?: ReadonlyArray<Tag> | undefined }

const on = (operation: Operation, which: Which): Which => ({ ...which, operation: which.operation ?? operation })

/**
 * Creates a fault: calls fail instead of reaching the registry.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fail = (reason: Reason, which: Which = {}): Fault => ({ _tag: "Fail", reason, when: "before", which })

/**
 * Creates a fault: calls fail after the registry has executed them, so that only the response is lost. Default of the
 * reason: a connection reset.
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
 * Creates a fault: the first `times` calls fail with `TooManyRequests`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const throttle = (
  options: { readonly times: number; readonly retryAfter?: Duration.Input | undefined },
  which: Which = {}
): Fault => {
  const { retryAfter, times } = options
  const pause = retryAfter === undefined ? {} : { retryAfter: Duration.fromInputUnsafe(retryAfter) }
  return fail(new TooManyRequests({ status: 429, ...pause }), { ...which, calls: which.calls ?? { first: times } })
}

/**
 * Creates a fault: calls wait for an effect before they reach the registry, for example for `Deferred.await` or
 * `Effect.never`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const wait = (until: Effect.Effect<unknown>, which: Which = {}): Fault => ({ _tag: "Wait", until, which })

/**
 * Creates a fault: calls are delayed. Tests advance the time with `TestClock`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const delay = (duration: Duration.Input, which: Which = {}): Fault => wait(Effect.sleep(duration), which)

/**
 * Creates a fault: reading a blob fails after `at` bytes. It applies to writing if `which` names `pushBlob`, `append`
 * or `commit`. Default of the reason: a connection reset.
 *
 * @category constructors
 * @since 0.1.0
 */
export const breakAt = (
  at: number,
  which: Which = {},
  reason: Reason = new Transport({ code: "ECONNRESET" })
): Fault => ({ _tag: "Break", at, reason, which: on("read", which) })

/**
 * Creates a fault: reading a blob stops after `at` bytes until an effect has completed. It applies to writing if
 * `which` names `pushBlob`, `append` or `commit`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stallAt = (at: number, until: Effect.Effect<unknown>, which: Which = {}): Fault => ({
  _tag: "Stall",
  at,
  until,
  which: on("read", which)
})

/**
 * Creates a fault: one bit of the byte `at` of a blob is flipped when it is read. It applies to manifests if `which`
 * names `getManifest`. The registry notices the change unless `isNoticed` is false.
 *
 * @category constructors
 * @since 0.1.0
 */
export const flipAt = (
  at: number,
  which: Which = {},
  options?: { readonly isNoticed?: boolean | undefined }
): Fault => ({
  _tag: "Flip",
  at,
  isNoticed: options?.isNoticed ?? true,
  which: on("read", which)
})

/**
 * Creates a fault: reading a blob ends after `at` bytes. It applies to manifests if `which` names `getManifest`. The
 * registry notices the loss unless `isNoticed` is false.
 *
 * @category constructors
 * @since 0.1.0
 */
export const truncateAt = (
  at: number,
  which: Which = {},
  options?: { readonly isNoticed?: boolean | undefined }
): Fault => ({
  _tag: "Truncate",
  at,
  isNoticed: options?.isNoticed ?? true,
  which: on("read", which)
})

/**
 * Creates a fault: `resolveBlob` reports an absent blob as present.
 *
 * @category constructors
 * @since 0.1.0
 */
export const claim = (descriptor: Descriptor, which: Which = {}): Fault => ({
  _tag: "Claim",
  descriptor,
  which: { ...on("resolveBlob", which), reference: which.reference ?? descriptor.digest }
})

/**
 * Creates a fault: mounts are declined with upload sessions.
 *
 * @category constructors
 * @since 0.1.0
 */
export const declineMounts = (which: Which = {}): Fault => ({
  _tag: "DeclineMount",
  which: on("startUpload", which)
})

/**
 * Creates a fault: manifests whose subject is absent are refused with `ManifestBlobUnknown`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const refuseSubjects = (which: Which = {}): Fault => ({
  _tag: "RefuseSubject",
  which: on("pushManifest", which)
})

/**
 * Creates a fault: manifests are stored without their tags, or without those in `tags`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const loseTags = (which: Which = {}, tags?: ReadonlyArray<Tag>): Fault => ({
  _tag: "LoseTags",
  tags,
  which: on("pushManifest", which)
})

// ---------------------------------------------------------------------------------------------------------------------

const fits = ({ operation, reference, repository }: Which, call: Call): boolean =>
  (operation === undefined || operation === call.operation || operation.includes(call.operation)) &&
  (repository === undefined || repository === call.repository) &&
  (reference === undefined || reference === call.reference)

/** Returns a pseudorandom number from 0 to 1 that depends on the seed and the place only. */
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

/** Creates a function that counts a call and returns the faults that happen to it. */
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
