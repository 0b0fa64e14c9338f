/**
 * The copies that are measured.
 */
import { type Image, layers } from "./Registries.ts"
import type { Load } from "./Serving.ts"

const KiB = 1024
const MiB = 1024 * KiB

/** A copy of one image. */
export interface Work {
  readonly name: string
  readonly title: string
  readonly layers: () => ReadonlyArray<Uint8Array>
  /** Round-trip time to both registries, in milliseconds. Default: none. */
  readonly roundTrip?: number
  readonly tls?: boolean
  /** True if all content is at the destination already. */
  readonly isSettled?: boolean
}

const large = { title: "4 blobs of 256 MiB", layers: () => layers(4, 256 * MiB) }
const many = { title: "300 blobs of 64 KiB", layers: () => layers(300, 64 * KiB) }
const far = { title: "60 blobs of 64 KiB, both ends 50 ms away", layers: () => layers(60, 64 * KiB), roundTrip: 50 }

export const works: ReadonlyArray<Work> = [
  { name: "large", ...large },
  { name: "many", ...many },
  { name: "far", ...far },
  { name: "large-tls", ...large, title: `${large.title}, over TLS`, tls: true },
  { name: "many-tls", ...many, title: `${many.title}, over TLS`, tls: true },
  { name: "far-tls", ...far, title: `${far.title}, over TLS`, tls: true },
  { name: "again", title: "everything is there already", layers: () => layers(20, 64 * KiB), isSettled: true }
]

/** Repositories, each with 10 tags, that a mirror copies. */
export interface Mirrored {
  readonly name: string
  readonly repositories: ReadonlyArray<string>
  /** Number of rounds that are counted, if it is not the usual one. */
  readonly runs?: number
}

const repositories = (count: number) => Array.from({ length: count }, (_, index) => `mirror/${index}`)

export const mirrors = {
  usual: { name: "mirror", repositories: repositories(20) },
  large: { name: "mirror-large", repositories: repositories(200), runs: 1 }
} satisfies Record<string, Mirrored>

/** Tags of each repository of a mirror. */
export const mirroredTags: ReadonlyArray<string> = Array.from({ length: 10 }, (_, index) => `${index}`)

/** Generates the images of a mirror: four layers of 300 kB each, two of which all tags of a repository share. */
export const mirrorImages = function*({ repositories }: Mirrored): Generator<Image> {
  for (const repository of repositories) {
    const shared = layers(2, 300_000)
    for (const tag of mirroredTags) yield { repository, tag, layers: [...shared, ...layers(2, 300_000)] }
  }
}

/** Numbers of blobs of 1 KiB whose cost is compared. */
export const growing = [10, 100, 1000, 10_000]

/** Blobs that servers receive and send. */
export const loads: ReadonlyArray<Load> = [
  { title: "a blob of 256 MiB", count: 1, size: 256 * MiB, concurrency: 1 },
  { title: "1000 blobs of 64 KiB", count: 1000, size: 64 * KiB, concurrency: 16 }
]
