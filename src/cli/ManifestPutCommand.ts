/**
 * `effect-oci manifest put IMAGE FILE`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { isObject } from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Descriptor } from "../Descriptor.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Input from "./Input.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

const decodeJson = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Unknown))

// maximum size of a manifest, in bytes; no known registry accepts more
const limit = 8 * 1024 * 1024

/** Returns the media type of a manifest: its `mediaType`, or the type that its fields imply. */
const typeOf = (bytes: Uint8Array): string | undefined => {
  const json = Result.getOrUndefined(decodeJson(new TextDecoder().decode(bytes)))
  if (!isObject(json)) return undefined
  if ("mediaType" in json && typeof json.mediaType === "string" && json.mediaType !== "") return json.mediaType
  if ("manifests" in json) return MediaType.imageIndex
  return "config" in json && "layers" in json ? MediaType.imageManifest : undefined
}

export const ManifestPutCommand = Command.make(
  "put",
  {
    image: Flags.place(
      "image",
      "Destination: host/repository, oci:DIR or oci-archive:FILE, with the tag of the manifest, if any"
    ),
    file: Flags.file("File with the manifest; - reads stdin"),
    mediaType: Flag.String("media-type").pipe(
      Flag.withMetavar("TYPE"),
      Flag.withDescription("Media type, if the manifest does not contain one"),
      Flag.optional
    ),
    tag: Flags.tag("Additional tag of the manifest. May be repeated").pipe(Flag.atLeast(0)),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ file, image, json, mediaType: given, tag }) {
    const namespace = yield* Namespace.Namespace
    const bytes = yield* Input.readBytes(file, limit)
    const mediaType = Option.getOrElse(given, () => typeOf(bytes))
    if (mediaType === undefined) {
      return yield* new Output.Failure({ message: `cannot push ${file}: it contains no media type: use --media-type` })
    }
    if (MediaType.isManifest(mediaType)) {
      yield* Effect.mapError(
        Effect.fromResult(Manifest.decode(mediaType, bytes)),
        ({ message }) => new Output.Failure({ message: `cannot push ${file}: ${message}` })
      )
    }
    const { descriptor, result } = yield* image.use(
      Locations.changed,
      ({ end, format }) =>
        Effect.map(namespace.pushManifest(end, { mediaType, bytes }, tag), (descriptor) => ({
          descriptor,
          result: format({ digest: descriptor.digest })
        }))
    )
    yield* json ? Output.json(Descriptor, descriptor) : Output.line(result)
  })
).pipe(
  Connection.provide("image"),
  Command.withAlias("push"),
  Command.withShortDescription("Pushes a manifest"),
  Command.withDescription(
    "Pushes the exact bytes of a manifest to a repository. The content that it refers to must exist: see blob put. " +
      "Prints the reference of the manifest by its digest."
  ),
  Command.withExamples([
    {
      command: "effect-oci manifest put registry.example.com/team/app:1 manifest.json",
      description: "Push a manifest with a tag"
    },
    {
      command: "effect-oci manifest get oci:images:app | effect-oci manifest put registry.example.com/team/app -",
      description: "Push a manifest from stdin, without a tag"
    }
  ])
)
