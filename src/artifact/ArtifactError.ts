/**
 * Errors of artifacts: names, files and folders.
 *
 * @since 0.1.0
 */
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import { UnsupportedAlgorithm } from "../Hasher.ts"
import { ManifestError } from "../Manifest.ts"
import { Storage } from "../RegistryError.ts"
import { excerpt, printable } from "../Text.ts"

const TypeId = "~effect-oci/ArtifactError"

const quoted = (name: string): string => JSON.stringify(excerpt(name))

/**
 * A name is not safe as the name of a file: it leads out of the folder, or some systems read it in another way.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnsafeName extends Schema.TaggedError<UnsafeName>("effect-oci/ArtifactError/UnsafeName")("UnsafeName", {
  name: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `${quoted(this.name)} is not a safe name of a file: ${this.problem}`
  }
}

/**
 * Two files of an artifact have the same name, or names that some file systems do not distinguish.
 *
 * @category errors
 * @since 0.1.0
 */
export class DuplicateName
  extends Schema.TaggedError<DuplicateName>("effect-oci/ArtifactError/DuplicateName")("DuplicateName", {
    name: Schema.String,
    /** The other name. */
    other: Schema.String
  })
{
  override get message(): string {
    return this.name === this.other
      ? `two files have the name ${quoted(this.name)}`
      : `some file systems do not distinguish the names ${quoted(this.name)} and ${quoted(this.other)}`
  }
}

/**
 * A file exists with other content, and may not be overwritten.
 *
 * @category errors
 * @since 0.1.0
 */
export class FileExists extends Schema.TaggedError<FileExists>("effect-oci/ArtifactError/FileExists")("FileExists", {
  path: Schema.String
}) {
  override get message(): string {
    return printable(`${this.path}: it exists with other content`)
  }
}

/**
 * The archive of a folder is broken, exceeds a limit, or contains an entry that leads out of the folder.
 *
 * @category errors
 * @since 0.1.0
 */
export class ArchiveRefused
  extends Schema.TaggedError<ArchiveRefused>("effect-oci/ArtifactError/ArchiveRefused")("ArchiveRefused", {
    /** Name of the folder. */
    name: Schema.String,
    problem: Schema.String
  })
{
  override get message(): string {
    return printable(`the archive of the folder ${quoted(this.name)} is refused: ${this.problem}`)
  }
}

/**
 * An index lists no manifest with a digest or for a platform.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotListed extends Schema.TaggedError<NotListed>("effect-oci/ArtifactError/NotListed")("NotListed", {
  /** The digest, or the platform. */
  selection: Schema.String,
  available: Schema.Array(Schema.String)
}) {
  override get message(): string {
    const available = this.available.length === 0 ? "none" : this.available.join(", ")
    return printable(`the index does not list ${this.selection}; it lists: ${available}`)
  }
}

/**
 * Schema of every reason that an {@link ArtifactError} can have.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Reason = Schema.Union([
  UnsafeName,
  DuplicateName,
  FileExists,
  ArchiveRefused,
  NotListed,
  Storage,
  ManifestError,
  UnsupportedAlgorithm
])

/**
 * Every reason that an {@link ArtifactError} can have.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = typeof Reason.Type

/**
 * Files could not become an artifact, or an artifact could not become files.
 *
 * @category errors
 * @since 0.1.0
 */
export class ArtifactError extends Schema.TaggedError<ArtifactError>("effect-oci/ArtifactError")("ArtifactError", {
  /** Reference of the artifact. */
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
 * Returns true if a value is an artifact error.
 *
 * @category guards
 * @since 0.1.0
 */
export const isArtifactError = (u: unknown): u is ArtifactError => hasProperty(u, TypeId)
