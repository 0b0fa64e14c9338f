/**
 * Pushing of files as an artifact: the content is packed, and then copied from a registry that consists of it. So the
 * destination is asked for each blob first, and transfers resume, as in any copy.
 */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Copy from "../copy/Copy.ts"
import type { CopyError } from "../copy/CopyError.ts"
import type { CopyEvent } from "../copy/CopyEvent.ts"
import type { CopyReport } from "../copy/CopyReport.ts"
import { Descriptor } from "../Descriptor.ts"
import { Digest } from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import * as Namespace from "../Namespace.ts"
import type * as Platform from "../Platform.ts"
import * as Reference from "../Reference.ts"
import { Storage } from "../RegistryError.ts"
import * as ArtifactError from "./ArtifactError.ts"
import type * as FolderArchive from "./FolderArchive.ts"
import * as Packing from "./Packing.ts"
import { format } from "./Place.ts"

interface Common<E> {
  /** Content of the artifact, in this order. Default: none. */
  readonly files?: ReadonlyArray<Packing.Content<E>> | undefined
  /** Default: the empty JSON object. */
  readonly config?: Packing.Content<E> | undefined
  /** Annotations of the manifest. */
  readonly annotations?: Readonly<Record<string, string>> | undefined
  /** Time for the annotation `org.opencontainers.image.created`. Default: no such annotation. */
  readonly created?: DateTime.DateTime | undefined
  /**
   * Metadata of the files in folders. Default: `fixed`.
   *
   * - `fixed`: no owner and no time, and permissions that depend only on whether the owner may execute the file, so
   *   that equal folders have equal archives.
   * - `kept`: the owner, the time of modification, and all permissions.
   */
  readonly metadata?: FolderArchive.Metadata | undefined
}

/**
 * Options of a push.
 *
 * @category models
 * @since 0.1.0
 */
export interface PushOptions<E = never> extends Common<E>, Pick<Copy.Options, "tags" | "onTagExists" | "verify"> {
  /** Repository, with the tag of the artifact, if any. */
  readonly destination: Namespace.End
  /** Default: `application/vnd.unknown.artifact.v1`, unless there is a config. */
  readonly artifactType?: string | undefined
}

/**
 * Options of an attachment.
 *
 * @category models
 * @since 0.1.0
 */
export interface AttachOptions<E = never> extends Common<E> {
  /** Manifest that the artifact refers to, by tag or digest. The artifact is pushed to its repository. */
  readonly subject: Namespace.End
  /** Selects the image for a platform from an index as the subject. */
  readonly platform?: Platform.Platform | undefined
  readonly artifactType: string
}

/**
 * Schema of a file of an artifact.
 *
 * @category schemas
 * @since 0.1.0
 */
export const File = Schema.Struct({
  /** Name of the file or folder in the artifact. */
  name: Schema.String,
  descriptor: Descriptor
})

/**
 * A file of an artifact.
 *
 * @category models
 * @since 0.1.0
 */
export type File = typeof File.Type

/**
 * Schema of the report of a push.
 *
 * @category schemas
 * @since 0.1.0
 */
export const PushReport = Schema.Struct({
  /** Reference of the artifact by its digest. */
  reference: Schema.String,
  /** Manifest of the artifact. */
  descriptor: Descriptor,
  /** Manifest that the artifact refers to. */
  subject: Schema.optionalKey(Schema.Struct({ mediaType: Schema.String, digest: Digest, size: Schema.Natural })),
  files: Schema.Array(File),
  /** Size of the content that was sent, in bytes. */
  bytes: Schema.Natural,
  /** Number of requests of the transfer. */
  requests: Schema.Natural,
  /** Distinct warnings of the registry. At most 100. */
  warnings: Schema.Array(Schema.String)
})

/**
 * The report of a push.
 *
 * @category models
 * @since 0.1.0
 */
export type PushReport = typeof PushReport.Type

/**
 * Events of a push or of a pull: those of a copy, and `Done` with another report.
 *
 * @category models
 * @since 0.1.0
 */
export type Event<Report> =
  | Exclude<CopyEvent, { readonly _tag: "Done" }>
  | { readonly _tag: "Done"; readonly report: Report }

/**
 * Errors of a push.
 *
 * @category errors
 * @since 0.1.0
 */
export type PushError = ArtifactError.ArtifactError | CopyError | Namespace.NamespaceError

type Services = Namespace.Namespace | FileSystem.FileSystem | Path.Path

/** An end that is not a string. */
export type Parsed = Exclude<Namespace.End, string>

/** Parses an end. */
export const parse = (end: Namespace.End): Effect.Effect<Parsed, Reference.InvalidReference> =>
  Effect.fromResult(typeof end === "string" ? Reference.parse(end) : Result.succeed(end))

/** Returns the registry and the repository of an end. */
export const repositoryOf = Effect.fnUntraced(function*(end: Namespace.End) {
  const namespace = yield* Namespace.Namespace
  const { registry, repository } = yield* parse(end)
  return { registry: typeof registry === "string" ? yield* namespace.registry(registry) : registry, repository }
})

/** The part of a reference after the repository. */
interface Part {
  readonly tag?: Reference.Tag | undefined
  readonly digest?: Digest | undefined
}

const given = ({ digest, tag }: Part) => ({
  ...tag === undefined ? {} : { tag },
  ...digest === undefined ? {} : { digest }
})

/** Returns the same repository with another tag or digest, or with none. */
const withPart = ({ registry, repository }: Parsed, part: Part): Parsed =>
  typeof registry === "string"
    ? new Reference.Reference({ registry, repository, ...given(part) })
    : { registry, repository, ...part }

/** Parses an end, and returns the same repository with another tag or digest, or with none. */
export const within = (end: Namespace.End, part: Part = {}): Effect.Effect<Parsed, Reference.InvalidReference> =>
  Effect.map(parse(end), (parsed) => withPart(parsed, part))

/** An artifact that is ready to be copied. */
interface Prepared<E> {
  readonly options: Namespace.CopyOptions
  readonly report: (report: CopyReport) => PushReport
  /** Converts the error of a copy. */
  readonly explain: (error: CopyError) => PushError | E
}

/** Packs the content of an artifact, and makes its manifest. Temporary files are removed with the scope. */
const prepare = Effect.fnUntraced(function*<E>(
  options: Common<E> & Pick<PushOptions, "artifactType" | "destination" | "onTagExists" | "tags" | "verify">,
  subject?: Descriptor
): Effect.fn.Return<Prepared<E>, PushError | E, Services | Scope.Scope> {
  const { annotations, artifactType, created, destination, metadata = "fixed" } = options
  const parsed = yield* parse(destination)
  const reference = format(destination)
  const fail = (reason: ArtifactError.Reason) => new ArtifactError.ArtifactError({ reference, reason })
  const pack = (content: Packing.Content<E>) =>
    Effect.mapError(Packing.pack(content, metadata), (error) => isReason(error) ? fail(error) : error)
  const files = yield* Effect.forEach(options.files ?? [], pack)
  yield* Effect.mapError(Packing.checkNames(files), fail)
  const config = options.config === undefined ? undefined : yield* pack({ mediaType: unknownConfig, ...options.config })
  const manifest = yield* Effect.mapError(
    Manifest.artifact({
      layers: files.map(({ descriptor }) => descriptor),
      ...config === undefined ? {} : { config: configOf(config.descriptor, options.config?.annotations) },
      ...artifactType === undefined ? {} : { artifactType },
      ...subject === undefined ? {} : { subject },
      ...annotations === undefined ? {} : { annotations },
      ...created === undefined ? {} : { created }
    }),
    fail
  )
  let failure: { readonly error: E | Storage } | undefined
  const { onTagExists, tags, verify } = options
  const registry = Packing.registry(manifest, config === undefined ? files : [config, ...files], (error) => {
    failure = { error }
  })
  return {
    options: {
      source: { registry, repository: Packing.repository, digest: manifest.digest },
      destination,
      referrers: "skip",
      externalLayers: "copy",
      ...tags === undefined ? {} : { tags },
      ...onTagExists === undefined ? {} : { onTagExists },
      ...verify === undefined ? {} : { verify }
    },
    report: ({ bytes, requests, root, warnings }) => ({
      reference: format(withPart(parsed, { digest: root.digest })),
      // a tag that is kept may point at another manifest
      descriptor: root.digest === manifest.digest ? manifest.descriptor : root,
      ...subject === undefined ? {} : {
        subject: { mediaType: subject.mediaType, digest: subject.digest, size: subject.size }
      },
      files: files.flatMap(({ descriptor, name }) => name === undefined ? [] : [{ name, descriptor }]),
      bytes,
      requests,
      warnings
    }),
    explain: (error) => {
      if (failure !== undefined) return failure.error instanceof Storage ? fail(failure.error) : failure.error
      const { reason } = error
      if (error.end !== "source" || reason._tag !== "DigestMismatch" && reason._tag !== "SizeMismatch") return error
      const changed = files.find(({ descriptor }) => descriptor.digest === error.descriptor?.digest)
      return fail(new Storage({ path: changed?.name ?? "config", problem: "it changed while it was sent" }))
    }
  }
})

/** Default media type of a config, as oras has it. */
const unknownConfig = "application/vnd.unknown.config.v1+json"

/** Returns the descriptor of a config, which has no title. */
const configOf = ({ digest, mediaType, size }: Descriptor, annotations: Common<never>["annotations"] = {}) => ({
  mediaType,
  digest,
  size,
  ...Object.keys(annotations).length === 0 ? {} : { annotations }
})

const isReason = Schema.is(ArtifactError.Reason)

/** Runs the copy of a prepared artifact. */
const run = Effect.fnUntraced(function*<E>(
  preparing: Effect.Effect<Prepared<E>, PushError | E, Services | Scope.Scope>
): Effect.fn.Return<PushReport, PushError | E, Services> {
  return yield* Effect.scoped(Effect.gen(function*() {
    const namespace = yield* Namespace.Namespace
    const { explain, options, report } = yield* preparing
    return report(yield* Effect.mapError(namespace.copyManifest(options), explain))
  }))
})

/** Runs the copy of a prepared artifact, and emits its events. */
const runEvents = <E>(
  preparing: Effect.Effect<Prepared<E>, PushError | E, Services | Scope.Scope>
): Stream.Stream<Event<PushReport>, PushError | E, Services> =>
  Stream.unwrap(Effect.gen(function*() {
    const namespace = yield* Namespace.Namespace
    const { explain, options, report } = yield* preparing
    return namespace.copyEvents(options).pipe(
      Stream.map((event): Event<PushReport> =>
        event._tag === "Done" ? { _tag: "Done", report: report(event.report) } : event
      ),
      Stream.mapError(explain)
    )
  }))

/** Resolves the subject of an attachment, and packs its content. */
const prepareAttachment = Effect.fnUntraced(function*<E>({ platform, subject, ...options }: AttachOptions<E>) {
  const namespace = yield* Namespace.Namespace
  const { bytes, descriptor } = yield* namespace.getManifest(subject, platform === undefined ? {} : { platform })
  const reference = format(subject)
  const { mediaType } = descriptor
  // a manifest of an unknown type may be a subject as well, if it is a document
  if (!Manifest.isDocument(bytes)) {
    const reason = new Manifest.ManifestError({ kind: "Malformed", mediaType, problem: "not a JSON object" })
    return yield* new ArtifactError.ArtifactError({ reference, reason })
  }
  return yield* prepare({ ...options, destination: yield* within(subject) }, descriptor)
})

/**
 * Pushes files, folders and bytes as an artifact. A folder becomes a compressed tar archive, with the annotations that
 * oras uses for it. Content that the destination has is not sent again.
 *
 * **Example** (Pushing a file and bytes)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, FileSystem, Layer } from "effect"
 * import * as Artifact from "effect-oci/Artifact"
 * import * as BlobSource from "effect-oci/BlobSource"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as Resolver from "effect-oci/Resolver"
 *
 * const program = Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   yield* fs.writeFileString("settings.json", "{}")
 *   const report = yield* Artifact.push({
 *     destination: "mem.local/team/config:1",
 *     artifactType: "application/vnd.example.config",
 *     files: [
 *       { path: "settings.json", mediaType: "application/json" },
 *       { name: "note.txt", source: BlobSource.fromBytes(new TextEncoder().encode("a note")) }
 *     ]
 *   })
 *   return report.files.map(({ descriptor, name }) => [name, descriptor.size])
 * })
 *
 * const registries = Layer.unwrap(
 *   Effect.map(MemoryRegistry.make(), (registry) => Resolver.layerStatic({ "mem.local": registry }))
 * )
 * const layer = Layer.merge(Namespace.layer.pipe(Layer.provide(registries)), NodeServices.layer)
 *
 * await Effect.runPromise(Effect.provide(program, layer)) // => [["settings.json", 2], ["note.txt", 6]]
 * ```
 *
 * @category pushing
 * @since 0.1.0
 */
export const push = Effect.fn("Artifact.push")(
  <E = never>(options: PushOptions<E>): Effect.Effect<PushReport, PushError | E, Services> => run(prepare(options))
)

/**
 * Pushes like {@link push}, and emits the events of the copy. Its last element contains the report.
 *
 * @category pushing
 * @since 0.1.0
 */
export const pushEvents = <E = never>(
  options: PushOptions<E>
): Stream.Stream<Event<PushReport>, PushError | E, Services> => runEvents(prepare(options))

/**
 * Pushes an artifact that refers to a manifest of the same repository, such as an SBOM of an image. Fails if the
 * registry does not have that manifest.
 *
 * **Example** (Attaching a result without a file)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import * as Artifact from "effect-oci/Artifact"
 * import * as NodeNamespace from "effect-oci/NodeNamespace"
 *
 * const program = Artifact.attach({
 *   subject: "ghcr.io/team/app:1",
 *   platform: { os: "linux", architecture: "arm64" },
 *   artifactType: "application/vnd.example.scan",
 *   annotations: { "org.example.result": "passed" }
 * }).pipe(Effect.provide([NodeNamespace.layer, NodeServices.layer]))
 *
 * const { descriptor } = await Effect.runPromise(program)
 * descriptor.artifactType // => "application/vnd.example.scan"
 * ```
 *
 * @category pushing
 * @since 0.1.0
 */
export const attach = Effect.fn("Artifact.attach")(
  <E = never>(options: AttachOptions<E>): Effect.Effect<PushReport, PushError | E, Services> =>
    run(prepareAttachment(options))
)

/**
 * Attaches like {@link attach}, and emits the events of the copy. Its last element contains the report.
 *
 * @category pushing
 * @since 0.1.0
 */
export const attachEvents = <E = never>(
  options: AttachOptions<E>
): Stream.Stream<Event<PushReport>, PushError | E, Services> => runEvents(prepareAttachment(options))
