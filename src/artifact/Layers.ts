/**
 * Reading of the layers of an image: the entries of their archives, verified as they flow.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Tar from "effect/encoding/Tar"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import { inlineContent } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import type { Repository } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import { isRegistryError, type RegistryError, Storage } from "../RegistryError.ts"
import * as Frames from "./Frames.ts"
import { DiffIdMismatch, ImageError, InvalidLayer, type Reason } from "./ImageError.ts"
import * as Overlay from "./Overlay.ts"

/**
 * Maximum number of entries in all layers of an image that are read. `Decompressor.UnpackLimits` limits the size of
 * each layer.
 *
 * @default 2000000
 * @category references
 * @since 0.1.0
 */
export const EntryLimit: Context.Reference<number> = Context.Reference("effect-oci/Image/EntryLimit", {
  defaultValue: () => 2_000_000
})

/** A repository that layers are read from. */
export interface Source {
  readonly registry: Registry
  readonly repository: Repository
  /** Reference of the image in errors. */
  readonly reference: string
}

/** A layer of an image. */
export interface Described {
  readonly descriptor: Descriptor
  /** Digest of the layer without its compression. */
  readonly diffId?: Digest.Digest | undefined
}

/** An entry of the archive of a layer. Its body can be read until the next entry is read. */
export interface LayerEntry {
  /** Position of the entry in the archive. */
  readonly ordinal: number
  /** Path in the image, without a slash at its beginning. */
  readonly path: string
  readonly header: Tar.Header
  readonly body: Stream.Stream<Uint8Array, Failure>
}

/** Errors of reading a layer. */
export type Failure = ImageError | RegistryError

const failing = ({ reference }: Source) => (reason: Reason) => new ImageError({ reference, reason })

/** Opens a layer as its registry stores it. */
export const packed = (source: Source, { digest, size, ...rest }: Descriptor) =>
  Stream.unwrap(Effect.gen(function*() {
    const content = yield* inlineContent({ digest, size, ...rest })
    if (content !== undefined) return Stream.succeed(content)
    const { stream } = yield* source.registry.getBlob(source.repository, digest, { size })
    return stream
  }))

/** Fails at the end of a stream unless it has the digest. */
const verified = (source: Source, layer: Digest.Digest, expected: Digest.Digest) => {
  const fail = failing(source)
  return <E>(stream: Stream.Stream<Uint8Array, E>): Stream.Stream<Uint8Array, E | ImageError> =>
    Stream.unwrap(Effect.gen(function*() {
      const hash = yield* Effect.mapError((yield* Hasher.Hasher).make(Digest.algorithm(expected)), fail)
      const check = Effect.gen(function*() {
        const actual = yield* hash.digest
        if (actual !== expected) return yield* fail(new DiffIdMismatch({ layer, expected, actual }))
      })
      return stream.pipe(
        Stream.mapArrayEffect((chunks) => Effect.as(hash.update(chunks), chunks)),
        Stream.onEnd(check)
      )
    }))
}

/** Returns the content of a layer without its compression. Fails at its end unless it has its digest and `diff_id`. */
const content = (source: Source, { descriptor, diffId }: Described): Stream.Stream<Uint8Array, Failure> => {
  const { digest, size } = descriptor
  const refuse = (problem: string) => failing(source)(new InvalidLayer({ layer: digest, problem }))
  const broken = (problem: string) => new Storage({ path: digest, problem })
  const unpacked = Frames.unpacked(packed(source, descriptor), size, broken).pipe(
    Stream.mapError((error) =>
      isRegistryError(error)
        ? error
        : refuse(error._tag === "Storage" ? error.problem : `unpacked, it has more than ${error.limit} bytes`)
    )
  )
  return diffId === undefined ? unpacked : verified(source, digest, diffId)(unpacked)
}

/** Returns the entries of a layer, in the order of its archive. */
export const entries = (source: Source, layer: Described): Stream.Stream<LayerEntry, Failure> => {
  const { digest } = layer.descriptor
  const explain = (error: Failure | Tar.TarError): Failure =>
    error._tag === "TarError"
      ? failing(source)(
        new InvalidLayer({ layer: digest, problem: `it is not a readable tar archive: ${error.message}` })
      )
      : error
  return Stream.suspend(() => {
    let ordinal = 0
    return content(source, layer).pipe(
      Stream.pipeThroughChannel(Tar.decode<Failure>()),
      Stream.mapError(explain),
      Stream.map(({ body, header }): LayerEntry => ({
        ordinal: ordinal++,
        path: Overlay.normalize(header.path),
        header,
        body: Stream.mapError(body, explain)
      }))
    )
  })
}

/** Returns a function that fails once it has run more often than {@link EntryLimit} permits. */
export const counter = (source: Source): Effect.Effect<(layer: Described) => Effect.Effect<void, ImageError>> =>
  Effect.map(EntryLimit, (limit) => {
    let count = 0
    return ({ descriptor: { digest } }) =>
      ++count <= limit
        ? Effect.void
        : Effect.fail(
          failing(source)(new InvalidLayer({ layer: digest, problem: `the image has more than ${limit} entries` }))
        )
  })
