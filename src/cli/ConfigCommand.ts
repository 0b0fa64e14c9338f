/**
 * `effect-oci config IMAGE`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Descriptor } from "../Descriptor.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as ImageConfig from "./ImageConfig.ts"
import * as ImageInput from "./ImageInput.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

/** Schema of the result. */
export const DescribedConfig = Schema.Struct({
  reference: Schema.String,
  /** Descriptor of the manifest. */
  descriptor: Descriptor,
  config: Schema.Unknown
})

export const ConfigCommand = Command.make(
  "config",
  {
    image: ImageInput.image,
    platform: ImageInput.platform,
    json: Flags.onOff("json", "Print the reference and the descriptor of the image as well, as one JSON document"),
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ image, json, platform }) {
    yield* image.use(
      Locations.image,
      Effect.fnUntraced(function*(place) {
        const { configBytes, descriptor } = yield* ImageInput.open(place, platform)
        const reference = place.format({ digest: descriptor.digest })
        yield* json
          ? Output.json(DescribedConfig, { reference, descriptor, config: ImageConfig.parse(configBytes) })
          : Output.to(Option.none(), Stream.make(configBytes, new TextEncoder().encode("\n")))
      })
    )
  })
).pipe(
  Connection.provide("image"),
  Command.withShortDescription("Prints the config of an image"),
  Command.withDescription(
    "Prints the config of an image as the registry stores it: platform, command, environment, labels, layers and history."
  ),
  Command.withExamples([
    {
      command: "effect-oci config ghcr.io/team/app:1 | jq .config.Env",
      description: "Print the environment of an image"
    },
    {
      command: "effect-oci config --platform linux/arm64 oci:images:app",
      description: "Print the config of the image for one platform, in a folder"
    }
  ])
)
