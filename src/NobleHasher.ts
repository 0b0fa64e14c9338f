/**
 * Digests in pure JavaScript, for runtimes without `node:crypto`, such as browsers.
 *
 * They are computed by `@noble/hashes`, an optional peer dependency: without it, importing this module fails because
 * `@noble/hashes` is not installed.
 *
 * @since 0.1.0
 */
import { sha256, sha512 } from "@noble/hashes/sha2.js"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Digest from "./Digest.ts"
import * as Hasher from "./Hasher.ts"

const start = (algorithm: "sha256" | "sha512"): Effect.Effect<Hasher.Hash> =>
  Effect.sync(() => {
    const hash = algorithm === "sha256" ? sha256.create() : sha512.create()
    return {
      update: (chunks) =>
        Effect.sync(() => {
          for (const chunk of chunks) hash.update(chunk)
        }),
      digest: Effect.sync(() => Digest.fromHash(algorithm, hash.digest()))
    }
  })

/**
 * The hasher of `@noble/hashes`. It computes sha256 and sha512.
 *
 * @category constructors
 * @since 0.1.0
 */
export const hasher: Hasher.Hasher = {
  make: (algorithm) =>
    algorithm === "sha256" || algorithm === "sha512"
      ? start(algorithm)
      : Effect.fail(new Hasher.UnsupportedAlgorithm({ algorithm }))
}

/**
 * Provides the hasher of `@noble/hashes`.
 *
 * **Example** (Computing a digest in a browser)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as Hasher from "effect-oci/Hasher"
 * import * as NobleHasher from "effect-oci/NobleHasher"
 *
 * const program = Hasher.digest(new TextEncoder().encode("hello")).pipe(Effect.provide(NobleHasher.layer))
 *
 * Effect.runSync(program).slice(0, 15) // => "sha256:2cf24dba"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<never> = Layer.succeed(Hasher.Hasher, hasher)
