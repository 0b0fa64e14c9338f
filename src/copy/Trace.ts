/**
 * Spans of a copy.
 */
import type * as Effect from "effect/Effect"
import type { Descriptor } from "../Descriptor.ts"
import * as Tracing from "../Tracing.ts"
import { type End, format } from "./Ends.ts"

/** Adds the ends of a copy to the current span. */
export const annotate = (source: End, destination?: End): Effect.Effect<void> =>
  Tracing.annotate(() => ({
    "oci.source": format(source),
    ...destination === undefined ? {} : { "oci.destination": format(destination) }
  }))

/** Runs an effect in the span of a blob, so that its requests and uploads are below that span. */
export const blob = ({ digest, mediaType, size }: Descriptor) =>
  Tracing.withSpan("Copy.blob", () => ({ "oci.digest": digest, "oci.size": size, "oci.media_type": mediaType }))
