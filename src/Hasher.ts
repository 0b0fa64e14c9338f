/**
 * Computing digests, and verifying content against them while it flows.
 *
 * The hashes themselves come from the {@link Hasher} reference. Its default is `node:crypto`, which Node, Bun and Deno
 * have; a program can replace it, for example by one that hashes on a worker.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import * as Digest from "./Digest.ts"

/**
 * The hash of what it was fed so far. Chunks are fed in order, one call after another.
 *
 * @category models
 * @since 0.1.0
 */
export interface Hash {
  readonly update: (chunks: ReadonlyArray<Uint8Array>) => Effect.Effect<void>
  /** The digest of all chunks; asked for once, at the end. */
  readonly digest: Effect.Effect<Digest.Digest>
}

/**
 * Makes hashes. What a hash occupies is given back when its scope closes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Hasher {
  readonly make: (algorithm: string) => Effect.Effect<Hash, UnsupportedAlgorithm, Scope.Scope>
}

/**
 * Content cannot be verified: nobody here computes digests of this algorithm.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnsupportedAlgorithm
  extends Schema.TaggedError<UnsupportedAlgorithm>("effect-oci/Hasher/UnsupportedAlgorithm")(
    "UnsupportedAlgorithm",
    { algorithm: Schema.String }
  )
{
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `content cannot be verified: no digests of algorithm ${JSON.stringify(this.algorithm.slice(0, 64))} here`
  }
}

/**
 * The content has another digest than the one it was promised under.
 *
 * @category errors
 * @since 0.1.0
 */
export class DigestMismatch extends Schema.TaggedError<DigestMismatch>("effect-oci/Hasher/DigestMismatch")(
  "DigestMismatch",
  { expected: Digest.Digest, actual: Digest.Digest }
) {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `the content is not what its digest says: expected ${this.expected}, got ${this.actual}`
  }
}

/**
 * The content has another length, in bytes, than the one it was promised with. Content that is too long is given up
 * at the first byte too many: `actual` is then how much had come.
 *
 * @category errors
 * @since 0.1.0
 */
export class SizeMismatch extends Schema.TaggedError<SizeMismatch>("effect-oci/Hasher/SizeMismatch")(
  "SizeMismatch",
  { expected: Schema.Natural, actual: Schema.Natural }
) {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `the content has ${this.actual} bytes${this.actual > this.expected ? " or more" : ""}, not ${this.expected}`
  }
}

const nodeHasher: Hasher = {
  make: (algorithm) => {
    if (algorithm !== "sha256" && algorithm !== "sha512") {
      return Effect.fail(new UnsupportedAlgorithm({ algorithm }))
    }
    return Effect.sync(() => {
      const hash = Crypto.createHash(algorithm)
      return {
        update: (chunks) =>
          Effect.sync(() => {
            for (const chunk of chunks) hash.update(chunk)
          }),
        digest: Effect.sync(() => Digest.fromHash(algorithm, hash.digest()))
      }
    })
  }
}

/**
 * Who computes hashes.
 *
 * @default sha256 and sha512 by `node:crypto`
 * @category references
 * @since 0.1.0
 */
export const Hasher: Context.Reference<Hasher> = Context.Reference("effect-oci/Hasher", {
  defaultValue: () => nodeHasher
})

/**
 * The digest of some bytes. The algorithm is `sha256` unless named.
 *
 * @category constructors
 * @since 0.1.0
 */
export const digest = Effect.fnUntraced(function*(
  bytes: Uint8Array,
  algorithm: string = "sha256"
): Effect.fn.Return<Digest.Digest, UnsupportedAlgorithm> {
  const hasher = yield* Hasher
  return yield* Effect.scoped(Effect.gen(function*() {
    const hash = yield* hasher.make(algorithm)
    yield* hash.update([bytes])
    return yield* hash.digest
  }))
})

/**
 * Fails unless the bytes have this digest.
 *
 * @category combinators
 * @since 0.1.0
 */
export const verifyBytes = Effect.fnUntraced(function*(
  bytes: Uint8Array,
  expected: Digest.Digest
): Effect.fn.Return<void, DigestMismatch | UnsupportedAlgorithm> {
  const actual = yield* digest(bytes, Digest.algorithm(expected))
  if (actual !== expected) return yield* new DigestMismatch({ expected, actual })
})

/**
 * Lets a stream of bytes through while hashing it, and fails before its last chunk is handed on when digest or size are
 * not as expected; content that is too short fails where it ends. A stream whose size is not known stays one pull
 * behind, so that its last chunk can be held back.
 *
 * @category combinators
 * @since 0.1.0
 */
export const verify = (expected: { readonly digest: Digest.Digest; readonly size?: number }) =>
<E, R>(
  self: Stream.Stream<Uint8Array, E, R>
): Stream.Stream<Uint8Array, E | DigestMismatch | SizeMismatch | UnsupportedAlgorithm, R> =>
  Stream.unwrap(Effect.gen(function*() {
    const hasher = yield* Hasher
    const hash = yield* hasher.make(Digest.algorithm(expected.digest))
    let size = 0
    let verified = false
    let held: ReadonlyArray<Uint8Array> = []

    const verdict: Effect.Effect<void, DigestMismatch> = Effect.gen(function*() {
      verified = true
      const actual = yield* hash.digest
      if (actual !== expected.digest) return yield* new DigestMismatch({ expected: expected.digest, actual })
    })
    const inspect = Effect.fnUntraced(function*(chunks: ReadonlyArray<Uint8Array>) {
      for (const chunk of chunks) size += chunk.length
      if (expected.size !== undefined && size > expected.size) {
        return yield* new SizeMismatch({ expected: expected.size, actual: size })
      }
      if (!verified) yield* hash.update(chunks)
      if (!verified && size === expected.size) yield* verdict
      if (expected.size !== undefined) return chunks
      if (chunks.every((chunk) => chunk.length === 0)) return []
      const ready = held
      held = chunks
      return ready
    })
    const end = Effect.suspend((): Effect.Effect<void, DigestMismatch | SizeMismatch> => {
      if (verified) return Effect.void
      return expected.size === undefined || size === expected.size
        ? verdict
        : Effect.fail(new SizeMismatch({ expected: expected.size, actual: size }))
    })
    return self.pipe(
      Stream.mapAccumArrayEffect(
        () => undefined,
        (state, chunks) => Effect.map(inspect(chunks), (ready) => [state, ready])
      ),
      Stream.concat(Stream.unwrap(Effect.map(end, () => Stream.fromArray(held))))
    )
  }))
