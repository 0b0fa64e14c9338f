/**
 * The secrets that were sent to one registry and its token services: struck out of every text that comes back, because
 * some registries repeat in an error what they were sent.
 *
 * A secret is recognised as it is, in percent-encoding, with HTML entities, and within anything that is encoded in
 * Base64, such as the `Authorization` header. A text may have been cut in the middle of it.
 */
import * as Base64 from "effect/encoding/Base64"
import * as Redacted from "effect/Redacted"
import * as RegistryError from "../RegistryError.ts"

/** The secrets of one registry. */
export interface Secrets {
  /** Adds a secret that is about to be sent. */
  readonly add: (secret: Redacted.Redacted) => void
  /** Returns a text without any secret. */
  readonly strike: (text: string) => string
  /** Returns a reason without any secret in its texts. */
  readonly strikeReason: (reason: RegistryError.Reason) => RegistryError.Reason
}

/** Stands where a secret stood. */
const mark = "<redacted>"

// number of secrets that are remembered: a copy has a few tokens for each repository
const capacity = 256

// a longer secret is recognised by so many of its first characters, because texts are cut
const significant = 32

// a shorter secret is recognised only as a whole word: striking single letters would tell what it is
const wordLength = 4

// a secret of which less than that is left, where a text was cut, is not recognised
const remainder = 6

/** Fields of reasons that hold text. */
const proseFields: ReadonlySet<string> = new Set(["detail", "path", "problem", "service", "source"])

const escape = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, "\\$&")

/** Returns the parts of a Base64 text that are the same wherever in the encoded bytes the secret begins. */
const inBase64 = (secret: string): ReadonlyArray<string> => {
  const bytes = new TextEncoder().encode(secret)
  return [0, 1, 2].map((shift) => {
    const padded = new Uint8Array(shift + bytes.length)
    padded.set(bytes, shift)
    const whole = Math.floor(padded.length * 8 / 6)
    return Base64.encode(padded).slice(Math.ceil(shift * 8 / 6), whole)
  }).filter((text) => text.length >= remainder)
}

const entity: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "\"": "&quot;",
  "'": "&#39;"
}

interface Pattern {
  /** Texts of which each stands for the secret. */
  readonly needles: ReadonlyArray<string>
  readonly find: RegExp
}

const patternOf = (secret: string): Pattern => {
  const start = secret.slice(0, significant)
  const base64 = inBase64(start).flatMap((text) => {
    const url = text.replaceAll("+", "-").replaceAll("/", "_")
    return [text, url, encodeURIComponent(text)]
  })
  const percent = encodeURIComponent(start)
  const plain = [start, percent, percent.replaceAll("%20", "+"), start.replaceAll(/[&<>"']/g, (c) => entity[c] ?? c)]
  const needles = Array.from(new Set([...plain, ...base64]))
  // the rest of a long secret, and of what is encoded together with it
  const rest = secret.length > significant ? "[^\\s\"'<>,;]*" : ""
  const word = "[A-Za-z0-9+/=_%-]*"
  const choices = [
    ...Array.from(new Set(plain), (text) =>
      secret.length < wordLength
        ? `(?<![\\p{L}\\p{N}])${escape(text)}(?![\\p{L}\\p{N}])`
        : escape(text) + rest),
    ...Array.from(new Set(base64), (text) => word + escape(text) + word)
  ]
  return { needles, find: new RegExp(choices.join("|"), "giu") }
}

/** Returns the length of the text before a secret of which the end is cut off. */
const beforeCut = (text: string, { needles }: Pattern): number => {
  for (const needle of needles) {
    for (let length = Math.min(needle.length - 1, text.length); length >= remainder; length--) {
      if (text.endsWith(needle.slice(0, length))) return text.length - length
    }
  }
  return text.length
}

/** Creates an empty set of secrets. */
export const make = (): Secrets => {
  const patterns = new Map<string, Pattern | undefined>()

  const strike = (text: string): string => {
    let struck = text
    for (const [secret, known] of patterns) {
      const pattern = known ?? patternOf(secret)
      patterns.set(secret, pattern)
      struck = struck.replace(pattern.find, mark)
      const end = beforeCut(struck, pattern)
      if (end < struck.length) struck = struck.slice(0, end) + mark
    }
    return struck
  }

  return {
    add: (redacted) => {
      const secret = Redacted.value(redacted)
      if (secret === "") return
      const known = patterns.get(secret)
      // the last that was used is the last to be forgotten
      patterns.delete(secret)
      patterns.set(secret, known)
      const [oldest] = patterns.keys()
      if (patterns.size > capacity && oldest !== undefined) patterns.delete(oldest)
    },
    strike,
    strikeReason: (reason) => {
      if (patterns.size === 0) return reason
      const texts = Object.entries(reason).filter((entry): entry is [string, string] =>
        proseFields.has(entry[0]) && typeof entry[1] === "string"
      )
      const struck = texts.map(([name, text]) => [name, strike(text)] as const)
      if (struck.every(([, text], index) => text === texts[index]?.[1])) return reason
      const type = RegistryError.Reason.members.find((type) => reason instanceof type)
      if (type === undefined) return reason
      // the same fields, of which only texts are others, make a reason of the same class
      return new type({ ...reason, ...Object.fromEntries(struck) } as never)
    }
  }
}
