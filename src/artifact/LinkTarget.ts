/**
 * Checks of the targets of symbolic links in archives of folders.
 *
 * A target is safe if it goes up only at its beginning, and not above the folder. A link is created in a real folder,
 * so that going up at the beginning is exact, and the rest can only pass through other links that are safe as well. A
 * target that goes up after it has gone down could pass through a link first, and leave the folder.
 */

/**
 * Returns the problem of a target, as the end of a sentence about the link, or `undefined` if it is safe. `depth` is
 * the number of folders between the link and the folder that it must not leave.
 */
export const problemOf = (target: string, depth: number): string | undefined => {
  const parts = target.split("/").filter((part) => part !== "" && part !== ".")
  const up = parts.findIndex((part) => part !== "..")
  const isBelow = up >= 0 && parts.lastIndexOf("..") > up
  const ups = up < 0 ? parts.length : up
  if (target === "" || target.includes("\0")) return "has no target"
  if (target.length > 4096) return "has a target of more than 4096 characters"
  if (target.startsWith("/") || target.startsWith("\\") || /^[a-z]:/i.test(target)) return "has an absolute target"
  // Windows separates by backslashes too
  if (/(?:^|[\\/])\.\.\\|\\\.\.(?:$|[\\/])/.test(target)) return "has backslashes"
  if (isBelow) return "goes up after it has gone down"
  return ups > depth ? "leads out of the folder" : undefined
}
