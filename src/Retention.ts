/**
 * Deletes tags that no rule keeps, in any registry.
 *
 * The manifests of these tags stay. They become untagged, and a garbage collection may remove them.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SemVer from "effect/SemVer"
import * as Stream from "effect/Stream"
import { Digest } from "./Digest.ts"
import * as Manifest from "./Manifest.ts"
import { Repository, Tag } from "./Reference.ts"
import type { Registry } from "./Registry.ts"
import * as RegistryError from "./RegistryError.ts"
import * as TagFilter from "./TagFilter.ts"

/**
 * A rule about some tags of a repository, of which it keeps the newest. Tags that no rule is about stay.
 *
 * @category models
 * @since 0.1.0
 */
export interface Rule {
  /**
   * Tags that the rule is about. With `latest`, these are the tags that are among the highest versions. Tags made of a
   * digest are never among them, because they belong to other images. Default: all tags.
   */
  readonly tags?: TagFilter.TagFilter | undefined
  /** Number of tags to keep. */
  readonly newest: number
  /**
   * Order of the tags: their versions, or the times at which their images were created. A tag that is not a version, or
   * whose image does not state its time, stays and does not count. Default: `semver`.
   */
  readonly by?: "semver" | "created" | undefined
}

/**
 * Rules, and the repository that they are about.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly registry: Registry
  readonly repository: Repository
  /** A tag is deleted if at least one rule is about it, and none of these keeps it. */
  readonly rules: ReadonlyArray<Rule>
  /** True to report what would be deleted, and delete nothing. Default: false. */
  readonly dryRun?: boolean | undefined
}

/**
 * Schema of a tag that was deleted.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Deleted = Schema.Struct({
  repository: Repository,
  tag: Tag,
  /** Manifest that the tag pointed at. */
  digest: Digest
})

/**
 * A tag that was deleted, or would be.
 *
 * @category models
 * @since 0.1.0
 */
export type Deleted = typeof Deleted.Type

/** Maximum size of a config that is read for its time, in bytes. */
const configLimit = 4 * 1024 * 1024

const createdAnnotation = "org.opencontainers.image.created"

/** Number of images that are read at the same time. */
const atATime = 8

const decodeConfig = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Struct({ created: Schema.String })))

/** Returns the time of the text of a date. */
const timeOf = (text: string | undefined): Option.Option<number> =>
  Option.map(text === undefined ? Option.none() : DateTime.make(text), DateTime.toEpochMillis)

type Lookup = Pick<Options, "registry" | "repository">

/** Returns the time in the config of an image. */
const configTime = Effect.fnUntraced(function*({ registry, repository }: Lookup, manifest: Manifest.Manifest) {
  if (manifest._tag !== "Image" || manifest.content.config.size > configLimit) return Option.none()
  const { digest, size } = manifest.content.config
  const { stream } = yield* registry.getBlob(repository, digest, { size })
  const text = yield* Stream.mkString(Stream.decodeText(stream))
  return Option.flatMap(decodeConfig(text), ({ created }) => timeOf(created))
}, Effect.scoped)

/**
 * Returns the time at which the image of a digest was created: that of its annotation, of its config, or of the first
 * image of an index.
 */
const createdOf = Effect.fnUntraced(
  function*(lookup: Lookup, digest: Digest, depth = 3): Effect.fn.Return<
    Option.Option<number>,
    RegistryError.RegistryError
  > {
    const { bytes, descriptor } = yield* lookup.registry.getManifest(lookup.repository, digest)
    const manifest = Result.getOrUndefined(Manifest.decode(descriptor.mediaType, bytes))
    if (manifest === undefined) return Option.none()
    const own = timeOf(manifest.content.annotations?.[createdAnnotation])
    if (Option.isSome(own)) return own
    const [first] = Manifest.references(manifest).manifests
    if (first === undefined) return yield* configTime(lookup, manifest)
    return depth > 0 ? yield* createdOf(lookup, first.digest, depth - 1) : Option.none()
  },
  // content that is missing has no time
  (effect) => Effect.catchIf(effect, RegistryError.isAbsence, () => Effect.succeed(Option.none<number>()))
)

const byVersion = Order.mapInput(Order.flip(SemVer.Order), ({ order }: { readonly order: SemVer.SemVer }) => order)
const byTime = Order.mapInput(Order.flip(Order.Number), ({ order }: { readonly order: number }) => order)

/** A tag, and the manifest that it pointed at if the rule has read it. */
interface Candidate {
  readonly tag: Tag
  readonly digest?: Digest | undefined
}

/** Returns the tags that a rule orders, the newest first. */
const ordered = Effect.fnUntraced(function*(
  lookup: Lookup,
  { by = "semver", tags: filter = {} }: Rule
): Effect.fn.Return<ReadonlyArray<Candidate>, RegistryError.RegistryError> {
  const { registry, repository } = lookup
  const tags = yield* Stream.runCollect(
    TagFilter.apply(registry.tags(repository), { ...filter, digestTags: "exclude" })
  )
  if (by === "semver") {
    const versions = tags.flatMap((tag) =>
      Option.toArray(Option.map(TagFilter.version(tag), (order) => ({ tag, order })))
    )
    return Arr.sort(versions, byVersion)
  }
  const times = yield* Effect.forEach(tags, (tag) =>
    Effect.gen(function*() {
      const { digest } = yield* registry.resolveManifest(repository, tag)
      return Option.toArray(Option.map(yield* createdOf(lookup, digest), (order) => ({ tag, digest, order })))
    }).pipe(Effect.catchIf(RegistryError.isAbsence, () => Effect.succeed([]))), { concurrency: atATime })
  return Arr.sort(times.flat(), byTime)
})

/**
 * Deletes the tags of a repository that a rule is about and no rule keeps, and returns them. A tag that moves meanwhile
 * stays.
 *
 * Reasons: those of `tags`, `resolveManifest`, `getManifest`, `getBlob` and `deleteTag`.
 *
 * **Example** (Keeping the two highest versions)
 *
 * ```ts import.meta.vitest
 * import { Effect, Stream } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Retention from "effect-oci/Retention"
 * import { Images } from "effect-oci/testing"
 *
 * const repository = Images.repository("app")
 *
 * const program = Effect.gen(function*() {
 *   const registry = yield* MemoryRegistry.make()
 *   const tags = ["1.9.0", "1.10.0", "1.11.0", "latest"].map(Images.tag)
 *   yield* Images.pushImage(registry, repository, ["layer"], { tags })
 *   yield* Retention.apply({ registry, repository, rules: [{ newest: 2 }] })
 *   return yield* Stream.runCollect(registry.tags(repository))
 * })
 *
 * Effect.runSync(program) // => ["1.10.0", "1.11.0", "latest"]
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const apply = Effect.fn("Retention.apply")(
  function*(options: Options): Effect.fn.Return<ReadonlyArray<Deleted>, RegistryError.RegistryError> {
    const { dryRun = false, registry, repository, rules } = options
    const kept = new Set<Tag>()
    const others = new Map<Tag, Candidate>()
    for (const rule of rules) {
      for (const [position, candidate] of (yield* ordered(options, rule)).entries()) {
        if (position < rule.newest) kept.add(candidate.tag)
        else others.set(candidate.tag, { ...others.get(candidate.tag), ...candidate })
      }
    }
    return (yield* Effect.forEach(
      Array.from(others.values()).filter(({ tag }) => !kept.has(tag)),
      Effect.fnUntraced(function*({ digest, tag }) {
        const current = yield* RegistryError.orAbsent(registry.resolveManifest(repository, tag))
        if (current === undefined || digest !== undefined && current.digest !== digest) return []
        const deleted = { repository, tag, digest: current.digest }
        if (dryRun) return [deleted]
        // another client may have deleted it meanwhile
        return Arr.fromNullishOr(
          yield* RegistryError.orAbsent(Effect.as(registry.deleteTag(repository, tag), deleted))
        )
      }),
      { concurrency: atATime }
    )).flat()
  }
)
