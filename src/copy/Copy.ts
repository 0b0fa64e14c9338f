/**
 * Copying manifests, with all that belongs to them, and blobs from one registry to another.
 *
 * Bytes are copied as they are, and digests stay what they were. A manifest is pushed after everything that it refers
 * to; referrers are pushed before what they refer to, or after it where a registry insists; the tag comes last. So a
 * copy that fails or is interrupted leaves no tag, and no manifest whose parts are not there. What the destination has
 * is not sent again: a manifest that is there counts as complete.
 *
 * These functions work on ends that are resolved; `Namespace` has them for references.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import * as Scope from "../auth/Scope.ts"
import type { Digest } from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import type { Platform } from "../Platform.ts"
import type { Tag } from "../Reference.ts"
import { type CopyError, DigestConflict, UnfitReference } from "./CopyError.ts"
import { CopyReport } from "./CopyReport.ts"
import { type Ends, failure, failureOf, format, ifThere } from "./Ends.ts"
import { execute } from "./Execute.ts"
import * as Graph from "./Graph.ts"
import { readRoot, selectPlatform } from "./Root.ts"
import { transfer } from "./Transfer.ts"

export {
  /** @since 0.1.0 */
  type End
} from "./Ends.ts"

export {
  /** @since 0.1.0 */
  Observer
} from "./Execute.ts"

export {
  /** @since 0.1.0 */
  type ManifestDigests
} from "./Graph.ts"

/**
 * How many blobs and manifests one copy has in work at a time.
 *
 * @default 6
 * @category references
 * @since 0.1.0
 */
export const Concurrency: Context.Reference<number> = Context.Reference("effect-oci/Copy/Concurrency", {
  defaultValue: () => 6
})

/**
 * What is copied along.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Copy the referrers too, of every manifest and of each other. `true` unless given. */
  readonly referrers?: boolean
  /** Copy the image for this platform alone: the destination gets its manifest, not the index it was found in. */
  readonly platform?: Platform
  /** What a manifest refers to. `Manifest.digests` unless given. */
  readonly manifestDigests?: Graph.ManifestDigests
}

/** What the destination has under a tag or digest, if anything. */
const lookUp = (ends: Ends, reference: Tag | Digest) =>
  ifThere(ends.destination.registry.resolveManifest(ends.destination.repository, reference)).pipe(
    Effect.map((descriptor) => descriptor?.digest),
    Effect.mapError(failureOf(ends, "destination"))
  )

/** What a copy will need of a host, so that one token serves for all of it. */
const scopesOf = ({ destination, source }: Ends) => (host: string): Scope.Scope => {
  if (host !== destination.registry.name) return Scope.empty
  const write = Scope.repository(destination.repository, "pull", "push")
  return source.registry === destination.registry
    ? Scope.union(write, Scope.repository(source.repository, "pull"))
    : write
}

/**
 * Copies a manifest and everything that belongs to it.
 *
 * @category copying
 * @since 0.1.0
 */
export const copyManifest = Effect.fn("Copy.copyManifest")(
  function*(options: Ends & Options): Effect.fn.Return<CopyReport, CopyError> {
    const { destination, source } = options
    const ends = { source, destination }
    yield* Effect.annotateCurrentSpan({ "oci.source": format(source), "oci.destination": format(destination) })
    const concurrency = yield* Concurrency
    const permits = yield* Semaphore.make(concurrency >= 1 ? concurrency : 1)

    const named = yield* readRoot(ends)
    const root = options.platform === undefined ? named : yield* selectPlatform(ends, named, options.platform)
    const digest = root.descriptor.digest
    const manifestDigests = options.manifestDigests ?? Manifest.digests
    // what is wrong with the source is told before the destination is asked
    yield* Graph.references(ends, root, manifestDigests, { descriptor: root.descriptor, path: [] })
    if (destination.digest !== undefined && destination.digest !== digest) {
      const reason = new DigestConflict({ source: digest, destination: destination.digest })
      return yield* failure(ends, "destination", reason)
    }
    const isTagged = destination.tag !== undefined && (yield* lookUp(ends, destination.tag)) === digest
    const present = isTagged || (yield* lookUp(ends, digest)) === digest

    const graph = yield* Graph.discover(ends, { manifest: root, present }, {
      referrers: options.referrers ?? true,
      manifestDigests
    }, permits)
    const entries = yield* execute(ends, graph, permits, isTagged)
    return new CopyReport({
      source: format(source),
      destination: format({ ...destination, digest }),
      root: root.descriptor,
      entries,
      bytes: entries.reduce((sum, { descriptor, outcome }) => outcome === "copied" ? sum + descriptor.size : sum, 0)
    })
  },
  (effect, ends) => Effect.provideService(effect, Scope.Wanted, scopesOf(ends))
)

/**
 * Copies one blob. It verifies itself on the way; what the destination has is not sent again.
 *
 * @category copying
 * @since 0.1.0
 */
export const copyBlob = Effect.fn("Copy.copyBlob")(
  function*(ends: Ends): Effect.fn.Return<CopyReport, CopyError> {
    const { destination, source } = ends
    yield* Effect.annotateCurrentSpan({ "oci.source": format(source), "oci.destination": format(destination) })
    const unfit = (end: keyof Ends, problem: string) => failure(ends, end, new UnfitReference({ problem }))
    if (source.tag !== undefined) return yield* unfit("source", "a blob has no tag")
    if (destination.tag !== undefined) return yield* unfit("destination", "a blob has no tag")
    if (source.digest === undefined) return yield* unfit("source", "a blob needs a digest")
    if (destination.digest !== undefined && destination.digest !== source.digest) {
      const reason = new DigestConflict({ source: source.digest, destination: destination.digest })
      return yield* failure(ends, "destination", reason)
    }
    const root = yield* Effect.mapError(
      source.registry.resolveBlob(source.repository, source.digest),
      failureOf(ends, "source")
    )
    const place = { descriptor: root, path: [] }
    const outcome = yield* transfer(ends, place)
    return new CopyReport({
      source: format(source),
      destination: format({ ...destination, digest: source.digest }),
      root,
      entries: [{ ...place, role: "root", outcome }],
      bytes: outcome === "copied" ? root.size : 0
    })
  }
)
