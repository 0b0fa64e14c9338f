/**
 * Content of an artifact before it is pushed: files, folders and sources of bytes, with their descriptors.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Annotations from "../Annotations.ts"
import type * as BlobSource from "../BlobSource.ts"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import type * as Hasher from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import * as Reference from "../Reference.ts"
import * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import { digestOf } from "../stores/BlobWriter.ts"
import { refusal } from "../stores/Files.ts"
import { DuplicateName, UnsafeName } from "./ArtifactError.ts"
import * as FileName from "./FileName.ts"
import * as FolderArchive from "./FolderArchive.ts"
import * as Spool from "./Spool.ts"

interface Details {
  /** Default: `application/octet-stream`, and for a folder that of a compressed layer. */
  readonly mediaType?: string | undefined
  /** Annotations of the descriptor, in addition to the title and the marks of a folder. */
  readonly annotations?: Readonly<Record<string, string>> | undefined
}

/**
 * A file or a folder.
 *
 * @category models
 * @since 0.1.0
 */
export interface PathContent extends Details {
  readonly path: string
  /**
   * Name in the artifact. Default: the path, or its last part if the path is absolute or begins with `..`, because
   * other programs refuse such names.
   */
  readonly name?: string | undefined
}

/**
 * Bytes from a source. A source that can be read only once is stored in a temporary file.
 *
 * @category models
 * @since 0.1.0
 */
export interface SourceContent<out E = never> extends Details {
  readonly source: BlobSource.BlobSource<E>
  /** Name in the artifact. Content without a name is not pulled as a file. */
  readonly name?: string | undefined
}

/**
 * Content of an artifact: a file, a folder, or bytes from a source.
 *
 * @category models
 * @since 0.1.0
 */
export type Content<E = never> = PathContent | SourceContent<E>

/** Content with its descriptor. */
export interface Packed<E> {
  readonly name: string | undefined
  readonly descriptor: Descriptor
  readonly source: BlobSource.BlobSource<E>
}

type Failure = RegistryError.Storage | UnsafeName | Hasher.UnsupportedAlgorithm

/** Hashes a source. A source that can be read only once is stored in a temporary file. */
const hashSource = Effect.fnUntraced(function*<E>(source: BlobSource.BlobSource<E>) {
  const content = source.open(0)
  if (source.replay === "once") return yield* Spool.make(content)
  return { digest: yield* digestOf(content), source }
})

/** Returns the default name of the file at a path. */
const nameOf = ({ basename, isAbsolute, normalize, resolve, sep }: Path.Path, given: string): string => {
  const name = normalize(given).split(sep).filter((part, index) => part !== "" || index === 0).join("/")
  return isAbsolute(given) || name.split("/").includes("..") ? basename(resolve(given)) : name
}

/** Hashes a file, and archives a folder. */
const hashPath = Effect.fnUntraced(function*(path: string, name: string, metadata: FolderArchive.Metadata) {
  const fs = yield* FileSystem.FileSystem
  const info = yield* Effect.mapError(fs.stat(path), refusal(path))
  if (info.type === "Directory") return yield* FolderArchive.make(path, name, metadata)
  // pipes and devices can be read only once
  if (info.type !== "File") return yield* Spool.make(Stream.mapError(fs.stream(path), refusal(path)))
  const source = Spool.ofFile(fs, path, ByteSize.toNumberUnsafe(info.size))
  return { digest: yield* digestOf(source.open(0)), source }
})

/** Fails unless the name can be pulled on every system. */
const checkName = (name: string): Effect.Effect<FileName.Parts, UnsafeName> =>
  Effect.mapError(Effect.fromResult(FileName.portable(name)), (problem) => new UnsafeName({ name, problem }))

/** Returns content with its descriptor. Temporary files are removed with the scope. */
export const pack = Effect.fnUntraced(function*<E>(
  content: Content<E>,
  metadata: FolderArchive.Metadata
): Effect.fn.Return<Packed<E | RegistryError.Storage>, E | Failure, FileSystem.FileSystem | Path.Path | Scope.Scope> {
  const name = content.name ?? ("path" in content ? nameOf(yield* Path.Path, content.path) : undefined)
  if (name !== undefined) yield* checkName(name)
  const hashed: Spool.Hashed<E | RegistryError.Storage> & { readonly tarDigest?: Digest | undefined } =
    "path" in content ? yield* hashPath(content.path, name ?? "", metadata) : yield* hashSource(content.source)
  const { digest, source, tarDigest } = hashed
  const annotations = {
    ...content.annotations,
    ...name === undefined ? {} : { [Annotations.title]: name },
    ...tarDigest === undefined
      ? {}
      : { [Annotations.orasContentDigest]: tarDigest, [Annotations.orasContentUnpack]: "true" }
  }
  const mediaType = content.mediaType ??
    (tarDigest === undefined ? MediaType.octetStream : MediaType.imageLayerGzip)
  return {
    name,
    descriptor: {
      mediaType,
      digest,
      size: source.size,
      ...Object.keys(annotations).length === 0 ? {} : { annotations }
    },
    source
  }
})

/** Fails if two files have the same name, or names that some file systems do not distinguish. */
export const checkNames = (packed: ReadonlyArray<Packed<unknown>>): Effect.Effect<void, DuplicateName> => {
  const names = packed.flatMap(({ name }) =>
    name === undefined ? [] : [Result.getOrElse(FileName.portable(name), () => [name])]
  )
  const collision = FileName.collision(names)
  return collision === undefined ? Effect.void : Effect.fail(new DuplicateName(collision))
}

// ---------------------------------------------------------------------------------------------------------------------
// registry
// ---------------------------------------------------------------------------------------------------------------------

/** The repository of {@link registry}. */
export const repository: Reference.Repository = Reference.Repository.make("artifact")

/**
 * Creates a registry that has only this manifest and this content, so that a copy can push them. `failed` receives the
 * error of a source, because a registry has no error of another type.
 */
export const registry = <E>(
  manifest: Registry.ManifestBytes,
  packed: ReadonlyArray<Packed<E>>,
  failed: (error: E) => void
): Registry.Registry => {
  const name = "files"
  const blobs = new Map(packed.map((content) => [content.descriptor.digest, content]))
  const fail = (operation: string, reason: RegistryError.Reason) =>
    new RegistryError.RegistryError({ operation, registry: name, repository, reason })
  const unknown = (operation: string) => fail(operation, new RegistryError.BlobUnknown({}))
  const read = ({ source }: Packed<E>, offset: number) =>
    Stream.mapError(source.open(offset), (error) => {
      failed(error)
      return fail("getBlob", new RegistryError.Storage({ path: name, problem: "it cannot be read" }))
    })
  const found = <A>(reference: string, value: A) =>
    reference === manifest.descriptor.digest
      ? Effect.succeed(value)
      : Effect.fail(fail("getManifest", new RegistryError.ManifestUnknown({})))
  return Registry.make({
    name,
    capabilities: Effect.succeed({ referrers: true }),
    ping: Effect.void,
    getManifest: (_, reference) => found(reference, manifest),
    resolveManifest: (_, reference) => found(reference, manifest.descriptor),
    resolveBlob: (_, digest) => {
      const blob = blobs.get(digest)
      return blob === undefined ? Effect.fail(unknown("resolveBlob")) : Effect.succeed(blob.descriptor)
    },
    getBlob: (_, digest, options) => {
      const blob = blobs.get(digest)
      if (blob === undefined) return Effect.fail(unknown("getBlob"))
      const { descriptor } = blob
      // the copy verifies what it reads, a range as well
      const { length, offset } = options?.range ?? { offset: 0, length: undefined }
      const stream = read(blob, offset)
      return Effect.succeed({ descriptor, stream: length === undefined ? stream : takeBytes(stream, length) })
    },
    referrers: () => Stream.empty
  })
}

const takeBytes = <E>(stream: Stream.Stream<Uint8Array, E>, length: number): Stream.Stream<Uint8Array, E> =>
  Stream.suspend(() => {
    let left = length
    return stream.pipe(
      Stream.takeWhile(() => left > 0),
      Stream.map((chunk) => {
        const part = chunk.subarray(0, left)
        left -= part.length
        return part
      })
    )
  })
