/**
 * Contents of the manifests of a copy. They are held until every destination has them, up to a limit in bytes; contents
 * beyond the limit are read again.
 */
import * as Effect from "effect/Effect"
import { inlineContent } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as MediaType from "../MediaType.ts"
import type { ManifestBytes } from "../Registry.ts"
import { orAbsent } from "../RegistryError.ts"
import type { CopyError } from "./CopyError.ts"
import { orAbsentOrDenied } from "./Ends.ts"
import * as Job from "./Job.ts"
import type { ManifestNode } from "./ManifestNode.ts"

export interface HeldManifests {
  /** Holds the content of a manifest. */
  readonly hold: (node: ManifestNode, manifest: ManifestBytes) => void
  /** Holds content that was read before its manifest is visited. */
  readonly remember: (digest: Digest, manifest: ManifestBytes) => void
  /**
   * Reads a manifest: from a destination if all of them have it, and from the source otherwise. Returns `undefined` if
   * it is a referrer that the source lists but does not have.
   */
  readonly read: (node: ManifestNode) => Effect.Effect<ManifestBytes | undefined, CopyError>
  /** Returns the content of a manifest for a destination. */
  readonly manifestOf: (node: ManifestNode, destination: Job.Destination) => Effect.Effect<ManifestBytes, CopyError>
  /** Discards the content of a manifest, if every destination has it with all of its tags. */
  readonly release: (node: ManifestNode) => void
}

// maximum size of the manifests that are held at the same time, in bytes
const heldLimit = 64 * 1024 * 1024

/** Creates a holder. `overlay` contains rewritten manifests, which no registry has yet. */
export const make = (job: Job.Job, overlay: ReadonlyMap<Digest, ManifestBytes>): HeldManifests => {
  const { destinations, source } = job
  const early = new Map<Digest, ManifestBytes>()
  let held = 0

  const fits = ({ bytes }: ManifestBytes): boolean => {
    if (held + bytes.length > heldLimit) return false
    held += bytes.length
    return true
  }

  const hold = (node: ManifestNode, manifest: ManifestBytes): void => {
    if (fits(manifest)) node.manifest = manifest
  }

  const atSource = (node: ManifestNode) => source.registry.getManifest(source.repository, node.descriptor.digest)

  return {
    hold,
    remember: (digest, manifest) => {
      if (!early.has(digest) && fits(manifest)) early.set(digest, manifest)
    },
    read: Effect.fnUntraced(function*(node) {
      const { digest } = node.descriptor
      const known = node.manifest ?? overlay.get(digest)
      if (known !== undefined) return known
      const [destination] = destinations
      if (node.absent.size === 0 && destination !== undefined) {
        const found = yield* orAbsentOrDenied(destination.registry.getManifest(destination.repository, digest)).pipe(
          Job.atDestination(destination, node)
        )
        if (found !== undefined) return found
      }
      node.manifest = early.get(digest)
      early.delete(digest)
      if (node.manifest !== undefined) return node.manifest
      const { mediaType, size } = node.descriptor
      const bytes = MediaType.isManifest(mediaType) ? yield* inlineContent(node.descriptor) : undefined
      const found = bytes === undefined
        ? yield* (node.role === "referrer" ? orAbsent(atSource(node)) : atSource(node)).pipe(Job.atSource(job, node))
        : { descriptor: { mediaType, digest, size }, bytes }
      if (found !== undefined) hold(node, found)
      return found
    }),
    manifestOf: (node, destination) => {
      const { digest } = node.descriptor
      const known = node.manifest ?? overlay.get(digest)
      if (known !== undefined) return Effect.succeed(known)
      return node.absent.has(destination)
        ? atSource(node).pipe(Job.atSource(job, node))
        : destination.registry.getManifest(destination.repository, digest).pipe(Job.atDestination(destination, node))
    },
    release: (node) => {
      const { digest } = node.descriptor
      const isNeeded = destinations.some((destination) =>
        Job.isAlive(destination) &&
        (!destination.recorded.isOpen(digest) || (node.tags.get(destination) ?? []).length > 0)
      )
      if (node.manifest === undefined || isNeeded) return
      held -= node.manifest.bytes.length
      node.manifest = undefined
    }
  }
}
