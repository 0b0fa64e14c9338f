/**
 * Numbers, types and foreign text as people read them.
 */
import * as ByteSize from "effect/ByteSize"
import * as MediaType from "../MediaType.ts"
import { printable } from "../Text.ts"

/** A number of bytes. */
export const size = (bytes: number): string => ByteSize.format(ByteSize.bytes(bytes))

/** A count with its noun: `1 blob`, `2 retries`. */
export const plural = (count: number, noun: string): string =>
  `${count} ${count === 1 ? noun : noun.endsWith("y") ? `${noun.slice(0, -1)}ies` : `${noun}s`}`

/** A time in seconds. */
export const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`

/** A time that may be long: `40 s`, `3 min 20 s`, `2 h 5 min`. */
export const lasting = (millis: number): string => {
  const whole = Math.round(millis / 1000)
  if (whole < 60) return `${whole} s`
  const minutes = Math.floor(whole / 60)
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** Text in one line, without what a terminal would obey. */
export const oneLine = (text: string): string => printable(text.replaceAll(/\s*\n\s*/g, " ")).trim()

const kinds: ReadonlyMap<string, string> = new Map([
  [MediaType.imageManifest, "image"],
  [MediaType.imageIndex, "index"],
  [MediaType.dockerManifest, "docker image"],
  [MediaType.dockerManifestList, "docker index"],
  [MediaType.artifactManifest, "artifact"]
])

/** What content of a type is, for short: what is not a manifest keeps its type. */
export const kind = (mediaType: string): string => kinds.get(mediaType) ?? mediaType

/** Returns true for a type that says what content is. */
export const isKnown = (mediaType: string): boolean => mediaType === "" || kinds.has(mediaType)
