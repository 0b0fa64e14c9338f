/**
 * The arguments and flags that `push` and `attach` share.
 */
import * as Argument from "effect/cli/Argument"
import * as Flag from "effect/cli/Flag"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stdio from "effect/Stdio"
import { title } from "../Annotations.ts"
import type * as Artifact from "../artifact/Artifact.ts"
import * as BlobSource from "../BlobSource.ts"
import * as Flags from "./Flags.ts"
import * as Input from "./Input.ts"
import { Failure } from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"

/** A file with its media type, if one is given. */
export interface FileWithType {
  readonly path: string
  readonly mediaType?: string | undefined
}

/**
 * Reads `FILE[:TYPE]`. The text after the last colon is a media type if it looks like one. A colon at the end is
 * ignored, as oras does, so that a name may contain colons.
 */
const readFile = (text: string): Effect.Effect<FileWithType, ReturnType<typeof misuse>> => {
  const [, path = text, mediaType = ""] = /^(.*):((?:[\w!#$&^.+-]+\/[\w!#$&^.+-]+)?)$/s.exec(text) ?? []
  if (path === "") return Effect.fail(misuse(`${JSON.stringify(text)} names no file`))
  return Effect.succeed({ path, ...mediaType === "" ? {} : { mediaType } })
}

export const files: Argument.Argument<ReadonlyArray<FileWithType>> = Argument.String("file").pipe(
  Argument.withMetavar("file"),
  Argument.withDescription(
    "File or folder, with its media type after a colon: FILE[:TYPE]. A folder becomes a compressed archive. - reads " +
      "stdin, and requires --stdin-name and --stdin-type. Default type: application/octet-stream"
  ),
  Argument.mapEffect(readFile),
  Argument.atLeast(0)
)

export const flags = {
  annotation: Flags.annotation("Annotation of the manifest. May be repeated"),
  annotationFile: Flag.String("annotation-file").pipe(
    Flag.withMetavar("FILE"),
    Flag.withDescription(
      "JSON file with annotations: an object of keys and values for each file by its argument, for $manifest and for " +
        "$config"
    ),
    Flag.optional
  ),
  config: Flag.String("config").pipe(
    Flag.withMetavar("FILE[:TYPE]"),
    Flag.withDescription("Config of the artifact. Default: an empty JSON object"),
    Flag.mapEffect(readFile),
    Flag.optional
  ),
  created: Flags.onOff("created", "Add the current time as an annotation, so that each push has another digest"),
  keepMetadata: Flags.onOff(
    "keep-metadata",
    "Keep owners, times and permissions of the files in folders. Default: without them, so that equal folders have " +
      "equal digests"
  ),
  stdinName: Flag.String("stdin-name").pipe(
    Flag.withMetavar("NAME"),
    Flag.withDescription("Name of stdin in the artifact"),
    Flag.optional
  ),
  stdinType: Flag.String("stdin-type").pipe(
    Flag.withMetavar("TYPE"),
    Flag.withDescription("Media type of stdin"),
    Flag.optional
  )
}

/** Values of these flags and arguments. */
export interface Given {
  readonly annotation: ReadonlyArray<readonly [key: string, value: string]>
  readonly annotationFile: Option.Option<string>
  readonly config: Option.Option<FileWithType>
  readonly created: boolean
  readonly files: ReadonlyArray<FileWithType>
  readonly keepMetadata: boolean
  readonly stdinName: Option.Option<string>
  readonly stdinType: Option.Option<string>
}

type Annotations = Readonly<Record<string, string>>

const decodeAnnotations = Schema.decodeUnknownEffect(
  Schema.fromJsonString(Schema.Record(Schema.String, Schema.Record(Schema.String, Schema.String)))
)

// maximum size of a file with annotations, in bytes; no known registry accepts a manifest of this size
const limit = 8 * 1024 * 1024

/** Reads a file with annotations. */
const readAnnotations = Effect.fnUntraced(function*(file: string) {
  const bytes = yield* Input.readBytes(file, limit)
  return yield* Effect.mapError(
    decodeAnnotations(new TextDecoder().decode(bytes)),
    () =>
      new Failure({
        message: `cannot read ${file}: it is not a JSON object of objects with texts, such as ` +
          `{"$manifest":{"key":"value"}}`
      })
  )
})

/** Returns the content of a file, with its annotations. */
const contentOf = Effect.fnUntraced(function*(
  { mediaType, path }: FileWithType,
  { stdinName, stdinType }: Pick<Given, "stdinName" | "stdinType">,
  annotations: Annotations | undefined
): Effect.fn.Return<Artifact.Content<Failure>, ReturnType<typeof misuse>, Stdio.Stdio> {
  const details = annotations === undefined ? {} : { annotations }
  if (path !== "-") {
    // the title in a file of annotations is the name, as in oras
    const name = annotations?.[title]
    return {
      path,
      ...details,
      ...mediaType === undefined ? {} : { mediaType },
      ...name === undefined ? {} : { name }
    }
  }
  if (Option.isNone(stdinName) || Option.isNone(stdinType)) {
    return yield* misuse("the file - requires --stdin-name and --stdin-type")
  }
  // its size is known after it was read
  const source = BlobSource.fromStream(0, Input.stdin(yield* Stdio.Stdio))
  return { source, name: stdinName.value, mediaType: stdinType.value, ...details }
})

/** Reads the annotations of files, of the manifest and of the config. Fails if one is of a file that is not pushed. */
const annotationsOf = Effect.fnUntraced(function*({ annotationFile, files }: Given) {
  if (Option.isNone(annotationFile)) return {}
  const given = yield* readAnnotations(annotationFile.value)
  const used = new Set(["$manifest", "$config", ...files.map(({ path }) => path)])
  const unused = Object.keys(given).find((name) => !used.has(name))
  if (unused === undefined) return given
  return yield* misuse(`--annotation-file has annotations of ${JSON.stringify(unused)}, which is not pushed`)
})

/** Returns the options of a push or of an attachment. */
export const options = Effect.fnUntraced(function*(input: Given) {
  const { annotation, annotationFile, config, created, files, keepMetadata, stdinName, stdinType } = input
  const pipes = files.filter(({ path }) => path === "-").length + Number(Option.contains(annotationFile, "-"))
  if (pipes > 1) return yield* misuse("stdin can be read only once")
  if (Option.isSome(config) && config.value.path === "-") return yield* misuse("--config cannot read stdin")
  if (!files.some(({ path }) => path === "-") && Option.isSome(Option.orElse(stdinName, () => stdinType))) {
    return yield* misuse("--stdin-name and --stdin-type require the file -")
  }
  const given = yield* annotationsOf(input)
  return {
    files: yield* Effect.forEach(files, (file) => contentOf(file, input, given[file.path])),
    annotations: { ...given["$manifest"], ...Object.fromEntries(annotation) },
    metadata: keepMetadata ? "kept" as const : "fixed" as const,
    ...Option.isNone(config) ? {} : { config: yield* contentOf(config.value, input, given["$config"]) },
    ...created ? { created: yield* DateTime.now } : {}
  }
})
