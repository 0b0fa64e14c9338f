/**
 * Images made of others: with further layers, with changes of the config, or on another base. Nothing is built or run.
 *
 * {@link edit} adds layers and changes the config, the platform and the annotations. {@link rebase} exchanges the base
 * of an image. Layers of bases are mounted if source and destination are on the same registry, and copied otherwise. An
 * index is changed as a whole, or one image of it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Annotations from "../Annotations.ts"
import type * as Copy from "../copy/Copy.ts"
import type { CopyError } from "../copy/CopyError.ts"
import type { CopyEvent } from "../copy/CopyEvent.ts"
import type { CopyReport } from "../copy/CopyReport.ts"
import * as Descriptor from "../Descriptor.ts"
import * as Config from "../ImageConfig.ts"
import * as Manifest from "../Manifest.ts"
import { toBytes } from "../ManifestEncoding.ts"
import * as MediaType from "../MediaType.ts"
import * as Namespace from "../Namespace.ts"
import * as Platform from "../Platform.ts"
import * as Reference from "../Reference.ts"
import * as ConfigChanges from "./ConfigChanges.ts"
import * as Drafts from "./Drafts.ts"
import * as Image from "./Image.ts"
import { ImageError, InvalidConfig, NotAnImage, NotBasedOn, type Reason } from "./ImageError.ts"
import * as NewLayers from "./NewLayers.ts"
import * as Place from "./Place.ts"

export {
  /** @since 0.1.0 */
  type Changes
} from "./ConfigChanges.ts"

export {
  /** @since 0.1.0 */
  type NewLayer
} from "./NewLayers.ts"

/**
 * Options that {@link edit} and {@link rebase} have in common.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Pick<Copy.Options, "onTagExists" | "tags" | "verify"> {
  /** Reference that the new image gets. Without a tag, it is pushed by its digest only. */
  readonly destination: Namespace.End
  /**
   * Selects one image of an index; the result is an image. Default: all images of an index; the result is an index.
   * Attestations of BuildKit are left out of it, because they describe the images that were changed.
   */
  readonly platform?: Platform.Platform | undefined
}

/**
 * Options of {@link edit}.
 *
 * @category models
 * @since 0.1.0
 */
export interface EditOptions extends Options {
  /** Image or index that is changed. Default: an image without layers. */
  readonly source?: Namespace.End | undefined
  /** Layers that are added on top, the lowest first. */
  readonly layers?: ReadonlyArray<NewLayers.NewLayer> | undefined
  /** Changes of the config. */
  readonly config?: ConfigChanges.Changes | undefined
  /** Annotations of the image, and of the index if it is one. `undefined` removes an annotation. */
  readonly annotations?: Readonly<Record<string, string | undefined>> | undefined
  /**
   * Policy for the annotations with name and digest of the base, which {@link rebase} uses. Default: `keep`. Manifests
   * of Docker have no annotations, so that `set` does nothing for them.
   */
  readonly baseAnnotations?: "set" | "keep" | undefined
}

/**
 * Options of {@link rebase}.
 *
 * @category models
 * @since 0.1.0
 */
export interface RebaseOptions extends Options {
  /** Image or index that gets another base. */
  readonly source: Namespace.End
  /** Current base. Default: that of the annotations of the image, by its digest. */
  readonly oldBase?: Namespace.End | undefined
  /** New base. Default: that of the annotations of the image, by its name. */
  readonly newBase?: Namespace.End | undefined
}

/**
 * Errors of changing images.
 *
 * @category errors
 * @since 0.1.0
 */
export type EditError = ImageError | CopyError | Namespace.NamespaceError

type Services = Namespace.Namespace | FileSystem.FileSystem | Path.Path

type Fail = (reason: Reason) => ImageError

const failing = (end: Namespace.End): Fail => {
  const reference = Place.format(end)
  return (reason) => new ImageError({ reference, reason })
}

// ---------------------------------------------------------------------------------------------------------------------
// one image
// ---------------------------------------------------------------------------------------------------------------------

/** The parts of an image that is made. */
interface Parts {
  readonly manifest: Manifest.ImageManifest
  readonly mediaType: string
  readonly config: Uint8Array
  readonly layers: ReadonlyArray<Drafts.Layer>
}

/** Assembles an image. */
const assemble = Effect.fnUntraced(function*({ config, layers, manifest, mediaType }: Parts, fail: Fail) {
  const described = yield* Effect.mapError(
    Descriptor.fromBytes(config, { mediaType: manifest.config.mediaType }),
    fail
  )
  const bytes = toBytes({ ...manifest, config: described, layers: layers.map(({ descriptor }) => descriptor) })
  const draft: Drafts.Draft = {
    mediaType,
    bytes,
    descriptor: yield* Effect.mapError(Descriptor.fromBytes(bytes, { mediaType }), fail),
    layers: [Drafts.ofBytes(described, config), ...layers],
    children: []
  }
  return draft
})

const baseLayers = ({ layers, source }: Image.Image): ReadonlyArray<Drafts.Layer> =>
  layers.map(({ descriptor }) => ({ _tag: "Base", descriptor, place: source }))

/** Returns the `diff_id`s of an image. Fails if their number is not that of the layers. */
const diffIdsOf = Effect.fnUntraced(function*({ config, layers, manifest }: Image.Image, fail: Fail) {
  const diffIds = config.rootfs?.diff_ids ?? []
  if (diffIds.length === layers.length) return diffIds
  const problem = `it describes ${diffIds.length} layers, and the manifest has ${layers.length}`
  return yield* fail(new InvalidConfig({ digest: manifest.config.digest, problem }))
})

/** Returns true if the history has an entry for each layer. */
const hasHistory = ({ config, layers }: Image.Image): boolean => Config.layerHistory(config).length === layers.length

const withAnnotations = (
  manifest: Manifest.ImageManifest,
  changes: Readonly<Record<string, string | undefined>>
): Manifest.ImageManifest => {
  const annotations = Object.entries({ ...manifest.annotations, ...changes })
    .flatMap(([key, value]) => value === undefined ? [] : [[key, value] as const])
  const { annotations: _, ...rest } = manifest
  return annotations.length === 0 ? rest : { ...rest, annotations: Object.fromEntries(annotations) }
}

/** Makes an image with further layers and changes. */
const editImage = Effect.fnUntraced(function*(image: Image.Image, options: EditOptions, fail: Fail) {
  const { annotations = {}, baseAnnotations = "keep", config = {}, layers = [], source } = options
  const { mediaType } = image.descriptor
  const kind = mediaType === MediaType.dockerManifest ? "docker" : "oci"
  const packed = yield* Effect.forEach(layers, (layer) => Effect.mapError(NewLayers.pack(layer, kind), fail))
  const created = config.created === undefined ? {} : { created: ConfigChanges.formatTime(config.created) }
  const history = packed.map(({ name }): Config.History => ({ ...created, created_by: `effect-oci append ${name}` }))
  const stack = {
    diffIds: [...yield* diffIdsOf(image, fail), ...packed.map(({ diffId }) => diffId)],
    ...history.length > 0 && hasHistory(image) ? { history: [...image.config.history ?? [], ...history] } : {}
  }
  const bytes = yield* Effect.mapError(
    Effect.fromResult(ConfigChanges.apply(image.configBytes, config, stack)),
    (problem) => fail(new InvalidConfig({ digest: image.manifest.config.digest, problem }))
  )
  const base = baseAnnotations === "set" && kind === "oci" && source !== undefined
    ? { [Annotations.baseName]: nameOf(source), [Annotations.baseDigest]: image.descriptor.digest }
    : {}
  return yield* assemble({
    manifest: withAnnotations(image.manifest, { ...base, ...annotations }),
    mediaType,
    config: bytes,
    layers: [
      ...baseLayers(image),
      ...packed.map(({ descriptor, source }): Drafts.Layer => ({ _tag: "New", descriptor, source }))
    ]
  }, fail)
})

/** Returns the name of a base without its digest, as the annotation has it. */
const nameOf = (end: Namespace.End): string => Place.format(end).replace(/@[a-z0-9]+:[0-9a-f]+$/, "")

/** Returns an image without layers. */
const scratch = Effect.fnUntraced(function*(destination: Place.Place, platform: Platform.Platform) {
  const config = new TextEncoder().encode(JSON.stringify({
    architecture: platform.architecture,
    os: platform.os,
    ...platform.variant === undefined ? {} : { variant: platform.variant },
    rootfs: { type: "layers", diff_ids: [] }
  }))
  const described = yield* Descriptor.fromBytes(config, { mediaType: MediaType.imageConfig })
  const manifest = { schemaVersion: 2, mediaType: MediaType.imageManifest, config: described, layers: [] }
  const image: Image.Image = {
    descriptor: yield* Descriptor.fromBytes(toBytes(manifest), { mediaType: MediaType.imageManifest }),
    manifest,
    config: Result.getOrElse(Config.decode(config), () => ({})),
    configBytes: config,
    layers: [],
    source: { registry: destination.registry, repository: destination.repository, reference: "scratch" }
  }
  return image
})

// ---------------------------------------------------------------------------------------------------------------------
// all images of an index
// ---------------------------------------------------------------------------------------------------------------------

/** Returns true for an attestation of BuildKit, which describes another manifest of the index. */
const isAttestation = ({ annotations, platform }: Descriptor.Descriptor): boolean =>
  annotations?.["vnd.docker.reference.digest"] !== undefined || platform !== undefined && !Platform.isKnown(platform)

/** Makes an index of changed images. */
const changeIndex = Effect.fnUntraced(function*<E, R>(
  index: Manifest.Manifest & { readonly _tag: "Index" },
  { annotations = {}, config }: Pick<EditOptions, "annotations" | "config">,
  fail: Fail,
  change: (child: Descriptor.Descriptor) => Effect.Effect<Drafts.Draft, E, R>
) {
  const images = index.content.manifests.filter((child) => !isAttestation(child))
  if (images.length === 0) return yield* fail(new NotAnImage({ problem: "it is an index without images" }))
  const made = yield* Effect.forEach(images, (child) =>
    Effect.map(change(child), (draft) => {
      const { data: _, ...listed } = child
      const { digest, mediaType, size } = draft.descriptor
      const platform = config?.platform === undefined ? {} : { platform: config.platform }
      return { draft, descriptor: { ...listed, mediaType, digest, size, ...platform } }
    }))
  const all = Object.entries({ ...index.content.annotations, ...annotations })
    .flatMap(([key, value]) => value === undefined ? [] : [[key, value] as const])
  const { annotations: _, ...content } = index.content
  const { bytes, descriptor, mediaType } = yield* Effect.mapError(
    Manifest.withContent(index, {
      ...content,
      manifests: made.map(({ descriptor }) => descriptor),
      ...all.length === 0 ? {} : { annotations: Object.fromEntries(all) }
    }),
    fail
  )
  const draft: Drafts.Draft = { mediaType, bytes, descriptor, layers: [], children: made.map(({ draft }) => draft) }
  return draft
})

/** Changes an image, the image of an index for a platform, or all images of an index. */
const changeAll = <E, R>(
  source: Namespace.End,
  platform: Platform.Platform | undefined,
  changes: Pick<EditOptions, "annotations" | "config">,
  change: (image: Image.Image, fail: Fail) => Effect.Effect<Drafts.Draft, E, R>
): Effect.Effect<Drafts.Draft, E | EditError, R | Namespace.Namespace> =>
  Effect.gen(function*() {
    const namespace = yield* Namespace.Namespace
    const fail = failing(source)
    if (platform !== undefined) return yield* change(yield* Image.open(source, { platform }), fail)
    const { bytes, descriptor } = yield* namespace.getManifest(source)
    const manifest = yield* Effect.mapError(
      Effect.fromResult(Manifest.decode(descriptor.mediaType, bytes)),
      fail
    )
    if (manifest._tag !== "Index") return yield* change(yield* Image.open(source), fail)
    const { registry, repository } = yield* Place.resolve(source)
    return yield* changeIndex(manifest, changes, fail, ({ digest }) =>
      Effect.flatMap(Image.open({ registry, repository, digest }), (image) =>
        change(image, fail)))
  })

// ---------------------------------------------------------------------------------------------------------------------
// pushing
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the options of the copy that pushes a draft. */
const copyOptions = Effect.fnUntraced(function*(draft: Drafts.Draft, options: Options) {
  const { destination, onTagExists, tags, verify } = options
  const place = yield* Place.resolve(destination)
  const copy: Namespace.CopyOptions = {
    source: yield* Drafts.sourceOf(draft, place),
    destination: place,
    onTagExists,
    tags,
    verify,
    referrers: "skip"
  }
  return copy
})

type Prepared = Effect.Effect<Namespace.CopyOptions, EditError, Services | Scope.Scope>

const pushed = (prepared: Prepared): Effect.Effect<CopyReport, EditError, Services> =>
  Effect.scoped(Effect.gen(function*() {
    const namespace = yield* Namespace.Namespace
    return yield* namespace.copyManifest(yield* prepared)
  }))

const events = (prepared: Prepared): Stream.Stream<CopyEvent, EditError, Services> =>
  Stream.unwrap(Effect.gen(function*() {
    const namespace = yield* Namespace.Namespace
    return namespace.copyEvents(yield* prepared)
  }))

const prepareEdit = (options: EditOptions): Prepared =>
  Effect.gen(function*() {
    const { config, destination, platform, source } = options
    if (source !== undefined) {
      const draft = yield* changeAll(source, platform, options, (image, fail) => editImage(image, options, fail))
      return yield* copyOptions(draft, options)
    }
    const fail = failing(destination)
    const own = platform ?? config?.platform ?? { os: "linux", architecture: "amd64" }
    const image = yield* Effect.mapError(scratch(yield* Place.resolve(destination), own), fail)
    return yield* copyOptions(yield* editImage(image, options, fail), options)
  })

/**
 * Makes an image from another one, with further layers and changes, and pushes it. Returns the report of the copy,
 * whose `root` is the new image.
 *
 * **Example** (Another label)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import * as Image from "effect-oci/Image"
 * import * as ImageEdit from "effect-oci/ImageEdit"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as Resolver from "effect-oci/Resolver"
 * import { Images } from "effect-oci/testing"
 *
 * const program = Effect.gen(function*() {
 *   const registry = yield* MemoryRegistry.make()
 *   yield* Images.pushImage(registry, Images.repository("app"), [], { tags: [Images.tag("1")] })
 *   const edited = Effect.gen(function*() {
 *     yield* ImageEdit.edit({
 *       source: "registry.test/app:1",
 *       destination: "registry.test/app:2",
 *       config: { labels: { "org.example.team": "a" } }
 *     })
 *     return yield* Image.open("registry.test/app:2")
 *   })
 *   const namespace = Namespace.layer.pipe(Layer.provide(Resolver.layerStatic({ "registry.test": registry })))
 *   return yield* Effect.provide(edited, [namespace, NodeServices.layer])
 * })
 *
 * const image = await Effect.runPromise(program)
 * image.config.config?.Labels // => { "org.example.team": "a" }
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const edit = (options: EditOptions): Effect.Effect<CopyReport, EditError, Services> =>
  Effect.withSpan(pushed(prepareEdit(options)), "ImageEdit.edit")

/**
 * Makes and pushes an image as {@link edit} does, and emits the events of the copy.
 *
 * @category combinators
 * @since 0.1.0
 */
export const editEvents = (options: EditOptions): Stream.Stream<CopyEvent, EditError, Services> =>
  events(prepareEdit(options))

// ---------------------------------------------------------------------------------------------------------------------
// rebasing
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the bases of an image, from the options or its annotations. */
const basesOf = Effect.fnUntraced(function*(image: Image.Image, options: RebaseOptions, fail: Fail) {
  const { [Annotations.baseDigest]: digest, [Annotations.baseName]: name } = image.manifest.annotations ?? {}
  const unknown = (which: string, annotation: string) =>
    fail(new NotBasedOn({ problem: `its ${which} base is unknown, because it has no annotation ${annotation}` }))
  const parse = (text: string) =>
    Effect.mapError(
      Effect.fromResult(Reference.parse(text)),
      ({ message }) => fail(new NotBasedOn({ problem: `its annotation ${Annotations.baseName}: ${message}` }))
    )
  const newBase = options.newBase ??
    (name === undefined ? yield* unknown("new", Annotations.baseName) : yield* parse(name))
  if (options.oldBase !== undefined) return { oldBase: options.oldBase, newBase }
  if (name === undefined) return yield* unknown("old", Annotations.baseName)
  if (digest === undefined) return yield* unknown("old", Annotations.baseDigest)
  const { registry, repository } = yield* parse(name)
  return { oldBase: yield* parse(`${registry}/${repository}@${digest}`), newBase }
})

/** Opens a base for the platform of an image. */
const openBase = (base: Namespace.End, { config: { architecture, os, variant } }: Image.Image) =>
  Effect.catchIf(
    Image.open(base),
    (error) => error._tag === "ImageError" && error.reason._tag === "PlatformRequired",
    () =>
      Image.open(base, {
        platform: {
          os: os ?? "linux",
          architecture: architecture ?? "amd64",
          ...variant === undefined || variant === "" ? {} : { variant }
        }
      })
  )

const rebaseImage = Effect.fnUntraced(function*(image: Image.Image, options: RebaseOptions, fail: Fail) {
  const bases = yield* basesOf(image, options, fail)
  const oldBase = yield* openBase(bases.oldBase, image)
  const newBase = yield* openBase(bases.newBase, image)
  const [own, old, next] = [
    yield* diffIdsOf(image, fail),
    yield* diffIdsOf(oldBase, failing(bases.oldBase)),
    yield* diffIdsOf(newBase, failing(bases.newBase))
  ]
  const other = old.findIndex((diffId, position) => own[position] !== diffId)
  if (other >= 0) {
    const problem = `its layer ${other + 1} is not that of ${Place.format(bases.oldBase)}`
    return yield* fail(new NotBasedOn({ problem }))
  }
  const history = [image, oldBase, newBase].every(hasHistory)
    ? {
      history: [
        ...newBase.config.history ?? [],
        ...(image.config.history ?? []).slice((oldBase.config.history ?? []).length)
      ]
    }
    : {}
  const { architecture, os, variant } = newBase.config
  const platform = architecture === undefined || os === undefined ? undefined : {
    architecture,
    os,
    variant,
    "os.version": newBase.config["os.version"],
    "os.features": newBase.config["os.features"]
  }
  const stack = { diffIds: [...next, ...own.slice(old.length)], ...history }
  const bytes = yield* Effect.mapError(
    Effect.fromResult(ConfigChanges.apply(image.configBytes, { platform }, stack)),
    (problem) => fail(new InvalidConfig({ digest: image.manifest.config.digest, problem }))
  )
  const { mediaType } = image.descriptor
  const annotations = mediaType === MediaType.dockerManifest
    ? {}
    : { [Annotations.baseName]: nameOf(bases.newBase), [Annotations.baseDigest]: newBase.descriptor.digest }
  return yield* assemble({
    manifest: withAnnotations(image.manifest, annotations),
    mediaType,
    config: bytes,
    layers: [...baseLayers(newBase), ...baseLayers(image).slice(old.length)]
  }, fail)
})

const prepareRebase = (options: RebaseOptions): Prepared =>
  Effect.gen(function*() {
    const { platform, source } = options
    const draft = yield* changeAll(source, platform, {}, (image, fail) => rebaseImage(image, options, fail))
    return yield* copyOptions(draft, options)
  })

/**
 * Makes an image whose lowest layers are those of a new base instead of the old one, and pushes it. The config stays
 * that of the image, except for platform, layers and history. Fails with `NotBasedOn` unless the lowest layers are
 * those of the old base.
 *
 * @category combinators
 * @since 0.1.0
 */
export const rebase = (options: RebaseOptions): Effect.Effect<CopyReport, EditError, Services> =>
  Effect.withSpan(pushed(prepareRebase(options)), "ImageEdit.rebase")

/**
 * Rebases and pushes an image as {@link rebase} does, and emits the events of the copy.
 *
 * @category combinators
 * @since 0.1.0
 */
export const rebaseEvents = (options: RebaseOptions): Stream.Stream<CopyEvent, EditError, Services> =>
  events(prepareRebase(options))
