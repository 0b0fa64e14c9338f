/**
 * Bodies of uploads, watched for their own errors, their length, and the time that the registry lets them wait.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import { SizeMismatch } from "../Hasher.ts"
import { overdue } from "../http/Deadline.ts"
import { IdleTimeout } from "../http/ResponseBody.ts"
import * as RegistryError from "../RegistryError.ts"
import { Progress } from "../Retries.ts"
import type { Chunk } from "../Upload.ts"

/**
 * Maximum time that a registry may take to store a blob after its last byte.
 *
 * @default 15 minutes
 * @category references
 * @since 0.1.0
 */
export const CommitTimeout: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/HttpRegistry/CommitTimeout",
  { defaultValue: () => Duration.minutes(15) }
)

const lengthOf = (chunks: ReadonlyArray<Uint8Array>): number => chunks.reduce((sum, { length }) => sum + length, 0)

/**
 * Returns the bytes of a small body if they come in one piece, and a stream of the body otherwise. Fails with
 * `SizeMismatch` if the piece, or an empty body, has another length than `size`.
 */
export const open = Effect.fnUntraced(function*<E>(
  fail: (reason: RegistryError.Reason) => RegistryError.RegistryError,
  size: number,
  stream: Stream.Stream<Uint8Array, E>
) {
  const pull = yield* Stream.toPull(stream)
  const next: Effect.Effect<ReadonlyArray<Uint8Array>, E> = Pull.catchDone(pull, () => Effect.succeed([]))
  const first = yield* next
  const begun = lengthOf(first)
  if (begun < size && begun > 0) return Stream.concat(Stream.fromArray(first), Stream.fromPull(Effect.succeed(pull)))
  const actual = begun === size ? begun + lengthOf(yield* next) : begun
  return actual === size
    ? yield* Stream.mkUint8Array(Stream.fromIterable(first))
    : yield* fail(new SizeMismatch({ expected: size, actual }))
})

/**
 * Watches a body. `overdue` fails with `Timeout` if the registry takes no bytes for `IdleTimeout`, or does not respond
 * within `CommitTimeout` after the last byte. Time that the source of the body takes does not count.
 */
export const watch = Effect.fnUntraced(function*<E>(
  fail: (reason: RegistryError.Reason) => RegistryError.RegistryError,
  chunk: Chunk<E>
) {
  const idle = yield* IdleTimeout
  const commit = yield* CommitTimeout
  const progress = yield* Progress
  const clock = yield* Clock.Clock
  let failure: E | RegistryError.RegistryError | undefined
  let sent = 0
  let since: number | undefined = clock.currentTimeMillisUnsafe()
  let phase: "body" | "commit" = "body"

  const count = (chunks: ReadonlyArray<Uint8Array>) => {
    for (const { length } of chunks) sent += length
    return chunk.size !== undefined && sent > chunk.size ? wrongSize(chunk.size) : Effect.void
  }
  const end = Effect.suspend(() =>
    chunk.size !== undefined && sent !== chunk.size ? wrongSize(chunk.size) : Effect.void
  )
  const wrongSize = (size: number) => Effect.fail(fail(new SizeMismatch({ expected: size, actual: sent })))

  // an HTTP client may send a body again, from its beginning
  const counted: Stream.Stream<Uint8Array, E | RegistryError.RegistryError> = Stream.suspend(() => {
    sent = 0
    failure = undefined
    phase = "body"
    return chunk.stream.pipe(
      Stream.mapArrayEffect((chunks) => Effect.as(count(chunks), chunks)),
      Stream.onEnd(end),
      Stream.tapError((own) =>
        Effect.sync(() => {
          failure = own
        })
      )
    )
  })
  const stream = Stream.transformPull(counted, (pull) =>
    Effect.succeed(Effect.suspend(() => {
      since = undefined
      return Effect.onExit(pull, (exit) =>
        Effect.sync(() => {
          since = clock.currentTimeMillisUnsafe()
          if (progress !== undefined) progress.since = since
          if (exit._tag === "Failure" && Pull.isDoneCause(exit.cause)) phase = "commit"
        }))
    })))

  const allowed = () => phase === "body" ? idle : commit
  const left = () => {
    const waited = since === undefined ? 0 : clock.currentTimeMillisUnsafe() - since
    return Duration.toMillis(allowed()) - waited
  }
  const late = () => fail(new RegistryError.Timeout({ phase, after: allowed() }))
  return { stream, overdue: overdue(left, late), failure: Effect.sync(() => failure), sent: () => sent }
})
