/**
 * Secrets that were sent to one registry and its token services. They are struck out of every text that comes back,
 * because some registries repeat in an error what they received.
 *
 * A secret is recognized in plain text, in percent-encoding, with HTML entities, and within Base64, such as in the
 * `Authorization` header, even if the text was cut within it.
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

// replacement of a secret
const mark = "<redacted>"

// number of secrets to remember: a copy has a few tokens for each repository
const capacity = 256

// a longer secret is recognized by its first characters, because texts are cut
const significant = 32

// a shorter secret is recognized only as a whole word: striking out single letters would reveal it
const wordLength = 4

// a cut secret is recognized only if at least so many characters are left
const remainder = 6

/** Fields of reasons that contain text. */
const proseFields: ReadonlySet<string> = new Set(["detail", "path", "problem", "service", "source"])

/** Returns the Base64 texts of a secret for each of its three alignments, without the characters that vary. */
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

/** A form of a secret, with the characters around it that belong to it. */
interface Needle {
  readonly text: string
  readonly before?: RegExp | undefined
  readonly after?: RegExp | undefined
  /** True if it is not the secret when a letter or digit stands beside it. */
  readonly isWord: boolean
}

// characters that are encoded together with a secret
const base64Character = /[A-Za-z0-9+/=_%-]/

// characters that may follow the first characters of a secret
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

// number of secrets of one URL that are remembered, so that they do not displace those that were sent
const secretsOfUrl = 32

/** Returns the secrets in a URL: its password, and the parameters of a signed URL or of an upload session. */
export const ofUrl = (url: string): ReadonlyArray<Redacted.Redacted> => {
  const { password, searchParams } = new URL(url)
  const values = Array.from(searchParams).filter(([name]) =>
    /auth|credential|key|pass|secret|sig|state|token/i.test(name)
  )
  return [password, ...values.slice(0, secretsOfUrl).map(([, value]) => value)].map((value) => Redacted.make(value))
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
      // the least recently used secret is removed first
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
      // only texts differ, so that the fields make a reason of the same class
      return new type({ ...reason, ...Object.fromEntries(struck) } as never)
    }
  }
}
