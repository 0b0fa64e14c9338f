/**
 * A repository that blobs and manifests are written to.
 */
import type { Reason, RegistryError } from "../RegistryError.ts"
import type { Files } from "./Files.ts"
import type { LayoutFolder } from "./LayoutFolder.ts"
import type { LayoutUsage } from "./LayoutUsage.ts"
import type { VerifiedFiles } from "./VerifiedFiles.ts"
import type * as WriteBuffer from "./WriteBuffer.ts"

export interface LayoutTarget {
  readonly files: Files
  readonly layout: LayoutFolder
  /** Key of the repository. It is the same for all repositories that share one layout. */
  readonly key: string
  readonly usage: LayoutUsage
  /** Pool of the write buffers of all uploads of the registry. */
  readonly buffers: WriteBuffer.Pool
  /** Files that need not be verified when they are read. */
  readonly verified: VerifiedFiles
  /** Maximum size of the index after a push, in bytes. */
  readonly pushLimit: number
  /** Returns a function that creates the error of an operation from its reason. */
  readonly failed: (operation: string) => (reason: Reason) => RegistryError
}
