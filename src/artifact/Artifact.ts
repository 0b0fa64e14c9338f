/**
 * Artifacts: files in registries. Pushes files and folders, attaches them to images, and pulls them into a folder.
 *
 * The manifests are those of the image specification 1.1. Folders have the form that oras gives them, so that oras
 * pulls what is pushed here, and the reverse.
 *
 * @since 0.1.0
 */
export {
  /** @since 0.1.0 */
  ArchiveRefused,
  /** @since 0.1.0 */
  ArtifactError,
  /** @since 0.1.0 */
  DuplicateName,
  /** @since 0.1.0 */
  FileExists,
  /** @since 0.1.0 */
  isArtifactError,
  /** @since 0.1.0 */
  NotListed,
  /** @since 0.1.0 */
  Reason,
  /** @since 0.1.0 */
  UnsafeName
} from "./ArtifactError.ts"

export {
  /** @since 0.1.0 */
  type Metadata
} from "./FolderArchive.ts"

export {
  /** @since 0.1.0 */
  list,
  /** @since 0.1.0 */
  type Listing,
  /** @since 0.1.0 */
  type PullError
} from "./Listing.ts"

export {
  /** @since 0.1.0 */
  type OnFileExists
} from "./OutputFolder.ts"

export {
  /** @since 0.1.0 */
  type Content,
  /** @since 0.1.0 */
  type PathContent,
  /** @since 0.1.0 */
  type SourceContent
} from "./Packing.ts"

export {
  /** @since 0.1.0 */
  pull,
  /** @since 0.1.0 */
  PulledFile,
  /** @since 0.1.0 */
  pullEvents,
  /** @since 0.1.0 */
  type PullOptions,
  /** @since 0.1.0 */
  PullReport
} from "./Pull.ts"

export {
  /** @since 0.1.0 */
  attach,
  /** @since 0.1.0 */
  attachEvents,
  /** @since 0.1.0 */
  type AttachOptions,
  /** @since 0.1.0 */
  type Event,
  /** @since 0.1.0 */
  File,
  /** @since 0.1.0 */
  push,
  /** @since 0.1.0 */
  type PushError,
  /** @since 0.1.0 */
  pushEvents,
  /** @since 0.1.0 */
  type PushOptions,
  /** @since 0.1.0 */
  PushReport
} from "./Push.ts"

export {
  /** @since 0.1.0 */
  EntryLimit
} from "./Unpacking.ts"
