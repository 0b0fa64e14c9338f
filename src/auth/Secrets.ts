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

/** A text that stands for a secret, and the characters around it that belong to it. */
interface Needle {
  readonly text: string
  readonly before?: RegExp | undefined
  readonly after?: RegExp | undefined
  /** True if letters and digits beside it mean that it is something else. */
  readonly isWord: boolean
}

// what is encoded together with a secret
const base64Character = /[A-Za-z0-9+/=_%-]/

// what may follow in a secret that is recognised by its first characters
const otherCharacter = /[^\s"'<>,;]/

const wordCharacter = /[\p{L}\p{N}]/u

const needlesOf = (secret: string): ReadonlyArray<Needle> => {
  const start = secret.slice(0, significant)
  const percent = encodeURIComponent(start)
  const plain = [
    start,
    percent,
    percent.replaceAll(/%../g, (code) => code.toLowerCase()),
    percent.replaceAll("%20", "+"),
    start.replaceAll(/[&<>"']/g, (character) => entity[character] ?? character)
  ]
  const base64 = inBase64(start).flatMap((text) => {
    const url = text.replaceAll("+", "-").replaceAll("/", "_")
    return [text, url, encodeURIComponent(text)]
  })
  return [
    ...Array.from(new Set(plain), (text) => ({
      text,
      ...secret.length > significant ? { after: otherCharacter } : {},
      isWord: secret.length < wordLength
    })),
    ...Array.from(new Set(base64), (text) => ({
      text,
      before: base64Character,
      after: base64Character,
      isWord: false
    }))
  ]
}

/** Returns a text with a mark for every occurrence of a needle. */
const strikeNeedle = (text: string, { after, before, isWord, text: needle }: Needle): string => {
  let struck = ""
  let done = 0
  for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at)) {
    let [start, end] = [at, at + needle.length]
    while (start > done && before?.test(text[start - 1] ?? "") === true) start--
    while (end < text.length && after?.test(text[end] ?? "") === true) end++
    at = end
    if (isWord && (wordCharacter.test(text[start - 1] ?? "") || wordCharacter.test(text[end] ?? ""))) continue
    struck += text.slice(done, start) + mark
    done = end
  }
  return struck + text.slice(done)
}

/** Returns a text with a mark in place of the beginning of a needle at its end, where it was cut. */
const strikeCut = (text: string, { text: needle }: Needle): string => {
  for (let length = Math.min(needle.length - 1, text.length); length >= remainder; length--) {
    if (text.endsWith(needle.slice(0, length))) return text.slice(0, -length) + mark
  }
  return text
}

/** Creates an empty set of secrets. */
export const make = (): Secrets => {
  const known = new Map<string, ReadonlyArray<Needle> | undefined>()

  const strike = (text: string): string => {
    let struck = text
    for (const [secret, made] of known) {
      const needles = made ?? needlesOf(secret)
      known.set(secret, needles)
      struck = needles.reduce(strikeCut, needles.reduce(strikeNeedle, struck))
    }
    return struck
  }

  return {
    add: (redacted) => {
      const secret = Redacted.value(redacted)
      if (secret === "") return
      const needles = known.get(secret)
      // the last that was used is the last to be forgotten
      known.delete(secret)
      known.set(secret, needles)
      const [oldest] = known.keys()
      if (known.size > capacity && oldest !== undefined) known.delete(oldest)
    },
    strike,
    strikeReason: (reason) => {
      if (known.size === 0) return reason
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
