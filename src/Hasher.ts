/**
 * Computation of digests, and verification of content while it streams.
 *
 * Hashes are computed by the {@link Hasher} reference. Its default uses `node:crypto` if the runtime has it,
 * as Node, Bun and Deno do. A program can replace it: by `NobleHasher` in a browser, or by one that hashes on a worker.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Digest from "./Digest.ts"

/**
 * A hash that is computed chunk by chunk. The chunks are passed in order, one call after another. The memory of a chunk
 * may be used again after the effect has ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface Hash {
  readonly update: (chunks: ReadonlyArray<Uint8Array>) => Effect.Effect<void>
  /** The digest of all chunks. It is read once, at the end. */
  readonly digest: Effect.Effect<Digest.Digest>
}

/**
 * Creates hashes. The resources of a hash are released when its scope closes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Hasher {
  readonly make: (algorithm: string) => Effect.Effect<Hash, UnsupportedAlgorithm, Scope.Scope>
}

/**
 * Content cannot be verified, because the {@link Hasher} does not compute digests of this algorithm.
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
    // only a runtime without node:crypto lacks these
    return this.algorithm === "sha256" || this.algorithm === "sha512"
      ? `content cannot be verified: this runtime does not compute ${this.algorithm}; provide NobleHasher.layer`
      : `content cannot be verified: no digests of algorithm ${JSON.stringify(this.algorithm.slice(0, 64))} here`
  }
}

/**
 * The content does not have the expected digest.
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
    return `the content does not match its digest: expected ${this.expected}, got ${this.actual}`
  }
}

/**
 * The content does not have the expected size, in bytes. Content that is too long fails at the first excess byte:
 * `actual` is then the number of bytes received so far.
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

/** The part of `node:crypto` that is used. */
interface Crypto {
  readonly createHash: (algorithm: string) => {
    readonly update: (chunk: Uint8Array) => unknown
    readonly digest: () => Uint8Array
  }
}

/**
 * Returns the crypto module of the runtime, if it has one. It is not imported, so that bundles for browsers contain no
 * `node:` import.
 */
const runtimeCrypto = (): Crypto | undefined => {
  // browsers have no `process`
  const { process } = globalThis as {
    readonly process?:
      | { readonly getBuiltinModule?: ((name: "node:crypto") => Crypto | undefined) | undefined }
      | undefined
  }
  return process?.getBuiltinModule?.("node:crypto")
}

const makeDefault = (): Hasher => {
  const crypto = runtimeCrypto()
  return {
    make: (algorithm) => {
      if (crypto === undefined || algorithm !== "sha256" && algorithm !== "sha512") {
        return Effect.fail(new UnsupportedAlgorithm({ algorithm }))
      }
      return Effect.sync(() => {
        const hash = crypto.createHash(algorithm)
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
}

/**
 * The implementation that computes digests.
 *
 * @default sha256 and sha512 by `node:crypto`, and none if the runtime does not have it
 * @category references
 * @since 0.1.0
 */
export const Hasher: Context.Reference<Hasher> = Context.Reference("effect-oci/Hasher", {
  defaultValue: makeDefault
})

/**
 * Computes the digest of bytes. Default algorithm: `sha256`.
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
 * Fails with `DigestMismatch` unless the bytes have this digest.
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
 * Verifies content that may be read in several attempts, one after another. Every byte is hashed once, because an
 * attempt that begins at or before the last hashed byte skips what was hashed. An attempt that begins after it cannot
 * be verified.
 *
 * @category models
 * @since 0.1.0
 */
export interface Verifier {
  /** Verifies a stream of the content from `offset` on. Fails before its last chunk if digest or size do not match. */
  readonly from: (
    offset: number
  ) => <E, R>(
    self: Stream.Stream<Uint8Array, E, R>
  ) => Stream.Stream<Uint8Array, E | DigestMismatch | SizeMismatch, R>
  /** Verifies bytes that are all of the content from `offset` on. */
  readonly rest: (offset: number, bytes: Uint8Array) => Effect.Effect<void, DigestMismatch | SizeMismatch>
}

/**
 * Creates a {@link Verifier}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const verifier = Effect.fnUntraced(function*(
  expected: { readonly digest: Digest.Digest; readonly size: number }
): Effect.fn.Return<Verifier, UnsupportedAlgorithm, Scope.Scope> {
  const hasher = yield* Hasher
  const hash = yield* hasher.make(Digest.algorithm(expected.digest))
  let hashed = 0

  // the digest is read once
  let read: Digest.Digest | undefined
  const verdict: Effect.Effect<void, DigestMismatch> = Effect.suspend(() =>
    Effect.flatMap(read === undefined ? hash.digest : Effect.succeed(read), (actual) => {
      read = actual
      return actual === expected.digest
        ? Effect.void
        : Effect.fail(new DigestMismatch({ expected: expected.digest, actual }))
    })
  )

  const attempt = (offset: number) => {
    let position = offset
    const isSeen = offset <= hashed
    const inspect = (chunks: ReadonlyArray<Uint8Array>): Effect.Effect<void, DigestMismatch | SizeMismatch> => {
      const fresh: Array<Uint8Array> = []
      for (const chunk of chunks) {
        const end = position + chunk.length
        if (isSeen && end > hashed) {
          fresh.push(hashed > position ? chunk.subarray(hashed - position) : chunk)
          hashed = end
        }
        position = end
      }
      if (position > expected.size) {
        return Effect.fail(new SizeMismatch({ expected: expected.size, actual: position }))
      }
      const hashing = fresh.length > 0 ? hash.update(fresh) : Effect.void
      return isSeen && position === expected.size ? Effect.andThen(hashing, verdict) : hashing
    }
    const end = Effect.suspend((): Effect.Effect<void, DigestMismatch | SizeMismatch> =>
      position !== expected.size
        ? Effect.fail(new SizeMismatch({ expected: expected.size, actual: position }))
        : isSeen
        ? verdict
        : Effect.void
    )
    return { inspect, end }
  }
  return {
    from: (offset) => (self) =>
      Stream.suspend(() => {
        const { end, inspect } = attempt(offset)
        return self.pipe(
          Stream.mapArrayEffect((chunks) => Effect.as(inspect(chunks), chunks)),
          Stream.onEnd(end)
        )
      }),
    rest: (offset, bytes) =>
      Effect.suspend(() => {
        const { end, inspect } = attempt(offset)
        // as many bytes as expected have been compared already
        return offset + bytes.length === expected.size ? inspect([bytes]) : Effect.andThen(inspect([bytes]), end)
      })
  }
})

/**
 * Verifies a stream of bytes while it is read. Fails before the last chunk is handed on if digest or size do not match.
 * Content that is too short fails at its end.
 *
 * @category combinators
 * @since 0.1.0
 */
export const verify = (expected: { readonly digest: Digest.Digest; readonly size: number }) =>
<E, R>(
  self: Stream.Stream<Uint8Array, E, R>
): Stream.Stream<Uint8Array, E | DigestMismatch | SizeMismatch | UnsupportedAlgorithm, R> =>
  Stream.unwrap(Effect.map(verifier(expected), ({ from }) => from(0)(self)))
