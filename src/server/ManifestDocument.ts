/**
 * A manifest as it arrives: what the server reads of it before its registry does.
 */
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Digest from "../Digest.ts"
import * as BrowserSafety from "./BrowserSafety.ts"
import * as Refusal from "./Refusal.ts"
import type { Incoming } from "./Served.ts"

export interface ManifestDocument {
  /** Media type under which it is stored, without parameters. */
  readonly mediaType: string
  readonly subject: Digest.Digest | undefined
}

// manifests nest five levels; parsing and validating take time and stack for each level
const depthLimit = 100
// 4 MiB hold some 28 000 descriptors, with a few fields each
const valueLimit = 300_000

const code = { quote: 0x22, comma: 0x2c, backslash: 0x5c, open: 0x5b, close: 0x5d, begin: 0x7b, end: 0x7d }

/** Describes why a JSON document would take too long to parse, if it would. One pass over the bytes, without recursion. */
const excess = (bytes: Uint8Array): string | undefined => {
  let depth = 0
  let values = 0
  let isText = false
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]
    if (isText) {
      if (byte === code.backslash) at++
      else if (byte === code.quote) isText = false
      continue
    }
    switch (byte) {
      case code.quote:
        isText = true
        break
      case code.open:
      case code.begin:
        values++
        if (++depth > depthLimit) return `it nests deeper than ${depthLimit} levels`
        break
      case code.close:
      case code.end:
        depth--
        break
      case code.comma:
        if (++values > valueLimit) return `it has more than ${valueLimit} values`
    }
  }
  return undefined
}

const invalid = (message: string) => Result.fail(Refusal.make(400, "MANIFEST_INVALID", message))

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Struct({
  mediaType: Schema.optional(Schema.Unknown),
  subject: Schema.optional(Schema.Unknown)
})))

const decodeSubject = Schema.decodeUnknownOption(Schema.Struct({ digest: Schema.String }))

const subjectOf = (subject: unknown): Digest.Digest | undefined => {
  const digest = Option.getOrUndefined(decodeSubject(subject))?.digest
  return digest !== undefined && Digest.isDigest(digest) ? digest : undefined
}

/**
 * Reads a manifest: its type as the request and the manifest itself have it, which must agree (distribution-spec,
 * "Pushing Manifests"), and its subject.
 */
export const read = (
  { headers }: Incoming,
  bytes: Uint8Array
): Result.Result<ManifestDocument, Refusal.Refusal> => {
  const problem = excess(bytes)
  if (problem !== undefined) return invalid(`the manifest is too complex: ${problem}`)
  const content = Option.getOrUndefined(decode(new TextDecoder().decode(bytes)))
  const own = typeof content?.mediaType === "string" && content.mediaType !== "" ? content.mediaType : undefined
  const header = headers["content-type"]?.split(";", 1)[0]?.trim()
  const mediaType = own ?? header ?? ""
  if (!/^[\w!#$&^.+-]+\/[\w!#$&^.+-]+$/.test(header ?? mediaType) || header === undefined && own === undefined) {
    return invalid("the Content-Type is not a media type")
  }
  if (header !== undefined && header.toLowerCase() !== mediaType.toLowerCase()) {
    return invalid("the Content-Type is not the mediaType of the manifest")
  }
  if (BrowserSafety.isExecutable(mediaType)) return invalid("browsers execute content of this type: it is no manifest")
  return Result.succeed({ mediaType, subject: subjectOf(content?.subject) })
}
