/**
 * The flags with which `append` and `mutate` change images, and the end of both verbs and of `rebase`.
 */
import * as Flag from "effect/cli/Flag"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type * as ImageEdit from "../artifact/ImageEdit.ts"
import type { CopyEvent } from "../copy/CopyEvent.ts"
import { CopyReport } from "../copy/CopyReport.ts"
import type * as Platform from "../Platform.ts"
import * as CopyDocuments from "./CopyDocuments.ts"
import * as Flags from "./Flags.ts"
import * as LocationError from "./LocationError.ts"
import type * as Locations from "./Locations.ts"
import * as Messages from "./Messages.ts"
import * as Output from "./Output.ts"
import * as Progress from "./Progress.ts"

/** Schema of the report of a verb that changes images. */
export const EditReport = CopyReport

const decodeWords = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Array(Schema.String)))

/** Reads one word, or a list of words as JSON. Blank text is an empty list. */
const readWords: Flags.Read<ReadonlyArray<string>> = (text) => {
  if (!text.startsWith("[")) return Result.succeed(text === "" ? [] : [text])
  return Result.mapError(decodeWords(text), () => ({
    message: `${JSON.stringify(text)} is not a list of strings in JSON, such as ["/bin/app","--port=80"]`
  }))
}

const readPort: Flags.Read<string> = (text) =>
  /^\d{1,5}(?:-\d{1,5})?(?:\/(?:tcp|udp|sctp))?$/.test(text)
    ? Result.succeed(text)
    : Result.fail({ message: `${JSON.stringify(text)} is not a port, such as 8080 or 53/udp` })

const readTime: Flags.Read<DateTime.DateTime> = (text) =>
  Option.match(DateTime.make(text), {
    onNone: () => Result.fail({ message: `${JSON.stringify(text)} is not a time, such as 2024-05-06T07:08:09Z` }),
    onSome: (time) => Result.succeed(time)
  })

const pairs = (name: string, description: string) =>
  Flags.parsed(name, "KEY=VALUE", description, Flags.readPair).pipe(Flag.atLeast(0))

const keys = (name: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar("KEY"), Flag.withDescription(description), Flag.atLeast(0))

const text = (name: string, metavar: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(description), Flag.optional)

/** The flags that change the config and the annotations. */
export const changes = {
  label: pairs("label", "Set a label. May be repeated"),
  removeLabel: keys("remove-label", "Remove a label. May be repeated"),
  env: pairs("env", "Set an environment variable. May be repeated"),
  removeEnv: keys("remove-env", "Remove an environment variable. May be repeated"),
  entrypoint: Flags.parsed(
    "entrypoint",
    "WORD|JSON",
    "Set the entrypoint, and remove the command: one word, or a list in JSON; blank to remove it",
    readWords
  ).pipe(Flag.optional),
  cmd: Flags.parsed(
    "cmd",
    "WORD|JSON",
    "Set the command: one word, or a list in JSON; blank to remove it",
    readWords
  ).pipe(Flag.optional),
  user: text("user", "USER", "Set the user"),
  workdir: text("workdir", "DIR", "Set the working directory"),
  expose: Flags.parsed("expose", "PORT", "Add a port, such as 8080 or 53/udp. May be repeated", readPort).pipe(
    Flag.atLeast(0)
  ),
  annotation: pairs("annotation", "Set an annotation of the manifest. May be repeated"),
  removeAnnotation: keys("remove-annotation", "Remove an annotation. May be repeated"),
  setPlatform: Flags.parsedPlatform("set-platform", "Set the platform of an image that is not an index").pipe(
    Flag.optional
  ),
  created: Flags.parsed(
    "created",
    "TIME",
    "Set the time of creation, such as 2024-05-06T07:08:09Z. Default: unchanged",
    readTime
  ).pipe(Flag.optional)
}

/** The flags that all verbs which change images have. */
export const common = {
  platform: Flags.platform(
    "Change only the image for this platform, and make an image of it. Default: all images of an index"
  )
    .pipe(Flag.optional),
  tag: Flags.tag("Additional tag at the destination. May be repeated").pipe(Flag.atLeast(0)),
  ifTagExists: Flag.Literals("if-tag-exists", ["replace", "keep", "fail"]).pipe(
    Flag.withMetavar("replace|keep|fail"),
    Flag.withDescription(
      "If the destination has the tag with another digest: move it (replace), push nothing (keep) or fail. Default: " +
        "replace"
    ),
    Flag.withDefault("replace")
  ),
  json: Flags.json
}

type Pairs = ReadonlyArray<readonly [key: string, value: string]>

interface Changes {
  readonly label: Pairs
  readonly removeLabel: ReadonlyArray<string>
  readonly env: Pairs
  readonly removeEnv: ReadonlyArray<string>
  readonly entrypoint: Option.Option<ReadonlyArray<string>>
  readonly cmd: Option.Option<ReadonlyArray<string>>
  readonly user: Option.Option<string>
  readonly workdir: Option.Option<string>
  readonly expose: ReadonlyArray<string>
  readonly annotation: Pairs
  readonly removeAnnotation: ReadonlyArray<string>
  readonly setPlatform: Option.Option<Platform.Platform>
  readonly created: Option.Option<DateTime.DateTime>
}

interface Common {
  readonly platform: Option.Option<Platform.Platform>
  readonly tag: ReadonlyArray<Locations.Part["tag"] & string>
  readonly ifTagExists: "replace" | "keep" | "fail"
}

const recordOf = (pairs: Pairs, removed: ReadonlyArray<string>): Readonly<Record<string, string | undefined>> => ({
  ...Object.fromEntries(removed.map((key) => [key, undefined])),
  ...Object.fromEntries(pairs)
})

/** Returns the changes that the flags name. */
export const changesOf = (input: Changes): Pick<ImageEdit.EditOptions, "config" | "annotations"> => ({
  config: {
    labels: recordOf(input.label, input.removeLabel),
    env: recordOf(input.env, input.removeEnv),
    entrypoint: Option.getOrUndefined(input.entrypoint),
    cmd: Option.getOrUndefined(input.cmd),
    user: Option.getOrUndefined(input.user),
    workingDirectory: Option.getOrUndefined(input.workdir),
    exposedPorts: input.expose,
    platform: Option.getOrUndefined(input.setPlatform),
    created: Option.getOrUndefined(input.created)
  },
  annotations: recordOf(input.annotation, input.removeAnnotation)
})

/** Returns the options that all verbs which change images have. */
export const optionsOf = (
  { ifTagExists, platform, tag }: Common,
  destination: Locations.Location
): ImageEdit.Options => ({
  destination: destination.end,
  platform: Option.getOrUndefined(platform),
  tags: tag,
  onTagExists: ifTagExists
})

/** Pushes an image that was changed, reports the progress, and returns the effect that prints the result. */
export const push = Effect.fnUntraced(function*<R>(
  { json }: { readonly json: boolean },
  source: string,
  destination: Locations.Location,
  events: Stream.Stream<CopyEvent, ImageEdit.EditError, R>
) {
  // errors of the destination are those of the copy
  const [elapsed, report] = yield* Effect.timed(LocationError.at(source)(Progress.shown(events)))
  yield* Messages.send(Progress.conclusion(report, elapsed))
  return json
    ? Output.jsonPieces(CopyDocuments.report(report))
    : Output.line(destination.format({ digest: report.root.digest }))
})
