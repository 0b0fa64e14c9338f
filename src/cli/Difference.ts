/**
 * What differs between two images: their platforms, configs, layers and annotations.
 */
import * as Effect from "effect/Effect"
import { isObject } from "effect/Predicate"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type * as Namespace from "../Namespace.ts"
import * as Platform from "../Platform.ts"
import type { ManifestBytes } from "../Registry.ts"
import * as ImageConfig from "./ImageConfig.ts"
import * as LocationError from "./LocationError.ts"
import * as Locations from "./Locations.ts"

/** A value that is another on the other side, or only on one of them. */
export interface Change {
  readonly path: string
  readonly left?: unknown
  readonly right?: unknown
}

/** A layer that both have, or one of them. */
export interface LayerChange {
  readonly in: "both" | "left" | "right"
  readonly layer: Descriptor
}

/** A manifest of an index that both have, maybe another, or one of them. */
export interface Member {
  /** The platform, or what else it is. */
  readonly name: string
  readonly left?: Digest
  readonly right?: Digest
  readonly difference?: Difference
}

/** What differs between two manifests; keys are there where something does. */
export interface Difference {
  readonly isSame: boolean
  readonly left: Digest
  readonly right: Digest
  readonly types?: { readonly left: string; readonly right: string }
  readonly annotations?: ReadonlyArray<Change>
  readonly config?: ReadonlyArray<Change>
  readonly layers?: ReadonlyArray<LayerChange>
  readonly manifests?: ReadonlyArray<Member>
}

// ---------------------------------------------------------------------------------------------------------------------
// values and lists
// ---------------------------------------------------------------------------------------------------------------------

const textOf = (value: unknown): string => JSON.stringify(value) ?? ""

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  isObject(value) && !Array.isArray(value)

/** What differs between two pieces of JSON. Of lists it is what only one of them has, or else that their order differs. */
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

// above that, layers that are not at the beginning or end of both count as others
const largestTable = 1_000_000

/** How many layers two lists have in common at most, in the same order, from each pair of places on. */
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

/** Two lists of layers as one, in which what both have stands once. */
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

/** The manifests of an index by what they are called. */
const named = (manifests: ReadonlyArray<Descriptor>): ReadonlyMap<string, Descriptor> => {
  const platforms = new Map(manifests.map(({ digest, platform }) => [digest as string, platform])) // compared with text
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

/** One of two sides. */
export interface Side {
  readonly place: Locations.Location
  readonly manifest: ManifestBytes
}

const present = (changes: ReadonlyArray<Change>, key: "annotations" | "config") =>
  changes.length === 0 ? {} : { [key]: changes }

// that layers differ is told by themselves
const withoutLayers = (config: unknown): unknown =>
  isRecord(config)
    ? Object.fromEntries(Object.entries(config).filter(([key]) => key !== "rootfs" && key !== "history"))
    : config

/** Says of what goes wrong on which side it was. */
const at = ({ place }: Pick<Side, "place">) => LocationError.at(place.format(place.end))

/** Decodes a manifest, if its type is known. */
const decode = (side: Side) =>
  Effect.fromResult(Manifest.decode(side.manifest.descriptor.mediaType, side.manifest.bytes)).pipe(
    Effect.catchIf(({ kind }) => kind === "UnknownMediaType", () => Effect.undefined),
    at(side)
  )

/** Compares two manifests, and where they are indexes of other manifests those of the same name. */
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
        // what has an unknown type may be a blob
        if (!MediaType.isManifest(one.mediaType) || !MediaType.isManifest(other.mediaType)) return { name, ...digests }
        const difference = yield* compare(namespace, yield* sideOf(left, one), yield* sideOf(right, other))
        return { name, ...digests, difference }
      }),
      { concurrency: 4 }
    )
  }
)
