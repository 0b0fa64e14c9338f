/**
 * The differences between two images: their platforms, configs, layers and annotations.
 */
import * as Effect from "effect/Effect"
import { isObject } from "effect/Predicate"
import * as Schema from "effect/Schema"
import { Descriptor } from "../Descriptor.ts"
import { Digest } from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type * as Namespace from "../Namespace.ts"
import * as Platform from "../Platform.ts"
import type { ManifestBytes } from "../Registry.ts"
import * as ImageConfig from "./ImageConfig.ts"
import * as LocationError from "./LocationError.ts"
import * as Locations from "./Locations.ts"

/** Schema of a value that differs, or that only one side has. */
const Change = Schema.Struct({
  path: Schema.String,
  left: Schema.optionalKey(Schema.Unknown),
  right: Schema.optionalKey(Schema.Unknown)
})

/** A value that differs, or that only one side has. */
export type Change = typeof Change.Type

/** Schema of a layer that both sides have, or one of them. */
const LayerChange = Schema.Struct({ in: Schema.Literals(["both", "left", "right"]), layer: Descriptor })

/** A layer that both sides have, or one of them. */
export type LayerChange = typeof LayerChange.Type

/** A manifest of an index that both sides have, with the same digest or another, or one of them. */
export interface Member {
  /** The platform, or else the artifact type or media type. */
  readonly name: string
  readonly left?: Digest | undefined
  readonly right?: Digest | undefined
  readonly difference?: Difference | undefined
}

/** The differences between two manifests. A key is absent if there is no difference of its kind. */
export interface Difference {
  readonly isSame: boolean
  readonly left: Digest
  readonly right: Digest
  readonly types?: { readonly left: string; readonly right: string } | undefined
  readonly annotations?: ReadonlyArray<Change> | undefined
  readonly config?: ReadonlyArray<Change> | undefined
  readonly layers?: ReadonlyArray<LayerChange> | undefined
  readonly manifests?: ReadonlyArray<Member> | undefined
}

const Member = Schema.Struct({
  name: Schema.String,
  left: Schema.optionalKey(Digest),
  right: Schema.optionalKey(Digest),
  difference: Schema.optionalKey(Schema.suspend((): Schema.Codec<Difference, unknown> => Difference))
})

/** The fields of the schema of a difference. */
export const fields = {
  isSame: Schema.Boolean,
  left: Digest,
  right: Digest,
  types: Schema.optionalKey(Schema.Struct({ left: Schema.String, right: Schema.String })),
  annotations: Schema.optionalKey(Schema.Array(Change)),
  config: Schema.optionalKey(Schema.Array(Change)),
  layers: Schema.optionalKey(Schema.Array(LayerChange)),
  manifests: Schema.optionalKey(Schema.Array(Member))
}

const Difference = Schema.Struct(fields).annotate({ identifier: "Difference" })

// ---------------------------------------------------------------------------------------------------------------------
// values and lists
// ---------------------------------------------------------------------------------------------------------------------

const textOf = (value: unknown): string => JSON.stringify(value) ?? ""

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  isObject(value) && !Array.isArray(value)

/**
 * Returns the differences between two JSON values. For two lists, these are the elements that only one of them has, or
 * the lists themselves if only their order differs.
 */
const changes = (left: unknown, right: unknown, path = ""): ReadonlyArray<Change> => {
  if (textOf(left) === textOf(right)) return []
  if (isRecord(left) && isRecord(right)) {
    const keys = Array.from(new Set([...Object.keys(left), ...Object.keys(right)]))
    return keys.flatMap((key) => changes(left[key], right[key], path === "" ? key : `${path}.${key}`))
  }
  if (Array.isArray(left) && Array.isArray(right)) {
    const [inLeft, inRight] = [new Set(left.map(textOf)), new Set(right.map(textOf))]
    const found: ReadonlyArray<Change> = [
      ...left.filter((value) => !inRight.has(textOf(value))).map((left): Change => ({ path, left })),
      ...right.filter((value) => !inLeft.has(textOf(value))).map((right): Change => ({ path, right }))
    ]
    if (found.length > 0) return found
  }
  return [{ path, ...left === undefined ? {} : { left }, ...right === undefined ? {} : { right } }]
}

// maximum size of the table that finds common layers; in longer lists, layers are common only at the start
const largestTable = 1_000_000

/** Returns a function of two indexes: the length of the longest common subsequence of the layers from there on. */
const commonFrom = (left: ReadonlyArray<Descriptor>, right: ReadonlyArray<Descriptor>) => {
  const width = right.length + 1
  const table = new Uint32Array(left.length * width + width)
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      const at = i * width + j
      table[at] = left[i]?.digest === right[j]?.digest
        ? (table[at + width + 1] ?? 0) + 1
        : Math.max(table[at + width] ?? 0, table[at + 1] ?? 0)
    }
  }
  return (i: number, j: number): number => table[i * width + j] ?? 0
}

/** Merges two lists of layers into one, in which common layers occur once. */
const merge = (left: ReadonlyArray<Descriptor>, right: ReadonlyArray<Descriptor>): ReadonlyArray<LayerChange> => {
  const common = left.length * right.length > largestTable ? () => 0 : commonFrom(left, right)
  const merged: Array<LayerChange> = []
  let [i, j] = [0, 0]
  while (i < left.length || j < right.length) {
    const [one, other] = [left[i], right[j]]
    if (one !== undefined && one.digest === other?.digest) {
      merged.push({ in: "both", layer: one })
      i++
      j++
    } else if (one !== undefined && (other === undefined || common(i + 1, j) >= common(i, j + 1))) {
      merged.push({ in: "left", layer: one })
      i++
    } else if (other !== undefined) {
      merged.push({ in: "right", layer: other })
      j++
    }
  }
  return merged
}

/** Returns the manifests of an index by their names. */
const named = (manifests: ReadonlyArray<Descriptor>): ReadonlyMap<string, Descriptor> => {
  // a wider type, because digests are compared with text of annotations
  const platforms = new Map(manifests.map(({ digest, platform }) => [digest as string, platform]))
  const nameOf = ({ annotations = {}, artifactType, mediaType, platform }: Descriptor): string => {
    const about = platforms.get(annotations["vnd.docker.reference.digest"] ?? "")
    if (about !== undefined) {
      return `${annotations["vnd.docker.reference.type"] ?? "manifest"} of ${Platform.format(about)}`
    }
    return platform === undefined ? artifactType || mediaType || "manifest" : Platform.format(platform)
  }
  const names = new Map<string, Descriptor>()
  for (const manifest of manifests) {
    const name = nameOf(manifest)
    let number = 1
    while (names.has(number === 1 ? name : `${name} (${number})`)) number++
    names.set(number === 1 ? name : `${name} (${number})`, manifest)
  }
  return names
}

// ---------------------------------------------------------------------------------------------------------------------
// manifests
// ---------------------------------------------------------------------------------------------------------------------

/** One of the two images. */
export interface Side {
  readonly place: Locations.Location
  readonly manifest: ManifestBytes
}

const present = (changes: ReadonlyArray<Change>, key: "annotations" | "config") =>
  changes.length === 0 ? {} : { [key]: changes }

// differences of layers are reported as such
const withoutLayers = (config: unknown): unknown =>
  isRecord(config)
    ? Object.fromEntries(Object.entries(config).filter(([key]) => key !== "rootfs" && key !== "history"))
    : config

/** Adds the reference of a side to its errors. */
const at = ({ place }: Pick<Side, "place">) => LocationError.at(place.format(place.end))

/** Decodes a manifest, if its type is known. */
const decode = (side: Side) =>
  Effect.fromResult(Manifest.decode(side.manifest.descriptor.mediaType, side.manifest.bytes)).pipe(
    Effect.catchIf(({ kind }) => kind === "UnknownMediaType", () => Effect.undefined),
    at(side)
  )

/** Compares two manifests, and if both are indexes, their manifests of the same name. */
export const compare = (
  namespace: Namespace.Namespace["Service"],
  left: Side,
  right: Side
): Effect.Effect<Difference, LocationError.LocationError> =>
  Effect.gen(function*() {
    const digests = { left: left.manifest.descriptor.digest, right: right.manifest.descriptor.digest }
    if (digests.left === digests.right) return { isSame: true, ...digests }
    const decoded = { left: yield* decode(left), right: yield* decode(right) }
    const types = { left: left.manifest.descriptor.mediaType, right: right.manifest.descriptor.mediaType }
    const common = {
      isSame: false,
      ...digests,
      ...types.left === types.right ? {} : { types },
      ...present(
        changes(decoded.left?.content.annotations ?? {}, decoded.right?.content.annotations ?? {}),
        "annotations"
      )
    }
    if (decoded.left?._tag === "Index" && decoded.right?._tag === "Index") {
      const manifests = yield* compareMembers(
        namespace,
        { place: left.place, manifests: named(decoded.left.content.manifests) },
        { place: right.place, manifests: named(decoded.right.content.manifests) }
      )
      return { ...common, manifests }
    }
    if (decoded.left?._tag !== "Image" || decoded.right?._tag !== "Image") return common
    const [one, other] = [decoded.left.content, decoded.right.content]
    const configs = one.config.digest === other.config.digest ? [] : changes(
      withoutLayers(yield* at(left)(ImageConfig.read(namespace, left.place, one.config))),
      withoutLayers(yield* at(right)(ImageConfig.read(namespace, right.place, other.config)))
    )
    return { ...common, ...present(configs, "config"), layers: merge(one.layers, other.layers) }
  })

interface Members {
  readonly place: Locations.Location
  readonly manifests: ReadonlyMap<string, Descriptor>
}

const compareMembers = Effect.fnUntraced(
  function*(namespace: Namespace.Namespace["Service"], left: Members, right: Members) {
    const names = Array.from(new Set([...left.manifests.keys(), ...right.manifests.keys()]))
    const sideOf = (members: Members, { digest }: Descriptor) =>
      Effect.map(
        at(members)(namespace.getManifest(Locations.withPart(members.place, { digest }).end)),
        (manifest): Side => ({ place: members.place, manifest })
      )
    return yield* Effect.forEach(
      names,
      Effect.fnUntraced(function*(name): Effect.fn.Return<Member, LocationError.LocationError> {
        const [one, other] = [left.manifests.get(name), right.manifests.get(name)]
        const digests = {
          ...one === undefined ? {} : { left: one.digest },
          ...other === undefined ? {} : { right: other.digest }
        }
        if (one === undefined || other === undefined || one.digest === other.digest) return { name, ...digests }
        // content of an unknown type may be a blob
        if (!MediaType.isManifest(one.mediaType) || !MediaType.isManifest(other.mediaType)) return { name, ...digests }
        const difference = yield* compare(namespace, yield* sideOf(left, one), yield* sideOf(right, other))
        return { name, ...digests, difference }
      }),
      { concurrency: 4 }
    )
  }
)
