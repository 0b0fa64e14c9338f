/**
 * Formats numbers, types and text of another party for people.
 */
import * as MediaType from "../MediaType.ts"
import { printable } from "../Text.ts"

export { lasting, plural, size } from "../web/Format.ts"

/** Formats a duration, given in milliseconds, in seconds. */
export const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`

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
