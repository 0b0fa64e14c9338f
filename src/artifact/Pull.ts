/**
 * Pulling of the files of an artifact into a folder.
 *
 * Every name is checked, and compared with the files that exist, before anything is downloaded. Content is written to a
 * draft in the folder, verified, and then gets its name. A pull that fails or is interrupted leaves complete files
 * only.
 */
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Annotations from "../Annotations.ts"
import * as BlobSource from "../BlobSource.ts"
import { Descriptor, inlineContent } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import type * as Namespace from "../Namespace.ts"
import type * as Platform from "../Platform.ts"
import type { Repository } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import * as ArtifactError from "./ArtifactError.ts"
import * as FileName from "./FileName.ts"
import { list, type Listing, type PullError } from "./Listing.ts"
import * as OutputFolder from "./OutputFolder.ts"
import { format } from "./Place.ts"
import { type Event, File, repositoryOf, within } from "./Push.ts"
import * as Unpacking from "./Unpacking.ts"

// ---------------------------------------------------------------------------------------------------------------------
// models
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Options of a pull.
 *
 * @category models
 * @since 0.1.0
 */
export interface PullOptions {
  /** Artifact, by tag or digest. */
  readonly source: Namespace.End
  /** Selects the artifact for a platform from an index. Default: the files of all manifests of an index. */
  readonly platform?: Platform.Platform | undefined
  /** Folder that the files are written to. It is created if it does not exist. */
  readonly directory: string
  /**
   * Policy for a file that exists with other content. Default: `fail`.
   *
   * - `fail`: the pull fails with `FileExists`, before it downloads anything.
   * - `replace`: the file is replaced. A folder is never replaced by a file.
   */
  readonly onFileExists?: OutputFolder.OnFileExists | undefined
  /**
   * Form of folders. Default: `folder`.
   *
   * - `folder`: archives that oras has marked as folders are unpacked.
   * - `archive`: they are written as the archives that they are.
   */
  readonly folders?: "folder" | "archive" | undefined
  /** Maximum number of files that are downloaded at the same time. Default: 4. */
  readonly concurrency?: number | undefined
}

/**
 * Schema of a file that was pulled.
 *
 * @category schemas
 * @since 0.1.0
 */
export const PulledFile = Schema.Struct({
  ...File.fields,
  /** Path of the file or folder. */
  path: Schema.String,
  /** `pulled`: it was written. `present`: it existed with the same content. */
  outcome: Schema.Literals(["pulled", "present"])
})

/**
 * A file that was pulled.
 *
 * @category models
 * @since 0.1.0
 */
export type PulledFile = typeof PulledFile.Type

/**
 * Schema of the report of a pull.
 *
 * @category schemas
 * @since 0.1.0
 */
export const PullReport = Schema.Struct({
  /** Reference of the artifact by its digest. */
  reference: Schema.String,
  /** Manifest of the artifact. */
  descriptor: Descriptor,
  files: Schema.Array(PulledFile),
  /** Content without a name, which was not pulled. */
  unnamed: Schema.Array(Descriptor),
  /** Entries of folders that were left out, because they are neither files nor folders nor links. */
  skipped: Schema.Array(Schema.Struct({ name: Schema.String, entry: Schema.String })),
  /** Size of the content that was downloaded, in bytes. */
  bytes: Schema.Natural
})

/**
 * The report of a pull.
 *
 * @category models
 * @since 0.1.0
 */
export type PullReport = typeof PullReport.Type

type Services = Namespace.Namespace | FileSystem.FileSystem | Path.Path

type Emit = (event: Event<PullReport>) => Effect.Effect<void>

// ---------------------------------------------------------------------------------------------------------------------
// pulling
// ---------------------------------------------------------------------------------------------------------------------

/** A file with the parts of its name. */
interface Wanted extends File {
  readonly parts: FileName.Parts
  /** True if it is the archive of a folder, which is unpacked. */
  readonly isFolder: boolean
}

/** State of a pull. */
interface Job {
  readonly registry: Registry.Registry
  readonly repository: Repository
  readonly root: Descriptor
  readonly folder: OutputFolder.OutputFolder
  readonly onFileExists: OutputFolder.OnFileExists
  readonly emit: Emit
  readonly skipped: Array<PullReport["skipped"][number]>
  bytes: number
}

type Failure = ArtifactError.Reason | Namespace.NamespaceError

/** Checks the names of all files. */
const checkNames = Effect.fnUntraced(function*(
  files: ReadonlyArray<File>,
  folders: PullOptions["folders"]
): Effect.fn.Return<ReadonlyArray<Wanted>, ArtifactError.UnsafeName | ArtifactError.DuplicateName> {
  const wanted = yield* Effect.forEach(
    files,
    Effect.fnUntraced(function*({ descriptor, name }) {
      const isFolder = folders !== "archive" && descriptor.annotations?.[Annotations.orasContentUnpack] === "true"
      const parts = yield* Effect.mapError(
        Effect.fromResult(FileName.portable(name)),
        (problem) => new ArtifactError.UnsafeName({ name, problem })
      )
      if (parts.length === 0 && !isFolder) {
        return yield* new ArtifactError.UnsafeName({ name, problem: "it names the folder itself" })
      }
      return { name, descriptor, parts, isFolder }
    })
  )
  // manifests of an index may contain the same file
  const distinct = Array.from(
    new Map(wanted.map((file) => [`${file.descriptor.digest} ${file.parts.join("/")}`, file])).values()
  )
  const collision = FileName.collision(distinct.map(({ parts }) => parts))
  return collision === undefined ? distinct : yield* new ArtifactError.DuplicateName(collision)
})

/** Returns true if a file exists with its content. Fails if it exists with other content, and may not be replaced. */
const isPresent = Effect.fnUntraced(function*({ folder, onFileExists }: Job, { descriptor, isFolder, parts }: Wanted) {
  if (isFolder) return false
  if (yield* folder.has(parts, descriptor)) return true
  if (onFileExists === "replace" || (yield* folder.stat(parts)) === undefined) return false
  return yield* new ArtifactError.FileExists({ path: folder.path(parts) })
})

// interval between two `Progressed` events of a file
const progressInterval = Duration.millis(100)

/** Reads content, and emits the progress from time to time. */
const contentFrom = Effect.fnUntraced(function*({ emit, registry, repository }: Job, descriptor: Descriptor) {
  const inline = yield* inlineContent(descriptor)
  // verified while it is read
  const { open } = inline === undefined
    ? yield* Registry.blobSource(registry, repository, descriptor)
    : BlobSource.fromBytes(inline)
  let bytes = 0
  let reported = 0
  const report = Effect.suspend(() => {
    if (bytes === reported) return Effect.void
    reported = bytes
    return emit({ _tag: "Progressed", descriptor, bytes })
  })
  yield* Effect.forkScoped(Effect.repeat(report, Schedule.spaced(progressInterval)))
  return Stream.mapArray(open(0), (chunks) => {
    for (const { length } of chunks) bytes += length
    return chunks
  })
})

/** Downloads content to a draft. */
const download = Effect.fnUntraced(function*(job: Job, descriptor: Descriptor) {
  const draft = yield* job.folder.draft
  yield* Effect.scoped(Effect.gen(function*() {
    yield* job.emit({ _tag: "Started", descriptor })
    yield* job.folder.write(draft, yield* contentFrom(job, descriptor))
  }))
  job.bytes += descriptor.size
  return draft
})

/** Moves what was unpacked to its place, into a folder that exists. Nothing is moved if a file may not be replaced. */
const merge = Effect.fnUntraced(function*(
  { folder, onFileExists }: Job,
  { parts }: Wanted,
  entries: ReadonlyArray<Unpacking.Unpacked>,
  draftOf: (entry: Unpacking.Unpacked) => string
) {
  const ready = entries.map((entry) => {
    const draft = draftOf(entry)
    const { target = "" } = entry
    const content: OutputFolder.Ready = entry.type === "Link"
      ? { _tag: "Link", draft, target }
      : { _tag: "File", draft }
    return { type: entry.type, parts: [...parts, ...entry.parts], content }
  })
  for (const { content, parts, type } of ready) {
    const info = yield* folder.stat(parts)
    const isFine = info === undefined ||
      (type === "Directory"
        ? info.type === "Directory"
        : onFileExists === "replace" || (yield* folder.isSame(parts, content)))
    if (!isFine) return yield* new ArtifactError.FileExists({ path: folder.path(parts) })
  }
  let isChanged = false
  for (const { content, parts, type } of ready) {
    if (type === "Directory") yield* folder.makeFolder(parts)
    else isChanged = (yield* folder.place(parts, content)) || isChanged
  }
  return isChanged
})

/** Unpacks the archive of a folder, and moves the folder to its place. Returns false if nothing had to change. */
const placeFolder = Effect.fnUntraced(function*(job: Job, wanted: Wanted, archive: string) {
  const { folder } = job
  const { descriptor, name, parts } = wanted
  const { join } = yield* Path.Path
  const tarDigest = Result.getOrUndefined(Digest.parse(descriptor.annotations?.[Annotations.orasContentDigest] ?? ""))
  const draft = yield* folder.draft
  const { entries, skipped } = yield* Unpacking.unpack({
    name,
    root: parts,
    path: archive,
    size: descriptor.size,
    ...tarDigest === undefined ? {} : { tarDigest }
  }, draft)
  job.skipped.push(...skipped.map((entry) => ({ name, entry })))
  if (parts.length > 0 && (yield* folder.placeFolder(parts, draft))) return true
  yield* folder.makeFolder(parts)
  const isChanged = yield* merge(job, wanted, entries, (entry) => join(draft, ...entry.parts))
  yield* folder.discard(draft)
  return isChanged
}, Effect.scoped)

/** Files that have the same content, and whether each exists already. */
interface Group {
  readonly descriptor: Descriptor
  readonly files: ReadonlyArray<{ readonly file: Wanted; readonly isPresent: boolean }>
}

/** Pulls the files that have the same content. It is downloaded once. */
const pullGroup = Effect.fnUntraced(function*(
  job: Job,
  { descriptor, files }: Group
): Effect.fn.Return<ReadonlyArray<PulledFile>, Failure, Services> {
  const { emit, folder, root } = job
  const isNeeded = files.some(({ isPresent }) => !isPresent)
  const draft = isNeeded ? yield* download(job, descriptor) : ""
  const write = Effect.fnUntraced(function*(file: Wanted) {
    if (file.isFolder) return yield* placeFolder(job, file, draft)
    return yield* folder.place(file.parts, {
      _tag: "File",
      draft: files.length === 1 ? draft : yield* folder.copy(draft)
    })
  })
  const pulled = yield* Effect.forEach(
    files,
    ({ file, isPresent }) =>
      Effect.map(isPresent ? Effect.succeed(false) : write(file), (isWritten): PulledFile => ({
        name: file.name,
        descriptor: file.descriptor,
        path: folder.path(file.parts),
        outcome: isWritten ? "pulled" : "present"
      }))
  )
  if (isNeeded) yield* folder.discard(draft)
  const outcome = isNeeded ? "copied" : "present"
  yield* emit({ _tag: "Settled", entry: { descriptor, role: "blob", path: [root.digest], outcome } })
  return pulled
})

/** Passes the events of registries on, and to the `Observer`. */
const observed = (emit: Emit) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Registry.Observer, (observe) => {
    const record = (event: Registry.RegistryEvent): Effect.Effect<void> => {
      switch (event._tag) {
        case "Requested":
        case "ServedStale":
          return Effect.void
        case "Warning":
          return emit({ _tag: "Warned", registry: event.registry, text: event.text })
        case "Retried":
        case "Paused":
          return emit(event)
      }
    }
    return Effect.provideService(effect, Registry.Observer, (event) => Effect.andThen(record(event), observe(event)))
  })

/** Pulls the files of a listing. */
const pullFiles = Effect.fnUntraced(function*(
  { concurrency = 4, directory, folders, onFileExists = "fail", source }: PullOptions,
  { descriptor: root, files, unnamed }: Listing,
  emit: Emit
): Effect.fn.Return<PullReport, Failure, Services | Scope.Scope> {
  const wanted = yield* checkNames(files, folders)
  const folder = yield* OutputFolder.make(directory, onFileExists)
  const job: Job = { ...yield* repositoryOf(source), root, folder, onFileExists, emit, skipped: [], bytes: 0 }
  // all of them before the first download
  const checked = yield* Effect.forEach(
    wanted,
    (file) => Effect.map(isPresent(job, file), (isPresent) => ({ file, isPresent }))
  )
  const groups = Array.from(
    Map.groupBy(checked, ({ file }) => file.descriptor.digest).values(),
    (files): ReadonlyArray<Group> => files[0] === undefined ? [] : [{ descriptor: files[0].file.descriptor, files }]
  ).flat()
  yield* Effect.forEach(groups, ({ descriptor }) => emit({ _tag: "Planned", descriptor, role: "blob" }))
  const pulled = (yield* Effect.forEach(groups, (group) => pullGroup(job, group), { concurrency })).flat()
  const order = new Map(wanted.map(({ name }, index) => [name, index]))
  return {
    reference: format(yield* within(source, { digest: root.digest })),
    descriptor: root,
    files: pulled.sort((a, b) => (order.get(a.name) ?? 0) - (order.get(b.name) ?? 0)),
    unnamed,
    skipped: job.skipped,
    bytes: job.bytes
  }
})

const isReason = Schema.is(ArtifactError.Reason)

const run = Effect.fnUntraced(
  function*(options: PullOptions, emit: Emit): Effect.fn.Return<PullReport, PullError, Services | Scope.Scope> {
    const { platform, source } = options
    const listing = yield* list(source, platform === undefined ? {} : { platform })
    return yield* Effect.mapError(
      pullFiles(options, listing, emit),
      (error) => isReason(error) ? new ArtifactError.ArtifactError({ reference: format(source), reason: error }) : error
    )
  },
  (effect, _, emit) => Effect.scoped(observed(emit)(effect))
)

/**
 * Pulls the files of an artifact into a folder. Nothing that exists is overwritten unless the options say so, and a
 * file that exists with the same content is not downloaded again.
 *
 * **Details**
 *
 * A name that leads out of the folder, or that some systems read in another way, is refused. Each file is verified
 * before it gets its name. The archive of a folder is unpacked within the limits `EntryLimit` and
 * `Decompressor.UnpackLimits`, and a folder that does not exist yet appears in one step. A single file is on disk
 * before it gets its name; the files in a folder are written to disk when the system does so.
 *
 * **Example** (Pushing a file, and pulling it)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, FileSystem } from "effect"
 * import * as Artifact from "effect-oci/Artifact"
 * import * as BlobSource from "effect-oci/BlobSource"
 * import * as NodeNamespace from "effect-oci/NodeNamespace"
 *
 * const program = Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   const source = BlobSource.fromBytes(new TextEncoder().encode("hello"))
 *   yield* Artifact.push({ destination: "ghcr.io/team/hello:1", files: [{ name: "hello.txt", source }] })
 *   yield* Artifact.pull({ source: "ghcr.io/team/hello:1", directory: "out" })
 *   return yield* fs.readFileString("out/hello.txt")
 * }).pipe(Effect.provide([NodeNamespace.layer, NodeServices.layer]))
 *
 * await Effect.runPromise(program) // => "hello"
 * ```
 *
 * @category pulling
 * @since 0.1.0
 */
export const pull = Effect.fn("Artifact.pull")(
  (options: PullOptions): Effect.Effect<PullReport, PullError, Services> => run(options, () => Effect.void)
)

/**
 * Pulls like {@link pull}, and emits its events. Running the stream runs the pull; interrupting it stops the pull. The
 * last element contains the report.
 *
 * @category pulling
 * @since 0.1.0
 */
export const pullEvents = (options: PullOptions): Stream.Stream<Event<PullReport>, PullError, Services> =>
  Stream.unwrap(Effect.gen(function*() {
    const queue = yield* Queue.unbounded<Event<PullReport>, PullError | Cause.Done>()
    const pulling = run(options, (event) => Queue.offer(queue, event)).pipe(
      Effect.flatMap((report) => Queue.offer(queue, { _tag: "Done", report })),
      Effect.withSpan("Artifact.pull"),
      Effect.onExit((exit) => Exit.isSuccess(exit) ? Queue.end(queue) : Queue.failCause(queue, exit.cause))
    )
    yield* Effect.forkScoped(pulling)
    return Stream.fromQueue(queue)
  }))
