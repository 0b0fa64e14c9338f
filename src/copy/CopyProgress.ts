/**
 * Progress of a copy, folded from its events.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type { Digest } from "../Digest.ts"
import type { CopyEvent } from "./CopyEvent.ts"
import type { Role } from "./CopyReport.ts"

/**
 * Amount that is done, and the total so far. The total grows while the copy discovers more.
 *
 * @category models
 * @since 0.1.0
 */
export interface Count {
  readonly done: number
  readonly total: number
}

/**
 * Progress of a copy.
 *
 * @category models
 * @since 0.1.0
 */
export interface CopyProgress {
  readonly blobs: Count
  readonly manifests: Count
  /** Bytes of the content that is sent. Content that turns out to be at the destination does not count. */
  readonly bytes: Count
  /** Blobs that are being sent, with the number of bytes sent so far. */
  readonly moving: ReadonlyMap<Digest, { readonly size: number; readonly bytes: number }>
  /** Number of requests and transfers that were tried again. */
  readonly retries: number
  /** Bytes that were done at some points in time, the latest last, to compute the rate. */
  readonly samples: ReadonlyArray<{ readonly at: number; readonly bytes: number }>
}

const nothing: Count = { done: 0, total: 0 }

/**
 * The progress of a copy that has not begun.
 *
 * @category constructors
 * @since 0.1.0
 */
export const empty: CopyProgress = {
  blobs: nothing,
  manifests: nothing,
  bytes: nothing,
  moving: new Map(),
  retries: 0,
  samples: []
}

// in milliseconds
const rateWindow = 10_000
const sampleInterval = 250

/** Remembers how much is done, and forgets what is older than the window, except its beginning. */
const sample = (self: CopyProgress, now: number): CopyProgress => {
  const { bytes, samples } = self
  const [previous, last] = samples.slice(-2)
  // the last one is always of the last event
  const isClose = previous !== undefined && last !== undefined && now - previous.at < sampleInterval
  const first = Math.max(0, samples.findLastIndex(({ at }) => at <= now - rateWindow))
  const kept = samples.slice(first, isClose ? -1 : undefined)
  return { ...self, samples: [...kept, { at: now, bytes: bytes.done }] }
}

const add = ({ done, total }: Count, more: Partial<Count>): Count => ({
  done: done + (more.done ?? 0),
  total: total + (more.total ?? 0)
})

const addPiece = (self: CopyProgress, role: Role, more: Partial<Count>): CopyProgress =>
  role === "blob"
    ? { ...self, blobs: add(self.blobs, more) }
    : { ...self, manifests: add(self.manifests, more) }

/** Notes how much of a blob was sent; `undefined` if it is not being sent any longer. */
const move = (self: CopyProgress, digest: Digest, size: number, bytes: number | undefined): CopyProgress => {
  const moving = new Map(self.moving)
  const before = moving.get(digest)?.bytes ?? 0
  if (bytes === undefined) moving.delete(digest)
  else moving.set(digest, { size, bytes })
  return { ...self, moving, bytes: add(self.bytes, { done: (bytes ?? 0) - before }) }
}

const apply = (self: CopyProgress, event: CopyEvent): CopyProgress => {
  switch (event._tag) {
    case "Planned": {
      const { descriptor, role } = event
      return addPiece({ ...self, bytes: add(self.bytes, { total: descriptor.size }) }, role, { total: 1 })
    }
    case "Started":
      return move(self, event.descriptor.digest, event.descriptor.size, 0)
    case "Progressed": {
      const { bytes, descriptor: { digest, size } } = event
      return self.moving.has(digest) ? move(self, digest, size, bytes) : self
    }
    case "Settled": {
      const { descriptor: { digest, size }, outcome, role } = event.entry
      const moved = self.moving.has(digest) ? move(self, digest, size, undefined) : self
      const bytes = add(moved.bytes, outcome === "copied" ? { done: size } : { total: -size })
      return addPiece({ ...moved, bytes }, role, { done: 1 })
    }
    case "Retried":
      return { ...self, retries: self.retries + 1 }
    case "Paused":
    case "Warned":
    case "Done":
      return self
  }
}

/**
 * Returns the progress after an event, which happened at `now`, in milliseconds.
 *
 * **Example** (Watching a copy)
 *
 * ```ts import.meta.vitest
 * import { Clock, Effect, Stream } from "effect"
 * import * as Copy from "effect-oci/Copy"
 * import * as CopyProgress from "effect-oci/CopyProgress"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import { Images } from "effect-oci/testing"
 *
 * const repository = Images.repository("app")
 * const tag = Images.tag("1")
 *
 * const program = Effect.gen(function*() {
 *   const source = yield* MemoryRegistry.make()
 *   const destination = yield* MemoryRegistry.make()
 *   yield* Images.pushImage(source, repository, ["one layer", "another layer"], { tags: [tag] })
 *   const events = Copy.copyEvents({
 *     source: { registry: source, repository, tag },
 *     destination: { registry: destination, repository, tag }
 *   })
 *   return yield* Stream.runFoldEffect(events, () => CopyProgress.empty, (progress, event) =>
 *     Effect.map(Clock.currentTimeMillis, (now) => CopyProgress.update(progress, event, now)))
 * })
 *
 * const progress = await Effect.runPromise(program)
 * CopyProgress.pieces(progress) // => { done: 4, total: 4 }
 * progress.bytes.done === progress.bytes.total // => true
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const update = (self: CopyProgress, event: CopyEvent, now: number): CopyProgress =>
  self.samples.length === 0 ? apply(sample(self, now), event) : sample(apply(self, event), now)

/**
 * Returns the number of manifests and blobs.
 *
 * @category accessors
 * @since 0.1.0
 */
export const pieces = ({ blobs, manifests }: CopyProgress): Count => add(blobs, manifests)

/**
 * Returns how many bytes per second were sent in the 10 seconds before `now`, in milliseconds.
 *
 * @category accessors
 * @since 0.1.0
 */
export const rate = ({ bytes, samples }: CopyProgress, now: number): number => {
  const from = samples.findLast(({ at }) => at <= now - rateWindow) ?? samples[0]
  return from === undefined || now <= from.at ? 0 : Math.max(0, ((bytes.done - from.bytes) * 1000) / (now - from.at))
}

/**
 * Returns how long the rest takes at the current rate, or `undefined` if nothing moves.
 *
 * @category accessors
 * @since 0.1.0
 */
export const timeLeft = (self: CopyProgress, now: number): Duration.Duration | undefined => {
  const perSecond = rate(self, now)
  return perSecond === 0 ? undefined : Duration.seconds((self.bytes.total - self.bytes.done) / perSecond)
}
