/**
 * The compression module of the runtime, `node:zlib`, as far as it is used.
 */
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import * as Stream from "effect/Stream"

/** The part of a compressing or decompressing stream of `node:zlib` that is used here. */
interface Engine extends AsyncIterable<Uint8Array> {
  readonly bytesWritten: number
  readonly write: (chunk: Uint8Array, done: () => void) => unknown
  readonly end: () => unknown
  readonly destroy: () => unknown
  readonly on: (event: "error", listener: () => void) => unknown
}

/** The part of `node:zlib` that is used here. */
interface Zlib {
  readonly createGunzip: () => Engine
  readonly createGzip: (options: { readonly level: number }) => Engine
  /** Missing in old versions of some runtimes. */
  readonly createZstdDecompress?: (() => Engine) | undefined
}

/** Returns the compression module of the runtime if it has one, without importing it. */
export const runtimeZlib = (): Zlib | undefined => {
  // browsers have no `process`
  const { process } = globalThis as {
    readonly process?: { readonly getBuiltinModule?: ((name: "node:zlib") => Zlib | undefined) | undefined } | undefined
  }
  return process?.getBuiltinModule?.("node:zlib")
}

const problemOf = (error: unknown): string =>
  hasProperty(error, "code") && error.code === "Z_BUF_ERROR" ? "it is cut off" : "its compressed data are broken"

/** Content that is compressed or unpacked as it is read. */
interface Converted<E> {
  readonly stream: Stream.Stream<Uint8Array, E>
  /** Number of bytes of the input that were used. It is known after the stream has ended. */
  readonly used: Effect.Effect<number>
}

/** Compresses or unpacks content with a stream of `node:zlib`. `broken` creates the error of the conversion. */
export const through =
  (create: () => Engine) =>
  <E, B>(content: Stream.Stream<Uint8Array, E>, broken: (problem: string) => B): Converted<E | B> => {
    let used = 0
    const stream = Stream.unwrap(Effect.gen(function*() {
      const engine = yield* Effect.acquireRelease(
        Effect.sync(() => {
          const engine = create()
          // the reader gets the error, but without a listener the process ends if it comes before the reader or after
          // it
          engine.on("error", () => {})
          return engine
        }),
        (engine) => Effect.sync(() => void engine.destroy())
      )
      let fed = 0
      // a write completes when its output has been read, or fits the buffer
      const write = (chunk: Uint8Array) =>
        Effect.callback<void>((resume) => {
          fed += chunk.length
          engine.write(chunk, () => resume(Effect.void))
        })
      // the engine has ended if it leaves a part of a chunk, and would fail if it was given another one
      const hasEnded = () => engine.bytesWritten < fed
      const feed = content.pipe(
        Stream.mapEffect(write),
        Stream.takeUntil(hasEnded),
        Stream.runDrain,
        Effect.andThen(Effect.suspend(() => hasEnded() ? Effect.never : Effect.sync(() => void engine.end())))
      )
      return Stream.fromAsyncIterable(engine, (error) => broken(problemOf(error))).pipe(
        Stream.merge(Stream.fromEffectDrain(feed), { haltStrategy: "left" }),
        Stream.concat(Stream.fromEffectDrain(Effect.sync(() => {
          used = engine.bytesWritten
        })))
      )
    }))
    return { stream, used: Effect.sync(() => used) }
  }
