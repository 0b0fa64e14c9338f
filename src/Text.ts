/**
 * Text of another party in prose: in an error, a warning, or the output of the command.
 */

/** Maximum length of a text from another party within a sentence, in UTF-16 code units. */
const maximumLength = 200

// control, format (with the bidirectional marks and overrides), line and paragraph separators, unpaired surrogates
const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]+/gu

/** Replaces characters that are not printable on one line by a space. */
export const printable = (text: string): string => text.replace(unprintable, " ")

/** Replaces characters that are not printable on one line by their escapes. The text has to be JSON. */
export const escapeUnprintable = (json: string): string =>
  json.replace(unprintable, (characters) =>
    // by UTF-16 code units
    characters.split("").map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`).join(""))

/** Returns a text for use in a sentence: printable, trimmed, on one line, and at most 200 characters long. */
export const excerpt = (text: string): string => {
  const line = printable(text.slice(0, 4 * maximumLength)).trim()
  // never half of a surrogate pair
  return line.length <= maximumLength ? line : line.slice(0, maximumLength).replace(/[\ud800-\udbff]$/, "")
}
