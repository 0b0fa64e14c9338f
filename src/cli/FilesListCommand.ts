/**
 * `effect-oci files ls IMAGE [PATH]`
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Entry } from "../artifact/Files.ts"
import * as Image from "../artifact/Image.ts"
import { Digest } from "../Digest.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as ImageInput from "./ImageInput.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

/** Schema of a file of an image. */
const ListedFile = Schema.Struct({
  path: Schema.String,
  type: Schema.String,
  size: Schema.Natural,
  mode: Schema.Natural,
  uid: Schema.Natural,
  gid: Schema.Natural,
  /** Time of modification, as an ISO 8601 date. */
  modified: Schema.String,
  linkTarget: Schema.optionalKey(Schema.String),
  /** Digest of the layer that has the file. */
  layer: Digest
})

/** Schema of the result. */
export const ListedFiles = Schema.Array(ListedFile)

const describe = ({ header, layer, linkTarget, path }: Entry): typeof ListedFile.Type => {
  const { gid, mode, mtime, size, type, uid } = header
  return {
    path,
    type,
    size,
    mode,
    uid,
    gid,
    modified: Number.isNaN(mtime.getTime()) ? "" : mtime.toISOString(),
    ...linkTarget === undefined ? {} : { linkTarget },
    layer: layer.descriptor.digest
  }
}

const types: Readonly<Record<string, string>> = { Directory: "d", Symlink: "l", Hardlink: "h", File: "-" }

const permissions = (mode: number): string =>
  Array.from("rwxrwxrwx", (letter, index) => (mode & 1 << 8 - index) === 0 ? "-" : letter).join("")

const nameOf = ({ header: { type }, linkTarget, path }: Entry): string =>
  `${path}${type === "Directory" ? "/" : ""}${linkTarget === undefined ? "" : ` -> ${linkTarget}`}`

const long = (entry: Entry): string => {
  const { gid, mode, size, type, uid } = entry.header
  const owner = `${uid}:${gid}`.padEnd(11)
  return `${types[type] ?? "?"}${permissions(mode)} ${owner} ${String(size).padStart(10)} ${nameOf(entry)}`
}

export const FilesListCommand = Command.make(
  "ls",
  {
    image: ImageInput.image,
    path: Argument.String("path").pipe(
      Argument.withMetavar("path"),
      Argument.withDescription("List only this file or folder, and everything below it"),
      Argument.withDefault("")
    ),
    platform: ImageInput.platform,
    long: Flags.onOff("long", "Print type, permissions, owner, size, and the targets of links as well"),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ image, json, path, platform, ...input }) {
    yield* image.use(
      Locations.image,
      Effect.fnUntraced(function*(place) {
        const files = Image.files(yield* ImageInput.open(place, platform), path)
        if (!json) {
          return yield* Output.lines(Stream.map(files, input.long ? long : ({ path }) => path))
        }
        const pieces = files.pipe(
          Stream.mapEffect((entry) => Output.encode(ListedFile, describe(entry))),
          Stream.intersperse(",")
        )
        yield* Output.jsonPieces(Stream.make("[").pipe(Stream.concat(pieces), Stream.concat(Stream.make("]"))))
      })
    )
  })
).pipe(
  Connection.provide("image"),
  Command.withAlias("list"),
  Command.withShortDescription("Lists the files of an image"),
  Command.withDescription(
    "Lists the files, folders and links of an image. Those of the top layer come first; those that an upper layer " +
      "replaces or deletes are left out."
  ),
  Command.withExamples([
    { command: "effect-oci files ls ghcr.io/team/app:1 etc", description: "List the files below /etc" },
    {
      command: "effect-oci files ls --json oci:images:app | jq 'map(.size) | add'",
      description: "Sum up the sizes of all files"
    }
  ])
)
