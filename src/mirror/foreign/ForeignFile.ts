/**
 * Recognises the files of other tools by their shape, and reads them.
 */
import * as Effect from "effect/Effect"
import { isObject } from "effect/Predicate"
import * as FileSyntax from "../FileSyntax.ts"
import type { MirrorFile } from "../MirrorFile.ts"
import type { FilePath, Problem } from "../Problem.ts"
import { withoutDoubles } from "../Problem.ts"
import * as Foreign from "./Foreign.ts"
import * as ImageSyncerFile from "./ImageSyncerFile.ts"
import * as OcyncFile from "./OcyncFile.ts"
import * as RegsyncFile from "./RegsyncFile.ts"
import * as SkopeoFile from "./SkopeoFile.ts"

export { withDefaults } from "./Foreign.ts"

const readers: Readonly<Record<Foreign.Format, Foreign.Reader>> = {
  regsync: RegsyncFile.read,
  skopeo: SkopeoFile.read,
  "image-syncer": ImageSyncerFile.read,
  ocync: OcyncFile.read
}

const skopeoKeys = ["images", "images-by-tag-regex", "images-by-semver", "tls-verify", "cert-dir"]

const isText = (value: unknown): boolean => typeof value === "string"

const isReferences = (value: unknown): boolean => isText(value) || Array.isArray(value) && value.every(isText)

/** Returns the tool that a file belongs to, or `undefined` if it is one of a mirror. */
export const formatOf = (value: unknown): Foreign.Format | undefined => {
  if (!isObject(value) || "rules" in value) return undefined
  const entries = Object.entries(value)
  if ("sync" in value || "creds" in value) return "regsync"
  if ("mappings" in value) return "ocync"
  if (isObject(value["images"]) && Object.values(value["images"]).every(isReferences)) return "image-syncer"
  if (entries.length === 0 || "version" in value) return undefined
  if (entries.every(([, entry]) => isObject(entry) && skopeoKeys.some((key) => key in entry))) return "skopeo"
  const isPair = ([key, entry]: readonly [string, unknown]) => /[/:]/.test(key) && isReferences(entry)
  return entries.every(isPair) ? "image-syncer" : undefined
}

/** A file of another tool as the file of a mirror. */
export interface Converted {
  readonly file: MirrorFile
  /** Places of the rules in the file of the tool. */
  readonly places: ReadonlyArray<FilePath>
  readonly passwords: ReadonlyMap<string, Foreign.Password>
  readonly omissions: ReadonlyArray<Problem>
}

/** Reads a file. Fails with all problems, or with a problem of its syntax. */
export const read = Effect.fnUntraced(function*(
  format: Foreign.Format,
  name: string,
  text: string,
  value: unknown,
  context: Foreign.Context
): Effect.fn.Return<Converted, ReadonlyArray<Problem> | FileSyntax.SyntaxProblem> {
  const notes: Foreign.Notes = { problems: [], omissions: [] }
  // ocync replaces variables in the text, before it is parsed
  const expanded = format === "ocync"
    ? yield* OcyncFile.expand(text, context.lookups).pipe(
      Effect.mapError((message): ReadonlyArray<Problem> => [{ path: [], message }]),
      Effect.flatMap((text) => Effect.fromResult(FileSyntax.parse(name, text)))
    )
    : value
  const found = yield* readers[format](expanded, context, notes)
  if (notes.problems.length > 0) return yield* Effect.fail(notes.problems)
  return {
    file: Foreign.fileOf(found),
    places: found.rules.map(({ place }) => place),
    passwords: found.passwords,
    omissions: withoutDoubles(notes.omissions)
  }
})
