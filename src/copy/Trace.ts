/**
 * Spans of a copy. They are made only if a program has a tracer, so that a copy without one computes nothing for them.
 */
import * as Effect from "effect/Effect"
import * as Tracer from "effect/Tracer"
import type { Descriptor } from "../Descriptor.ts"
import { type End, format } from "./Ends.ts"

/** Uses one effect if the program has a tracer, and another if not: the native tracer of Effect keeps no spans. */
const traced = <A, E, R>(effect: Effect.Effect<A, E, R>, otherwise: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Tracer.Tracer, (tracer) => tracer === Tracer.nativeTracer ? otherwise : effect)

/** Adds the ends of a copy to the current span. */
export const annotate = (source: End, destination?: End): Effect.Effect<void> =>
  traced(
    Effect.suspend(() =>
      Effect.annotateCurrentSpan({
        "oci.source": format(source),
        ...destination === undefined ? {} : { "oci.destination": format(destination) }
      })
    ),
    Effect.void
  )

/** Runs an effect in the span of a blob, so that its requests and uploads are below that span. */
export const blob =
  ({ digest, mediaType, size }: Descriptor) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    traced(
      Effect.suspend(() =>
        effect.pipe(Effect.withSpan(
          "Copy.blob",
          { attributes: { "oci.digest": digest, "oci.size": size, "oci.media_type": mediaType } },
          { captureStackTrace: false }
        ))
      ),
      effect
    )
