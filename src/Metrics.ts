/**
 * Counters of requests, retries, pauses and bytes of blobs, each by registry.
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import { Observer, type RegistryEvent } from "./Observer.ts"

/** Creates a counter per registry, once each, because it takes long to make a key of its name and attributes. */
const counter = (name: string, description: string, attributes: Readonly<Record<string, string>> = {}) => {
  const known = new Map<string, Metric.Counter<number>>()
  return (registry: string): Metric.Counter<number> => {
    const found = known.get(registry) ??
      Metric.counter(name, {
        description,
        incremental: true,
        attributes: { "oci.registry": registry, ...attributes }
      })
    known.set(registry, found)
    return found
  }
}

const events = {
  Requested: counter("oci.requests", "Requests that were sent to a registry"),
  Retried: counter("oci.retries", "Failures of a registry that were retried"),
  Paused: counter("oci.pauses", "Pauses that a registry asked for and a request waited for")
}

const blobs = (direction: "pull" | "push") =>
  counter("oci.blob.io", "Bytes of blobs that were read from a registry (pull) or written to it (push)", {
    "oci.direction": direction,
    unit: "By"
  })

const bytes = { pull: blobs("pull"), push: blobs("push") }

/** Increments the counter of an event, and passes the event to the `Observer`. */
export const tell = (event: RegistryEvent): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    if (event._tag !== "Warning" && event._tag !== "ServedStale") {
      events[event._tag](event.registry).updateUnsafe(1, fiber.context)
    }
    return fiber.getRef(Observer)(event)
  })

/** Adds to the counter of the bytes of blobs. */
export const moved = (direction: "pull" | "push", registry: string, count: number): Effect.Effect<void> =>
  Metric.update(bytes[direction](registry), count)
