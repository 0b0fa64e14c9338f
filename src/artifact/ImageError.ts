/**
 * Errors of reading and changing images.
 *
 * @since 0.1.0
 */
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Digest from "../Digest.ts"
import { UnsupportedAlgorithm } from "../Hasher.ts"
import { ManifestError } from "../Manifest.ts"
import { Storage } from "../RegistryError.ts"
import { excerpt, printable } from "../Text.ts"

const TypeId = "~effect-oci/ImageError"

const quoted = (name: string): string => JSON.stringify(excerpt(name))

/**
 * The manifest is not that of an image with layers.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotAnImage extends Schema.TaggedError<NotAnImage>("effect-oci/ImageError/NotAnImage")("NotAnImage", {
  problem: Schema.String
}) {
  override get message(): string {
    return printable(`it is not an image: ${this.problem}`)
  }
}

/**
 * An index has several images, and no platform selects one of them.
 *
 * @category errors
 * @since 0.1.0
 */
export class PlatformRequired
  extends Schema.TaggedError<PlatformRequired>("effect-oci/ImageError/PlatformRequired")("PlatformRequired", {
    available: Schema.Array(Schema.String)
  })
{
  override get message(): string {
    const available = this.available.length === 0 ? "none is named" : this.available.join(", ")
    return printable(`it has images for several platforms: ${available}`)
  }
}

/**
 * The config of an image cannot be decoded, or exceeds 4 MiB.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidConfig
  extends Schema.TaggedError<InvalidConfig>("effect-oci/ImageError/InvalidConfig")("InvalidConfig", {
    digest: Digest.Digest,
    problem: Schema.String
  })
{
  override get message(): string {
    return printable(`the config ${this.digest} is not valid: ${this.problem}`)
  }
}

/**
 * A layer is not an archive that can be read, or it exceeds a limit.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidLayer
  extends Schema.TaggedError<InvalidLayer>("effect-oci/ImageError/InvalidLayer")("InvalidLayer", {
    /** Digest of the layer, or the path of a file that was to become one. */
    layer: Schema.String,
    problem: Schema.String
  })
{
  override get message(): string {
    return printable(`the layer ${this.layer} is refused: ${this.problem}`)
  }
}

/**
 * The content of a layer, without its compression, has another digest than the config says.
 *
 * @category errors
 * @since 0.1.0
 */
export class DiffIdMismatch
  extends Schema.TaggedError<DiffIdMismatch>("effect-oci/ImageError/DiffIdMismatch")("DiffIdMismatch", {
    layer: Digest.Digest,
    expected: Digest.Digest,
    actual: Digest.Digest
  })
{
  override get message(): string {
    return `the layer ${this.layer} has the diff_id ${this.actual}, not ${this.expected} as the config says`
  }
}

/**
 * An image has no file of this path.
 *
 * @category errors
 * @since 0.1.0
 */
export class FileNotFound
  extends Schema.TaggedError<FileNotFound>("effect-oci/ImageError/FileNotFound")("FileNotFound", {
    path: Schema.String
  })
{
  override get message(): string {
    return `it has no file ${quoted(this.path)}`
  }
}

/**
 * A path of an image is not that of a regular file.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotAFile extends Schema.TaggedError<NotAFile>("effect-oci/ImageError/NotAFile")("NotAFile", {
  path: Schema.String,
  /** Type of what the path names, such as `Directory`. */
  type: Schema.String
}) {
  override get message(): string {
    const type = this.type === "Directory" ? "a folder" : `of the type ${this.type}`
    return `${quoted(this.path)} is not a file: it is ${type}`
  }
}

/**
 * A path of an image leads through more links than are followed.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooManyLinks
  extends Schema.TaggedError<TooManyLinks>("effect-oci/ImageError/TooManyLinks")("TooManyLinks", {
    path: Schema.String,
    limit: Schema.Natural
  })
{
  override get message(): string {
    return `${quoted(this.path)} leads through more than ${this.limit} links`
  }
}

/**
 * A file of an image is larger than the caller reads into memory.
 *
 * @category errors
 * @since 0.1.0
 */
export class FileTooLarge
  extends Schema.TaggedError<FileTooLarge>("effect-oci/ImageError/FileTooLarge")("FileTooLarge", {
    path: Schema.String,
    size: Schema.Natural,
    limit: Schema.Natural
  })
{
  override get message(): string {
    return `${quoted(this.path)} has ${this.size} bytes, and at most ${this.limit} are read into memory`
  }
}

/**
 * An image does not consist of the layers of its base and others, so that it cannot be rebased.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotBasedOn extends Schema.TaggedError<NotBasedOn>("effect-oci/ImageError/NotBasedOn")("NotBasedOn", {
  problem: Schema.String
}) {
  override get message(): string {
    return printable(`it cannot be rebased: ${this.problem}`)
  }
}

/**
 * Schema of every reason that an {@link ImageError} can have.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Reason = Schema.Union([
  NotAnImage,
  PlatformRequired,
  InvalidConfig,
  InvalidLayer,
  DiffIdMismatch,
  FileNotFound,
  NotAFile,
  TooManyLinks,
  FileTooLarge,
  NotBasedOn,
  Storage,
  ManifestError,
  UnsupportedAlgorithm
])

/**
 * Every reason that an {@link ImageError} can have.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = typeof Reason.Type

/**
 * An image could not be read or changed.
 *
 * @category errors
 * @since 0.1.0
 */
export class ImageError extends Schema.TaggedError<ImageError>("effect-oci/ImageError")("ImageError", {
  /** Reference of the image. */
  reference: Schema.String,
  reason: Reason
}) {
  readonly [TypeId] = TypeId

  /** The reason again, because error printers show the cause. */
  override readonly cause = this.reason

  /** True if the same operation may succeed later. */
  get isRetryable(): boolean {
    return "isRetryable" in this.reason && this.reason.isRetryable
  }

  override get message(): string {
    return printable(`${this.reference}: ${this.reason.message}`)
  }
}

/**
 * Returns true if a value is an image error.
 *
 * @category guards
 * @since 0.1.0
 */
export const isImageError = (u: unknown): u is ImageError => hasProperty(u, TypeId)
