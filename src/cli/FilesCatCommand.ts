/**
 * `effect-oci files cat IMAGE PATH`
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Image from "../artifact/Image.ts"
import { ImageError, isImageError } from "../artifact/ImageError.ts"
import { Digest } from "../Digest.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as ImageInput from "./ImageInput.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"

/** Schema of the result. */
export const PrintedFile = Schema.Struct({
  /** Path without links. */
  path: Schema.String,
  size: Schema.Natural,
  mode: Schema.Natural,
  /** Digest of the layer that has the file. */
  layer: Digest
})

export const FilesCatCommand = Command.make(
  "cat",
  {
    image: ImageInput.image,
    path: Argument.String("path").pipe(
      Argument.withMetavar("path"),
      Argument.withDescription("Path of the file. Links are followed within the image")
    ),
    platform: ImageInput.platform,
    output: Flags.output,
    json: Flags.onOff("json", "Print path, size and layer of the file as JSON; requires --output"),
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ image, json, output, path, platform }) {
    if (json && !Output.isFile(output)) return yield* misuse("--json requires --output with a file")
    const printed = yield* image.use(
      Locations.image,
      Effect.fnUntraced(function*(place) {
        const opened = yield* ImageInput.open(place, platform)
        const reference = place.format(place.end)
        const file = yield* Effect.mapError(
          Image.findFile(opened, path),
          // with the reference as it was typed
          (error) => isImageError(error) ? new ImageError({ reference, reason: error.reason }) : error
        )
        yield* Output.to(output, file.content)
        return { path: file.path, size: file.size, mode: file.mode, layer: file.layer.descriptor.digest }
      })
    )
    if (json) yield* Output.json(PrintedFile, printed)
  })
).pipe(
  Connection.provide("image"),
  Command.withShortDescription("Prints a file of an image"),
  Command.withDescription(
    "Prints a file of an image. Layers are read from the top until one of them has the file, and verified."
  ),
  Command.withExamples([
    { command: "effect-oci files cat docker.io/library/debian:12 /etc/os-release", description: "Print a file" }
  ])
)
