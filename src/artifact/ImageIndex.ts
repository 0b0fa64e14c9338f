/**
 * Image indexes: several manifests under one tag, such as the images of one release for several platforms.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { CopyError } from "../copy/CopyError.ts"
import * as PlatformSearch from "../copy/PlatformSearch.ts"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import * as Namespace from "../Namespace.ts"
import * as Platform from "../Platform.ts"
import type { ManifestBytes } from "../Registry.ts"
import * as ArtifactError from "./ArtifactError.ts"
import { format } from "./Place.ts"
import { parse, repositoryOf, within } from "./Push.ts"

/**
 * A manifest for an index.
 *
 * @category models
 * @since 0.1.0
 */
export interface Member {
  /** The manifest, by tag or digest. If it is in another repository, it is copied with its content. */
  readonly source: Namespace.End
  /** Default: the platform in the config of an image. */
  readonly platform?: Platform.Platform | undefined
  /** Annotations of the descriptor in the index. */
  readonly annotations?: Readonly<Record<string, string>> | undefined
}

/**
 * Manifests of an index, selected by a digest, or by the platform for which they are.
 *
 * @category models
 * @since 0.1.0
 */
export type Selection = { readonly digest: Digest } | { readonly platform: Platform.Platform }

/**
 * Options of a new index.
 *
 * @category models
 * @since 0.1.0
 */
export interface CreateOptions extends Omit<Manifest.IndexOptions, "manifests" | "mediaType"> {
  /** Repository, with the tag of the index, if any. */
  readonly destination: Namespace.End
  /** Manifests of the index, in this order. */
  readonly manifests: ReadonlyArray<Member>
}

/**
 * Options of a change of an index.
 *
 * @category models
 * @since 0.1.0
 */
export interface ChangeOptions {
  /** The index, by tag or digest. The tag moves to the changed index, unless there is a destination. */
  readonly index: Namespace.End
  /** Reference in the same repository that gets the changed index instead. */
  readonly destination?: Namespace.End | undefined
}

/**
 * Errors of operations on an index.
 *
 * @category errors
 * @since 0.1.0
 */
export type ImageIndexError = ArtifactError.ArtifactError | CopyError | Namespace.NamespaceError

type Pushed = Manifest.EncodedManifest<"Index">

const failing = (end: Namespace.End) => (reason: ArtifactError.Reason) =>
  new ArtifactError.ArtifactError({ reference: format(end), reason })

// ---------------------------------------------------------------------------------------------------------------------
// members
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the platform in the config of an image, if it names one. */
const platformOf = Effect.fnUntraced(function*(end: Namespace.End, manifest: Manifest.Manifest) {
  if (manifest._tag !== "Image") return undefined
  const platform = yield* PlatformSearch.platformOf(
    { source: yield* repositoryOf(end), explain: () => (error) => error },
    { descriptor: manifest.content.config, path: [] }
  )
  return platform !== undefined && Platform.isKnown(platform) ? platform : undefined
})

/** Returns the descriptor with which an index lists a manifest. */
const described = Effect.fnUntraced(function*(member: Member, { bytes, descriptor }: ManifestBytes) {
  const { digest, mediaType, size } = descriptor
  const manifest = Result.getOrUndefined(Manifest.decode(mediaType, bytes))
  const platform = member.platform ??
    (manifest === undefined ? undefined : yield* platformOf(member.source, manifest))
  const artifactType = manifest?.content.artifactType
  const listed: Descriptor = {
    mediaType,
    digest,
    size,
    ...member.annotations === undefined || Object.keys(member.annotations).length === 0
      ? {}
      : { annotations: member.annotations },
    ...platform === undefined ? {} : { platform },
    ...artifactType === undefined || artifactType === "" ? {} : { artifactType }
  }
  return listed
})

/** Reads the manifests for an index, and copies those that are in another repository. */
const gather = Effect.fnUntraced(function*(destination: Namespace.End, members: ReadonlyArray<Member>) {
  const namespace = yield* Namespace.Namespace
  const target = yield* within(destination)
  return yield* Effect.forEach(
    members,
    Effect.fnUntraced(function*(member) {
      const found = yield* namespace.getManifest(member.source)
      const source = yield* within(member.source, { digest: found.descriptor.digest })
      if (source.registry !== target.registry || source.repository !== target.repository) {
        yield* namespace.copyManifest({ source, destination: target })
      }
      return yield* described(member, found)
    }),
    { concurrency: 4 }
  )
})

// ---------------------------------------------------------------------------------------------------------------------
// changes
// ---------------------------------------------------------------------------------------------------------------------

/** Changes the content of an index, and pushes it. */
const change = Effect.fnUntraced(function*(
  { destination, index }: ChangeOptions,
  update: (content: Manifest.ImageIndex) => Effect.Effect<Manifest.ImageIndex, ImageIndexError, Namespace.Namespace>
): Effect.fn.Return<Pushed, ImageIndexError, Namespace.Namespace> {
  const namespace = yield* Namespace.Namespace
  const fail = failing(index)
  const { bytes, descriptor: { mediaType } } = yield* namespace.getManifest(index)
  const decoded = yield* Effect.mapError(Effect.fromResult(Manifest.decode(mediaType, bytes)), fail)
  if (decoded._tag !== "Index") {
    const problem = "it is not an image index"
    return yield* fail(new Manifest.ManifestError({ kind: "Malformed", mediaType, problem }))
  }
  const made = yield* Effect.mapError(Manifest.withContent(decoded, yield* update(decoded.content)), fail)
  // without the digest of the reference, which the changed index does not have
  const { tag } = yield* parse(index)
  yield* namespace.pushManifest(destination ?? (yield* within(index, tag === undefined ? {} : { tag })), made)
  return made
})

const selected = (selection: Selection) => ({ digest, platform }: Descriptor): boolean =>
  "digest" in selection
    ? selection.digest === digest
    : platform !== undefined && Platform.matches(selection.platform, platform)

/** Fails if an index lists no manifest of a selection. */
const check = (
  end: Namespace.End,
  { manifests }: Manifest.ImageIndex,
  selection: Selection
): Effect.Effect<void, ArtifactError.ArtifactError> =>
  manifests.some(selected(selection)) ? Effect.void : Effect.fail(
    failing(end)(
      new ArtifactError.NotListed({
        selection: "digest" in selection ? selection.digest : Platform.format(selection.platform),
        available: manifests.map(({ digest, platform }) =>
          "digest" in selection || platform === undefined ? digest : Platform.format(platform)
        )
      })
    )
  )

/** Returns annotations with others added and replaced. A value of `undefined` removes an annotation. */
const annotated = <A extends { readonly annotations?: Readonly<Record<string, string>> | undefined }>(
  self: A,
  changes: Readonly<Record<string, string | undefined>>
): A => {
  const { annotations: before, ...rest } = self
  const entries = Object.entries({ ...before, ...changes }).filter(
    (entry): entry is [string, string] => entry[1] !== undefined
  )
  // the fields other than the annotations are those of the object
  return { ...rest, ...entries.length === 0 ? {} : { annotations: Object.fromEntries(entries) } } as A
}

/**
 * Makes an index of manifests, and pushes it. Manifests in another repository are copied to that of the index first.
 *
 * **Example** (An index of two images)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as ImageIndex from "effect-oci/ImageIndex"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as Resolver from "effect-oci/Resolver"
 * import { Images } from "effect-oci/testing"
 *
 * const program = Effect.gen(function*() {
 *   const registry = yield* MemoryRegistry.make()
 *   const app = Images.repository("app")
 *   yield* Images.pushImage(registry, app, ["layer"], { tags: [Images.tag("amd64")] })
 *   yield* Images.pushImage(registry, app, ["layer"], { architecture: "arm64", tags: [Images.tag("arm64")] })
 *   const { content } = yield* ImageIndex.create({
 *     destination: "mem.local/app:1",
 *     manifests: [{ source: "mem.local/app:amd64" }, { source: "mem.local/app:arm64" }]
 *   }).pipe(Effect.provide(Namespace.layer), Effect.provide(Resolver.layerStatic({ "mem.local": registry })))
 *   return content.manifests.map(({ platform }) => platform?.architecture)
 * })
 *
 * Effect.runSync(program) // => ["amd64", "arm64"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const create = Effect.fn("ImageIndex.create")(
  function*(
    { destination, manifests, ...options }: CreateOptions
  ): Effect.fn.Return<Pushed, ImageIndexError, Namespace.Namespace> {
    const namespace = yield* Namespace.Namespace
    const listed = yield* gather(destination, manifests)
    const made = yield* Effect.mapError(Manifest.index({ ...options, manifests: listed }), failing(destination))
    yield* namespace.pushManifest(destination, made)
    return made
  }
)

/**
 * Adds manifests to an index. One that it lists already, with the same digest, is described again.
 *
 * @category combinators
 * @since 0.1.0
 */
export const add = Effect.fn("ImageIndex.add")(
  (
    options: ChangeOptions & { readonly manifests: ReadonlyArray<Member> }
  ): Effect.Effect<Pushed, ImageIndexError, Namespace.Namespace> =>
    change(
      options,
      Effect.fnUntraced(function*(content) {
        const added = new Map(
          (yield* gather(options.index, options.manifests)).map((member) => [member.digest, member])
        )
        const kept = content.manifests.map((member) => {
          const again = added.get(member.digest)
          added.delete(member.digest)
          return again ?? member
        })
        return { ...content, manifests: [...kept, ...added.values()] }
      })
    )
)

/**
 * Removes manifests from an index. The manifests themselves remain in the registry. Fails with `NotListed` if the index
 * does not list one of them.
 *
 * @category combinators
 * @since 0.1.0
 */
export const remove = Effect.fn("ImageIndex.remove")(
  (
    options: ChangeOptions & { readonly manifests: ReadonlyArray<Selection> }
  ): Effect.Effect<Pushed, ImageIndexError, Namespace.Namespace> =>
    change(
      options,
      Effect.fnUntraced(function*(content) {
        yield* Effect.forEach(options.manifests, (selection) => check(options.index, content, selection))
        const isRemoved = (member: Descriptor) => options.manifests.some((selection) => selected(selection)(member))
        return { ...content, manifests: content.manifests.filter((member) => !isRemoved(member)) }
      })
    )
)

/**
 * Changes the annotations of an index, or of some of the manifests that it lists. A value of `undefined` removes an
 * annotation. Fails with `NotListed` if the index does not list one of the manifests.
 *
 * @category combinators
 * @since 0.1.0
 */
export const annotate = Effect.fn("ImageIndex.annotate")(
  (
    options: ChangeOptions & {
      readonly annotations: Readonly<Record<string, string | undefined>>
      /** Manifests to annotate in the index. Default: the index itself is annotated. */
      readonly manifests?: ReadonlyArray<Selection> | undefined
    }
  ): Effect.Effect<Pushed, ImageIndexError, Namespace.Namespace> =>
    change(
      options,
      Effect.fnUntraced(function*(content) {
        const { annotations, manifests } = options
        if (manifests === undefined) return annotated(content, annotations)
        yield* Effect.forEach(manifests, (selection) => check(options.index, content, selection))
        return {
          ...content,
          manifests: content.manifests.map((member) =>
            manifests.some((selection) => selected(selection)(member)) ? annotated(member, annotations) : member
          )
        }
      })
    )
)
