/**
 * Spans that are made only if a program collects them, so that nothing is computed for them otherwise.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"

type Attributes = Readonly<Record<string, unknown>>

/** Returns true if tracing is enabled, and the tracer is not the native one of Effect, which keeps spans in memory only. */
export const isCollected = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  fiber.getRef(References.TracerEnabled) && fiber.getRef(Tracer.Tracer) !== Tracer.nativeTracer

/** Runs an effect in a span, if spans are collected. */
export const withSpan =
  (name: string, attributes: () => Attributes) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiber<A, E, R>((fiber) =>
      isCollected(fiber)
        ? effect.pipe(Effect.withSpan(name, { attributes: attributes() }, { captureStackTrace: false }))
        : effect
    )

/** Runs a stream in a span, if spans are collected. */
export const withStreamSpan =
  (name: string, attributes: () => Attributes) => <A, E, R>(stream: Stream.Stream<A, E, R>): Stream.Stream<A, E, R> =>
    Stream.unwrap(Effect.withFiber((fiber) =>
      Effect.succeed(
        isCollected(fiber)
          ? stream.pipe(Stream.withSpan(name, { attributes: attributes(), captureStackTrace: false }))
          : stream
      )
    ))

/** Adds attributes to the current span, if spans are collected. */
export const annotate = (attributes: () => Attributes): Effect.Effect<void> =>
  Effect.withFiber((fiber) => isCollected(fiber) ? Effect.annotateCurrentSpan(attributes()) : Effect.void)
