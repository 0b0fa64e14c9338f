/**
 * Validation of everything that a registry has: manifests, configs and layers, read to their last byte.
 *
 * Every blob is compared with its digest and size. Layers are also unpacked, and compared with the `diff_id` that the
 * config says. Nothing is held in memory except manifests and configs. Content that several images share is read once
 * per registry.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { type Descriptor, inlineContent } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as Config from "../ImageConfig.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import * as Namespace from "../Namespace.ts"
import { Repository, type Tag } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import * as Frames from "./Frames.ts"
import * as Layers from "./Layers.ts"
import * as Place from "./Place.ts"

// ---------------------------------------------------------------------------------------------------------------------
// models
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Schema of the kinds of problems.
 *
 * **Details**
 *
 * - `MissingManifest`: a tag, an index or a list of referrers names a manifest that does not exist.
 * - `MissingBlob`: a manifest names a config or a layer that does not exist.
 * - `WrongDigest`, `WrongSize`: the content is not the one that its descriptor describes.
 * - `InvalidManifest`, `InvalidConfig`: it cannot be decoded.
 * - `WrongDiffId`: a layer without its compression is not the one that the config describes.
 * - `NotDecompressible`: a layer cannot be unpacked, or exceeds the limits of `Decompressor.UnpackLimits`.
 * - `LayerCount`: the config describes more or fewer layers than the manifest has.
 * - `Unreadable`: the registry failed to return it, or the list of its referrers.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Kind = Schema.Literals([
  "MissingManifest",
  "MissingBlob",
  "WrongDigest",
  "WrongSize",
  "InvalidManifest",
  "InvalidConfig",
  "WrongDiffId",
  "NotDecompressible",
  "LayerCount",
  "Unreadable"
])

/**
 * The kinds of problems.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind = typeof Kind.Type

/**
 * Schema of a problem.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Problem = Schema.Struct({
  kind: Kind,
  /** Description of the problem. */
  message: Schema.String,
  repository: Repository,
  /** Tag of the root through which the content was found first. */
  tag: Schema.optionalKey(Schema.String),
  /** The content that has the problem. */
  digest: Schema.optionalKey(Digest.Digest),
  mediaType: Schema.optionalKey(Schema.String),
  /** Manifests above the content, from the root down. */
  path: Schema.Array(Digest.Digest)
})

/**
 * A problem.
 *
 * @category models
 * @since 0.1.0
 */
export type Problem = typeof Problem.Type

/**
 * Schema of the report of a validation.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Report = Schema.Struct({
  /** Number of manifests that were read. */
  manifests: Schema.Natural,
  /** Number of blobs that were read. Content that several images share counts once. */
  blobs: Schema.Natural,
  /** Number of bytes of these blobs. */
  bytes: Schema.Natural,
  /** Number of layers that no registry stores, because only their `urls` have them. They are not read. */
  external: Schema.Natural,
  problems: Schema.Array(Problem),
  /** True if there were more problems than the report lists. */
  truncated: Schema.Boolean
})

/**
 * The report of a validation.
 *
 * @category models
 * @since 0.1.0
 */
export type Report = typeof Report.Type

/**
 * Options of a validation.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Number of blobs and manifests that are read at the same time. Default: 4. */
  readonly concurrency?: number | undefined
  /** Policy for signatures, SBOMs and other referrers. Default: `include`. */
  readonly referrers?: "include" | "skip" | undefined
  /** Policy for layers: `unpack` compares their `diff_id` as well. Default: `unpack`. */
  readonly layers?: "unpack" | "digest" | undefined
  /** Maximum number of problems in the report. Default: 10000. */
  readonly problemLimit?: number | undefined
  /** Receives every problem when it is found. */
  readonly onProblem?: ((problem: Problem) => Effect.Effect<void>) | undefined
}

/** Maximum depth of nested indexes and of referrers of referrers. */
const depthLimit = 16

// ---------------------------------------------------------------------------------------------------------------------
// checks
// ---------------------------------------------------------------------------------------------------------------------

/** The place of content: the repository, and the way to it. */
interface Location {
  readonly repository: Repository
  readonly tag?: Tag | undefined
  readonly path: ReadonlyArray<Digest.Digest>
}

/** A problem of content, without its place. */
type Finding = Pick<Problem, "kind" | "message">

/** Result of reading a blob: what is wrong with it, or the `diff_id` of a layer. */
type Read =
  | { readonly _tag: "Valid"; readonly diffId?: Digest.Digest | undefined }
  | { readonly _tag: "Invalid"; readonly finding: Finding }

const isLayer = (mediaType: string): boolean => /[.+](?:tar|tar\.gzip|tar\.zstd|tar\+gzip|tar\+zstd)$/.test(mediaType)

const findingOf = (error: RegistryError.RegistryError, missing: Kind): Finding => {
  const { message, reason } = error
  switch (reason._tag) {
    case "DigestMismatch":
      return { kind: "WrongDigest", message }
    case "SizeMismatch":
      return { kind: "WrongSize", message }
    case "BlobUnknown":
    case "ManifestUnknown":
    case "NameUnknown":
      return { kind: missing, message }
    default:
      return { kind: "Unreadable", message }
  }
}

/** Creates the state and the operations of one validation. */
const makeRun = Effect.fnUntraced(function*(registry: Registry, options: Options) {
  const { concurrency = 4, layers = "unpack", onProblem, problemLimit = 10_000, referrers = "include" } = options
  const hasher = yield* Hasher.Hasher
  const limited = Semaphore.makeUnsafe(Math.max(1, concurrency)).withPermit
  const problems: Array<Problem> = []
  const count = { manifests: 0, blobs: 0, bytes: 0, external: 0 }
  let truncated = false
  /** Blobs that were read, or are being read. */
  const reads = new Map<Digest.Digest, Effect.Effect<Read>>()
  /** Manifests and blobs that were checked, with their repositories. */
  const visited = new Set<string>()
  /** Returns true if the content of a repository is seen for the first time. */
  const isNew = (repository: Repository, digest: Digest.Digest): boolean => {
    const key = `${repository}@${digest}`
    return !visited.has(key) && visited.add(key).has(key)
  }

  const report = (location: Location, content: Partial<Descriptor>, { kind, message }: Finding) =>
    Effect.suspend(() => {
      const { digest, mediaType } = content
      const problem: Problem = {
        kind,
        message,
        repository: location.repository,
        ...location.tag === undefined ? {} : { tag: location.tag },
        ...digest === undefined ? {} : { digest },
        ...mediaType === undefined || mediaType === "" ? {} : { mediaType },
        path: location.path
      }
      if (problems.length < problemLimit) problems.push(problem)
      else truncated = true
      return onProblem?.(problem) ?? Effect.void
    })

  /** Reads a blob to its end, and verifies it. */
  const verify = (repository: Repository, { digest, size }: Descriptor): Effect.Effect<Finding | undefined> =>
    Effect.gen(function*() {
      const blob = yield* registry.getBlob(repository, digest, { size })
      yield* Stream.runForEachArray(blob.stream, (chunks) =>
        Effect.sync(() => {
          for (const { length } of chunks) count.bytes += length
        }))
      return blob.descriptor.size
    }).pipe(
      Effect.scoped,
      Effect.match({
        onFailure: (error) => findingOf(error, "MissingBlob"),
        onSuccess: (actual) => wrongSize(size, actual)
      })
    )

  /** Unpacks a layer, and returns its `diff_id`. */
  const unpack = (repository: Repository, descriptor: Descriptor): Effect.Effect<Read> =>
    Effect.gen(function*() {
      const { digest, size } = descriptor
      const hash = yield* hasher.make("sha256")
      let bytes = 0
      const packed = Stream.map(Layers.packed({ registry, repository, reference: "" }, descriptor), (chunk) => {
        bytes += chunk.length
        return chunk
      })
      const broken = (problem: string) => new RegistryError.Storage({ path: digest, problem })
      yield* Stream.runForEachArray(Frames.unpacked(packed, size, broken), hash.update).pipe(
        Effect.ensuring(Effect.sync(() => {
          count.bytes += bytes
        }))
      )
      const finding = wrongSize(size, bytes)
      const read: Read = finding === undefined
        ? { _tag: "Valid", diffId: yield* hash.digest }
        : { _tag: "Invalid", finding }
      return read
    }).pipe(
      Effect.scoped,
      Effect.catch((error) => {
        if (RegistryError.isRegistryError(error)) return Effect.succeed(invalid(findingOf(error, "MissingBlob")))
        const message = error._tag === "Storage" ? error.problem : error.message
        // the bytes may be other ones than the digest says, which matters more
        return Effect.map(verify(repository, descriptor), (finding) =>
          invalid(finding ?? { kind: "NotDecompressible", message: `the layer cannot be unpacked: ${message}` }))
      })
    )

  /** Reads a blob, unless it was read already. Then only its existence is checked. */
  const readBlob = Effect.fnUntraced(function*(location: Location, descriptor: Descriptor, isFirst: boolean) {
    const { repository } = location
    const { digest, mediaType, size } = descriptor
    const known = reads.get(digest)
    if (known !== undefined) {
      if (!isFirst) return yield* known
      const exists = yield* Effect.result(limited(registry.resolveBlob(repository, digest, { size })))
      return Result.isFailure(exists) ? invalid(findingOf(exists.failure, "MissingBlob")) : yield* known
    }
    const read = layers === "unpack" && isLayer(mediaType)
      ? unpack(repository, descriptor)
      : Effect.map(
        verify(repository, descriptor),
        (finding): Read => finding === undefined ? { _tag: "Valid" } : invalid(finding)
      )
    count.blobs++
    const once = yield* Effect.cached(limited(read))
    reads.set(digest, once)
    return yield* once
  })

  /** Reads the config of an image into memory. */
  const readConfig = (repository: Repository, descriptor: Descriptor) =>
    Effect.gen(function*() {
      const inline = yield* inlineContent(descriptor)
      const { digest, size } = descriptor
      const { stream } = inline === undefined
        ? yield* registry.getBlob(repository, digest, { size })
        : { stream: Stream.succeed(inline) }
      return Config.decode(yield* Stream.mkUint8Array(stream))
    }).pipe(Effect.scoped, limited, Effect.orElseSucceed(() => undefined))

  /** Returns the `diff_id`s in the config of an image. */
  const diffIdsOf = Effect.fnUntraced(function*(location: Location, image: Manifest.ImageManifest) {
    const { config, layers } = image
    if (!Config.isImageConfig(config.mediaType) || config.size > Config.limit) return []
    const decoded = yield* readConfig(location.repository, config)
    if (decoded === undefined) return []
    if (Result.isFailure(decoded)) {
      yield* report(location, config, { kind: "InvalidConfig", message: `the config is not valid: ${decoded.failure}` })
      return []
    }
    const diffIds = decoded.success.rootfs?.diff_ids ?? []
    if (diffIds.length === layers.length) return diffIds
    const message = `the config describes ${diffIds.length} layers, and the manifest has ${layers.length}`
    yield* report(location, config, { kind: "LayerCount", message })
    return []
  })

  const checkBlob = Effect.fnUntraced(function*(location: Location, blob: Descriptor, diffId?: Digest.Digest) {
    if ((yield* inlineContent(blob)) !== undefined) return
    const isFirst = isNew(location.repository, blob.digest)
    const read = yield* readBlob(location, blob, isFirst)
    if (read._tag === "Invalid") {
      // reported once per repository
      if (!isFirst) return
      if (MediaType.isNonDistributable(blob.mediaType) && read.finding.kind === "MissingBlob") {
        count.external++
        return
      }
      return yield* report(location, blob, read.finding)
    }
    if (diffId === undefined || read.diffId === undefined || read.diffId === diffId) return
    const message = `the layer has the diff_id ${read.diffId}, not ${diffId} as the config says`
    yield* report(location, blob, { kind: "WrongDiffId", message })
  })

  /** Checks a manifest that was read, and what it refers to. */
  const checkContent = (
    location: Location,
    manifest: Manifest.Manifest,
    depth: number
  ): Effect.Effect<void> =>
    Effect.gen(function*() {
      const { blobs, manifests } = Manifest.references(manifest)
      const ids = manifest._tag === "Image" && layers === "unpack" ? yield* diffIdsOf(location, manifest.content) : []
      // the first blob of an image is its config
      yield* Effect.forEach(blobs, (blob, index) => checkBlob(location, blob, ids[index - 1]), {
        concurrency,
        discard: true
      })
      yield* Effect.forEach(manifests, (child) => checkManifest(location, child.digest, child, depth + 1), {
        concurrency,
        discard: true
      })
    })

  /** Reads a manifest, and checks it and what it refers to. */
  const checkManifest = (
    location: Location,
    reference: Tag | Digest.Digest,
    listed: Descriptor | undefined,
    depth: number
  ): Effect.Effect<void> =>
    Effect.gen(function*() {
      const { repository } = location
      if (depth > depthLimit) return
      if (Digest.isDigest(reference) && !isNew(repository, reference)) return
      const about = listed ?? (Digest.isDigest(reference) ? { digest: reference } : {})
      const found = yield* Effect.result(limited(registry.getManifest(repository, reference)))
      if (Result.isFailure(found)) {
        // a child of an unknown type may be a blob
        if (listed !== undefined && !MediaType.isManifest(listed.mediaType)) return yield* checkBlob(location, listed)
        if (Digest.isDigest(reference)) {
          return yield* report(location, about, findingOf(found.failure, "MissingManifest"))
        }
        // the registry may know the digest of the tag although it cannot return the manifest
        const resolved = yield* Effect.option(limited(registry.resolveManifest(repository, reference)))
        const named: Partial<Descriptor> = Option.getOrElse(resolved, () => ({}))
        if (named.digest !== undefined && !isNew(repository, named.digest)) return
        return yield* report(location, named, findingOf(found.failure, "MissingManifest"))
      }
      const { bytes, descriptor: { digest, mediaType } } = found.success
      if (!Digest.isDigest(reference) && !isNew(repository, digest)) return
      count.manifests++
      const size = listed === undefined ? undefined : wrongSize(listed.size, bytes.length)
      if (size !== undefined) yield* report(location, { ...about, digest }, size)
      const decoded = Manifest.decode(mediaType, bytes)
      const below = { ...location, path: [...location.path, digest] }
      if (Result.isSuccess(decoded)) yield* checkContent(below, decoded.success, depth)
      // manifests of unknown types are not understood, and so not wrong
      else if (decoded.failure.kind === "Malformed") {
        yield* report(location, { mediaType, digest }, { kind: "InvalidManifest", message: decoded.failure.message })
      }
      if (referrers === "include") yield* checkReferrers(location, digest, depth)
    })

  const checkReferrers = (above: Location, digest: Digest.Digest, depth: number): Effect.Effect<void> => {
    const location = { ...above, path: [...above.path, digest] }
    return registry.referrers(location.repository, digest).pipe(
      Stream.runForEach((referrer) => checkManifest(location, referrer.digest, referrer, depth + 1)),
      Effect.catch((error) =>
        // an optional endpoint
        error.reason._tag === "Unsupported" ? Effect.void : report(above, { digest }, findingOf(error, "Unreadable"))
      )
    )
  }

  const result = (): Report => ({ ...count, problems, truncated })
  return { checkManifest, report, result }
})

const invalid = (finding: Finding): Read => ({ _tag: "Invalid", finding })

const wrongSize = (expected: number, actual: number): Finding | undefined =>
  expected === actual
    ? undefined
    : { kind: "WrongSize", message: `the content has ${actual} bytes, not ${expected} as its descriptor says` }

// ---------------------------------------------------------------------------------------------------------------------
// validation
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Content to validate: an image with a tag or a digest; without both, everything in the repository that has a tag, or
 * that `roots` lists; without a repository, everything in the registry.
 *
 * @category models
 * @since 0.1.0
 */
export interface Target {
  readonly registry: Registry
  readonly repository?: Repository | undefined
  readonly tag?: Tag | undefined
  readonly digest?: Digest.Digest | undefined
}

/** Returns the manifests that a layout lists, with or without a tag. Other registries list tags only. */
const rootsOf = (registry: Registry, repository: Repository): Effect.Effect<ReadonlyArray<Descriptor>> => {
  // as: the method of layouts and archives is looked up by its name
  const { roots } = registry as Partial<{
    readonly roots: (repository: Repository) => Effect.Effect<ReadonlyArray<Descriptor>, RegistryError.RegistryError>
  }>
  return roots === undefined ? Effect.succeed([]) : Effect.orElseSucceed(roots(repository), () => [])
}

/**
 * Validates an image, a repository or a registry. Problems of the content are in the report. Fails if the registry
 * cannot list what is to be validated.
 *
 * **Example** (A layer that is not what its config says)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Validation from "effect-oci/Validation"
 * import { Images } from "effect-oci/testing"
 *
 * const app = Images.repository("app")
 *
 * const program = Effect.gen(function*() {
 *   const registry = yield* MemoryRegistry.make()
 *   yield* Images.pushImage(registry, app, ["a layer"], { tags: [Images.tag("1")] })
 *   const { blobs, problems } = yield* Validation.validateRegistry({ registry, repository: app })
 *   return [blobs, problems.map(({ kind, message }) => `${kind}: ${message}`)]
 * })
 *
 * await Effect.runPromise(program) // => [2, ["LayerCount: the config describes 0 layers, and the manifest has 1"]]
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const validateRegistry = Effect.fn("Validation.validateRegistry")(function*(
  { digest, registry, repository, tag }: Target,
  options: Options = {}
): Effect.fn.Return<Report, RegistryError.RegistryError> {
  const { checkManifest, report, result } = yield* makeRun(registry, options)
  const checkImage = Effect.fnUntraced(
    function*(repository: Repository, tag: Tag | undefined, reference: Tag | Digest.Digest) {
      yield* checkManifest({ repository, path: [], ...tag === undefined ? {} : { tag } }, reference, undefined, 0)
    }
  )
  const checkRepository = Effect.fnUntraced(function*(repository: Repository) {
    yield* Stream.runForEach(registry.tags(repository), (tag) => checkImage(repository, tag, tag))
    for (const { digest } of yield* rootsOf(registry, repository)) yield* checkImage(repository, undefined, digest)
  })
  const reference = tag ?? digest
  if (repository === undefined) {
    yield* Stream.runForEach(
      registry.repositories(),
      (repository) =>
        // one repository that cannot be listed does not keep the others from being validated
        Effect.catch(checkRepository(repository), (error) =>
          report({ repository, path: [] }, {}, { kind: "Unreadable", message: error.message }))
    )
  } else if (reference === undefined) yield* checkRepository(repository)
  else yield* checkImage(repository, tag, reference)
  return result()
})

/**
 * Validates an image, or a repository if the reference has neither a tag nor a digest: see {@link validateRegistry}.
 *
 * @category combinators
 * @since 0.1.0
 */
export const validate = Effect.fn("Validation.validate")(function*(
  end: Namespace.End,
  options: Options = {}
): Effect.fn.Return<Report, Namespace.NamespaceError, Namespace.Namespace> {
  const namespace = yield* Namespace.Namespace
  const place = yield* Place.resolve(end)
  // fails if a tag and a digest contradict each other
  if (place.tag !== undefined && place.digest !== undefined) yield* namespace.resolveManifest(place)
  return yield* validateRegistry(place, options)
})
