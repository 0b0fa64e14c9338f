/**
 * Moving one blob from source to destination, by the cheapest way there is.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as BlobSource from "../BlobSource.ts"
import * as Digest from "../Digest.ts"
import * as MediaType from "../MediaType.ts"
import * as Registry from "../Registry.ts"
import * as Upload from "../Upload.ts"
import { type CopyError, isCopyError } from "./CopyError.ts"
import type { Entry } from "./CopyReport.ts"
import { type Ends, failureOf, ifThere, type Place } from "./Ends.ts"

/** The blob at the source, whose failures are the source's. */
const sourceOf = Effect.fnUntraced(function*(ends: Ends, place: Place) {
  const { registry, repository } = ends.source
  const failure = failureOf(ends, "source", place)
  const source = yield* Effect.mapError(Registry.blobSource(registry, repository, place.descriptor), failure)
  return BlobSource.make(source.size, (offset) => Stream.mapError(source.open(offset), failure))
})

/** From one repository of a registry to another; a mount that is declined goes on in the session it opened. */
const mount = Effect.fnUntraced(
  function*(ends: Ends, place: Place) {
    const { destination, source } = ends
    const { digest } = place.descriptor
    const start = destination.registry.startUpload(destination.repository, {
      mount: { digest, from: source.repository },
      algorithm: Digest.algorithm(digest)
    })
    const started = yield* start
    if (started._tag === "Mounted") return "mounted"
    yield* Upload.write(started, digest, yield* sourceOf(ends, place), start)
    return "copied"
  },
  Effect.scoped
)

/** Sees to it that the destination has a blob, and tells how that came about. */
export const transfer = (ends: Ends, place: Place): Effect.Effect<Entry["outcome"], CopyError> =>
  Effect.gen(function*() {
    const { destination, source } = ends
    const { descriptor } = place
    const isSameRegistry = destination.registry === source.registry
    if (MediaType.isNonDistributable(descriptor.mediaType)) return "external"
    if (isSameRegistry && destination.repository === source.repository) return "present"
    if (isSameRegistry) return yield* mount(ends, place)
    if ((yield* ifThere(destination.registry.resolveBlob(destination.repository, descriptor.digest))) !== undefined) {
      return "present"
    }
    yield* destination.registry.pushBlob(destination.repository, descriptor, yield* sourceOf(ends, place))
    return "copied"
  }).pipe(
    Effect.scoped,
    Effect.mapError((error) => isCopyError(error) ? error : failureOf(ends, "destination", place)(error))
  )
