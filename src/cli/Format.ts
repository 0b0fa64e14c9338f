/**
 * Formats numbers, types and text of another party for people.
 */
import * as ByteSize from "effect/ByteSize"
import * as MediaType from "../MediaType.ts"
import { printable } from "../Text.ts"

/** Formats a number of bytes. */
export const size = (bytes: number): string => ByteSize.format(ByteSize.bytes(bytes))

/** Formats a count with its noun: `1 blob`, `2 retries`. */
export const plural = (count: number, noun: string): string =>
  `${count} ${count === 1 ? noun : noun.endsWith("y") ? `${noun.slice(0, -1)}ies` : `${noun}s`}`

/** Formats a duration, given in milliseconds, in seconds. */
export const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`

/** Formats a duration, given in milliseconds, that may be long: `40 s`, `3 min 20 s`, `2 h 5 min`. */
export const lasting = (millis: number): string => {
  const whole = Math.round(millis / 1000)
  if (whole < 60) return `${whole} s`
  const minutes = Math.floor(whole / 60)
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** Returns a text on one line, without control characters that a terminal would obey. */
export const oneLine = (text: string): string => printable(text.replaceAll(/\s*\n\s*/g, " ")).trim()

const kinds: ReadonlyMap<string, string> = new Map([
  [MediaType.imageManifest, "image"],
  [MediaType.imageIndex, "index"],
  [MediaType.dockerManifest, "docker image"],
  [MediaType.dockerManifestList, "docker index"],
  [MediaType.artifactManifest, "artifact"]
])

/** Returns the short name of a type of manifests, or the type itself. */
export const kind = (mediaType: string): string => kinds.get(mediaType) ?? mediaType

/** Returns true if a type is blank or has a short name. */
export const isKnown = (mediaType: string): boolean => mediaType === "" || kinds.has(mediaType)
