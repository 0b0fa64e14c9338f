/**
 * What a copy is asked for.
 */
import type * as Effect from "effect/Effect"
import type * as Result from "effect/Result"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import type * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Platform } from "../Platform.ts"
import type { Repository, Tag } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"
import type { CopyPlan } from "./CopyPlan.ts"
import type { Role } from "./CopyReport.ts"
import type { ContentPath } from "./Ends.ts"

/**
 * Which of the images of an index are copied: all; the image for one platform, which the destination then gets instead of
 * the index; or those for some platforms, within the index. That index then lists images that are not there (`keep`), which
 * many registries refuse; or is written anew without them (`rewrite`), and is another by that: it has another digest,
 * which the report tells, and what refers to it stays behind; or must list no others (`fail`).
 *
 * @category models
 * @since 0.1.0
 */
export type Platforms =
  | "all"
  | { readonly _tag: "Image"; readonly platform: Platform }
  | {
    readonly _tag: "Index"
    readonly platforms: ReadonlyArray<Platform>
    readonly index: "keep" | "rewrite" | "fail"
  }

/**
 * Which referrers are copied: those of one of these artifact types, where any are given, that have all of these
 * annotations, where any are given.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReferrerFilter {
  readonly artifactTypes?: ReadonlyArray<string>
  readonly annotations?: Readonly<Record<string, string>>
}

/**
 * What can be decided for each manifest and blob by itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface Policies {
  /**
   * What to do with the referrers of a manifest: signatures, SBOMs, attestations. `copy` copies those that the source
   * lists; if it does not list them, the report says so. `require` fails then. `skip` asks for none. Default: `copy`.
   */
  readonly referrers: "copy" | "require" | "skip"
  /** Which of the referrers are copied. Default: all. */
  readonly referrerFilter: ReferrerFilter
  /**
   * Layers that may not be distributed. `skip` leaves them where they are, which their `urls` say. `copy` copies them
   * from the source, and fails if it does not have one. `fetch` does the same, and gets what the source does not have
   * from the `urls`: see `ExternalBlobs`. Default: `skip`.
   */
  readonly externalLayers: "skip" | "copy" | "fetch"
  /**
   * What it means that the destination has a manifest. `manifest`: it is complete. `children`: so are its children,
   * if they are there too. `deep`: it is complete when every child and every blob is there. `manifest` unless given; of an
   * index that is kept with some of its platforms, at least `children`.
   */
  readonly trust: "manifest" | "children" | "deep"
}

/**
 * A manifest or blob about to be dealt with.
 *
 * @category models
 * @since 0.1.0
 */
export interface ContentNode extends ContentPath {
  readonly role: Role
}

/**
 * A blob or manifest that another manifest refers to. A size or media type that is left out is looked up at the
 * registry. A registry knows no media types of blobs: those that are left out are `application/octet-stream`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Referenced {
  readonly digest: Digest
  readonly mediaType?: string | undefined
  readonly size?: number | undefined
}

/**
 * Returns what a manifest refers to. An exception, or an answer of another shape, is a `ManifestError` of the copy.
 *
 * @category models
 * @since 0.1.0
 */
export type ManifestDigests = (
  mediaType: string,
  bytes: Uint8Array
) => Result.Result<
  { readonly blobs: ReadonlyArray<Referenced>; readonly manifests: ReadonlyArray<Referenced> },
  Manifest.ManifestError
>

/**
 * What a copy is asked for, besides from where to where.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Partial<Policies> {
  /** `all` unless given. */
  readonly platforms?: Platforms
  /** Other policies for some of the manifests and blobs. */
  readonly override?: (node: ContentNode) => Partial<Policies>
  /** Further tags that the destination gets, besides the one that its reference names. */
  readonly tags?: ReadonlyArray<Tag>
  /**
   * What to do where the destination has one of the tags, and it points elsewhere: move it; copy nothing; or fail, with
   * `TagExists`. `replace` unless given.
   */
  readonly onTagExists?: "replace" | "keep" | "fail"
  /**
   * Content behind tags that are made of a manifest's digest, such as `sha256-<hex>.sig`, as cosign makes them: `copy`
   * copies it, for one list of the source's tags. `skip` unless given.
   */
  readonly digestTags?: "skip" | "copy"
  /**
   * What to make sure of afterwards: that the tags point at what was copied; that each manifest and blob is there, and each
   * referrer is listed; that each of them is what its digest says, by reading it all. `none` unless given.
   */
  readonly verify?: "none" | "digest" | "children" | "deep"
  /** Runs before the first push to a repository, for registries where it has to be created first. */
  readonly beforePush?: (place: {
    readonly registry: Registry
    readonly repository: Repository
  }) => Effect.Effect<void, RegistryError>
  /** What a manifest refers to. `Manifest.digests` unless given. */
  readonly manifestDigests?: ManifestDigests
  /**
   * Copy no more than this plan has, which was made for the same ends with the same options. What it was made from is
   * looked up again: another root is `PlanOutdated`, and what has come to the destination meanwhile is not sent.
   */
  readonly plan?: CopyPlan
}

/** The policies for a node. */
export const policiesFor = (options: Options, node: ContentNode): Policies => {
  const { externalLayers = "skip", referrerFilter = {}, referrers = "copy", trust = "manifest" } = options
  return { referrers, referrerFilter, externalLayers, trust, ...options.override?.(node) }
}

/** Is it an index that is to be kept though not all that it lists is copied, so that its being there says nothing of that? */
export const isSparse = ({ platforms }: Options, { mediaType }: Descriptor): boolean =>
  typeof platforms === "object" && platforms._tag === "Index" && platforms.index === "keep" &&
  MediaType.isIndex(mediaType)

/** Is this one of the referrers that are wanted? */
export const isWanted = (filter: ReferrerFilter, { annotations = {}, artifactType }: Descriptor): boolean => {
  const { annotations: wanted = {}, artifactTypes } = filter
  return (artifactTypes === undefined || artifactTypes.some((type) => type === artifactType)) &&
    Object.entries(wanted).every(([key, value]) => annotations[key] === value)
}
