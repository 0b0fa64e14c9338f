/**
 * Options and policies of a copy.
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
import type { TagRefused } from "./CopyError.ts"
import type { CopyPlan } from "./CopyPlan.ts"
import type { Role } from "./CopyReport.ts"
import type { ContentPath } from "./Ends.ts"

/**
 * The images of an index that are copied.
 *
 * - `all`: all images, and the index.
 * - `Image`: the image for one platform. The destination gets it instead of the index.
 * - `Index`: the images for some platforms, and the index. `index` decides what happens if it lists other platforms:
 *   - `keep`: the index stays as it is, and lists images that the destination lacks. Many registries refuse that.
 *   - `rewrite`: the index is rewritten without the other images. It then has another digest, which the report
 *     contains, and its referrers are not copied.
 *   - `fail`: the copy fails with `SparseIndexRefused`.
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
 * The referrers that are copied: those that have one of the artifact types and all of the annotations. A field that is
 * omitted accepts every referrer.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReferrerFilter {
  readonly artifactTypes?: ReadonlyArray<string> | undefined
  readonly annotations?: Readonly<Record<string, string>> | undefined
}

/**
 * Policies that can differ for each manifest and blob.
 *
 * @category models
 * @since 0.1.0
 */
export interface Policies {
  /**
   * Policy for the referrers of a manifest: signatures, SBOMs, attestations. Default: `copy`.
   *
   * - `copy`: copies the referrers that the source lists. If it does not list them, the report says so.
   * - `require`: copies the referrers, and fails if the source does not list them.
   * - `skip`: copies no referrers, and does not request them.
   */
  readonly referrers: "copy" | "require" | "skip"
  /** Filter for the referrers that are copied. Default: all referrers. */
  readonly referrerFilter: ReferrerFilter
  /**
   * Policy for layers that may not be distributed. Default: `skip`.
   *
   * - `skip`: does not copy them. They stay at their `urls`.
   * - `copy`: copies them from the source, and fails if it does not have one.
   * - `fetch`: copies them from the source, or from their `urls` if it does not have them (see `ExternalBlobs`).
   */
  readonly externalLayers: "skip" | "copy" | "fetch"
  /**
   * Content to look up if the destination already has a manifest. Default: `manifest`, but `children` for an index that
   * is kept with some of its platforms.
   *
   * - `manifest`: nothing, because the manifest is trusted to be complete.
   * - `children`: the manifests that it contains.
   * - `deep`: all manifests and blobs below it.
   */
  readonly trust: "manifest" | "children" | "deep"
}

/**
 * A manifest or blob of a copy, with its role and the manifests above it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ContentNode extends ContentPath {
  readonly role: Role
}

/**
 * A blob or manifest that another manifest refers to. If the size is omitted, or the media type of a manifest, it is
 * looked up at the registry. Registries do not know the media types of blobs; an omitted one is
 * `application/octet-stream`.
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
 * Returns the blobs and manifests that a manifest refers to. If the function throws, or returns a value of another
 * shape, the copy fails with a `ManifestError`.
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
 * Tags that a push is about to set.
 *
 * @category models
 * @since 0.1.0
 */
export interface TagPush {
  readonly registry: Registry
  readonly repository: Repository
  /** Manifest that the tags will point at. */
  readonly digest: Digest
  readonly tags: ReadonlyArray<Tag>
}

/**
 * Options of a copy.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Readonly<{ [Name in keyof Policies]?: Policies[Name] | undefined }> {
  /** Images that are copied from an index. Default: `all`. */
  readonly platforms?: Platforms | undefined
  /** Returns other policies for some of the manifests and blobs. */
  readonly override?: ((node: ContentNode) => Pick<Options, keyof Policies>) | undefined
  /** Tags that the destination gets in addition to that of its reference. */
  readonly tags?: ReadonlyArray<Tag> | undefined
  /**
   * Policy for a tag of the destination that points at another manifest. Default: `replace`.
   *
   * - `replace`: moves the tag.
   * - `keep`: copies nothing.
   * - `fail`: fails with `TagExists`.
   */
  readonly onTagExists?: "replace" | "keep" | "fail" | undefined
  /**
   * Policy for manifests behind tags that are made of the digest of a copied manifest, such as `sha256-<hex>.sig` of
   * cosign. `copy` copies them, and lists the tags of the source for that. Default: `skip`.
   */
  readonly digestTags?: "skip" | "copy" | undefined
  /**
   * Verification after the copy. Default: `none`.
   *
   * - `digest`: the tags point at the copied root.
   * - `children`: also, the destination has every manifest and blob, and lists every referrer.
   * - `deep`: also, the content of every manifest and blob matches its digest. Reads all of it.
   */
  readonly verify?: "none" | "digest" | "children" | "deep" | undefined
  /** Runs before the first push to a repository, for registries where repositories have to be created first. */
  readonly beforePush?:
    | ((destination: {
      readonly registry: Registry
      readonly repository: Repository
    }) => Effect.Effect<void, RegistryError>)
    | undefined
  /**
   * Runs immediately before each push that sets tags, when all other content of the copy is at the destination. If it
   * fails, the copy fails, and sets none of these tags. Content that was pushed by digest stays.
   */
  readonly beforeTag?: ((push: TagPush) => Effect.Effect<void, TagRefused>) | undefined
  /** Returns the content that a manifest refers to. Default: `Manifest.digests`. */
  readonly manifestDigests?: ManifestDigests | undefined
  /**
   * Copies nothing that is not in this plan, which was made for the same ends with the same options. The content is
   * looked up again: the copy fails with `PlanOutdated` if the source has another root, and does not send content that
   * the destination has got since.
   */
  readonly plan?: CopyPlan | undefined
}

/** Returns the policies for a node. */
export const policiesFor = (options: Options, node: ContentNode): Policies => {
  const own = options.override?.(node)
  return {
    referrers: own?.referrers ?? options.referrers ?? "copy",
    referrerFilter: own?.referrerFilter ?? options.referrerFilter ?? {},
    externalLayers: own?.externalLayers ?? options.externalLayers ?? "skip",
    trust: own?.trust ?? options.trust ?? "manifest"
  }
}

/** Returns true for an index that is kept without some of its images, so that its presence does not imply theirs. */
export const isSparse = ({ platforms }: Options, { mediaType }: Descriptor): boolean =>
  typeof platforms === "object" && platforms._tag === "Index" && platforms.index === "keep" &&
  MediaType.isIndex(mediaType)

/** Returns true if a referrer passes a filter. */
export const isWanted = (filter: ReferrerFilter, { annotations = {}, artifactType }: Descriptor): boolean => {
  const { annotations: wanted = {}, artifactTypes } = filter
  return (artifactTypes === undefined || artifactTypes.some((type) => type === artifactType)) &&
    Object.entries(wanted).every(([key, value]) => annotations[key] === value)
}
