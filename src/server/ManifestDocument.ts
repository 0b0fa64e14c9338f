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

const excesses = {
  levels: `it nests deeper than ${JsonScan.levelLimit} levels`,
  values: `it has more than ${JsonScan.valueLimit} values`
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
  const excess = JsonScan.excess(bytes)
  if (excess !== undefined) return invalid(`the manifest is too complex: ${excesses[excess]}`)
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
