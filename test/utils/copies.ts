/**
 * A copy between two registries in memory that record their calls: from `team/app` to `mirror/app`.
 */
import { Effect } from "effect"
import * as Copy from "effect-oci/Copy"
import type { Registry } from "effect-oci/Registry"
import { repository, tag } from "./images.ts"
import { recorded } from "./registries.ts"

export const from = repository("team/app")
export const to = repository("mirror/app")

export interface Options extends Copy.Options {
  /** Tag at the source. Default: `1`. */
  readonly tag?: string
  /** Tag at the destination. Default: `1`. */
  readonly as?: string
  /** Registry instead of the destination. */
  readonly into?: Registry
}

/** Creates the two registries, with their ends of a copy, a function that copies, and one that empties their records. */
export const setup = Effect.gen(function*() {
  const source = yield* recorded("source.test")
  const destination = yield* recorded("destination.test")
  const ends = (registries: { readonly source?: Registry; readonly destination?: Registry } = {}) => ({
    source: { registry: registries.source ?? source.registry, repository: from, tag: tag("1") },
    destination: { registry: registries.destination ?? destination.registry, repository: to, tag: tag("1") }
  })
  const copy = (options: Options = {}) =>
    Copy.copyManifest({
      ...options,
      source: { ...ends().source, tag: tag(options.tag ?? "1") },
      destination: { registry: options.into ?? destination.registry, repository: to, tag: tag(options.as ?? "1") }
    })
  const forget = () => {
    source.forget()
    destination.forget()
  }
  return { source, destination, ends, copy, forget }
})
