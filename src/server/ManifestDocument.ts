/**
 * Fields of a pushed manifest that the server reads before it calls the registry.
 */
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Digest from "../Digest.ts"
import * as JsonScan from "../JsonScan.ts"
import * as BrowserSafety from "./BrowserSafety.ts"
import * as Refusal from "./Refusal.ts"
import type { Incoming } from "./ServerContext.ts"

export interface ManifestDocument {
  /** Media type under which the manifest is stored, without parameters. */
  readonly mediaType: string
  readonly subject: Digest.Digest | undefined
}

const invalid = (message: string) => Result.fail(Refusal.make(400, "MANIFEST_INVALID", message))

const decodeText = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.String))

const decodeSubject = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Struct({ digest: Schema.String })))

/**
 * Returns the fields that the server reads, as JSON. The registry parses the rest, because parsing a large manifest
 * twice would take twice as long.
 */
const contentOf = (
  bytes: Uint8Array
): { readonly mediaType?: string | undefined; readonly subject?: string | undefined } => {
  const decoder = new TextDecoder()
  const content: { mediaType?: string | undefined; subject?: string | undefined } = {}
  for (const { name, value } of JsonScan.fields(bytes)) {
    const field = Option.getOrUndefined(decodeText(decoder.decode(bytes.subarray(...name))))
    if (field === "mediaType" || field === "subject") content[field] = decoder.decode(bytes.subarray(...value))
  }
  return content
}

/**
 * Reads the media type and the subject of a manifest. Fails if the `Content-Type` of the request differs from the
 * `mediaType` of the manifest (distribution-spec, "Pushing Manifests").
 */
export const read = (
  { headers }: Incoming,
  bytes: Uint8Array
): Result.Result<ManifestDocument, Refusal.Refusal> => {
  const excess = JsonScan.excess(bytes)
  if (excess === "levels") {
    return invalid(`the manifest is too complex: it nests deeper than ${JsonScan.levelLimit} levels`)
  }
  if (excess !== undefined) {
    return invalid(`the manifest is too complex: it has more than ${JsonScan.valueLimit} values`)
  }
  const content = contentOf(bytes)
  const own = Option.getOrUndefined(decodeText(content.mediaType)) || undefined
  const header = headers["content-type"]?.split(";", 1)[0]?.trim()
  const mediaType = own ?? header ?? ""
  if (!/^[\w!#$&^.+-]+\/[\w!#$&^.+-]+$/.test(header ?? mediaType) || header === undefined && own === undefined) {
    return invalid("the Content-Type is not a media type")
  }
  if (header !== undefined && header.toLowerCase() !== mediaType.toLowerCase()) {
    return invalid("the Content-Type differs from the mediaType of the manifest")
  }
  if (BrowserSafety.isExecutable(mediaType)) {
    return invalid("this media type is refused because browsers execute such content")
  }
  const subject = Option.getOrUndefined(decodeSubject(content.subject))?.digest
  return Result.succeed({ mediaType, subject: subject !== undefined && Digest.isDigest(subject) ? subject : undefined })
}
