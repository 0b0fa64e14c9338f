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

/** Repositories, and tags of each, that a mirror copies. */
export const mirrored = {
  repositories: Array.from({ length: 20 }, (_, index) => `mirror/${index}`),
  tags: Array.from({ length: 10 }, (_, index) => `${index}`)
}

/** Returns the images of the mirror: four layers of 300 kB each, two of which all tags of a repository share. */
export const mirrorImages = (): ReadonlyArray<Image> =>
  mirrored.repositories.flatMap((repository) => {
    const shared = layers(2, 300_000)
    return mirrored.tags.map((tag) => ({ repository, tag, layers: [...shared, ...layers(2, 300_000)] }))
  })

/** Numbers of blobs of 1 KiB whose cost is compared. */
export const growing = [10, 100, 1000, 10_000]

/** Blobs that servers receive and send. */
export const loads: ReadonlyArray<Load> = [
  { title: "a blob of 256 MiB", count: 1, size: 256 * MiB, concurrency: 1 },
  { title: "1000 blobs of 64 KiB", count: 1000, size: 64 * KiB, concurrency: 16 }
]
