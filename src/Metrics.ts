/**
 * What is counted of all that goes on: requests, retries, pauses, and the bytes of blobs, each by registry.
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import { Observer, type RegistryEvent } from "./Observer.ts"

const counter = (name: string, description: string) => Metric.counter(name, { description, incremental: true })

const requests = counter("oci.requests", "Requests that were sent to a registry")
const retries = counter("oci.retries", "Failures of a registry that were tried again")
const pauses = counter("oci.pauses", "Times that something waited for as long as a registry asked for")
const bytes = counter("oci.blob.io", "Bytes of blobs that were read from a registry (pull) or written to it (push)")

const counters = { Requested: requests, Retried: retries, Paused: pauses } as const

/** Counts an event, and tells whoever watches. */
export const tell = (event: RegistryEvent): Effect.Effect<void> =>
  Effect.gen(function*() {
    if (event._tag !== "Warning") {
      yield* Metric.update(Metric.withAttributes(counters[event._tag], { "oci.registry": event.registry }), 1)
    }
    yield* (yield* Observer)(event)
  })

/** Counts bytes of blobs. */
export const moved = (direction: "pull" | "push", registry: string, count: number): Effect.Effect<void> =>
  Metric.update(
    Metric.withAttributes(bytes, { "oci.registry": registry, "oci.direction": direction, unit: "By" }),
    count
  )
