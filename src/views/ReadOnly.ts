/**
 * A read-only view of a registry.
 */
import * as Effect from "effect/Effect"
import type { Repository } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import { failing, Unsupported } from "../RegistryError.ts"

/**
 * Creates a read-only view: pushes, uploads, mounts and deletes fail with `Unsupported`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const readOnly = (self: Registry): Registry => {
  const refused = (operation: string) => (repository: Repository) =>
    Effect.fail(failing(self.name)(operation, repository)(new Unsupported({ detail: "this view is read-only" })))
  return {
    ...self,
    capabilities: Effect.map(self.capabilities, ({ pages, referrers }) => ({
      ...referrers === undefined ? {} : { referrers },
      ...pages === undefined ? {} : { pages },
      singlePost: false,
      tagParameters: false,
      anonymousMount: false,
      selfMount: false,
      chunks: false
    })),
    pushBlob: refused("pushBlob"),
    startUpload: refused("startUpload"),
    resumeUpload: refused("resumeUpload"),
    pushManifest: refused("pushManifest"),
    deleteBlob: refused("deleteBlob"),
    deleteManifest: refused("deleteManifest"),
    deleteTag: refused("deleteTag")
  }
}
