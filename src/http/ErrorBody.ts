/**
 * Parser for the bodies of error responses of registries and token services. A body may have any format
 * (distribution-spec, "Error Codes").
 *
 * It reads the error document of the specification, also without codes (Artifactory) or with numbers as codes; the JSON
 * objects of AWS, GitHub, Google, Docker Hub, OAuth 2 (RFC 6749, 5.2) and RFC 9457; the XML of object stores; the
 * titles of web pages; and plain text.
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { excerpt } from "../Text.ts"
import { isWebPage } from "./WebPage.ts"

/** Content of an error response. */
export interface ErrorBody {
  /** Code of the first error in the document. */
  readonly code?: string | undefined
  /** Message, of any length, without markup. */
  readonly text?: string | undefined
}

// maximum number of errors of one document that are quoted
const errorLimit = 3

// maximum number of levels of JSON in which a message is searched
const depthLimit = 4

// in UTF-16 code units; errors quote far less
const textLimit = 4096

const decodeJson = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Unknown))

/** Keys of messages, the more specific ones first. Case does not matter. */
const messageKeys = [
  "message",
  "error_description",
  "msg",
  "error_message",
  "errormessage",
  "detail",
  "details",
  "reason",
  "description",
  "error",
  "errors",
  "title"
]

const field = (value: object, name: string): unknown => {
  const entry = Object.entries(value).find(([key, value]) => key.toLowerCase() === name && value !== null)
  return entry?.[1]
}

/** Returns the text of a JSON value: a string, or the string under its most specific key. */
const textIn = (value: unknown, depth = depthLimit): string | undefined => {
  if (typeof value === "string") return value.trim() === "" ? undefined : value
  if (depth === 0 || !Predicate.isObjectOrArray(value)) return undefined
  const inner = Array.isArray(value) ? value.slice(0, errorLimit) : messageKeys.map((name) => field(value, name))
  for (const each of inner) {
    const text = textIn(each, depth - 1)
    if (text !== undefined) return text
  }
  return undefined
}

/** Returns the text of one error of a document: its message, with its detail if that is another text, or its code. */
const textOfError = (error: unknown): string | undefined => {
  if (!Predicate.isObject(error)) return textIn(error)
  const message = textIn(field(error, "message"))
  const detail = field(error, "detail")
  if (message === undefined) return textIn(error) ?? codeOf(error)
  return typeof detail === "string" && detail.trim() !== "" && !message.includes(detail)
    ? `${message}: ${detail}`
    : message
}

const codeOf = (error: unknown): string | undefined => {
  const code = Predicate.isObject(error) ? field(error, "code") : undefined
  return typeof code === "string" && code !== "" ? code : typeof code === "number" ? `${code}` : undefined
}

const ofJson = (value: unknown): { readonly code?: string | undefined; readonly text?: string | undefined } => {
  const errors = Predicate.isObject(value) ? field(value, "errors") : undefined
  if (Array.isArray(errors) && errors.length > 0) {
    const texts = errors.slice(0, errorLimit).map(textOfError).filter((text) => text !== undefined)
    return { code: codeOf(errors[0]), text: Array.from(new Set(texts)).join("; ") }
  }
  // a document without a list, such as {code, message}
  return { code: codeOf(value), text: textIn(value) ?? codeOf(value) }
}

const entities: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: "\"", apos: "'", nbsp: " " }

const unescape = (text: string): string =>
  text.replaceAll(
    /&(?:#(\d{1,7})|([a-z]{2,4}));/g,
    (whole, number: string | undefined, name: string | undefined) =>
      number === undefined
        ? entities[name ?? ""] ?? whole
        : Number(number) <= 0x10ffff
        ? String.fromCodePoint(Number(number))
        : whole
  )

/** Returns the text of the first element with a name, without its markup. */
const element = (markup: string, name: string): string | undefined => {
  const start = new RegExp(`<${name}(?:\\s[^<>]*)?>`, "i").exec(markup)
  if (start === null) return undefined
  const rest = markup.slice(start.index + start[0].length).slice(0, textLimit)
  const [inner = ""] = rest.split(new RegExp(`</${name}\\s*>`, "i"), 1)
  const text = unescape(inner.replaceAll(/<[^>]*>/g, " ")).replaceAll(/\s+/g, " ").trim()
  return text === "" ? undefined : text
}

const pageTitle = (markup: string): string => {
  const title = element(markup, "title") ?? element(markup, "h1")
  const what = title === undefined ? "a web page" : `a web page, ${JSON.stringify(excerpt(title).slice(0, 100))}`
  return `the answer is ${what}: is this a registry?`
}

const xmlText = (markup: string): string | undefined => {
  const [code, message] = [element(markup, "Code"), element(markup, "Message")]
  return code === undefined || message === undefined ? message ?? code : `${code}: ${message}`
}

const phrases = [
  "bad gateway",
  "bad request",
  "error",
  "forbidden",
  "gateway time-?out",
  "internal server error",
  "method not allowed",
  "(?:page )?not found",
  "not implemented",
  "service (?:temporarily )?unavailable",
  "too many requests",
  "unauthorized"
]

/** Pattern of texts that only repeat the status. */
const bareStatus = new RegExp(
  `^(?:http(?:/[\\d.]+)? ?)?(?:error ?)?[\\d:, -]*(?:${phrases.join("|")})?[.! ]*$`,
  "i"
)

/** Decodes UTF-8. Returns `undefined` for a body that is not text, for example a compressed one. */
const decodeText = (bytes: Uint8Array): string | undefined => {
  const text = new TextDecoder().decode(bytes)
  const sample = text.slice(0, textLimit)
  const odd = sample.match(/(?!\s)[\p{Cc}\ufffd]/gu)?.length ?? 0
  return odd * 10 > sample.length ? undefined : text
}

/** Parses the body of an error response. `contentType` is the value of its header, if it has one. */
export const parse = (contentType: string | undefined, bytes: Uint8Array): ErrorBody => {
  const text = decodeText(bytes)?.trim() ?? ""
  if (text === "") return {}
  const json = /^[[{"]/.test(text) ? decodeJson(text) : Result.fail(undefined)
  if (Result.isSuccess(json)) {
    const { code, text: said } = ofJson(json.success)
    return {
      ...code === undefined ? {} : { code },
      ...said === undefined || said.trim() === "" ? {} : { text: said.slice(0, textLimit) }
    }
  }
  if (isWebPage(contentType, text)) return { text: pageTitle(text) }
  const said = /^<(?:\?xml|error)\b/i.test(text) ? xmlText(text) : text.slice(0, textLimit)
  return said === undefined || said.length < 100 && bareStatus.test(said) ? {} : { text: said }
}
