/**
 * Fingerprint of the settings of a rule that decide what the destination gets besides the image of the source.
 */
import * as Platform from "../Platform.ts"
import type { MirrorRule } from "./MirrorRule.ts"

/** Returns the fingerprint of a rule. Rules with the same fingerprint copy the same content of an image. */
export const make = ({ digestTags, platforms, referrers }: MirrorRule): string => {
  const images = platforms === "all"
    ? platforms
    : platforms._tag === "Image"
    ? Platform.format(platforms.platform)
    : `${platforms.index} ${platforms.platforms.map(Platform.format).join(" ")}`
  const { annotations = {}, artifactTypes } = referrers._tag === "Copy" ? referrers.filter : {}
  const filter = referrers._tag === "Skip"
    ? "none"
    : JSON.stringify([artifactTypes?.toSorted() ?? "all", Object.entries(annotations).toSorted()])
  return `platforms ${images}; referrers ${filter}; digest tags ${digestTags}`
}
