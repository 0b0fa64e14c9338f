/**
 * The arguments and flags that `copy` and `plan` share.
 */
import * as Argument from "effect/cli/Argument"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Copy from "../copy/Copy.ts"
import type * as Namespace from "../Namespace.ts"
import type * as Platform from "../Platform.ts"
import { Reference, type Tag } from "../Reference.ts"
import * as TagFilter from "../TagFilter.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import { Failure } from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"
import * as TagFlags from "./TagFlags.ts"

const flags = {
  platform: Flags.platform(
    "Only the image for this platform, such as linux/arm64 or windows(10.0.17763)/amd64. May be repeated, with --index"
  ).pipe(Flag.atLeast(0)),
  index: Flag.Literals("index", ["keep", "rewrite", "fail"]).pipe(
    Flag.withMetavar("keep|rewrite|fail"),
    Flag.withDescription(
      "How to copy an index with the given platforms only: keep it unchanged, although it lists images that are not " +
        "copied; rewrite it without them, with another digest; or fail if it lists others"
    ),
    Flag.optional
  ),
  tag: Flags.tag("Additional tag at the destination. May be repeated").pipe(Flag.atLeast(0)),
  ifTagExists: Flag.Literals("if-tag-exists", ["replace", "keep", "fail"]).pipe(
    Flag.withMetavar("replace|keep|fail"),
    Flag.withDescription(
      "If the destination has the tag with another digest: move it (replace), copy nothing (keep) or fail. Default: " +
        "replace"
    ),
    Flag.withDefault("replace")
  ),
  referrers: Flag.Literals("referrers", ["copy", "require", "skip"]).pipe(
    Flag.withMetavar("copy|require|skip"),
    Flag.withDescription(
      "Signatures, SBOMs, attestations and other referrers: copy those that the source lists, and warn if it cannot " +
        "list them (copy); fail if it cannot (require); or omit them (skip). Default: copy"
    ),
    Flag.withDefault("copy")
  ),
  referrerType: Flag.String("referrer-type").pipe(
    Flag.withMetavar("TYPE"),
    Flag.withDescription("Only referrers of this artifact type. May be repeated"),
    Flag.atLeast(0)
  ),
  referrerAnnotation: Flags.parsed(
    "referrer-annotation",
    "KEY=VALUE",
    "Only referrers with this annotation. If repeated, referrers must have all of them",
    Flags.readPair
  ).pipe(Flag.atLeast(0)),
  digestTags: Flags.onOff(
    "digest-tags",
    "Copy also the content of tags made of a digest, such as sha256-<hex>.sig, in which cosign stores signatures"
  ),
  externalLayers: Flag.Literals("external-layers", ["skip", "copy", "fetch"]).pipe(
    Flag.withMetavar("skip|copy|fetch"),
    Flag.withDescription(
      "Layers that may not be distributed: omit them (skip); copy them from the source (copy); or also fetch from " +
        "their URLs those that the source lacks (fetch). Default: skip"
    ),
    Flag.withDefault("skip")
  ),
  trust: Flag.Literals("trust", ["manifest", "children", "deep"]).pipe(
    Flag.withMetavar("manifest|children|deep"),
    Flag.withDescription(
      "What to check if the destination already has a manifest: nothing more (manifest), its child manifests " +
        "(children), or every blob as well (deep). Default: manifest"
    ),
    Flag.withDefault("manifest")
  ),
  allTags: Flags.onOff(
    "all-tags",
    "Copy every tag of the repository SOURCE to the repository DESTINATION, except tags made of a digest"
  ),
  ...TagFlags.flags
}

/** The arguments and flags. */
export const config = {
  source: Flags.place(
    "source",
    "Image to copy: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE, with a tag or a digest"
  ),
  destinations: Flags.place(
    "destination",
    "Destination: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE:name, with the tag that the image " +
      "gets. The FILE - is stdout"
  ).pipe(Argument.atLeast(1)),
  ...flags
}

/** Values of the arguments and flags. */
export interface Input extends TagFlags.Values {
  readonly source: Locations.Named
  readonly destinations: ReadonlyArray<Locations.Named>
  readonly platform: ReadonlyArray<Platform.Platform>
  readonly index: Option.Option<"keep" | "rewrite" | "fail">
  readonly tag: ReadonlyArray<Tag>
  readonly ifTagExists: "replace" | "keep" | "fail"
  readonly referrers: "copy" | "require" | "skip"
  readonly referrerType: ReadonlyArray<string>
  readonly referrerAnnotation: ReadonlyArray<readonly [key: string, value: string]>
  readonly digestTags: boolean
  readonly externalLayers: "skip" | "copy" | "fetch"
  readonly trust: "manifest" | "children" | "deep"
  readonly allTags: boolean
}

// ---------------------------------------------------------------------------------------------------------------------
// options
// ---------------------------------------------------------------------------------------------------------------------

const platformsOf = Effect.fnUntraced(function*({ index, platform }: Input) {
  const [first, ...others] = platform
  if (first === undefined) {
    return Option.isSome(index) ? yield* misuse("--index requires --platform") : "all"
  }
  if (Option.isSome(index)) return { _tag: "Index", platforms: platform, index: index.value } as const
  if (others.length === 0) return { _tag: "Image", platform: first } as const
  return yield* misuse("several --platform require --index keep, rewrite or fail")
})

const referrerFilterOf = Effect.fnUntraced(function*({ referrerAnnotation, referrers, referrerType }: Input) {
  const isFiltered = referrerType.length > 0 || referrerAnnotation.length > 0
  if (isFiltered && referrers === "skip") {
    return yield* misuse("--referrers skip contradicts --referrer-type and --referrer-annotation")
  }
  return {
    ...referrerType.length === 0 ? {} : { artifactTypes: referrerType },
    ...referrerAnnotation.length === 0 ? {} : { annotations: Object.fromEntries(referrerAnnotation) }
  }
})

/** Returns the options of the copy. */
export const options = Effect.fnUntraced(function*(input: Input) {
  const { allTags, digestTags, externalLayers, ifTagExists, tag, trust } = input
  if (!allTags && TagFlags.isGiven(input)) {
    return yield* misuse("--include, --exclude, --semver and --latest require --all-tags")
  }
  if (allTags && tag.length > 0) return yield* misuse("--tag and --all-tags contradict each other")
  const options: Copy.Options = {
    platforms: yield* platformsOf(input),
    referrers: input.referrers,
    referrerFilter: yield* referrerFilterOf(input),
    externalLayers,
    trust,
    onTagExists: ifTagExists,
    digestTags: digestTags ? "copy" : "skip",
    tags: tag
  }
  return options
})

// ---------------------------------------------------------------------------------------------------------------------
// sources and destinations
// ---------------------------------------------------------------------------------------------------------------------

/** The source and the destination of one copy. */
export interface Pair {
  readonly source: Locations.Location
  readonly destination: Locations.Location
}

/** Returns the reference of a source in a registry, which names the image in an archive of `docker save`. */
const suggestion = ({ end }: Locations.Location) =>
  end instanceof Reference && (end.tag !== undefined || end.digest === undefined) ? { suggested: end } : {}

const named = ({ end }: Locations.Location): boolean => end.tag !== undefined || end.digest !== undefined

/** Opens the source and the destinations of one image, and runs `work` on them. */
export const useImage = <A, E, R>(
  { destinations, source }: Input,
  work: (source: Locations.Location, destinations: ReadonlyArray<Locations.Location>) => Effect.Effect<A, E, R>
) =>
  source.use(
    Locations.image,
    (source) =>
      Locations.useAll(
        destinations,
        { ...Locations.destination, ...suggestion(source) },
        (destinations) => work(source, destinations)
      )
  )

/** Opens the source and the destinations, and runs `work` on each selected tag at each destination. */
export const useTags = <A, E, R>(
  namespace: Namespace.Namespace["Service"],
  input: Input,
  work: (pairs: ReadonlyArray<Pair>) => Effect.Effect<A, E, R>
) =>
  input.source.use(
    Locations.anything,
    (source) =>
      Locations.useAll(input.destinations, { ...Locations.changed, ...suggestion(source) }, (destinations) =>
        Effect.gen(function*() {
          if (named(source) || destinations.some(named)) {
            return yield* misuse(
              "with --all-tags, source and destination are repositories without a tag and a digest"
            )
          }
          const tags = yield* namespace.tags(source.end).pipe(
            TagFilter.apply(TagFlags.filterOf(input, "exclude")),
            Stream.runCollect
          )
          if (tags.length === 0) {
            return yield* new Failure({ message: `cannot copy ${source.format({})}: no tag is selected` })
          }
          return yield* work(tags.flatMap((tag) =>
            destinations.map((destination) => ({
              source: Locations.withPart(source, { tag }),
              destination: Locations.withPart(destination, { tag })
            }))
          ))
        }))
  )
