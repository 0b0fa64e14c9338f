/**
 * Listing of the files of an artifact.
 */
import * as Effect from "effect/Effect"
import * as Annotations from "../Annotations.ts"
import { nestingLimit } from "../copy/PlatformSearch.ts"
import type { Descriptor } from "../Descriptor.ts"
import type * as Digest from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import * as Namespace from "../Namespace.ts"
import * as ArtifactError from "./ArtifactError.ts"
import { format } from "./Place.ts"
import { type File, type Parsed, within } from "./Push.ts"

/**
 * The files of an artifact.
 *
 * @category models
 * @since 0.1.0
 */
export interface Listing {
  /** Manifest of the artifact. */
  readonly descriptor: Descriptor
  readonly artifactType?: string | undefined
  readonly annotations?: Readonly<Record<string, string>> | undefined
  /** Files and folders, in their order. Those of an index are the ones of all its manifests. */
  readonly files: ReadonlyArray<File>
  /** Content without a name, which is not pulled. */
  readonly unnamed: ReadonlyArray<Descriptor>
}

/**
 * Errors of a pull.
 *
 * @category errors
 * @since 0.1.0
 */
export type PullError = ArtifactError.ArtifactError | Namespace.NamespaceError

const nameOf = ({ annotations }: Descriptor): string => annotations?.[Annotations.title] ?? ""

/** Returns the content of a manifest that may be files: its layers, and its config if it has a name. */
const contentOf = (manifest: Manifest.Manifest): ReadonlyArray<Descriptor> => {
  switch (manifest._tag) {
    case "Image": {
      const { config, layers } = manifest.content
      return nameOf(config) === "" ? layers : [config, ...layers]
    }
    case "Artifact":
      return manifest.content.blobs ?? []
    case "Index":
      return manifest.content.manifests.filter(({ mediaType }) => MediaType.isBlob(mediaType))
  }
}

/** Reads a manifest, and the nested manifests of an index. Returns the content of all. */
const contentBelow = (
  end: Parsed,
  manifest: Manifest.Manifest,
  seen: Set<Digest.Digest>,
  depth = 0
): Effect.Effect<ReadonlyArray<Descriptor>, PullError, Namespace.Namespace> =>
  Effect.gen(function*() {
    const namespace = yield* Namespace.Namespace
    const children = depth > nestingLimit ? [] : Manifest.references(manifest).manifests
      .filter(({ digest }) => !seen.has(digest) && seen.add(digest))
    const nested = yield* Effect.forEach(
      children,
      Effect.fnUntraced(function*({ digest }) {
        const { bytes, descriptor } = yield* namespace.getManifest(yield* within(end, { digest }))
        const child = yield* decode(format(end), descriptor, bytes)
        return yield* contentBelow(end, child, seen, depth + 1)
      })
    )
    return [...contentOf(manifest), ...nested.flat()]
  })

const decode = (reference: string, { mediaType }: Descriptor, bytes: Uint8Array) =>
  Effect.mapError(
    Effect.fromResult(Manifest.decode(mediaType, bytes)),
    (reason) => new ArtifactError.ArtifactError({ reference, reason })
  )

/**
 * Lists the files of an artifact.
 *
 * **Example** (An image has no files with names)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as Artifact from "effect-oci/Artifact"
 * import * as NodeNamespace from "effect-oci/NodeNamespace"
 *
 * const program = Artifact.list("ghcr.io/team/app:1").pipe(Effect.provide(NodeNamespace.layer))
 *
 * const { files, unnamed } = await Effect.runPromise(program)
 * files.length // => 0
 * unnamed.length // => 5
 * ```
 *
 * @category pulling
 * @since 0.1.0
 */
export const list = Effect.fn("Artifact.list")(
  function*(
    source: Namespace.End,
    options: Namespace.ForPlatform = {}
  ): Effect.fn.Return<Listing, PullError, Namespace.Namespace> {
    const namespace = yield* Namespace.Namespace
    const { bytes, descriptor } = yield* namespace.getManifest(source, options)
    const manifest = yield* decode(format(source), descriptor, bytes)
    const content = yield* contentBelow(yield* within(source), manifest, new Set([descriptor.digest]))
    const { annotations } = manifest.content
    const artifactType = Manifest.artifactType(manifest)
    return {
      descriptor,
      ...artifactType === undefined ? {} : { artifactType },
      ...annotations === undefined ? {} : { annotations },
      files: content.flatMap((descriptor) => {
        const name = nameOf(descriptor)
        return name === "" ? [] : [{ name, descriptor }]
      }),
      // the empty JSON object stands for no content
      unnamed: content.filter((content) => nameOf(content) === "" && content.mediaType !== MediaType.empty)
    }
  }
)
