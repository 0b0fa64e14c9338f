/**
 * Unpacking of compressed archives, such as `image.tar.gz`, and its limits.
 *
 * The implementation comes from the {@link Decompressor} reference. Its default uses `node:zlib` if the runtime has it.
 * An archive of another format, or of one that the runtime cannot unpack, is refused with a `Storage` reason.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { Storage } from "../RegistryError.ts"
import * as Zlib from "./Zlib.ts"

/**
 * Compression formats of archives.
 *
 * @category models
 * @since 0.1.0
 */
export type Format = "gzip" | "zstd"

/**
 * Content that is unpacked as it is read.
 *
 * @category models
 * @since 0.1.0
 */
export interface Unpacking<out E = never> {
  /** The unpacked content. It ends after the first member or frame, or after several of them. */
  readonly stream: Stream.Stream<Uint8Array, E | Storage>
  /** Number of compressed bytes that were used. It is known after the stream has ended. */
  readonly used: Effect.Effect<number>
}

/**
 * Unpacks one format. `broken` creates the error of content that cannot be unpacked from a phrase with the reason. The
 * content is not read on after the piece in which the last member or frame ends that is unpacked.
 *
 * @category models
 * @since 0.1.0
 */
export type Unpack = <E>(
  content: Stream.Stream<Uint8Array, E>,
  broken: (problem: string) => Storage
) => Unpacking<E>

/**
 * Returns the function that unpacks a format, or `undefined` if the format is not supported.
 *
 * @category models
 * @since 0.1.0
 */
export type Decompressor = (format: Format) => Unpack | undefined

/**
 * Limits of the size of an unpacked archive.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  /** Maximum size of the unpacked archive, in bytes. */
  readonly size: number
  /** Maximum ratio of the unpacked to the compressed size. */
  readonly ratio: number
  /** Unpacked size up to which the ratio is not checked, in bytes. */
  readonly ratioFrom: number
}

/**
 * Limits of the size of an unpacked archive.
 *
 * @default 64 GiB, and above 1 GiB at most 100 times the size of the compressed archive
 * @category references
 * @since 0.1.0
 */
export const UnpackLimits: Context.Reference<Limits> = Context.Reference("effect-oci/Decompressor/UnpackLimits", {
  defaultValue: () => ({ size: 64 * 1024 ** 3, ratio: 100, ratioFrom: 1024 ** 3 })
})

// ---------------------------------------------------------------------------------------------------------------------
// node:zlib
// ---------------------------------------------------------------------------------------------------------------------

const makeDefault = (): Decompressor => {
  const zlib = Zlib.runtimeZlib()
  return (format) => {
    const create = format === "gzip" ? zlib?.createGunzip : zlib?.createZstdDecompress
    return create === undefined ? undefined : Zlib.through(create)
  }
}

/**
 * The implementation that unpacks archives.
 *
 * @default gzip and zstd with `node:zlib`, and no format if the runtime does not have it
 * @category references
 * @since 0.1.0
 */
export const Decompressor: Context.Reference<Decompressor> = Context.Reference("effect-oci/Decompressor", {
  defaultValue: makeDefault
})
