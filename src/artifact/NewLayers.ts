/**
 * New layers of an image: archives, and folders that become archives. Equal folders become equal layers.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as Tar from "effect/encoding/Tar"
import * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { BlobSource } from "../BlobSource.ts"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import { Storage } from "../RegistryError.ts"
import * as ArchiveFile from "../stores/ArchiveFile.ts"
import { digestOf } from "../stores/BlobWriter.ts"
import { refusal } from "../stores/Files.ts"
import * as Zlib from "../stores/Zlib.ts"
import * as FolderArchive from "./FolderArchive.ts"
import * as Frames from "./Frames.ts"
import { InvalidLayer, type Reason } from "./ImageError.ts"
import * as Overlay from "./Overlay.ts"
import * as Spool from "./Spool.ts"

/**
 * A layer for an image.
 *
 * @category models
 * @since 0.1.0
 */
export interface NewLayer {
  /**
   * Path of a tar archive or a folder. An archive that is compressed with gzip or zstd stays as it is; another one is
   * compressed with gzip.
   */
  readonly path: string
  /** Folder in the image that gets the content of a folder. Default: the root. */
  readonly target?: string | undefined
  /**
   * Metadata of the files in a folder. Default: `fixed`, which means no time, the owner `root`, and permissions that
   * depend only on whether the owner may execute the file.
   */
  readonly metadata?: FolderArchive.Metadata | undefined
}

/** Kind of the manifest that gets a layer. */
export type Kind = "oci" | "docker"

/** A layer that is ready to be pushed. */
export interface Packed {
  readonly descriptor: Descriptor
  readonly diffId: Digest
  readonly source: BlobSource<Storage>
  /** Name of the layer in the history. */
  readonly name: string
}

/** Returns the media type of a compressed layer. Docker has no type of its own for zstd. */
const typeOf = (format: "gzip" | "zstd", kind: Kind): string => {
  if (format === "zstd") return "application/vnd.oci.image.layer.v1.tar+zstd"
  return kind === "oci" ? MediaType.imageLayerGzip : "application/vnd.docker.image.rootfs.diff.tar.gzip"
}

/** Reads the archive of a layer to its end, and returns its digest. Fails unless it is a tar archive. */
const checkArchive = Effect.fnUntraced(function*(path: string, packed: BlobSource<Storage>) {
  const refuse = (problem: string) => new InvalidLayer({ layer: path, problem })
  const hash = yield* (yield* Hasher.Hasher).make("sha256")
  yield* Frames.unpacked(packed.open(0), packed.size, (problem) => new Storage({ path, problem })).pipe(
    Spool.hashed(hash),
    Stream.pipeThroughChannel(
      Tar.decode<Storage | { readonly _tag: "ContentTooLarge"; readonly limit?: number | undefined }>()
    ),
    Stream.runDrain,
    Effect.mapError((error) =>
      error._tag === "Storage"
        ? error
        : refuse(
          error._tag === "TarError"
            ? `it is not a readable tar archive: ${error.message}`
            : `unpacked, it has more than ${error.limit} bytes`
        )
    )
  )
  return yield* hash.digest
}, Effect.scoped)

/** Compresses an archive to a temporary file. */
const compress = Effect.fnUntraced(function*(path: string, archive: BlobSource<Storage>) {
  const zlib = Zlib.runtimeZlib()
  if (zlib === undefined) return yield* new Storage({ path, problem: "this runtime cannot compress" })
  const { stream } = Zlib.through(() => zlib.createGzip({ level: FolderArchive.level }))(
    archive.open(0),
    (problem) => new Storage({ path, problem: `the compression failed: ${problem}` })
  )
  return yield* Spool.make(FolderArchive.withoutSystem(stream))
})

/** Prepares an archive. */
const packFile = Effect.fnUntraced(function*(path: string, source: BlobSource<Storage>, kind: Kind) {
  const beginning = yield* Stream.mkUint8Array(Stream.take(source.open(0), 1))
  const format = ArchiveFile.compression(beginning)
  if (format === "bzip2" || format === "xz") {
    const problem = `it is compressed with ${format}, for which layers have no media type`
    return yield* new InvalidLayer({ layer: path, problem })
  }
  const diffId = yield* checkArchive(path, source)
  const packed = format === undefined
    ? yield* compress(path, source)
    : { digest: yield* digestOf(source.open(0)), source }
  return { ...packed, diffId, mediaType: typeOf(format ?? "gzip", kind) }
})

/** Prepares a layer. Temporary files are removed with the scope. */
export const pack = Effect.fnUntraced(function*(
  { metadata = "fixed", path, target = "" }: NewLayer,
  kind: Kind
): Effect.fn.Return<Packed, Reason, FileSystem.FileSystem | Path.Path | Scope.Scope> {
  const fs = yield* FileSystem.FileSystem
  const info = yield* Effect.mapError(fs.stat(path), refusal(path))
  if (info.type === "Directory") {
    const name = Overlay.normalize(target)
    const { digest, source, tarDigest } = yield* Effect.catchTag(
      FolderArchive.make(path, name === "" ? "." : name, metadata, "any"),
      "UnsafeName",
      ({ message }) => Effect.fail(new InvalidLayer({ layer: path, problem: message }))
    )
    const descriptor = { mediaType: typeOf("gzip", kind), digest, size: source.size }
    return { descriptor, diffId: tarDigest, source, name: name === "" ? path : `${path} to /${name}` }
  }
  if (target !== "") {
    return yield* new InvalidLayer({
      layer: path,
      problem: "only a folder has a target; an archive contains its paths"
    })
  }
  // pipes and devices can be read only once
  const source = info.type === "File"
    ? Spool.ofFile(fs, path, ByteSize.toNumberUnsafe(info.size))
    : (yield* Spool.make(Stream.mapError(fs.stream(path), refusal(path)))).source
  const { diffId, digest, mediaType, source: packed } = yield* packFile(path, source, kind)
  return { descriptor: { mediaType, digest, size: packed.size }, diffId, source: packed, name: path }
})
