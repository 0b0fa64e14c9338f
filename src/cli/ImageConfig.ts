/**
 * Reads the configs of images for display.
 */
import * as Effect from "effect/Effect"
import { isObject } from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type Descriptor, inlineContent } from "../Descriptor.ts"
import type * as Namespace from "../Namespace.ts"
import * as Locations from "./Locations.ts"

const decodeJson = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Unknown))

// maximum size of a config that is read, in bytes
const limit = 4 * 1024 * 1024

/** Parses a document, or returns `undefined` if it is not JSON. */
export const parse = (bytes: Uint8Array): unknown => Result.getOrUndefined(decodeJson(new TextDecoder().decode(bytes)))

/** Returns a nested field of a JSON value, or `undefined` if it is absent. */
export const field = (json: unknown, ...names: ReadonlyArray<string>): unknown => {
  const [name, ...below] = names
  if (name === undefined) return json
  const entry = isObject(json) ? Object.entries(json).find(([key]) => key === name) : undefined
  return entry === undefined ? undefined : field(entry[1], ...below)
}

/** Returns the config of a manifest, or `undefined` if it is not JSON or exceeds 4 MiB. */
export const read = Effect.fnUntraced(
  function*(namespace: Namespace.Namespace["Service"], place: Locations.Location, config: Descriptor) {
    const { digest, mediaType, size } = config
    if (size > limit || !mediaType.endsWith("+json")) return undefined
    const bytes = (yield* inlineContent(config)) ??
      (yield* namespace.getBlob(Locations.withPart(place, { digest }).end, { size }).pipe(
        Effect.flatMap(({ stream }) => Stream.mkUint8Array(stream)),
        Effect.scoped
      ))
    return parse(bytes)
  }
)
