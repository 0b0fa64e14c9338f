/**
 * A manifest as it arrives: what the server reads of it before its registry does.
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
  /** Media type under which it is stored, without parameters. */
  readonly mediaType: string
  readonly subject: Digest.Digest | undefined
}

const invalid = (message: string) => Result.fail(Refusal.make(400, "MANIFEST_INVALID", message))

const decodeText = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.String))

const decodeSubject = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Struct({ digest: Schema.String })))

/**
 * Returns the fields that the server reads, as JSON. All else is left to the registry: parsing a large manifest twice
 * would take twice as long.
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
 * Reads a manifest: its type as the request and the manifest itself have it, which must agree (distribution-spec,
 * "Pushing Manifests"), and its subject.
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
    return invalid("the Content-Type is not the mediaType of the manifest")
  }
  if (BrowserSafety.isExecutable(mediaType)) return invalid("browsers execute content of this type: it is no manifest")
  const subject = Option.getOrUndefined(decodeSubject(content.subject))?.digest
  return Result.succeed({ mediaType, subject: subject !== undefined && Digest.isDigest(subject) ? subject : undefined })
}
