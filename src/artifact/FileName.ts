/**
 * Checks of names that another party chose, before they become paths below a folder.
 */
import * as Result from "effect/Result"

/** The parts of a safe name, without separators. */
export type Parts = ReadonlyArray<string>

/** Maximum size of a part of a name, in bytes of UTF-8, as on most file systems. */
const partLimit = 255

/** Maximum size of a name, in bytes of UTF-8, as on Linux. */
const nameLimit = 4096

const sizeOf = (text: string): number => new TextEncoder().encode(text).length

/** Names of devices on Windows, which it also recognizes with an extension or a colon. */
const device = /^(?:con|prn|aux|nul|conin\$|conout\$|clock\$|(?:com|lpt)[0-9¹²³])(?: *(?:[.:].*)?)$/i

const splits = (name: string): Parts => name.split("/").filter((part) => part !== "" && part !== ".")

/** Returns the problem of any name, on any system. */
const problemOf = (name: string, parts: Parts): string | undefined => {
  if (name.includes("\0")) return "it contains a NUL character"
  if (/\p{Cs}/u.test(name)) return "it is not valid Unicode"
  if (name.startsWith("/")) return "it is absolute"
  if (parts.includes("..")) return "it leads out of the folder"
  if (parts.some((part) => sizeOf(part) > partLimit)) return `a part of it is longer than ${partLimit} bytes`
  return sizeOf(name) > nameLimit ? `it is longer than ${nameLimit} bytes` : undefined
}

/** Returns the problem that Windows has with a name. */
const problemOnWindows = (name: string, parts: Parts): string | undefined => {
  if (name.includes("\\")) return "it contains a backslash"
  if (/^[a-z]:/i.test(name)) return "it names a drive"
  const reserved = parts.find((part) => device.test(part))
  if (reserved !== undefined) return `Windows reserves the name ${JSON.stringify(reserved)}`
  return parts.some((part) => /[. ]$/.test(part)) ? "a part of it ends with a dot or a space" : undefined
}

// control characters, separators of lines, and marks that reverse the direction of text
const misleading = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u

const checked = (parts: Parts, problem: string | undefined): Result.Result<Parts, string> =>
  problem === undefined ? Result.succeed(parts) : Result.fail(problem)

/**
 * Splits the name of a file of an artifact. Fails with the problem of a name that is unsafe on any system, because
 * artifacts are pulled on all of them. The name `.` has no parts.
 */
export const portable = (name: string): Result.Result<Parts, string> => {
  const parts = splits(name)
  const problem = name === ""
    ? "it is empty"
    : problemOf(name, parts) ?? problemOnWindows(name, parts) ??
      (misleading.test(name) ? "it contains a control character" : undefined)
  return checked(parts, problem)
}

/** Splits the name of an entry of an archive. Fails with the problem of a name that is unsafe on this system. */
export const onSystem = (name: string, system: "windows" | "posix"): Result.Result<Parts, string> => {
  const parts = splits(name)
  return checked(parts, problemOf(name, parts) ?? (system === "windows" ? problemOnWindows(name, parts) : undefined))
}

/** Returns a text that is equal for names which a file system may not distinguish. */
const folded = (name: string): string => name.normalize("NFC").toUpperCase().toLowerCase()

/**
 * Finds a name, or the folder of a name, that some file systems do not distinguish from another. A file may not have
 * the name of a folder of another.
 */
export const collision = (
  names: ReadonlyArray<Parts>
): { readonly name: string; readonly other: string } | undefined => {
  const known = new Map<string, { readonly name: string; readonly isFile: boolean }>()
  for (const parts of names) {
    for (let length = 1; length <= parts.length; length++) {
      const name = parts.slice(0, length).join("/")
      const isFile = length === parts.length
      const other = known.get(folded(name))
      if (other !== undefined && (other.name !== name || isFile || other.isFile)) return { name, other: other.name }
      known.set(folded(name), { name, isFile })
    }
  }
  return undefined
}
