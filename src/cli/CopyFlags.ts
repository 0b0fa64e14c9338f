/**
 * What a copy can be told, and what `copy` and `plan` have in common for it.
 */
import * as Argument from "effect/cli/Argument"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Copy from "../copy/Copy.ts"
import type * as Namespace from "../Namespace.ts"
import type * as Platform from "../Platform.ts"
import type { Tag } from "../Reference.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import { Failure } from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"
import * as TagFilter from "./TagFilter.ts"

const flags = {
  platform: Flags.platform(
    "Only the image for this platform, such as linux/arm64 or windows(10.0.17763)/amd64. May be repeated, with --index"
  ).pipe(Flag.atLeast(0)),
  index: Flag.Literals("index", ["keep", "rewrite", "fail"]).pipe(
    Flag.withMetavar("keep|rewrite|fail"),
    Flag.withDescription(
      "Copy an index of the platforms that are given: keep it as it is, though it lists images that are not there; rewrite " +
        "it without them, with another digest; or fail where it lists others"
    ),
    Flag.optional
  ),
  tag: Flags.tag("A further tag that the destination gets. May be repeated").pipe(Flag.atLeast(0)),
  ifTagExists: Flag.Literals("if-tag-exists", ["replace", "keep", "fail"]).pipe(
    Flag.withMetavar("replace|keep|fail"),
    Flag.withDescription(
      "What to do where the destination has a tag that points elsewhere: move it; copy nothing; or fail. replace unless given"
    ),
    Flag.withDefault("replace")
  ),
  referrers: Flag.Literals("referrers", ["copy", "require", "skip"]).pipe(
    Flag.withMetavar("copy|require|skip"),
    Flag.withDescription(
      "What refers to the image (signatures, SBOMs, attestations): copy what the source lists, and only warn if it does not " +
        "list any; fail if it does not list them; or leave them out. Default: copy"
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
    "Only referrers that have this annotation. May be repeated: they have to have all",
    Flags.readPair
  ).pipe(Flag.atLeast(0)),
  digestTags: Flags.onOff(
    "digest-tags",
    "Copy what is behind tags that are made of a digest too, such as sha256-<hex>.sig, where cosign keeps signatures"
  ),
  externalLayers: Flag.Literals("external-layers", ["skip", "copy", "fetch"]).pipe(
    Flag.withMetavar("skip|copy|fetch"),
    Flag.withDescription(
      "Layers that may not be distributed: leave them out; copy them from the source; or fetch those from their URLs that the " +
        "source does not have. Default: skip"
    ),
    Flag.withDefault("skip")
  ),
  trust: Flag.Literals("trust", ["manifest", "children", "deep"]).pipe(
    Flag.withMetavar("manifest|children|deep"),
    Flag.withDescription(
      "What it means that the destination has a manifest: it is complete; its manifests have to be there too; every blob has " +
        "to. manifest unless given"
    ),
    Flag.withDefault("manifest")
  ),
  allTags: Flags.onOff(
    "all-tags",
    "Copy every tag of the repository SOURCE to the repository DESTINATION, but for tags made of a digest"
  ),
  ...TagFilter.flags
}

/** Arguments and flags, for the definition of a verb. */
export const config = {
  source: Flags.place(
    "source",
    "What to copy: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE, with a tag or a digest"
  ),
  destinations: Flags.place(
    "destination",
    "Where to: host/repository, oci:DIR or oci-archive:FILE, with the tag it gets there"
  ).pipe(Argument.atLeast(1)),
  ...flags
}

/** What arguments and flags say. */
export interface Input extends TagFilter.TagFilter {
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
    return Option.isSome(index) ? yield* misuse("--index needs a --platform that it is about") : "all"
  }
  if (Option.isSome(index)) return { _tag: "Index", platforms: platform, index: index.value } as const
  if (others.length === 0) return { _tag: "Image", platform: first } as const
  return yield* misuse("several --platform need --index, which says what becomes of the index: keep, rewrite or fail")
})

const referrerFilterOf = Effect.fnUntraced(function*({ referrerAnnotation, referrers, referrerType }: Input) {
  const isFiltered = referrerType.length > 0 || referrerAnnotation.length > 0
  if (isFiltered && referrers === "skip") {
    return yield* misuse("--referrers skip and a choice of referrers contradict each other")
  }
  return {
    ...referrerType.length === 0 ? {} : { artifactTypes: referrerType },
    ...referrerAnnotation.length === 0 ? {} : { annotations: Object.fromEntries(referrerAnnotation) }
  }
})

/** What the copy engine is told. */
export const options = Effect.fnUntraced(function*(input: Input) {
  const { allTags, digestTags, externalLayers, ifTagExists, tag, trust } = input
  if (!allTags && TagFilter.isAny(input)) {
    return yield* misuse("--include, --exclude, --semver and --latest choose among --all-tags")
  }
  if (allTags && tag.length > 0) return yield* misuse("--tag is for one image, not for --all-tags")
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
// what is copied where
// ---------------------------------------------------------------------------------------------------------------------

/** One copy of those that are to be made. */
export interface Pair {
  readonly source: Locations.Location
  readonly destination: Locations.Location
}

const named = ({ end }: Locations.Location): boolean => end.tag !== undefined || end.digest !== undefined

/** Works on the places of a copy of one image. */
export const useImage = <A, E, R>(
  { destinations, source }: Input,
  work: (source: Locations.Location, destinations: ReadonlyArray<Locations.Location>) => Effect.Effect<A, E, R>
) =>
  source.use(
    Locations.image,
    (source) => Locations.useAll(destinations, Locations.destination, (destinations) => work(source, destinations))
  )

/** Works on every tag of a repository that is meant, and every destination. */
export const useTags = <A, E, R>(
  namespace: Namespace.Namespace["Service"],
  input: Input,
  work: (pairs: ReadonlyArray<Pair>) => Effect.Effect<A, E, R>
) =>
  input.source.use(
    Locations.anything,
    (source) =>
      Locations.useAll(input.destinations, Locations.changed, (destinations) =>
        Effect.gen(function*() {
          if (named(source) || destinations.some(named)) {
            return yield* misuse(
              "with --all-tags, source and destination are repositories: they name no tag and no digest"
            )
          }
          const tags = yield* namespace.tags(source.end).pipe(
            Stream.filter((tag) => !TagFilter.isDigestTag(tag)),
            TagFilter.apply(input),
            Stream.runCollect
          )
          if (tags.length === 0) return yield* new Failure({ message: `${source.format({})}: there is no such tag` })
          return yield* work(tags.flatMap((tag) =>
            destinations.map((destination) => ({
              source: Locations.withPart(source, { tag }),
              destination: Locations.withPart(destination, { tag })
            }))
          ))
        }))
  )
