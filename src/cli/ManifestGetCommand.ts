/**
 * `effect-oci manifest get IMAGE`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Descriptor } from "../Descriptor.ts"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

const decodeJson = Schema.decodeEffect(Schema.fromJsonString(Schema.Unknown))

/** Schema of the result. */
export const DescribedManifest = Schema.Struct({ descriptor: Descriptor, manifest: Schema.Unknown })

export const ManifestGetCommand = Command.make(
  "get",
  {
    image: Flags.place(
      "image",
      "Manifest: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE, with a tag or a digest"
    ),
    platform: Flags.platform("Get the manifest of the image for this platform instead of the index").pipe(
      Flag.optional
    ),
    output: Flags.output,
    json: Flags.onOff("json", "Print the descriptor and the manifest as one JSON document"),
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ image, json, output, platform }) {
    const namespace = yield* Namespace.Namespace
    yield* image.use(
      Locations.image,
      Effect.fnUntraced(function*({ end }) {
        const { bytes, descriptor } = yield* namespace.getManifest(
          end,
          Option.isNone(platform) ? {} : { platform: platform.value }
        )
        if (!json) return yield* Output.to(output, Stream.succeed(bytes))
        const text = new TextDecoder().decode(bytes)
        // content that is not JSON is printed as a string
        const manifest = yield* Effect.orElseSucceed(decodeJson(text), () => text)
        yield* Output.json(DescribedManifest, { descriptor, manifest })
      })
    )
  })
).pipe(
  Connection.provide("image"),
  Command.withAlias("fetch"),
  Command.withShortDescription("Prints the exact bytes of a manifest"),
  Command.withDescription(
    "Prints the exact bytes of a manifest, so that their hash is its digest. For a summary, see manifest inspect."
  ),
  Command.withExamples([
    {
      command: "effect-oci manifest get ghcr.io/team/app:1",
      description: "Print the index or manifest that a tag points at"
    },
    {
      command: "effect-oci manifest get --platform linux/arm64 -o manifest.json ghcr.io/team/app:1",
      description: "Write the manifest for one platform to a file"
    }
  ])
)
