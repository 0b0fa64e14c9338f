/**
 * `effect-oci manifest get IMAGE`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"
const decodeJson = Schema.decodeEffect(Schema.fromJsonString(Schema.Unknown))

export const ManifestGetCommand = Command.make(
  "get",
  {
    image: Flags.place(
      "image",
      "Which: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE, by tag or digest"
    ),
    platform: Flags.platform("The manifest of the image for this platform, rather than the index").pipe(Flag.optional),
    output: Flags.output,
    json: Flags.onOff("json", "Print the descriptor and the manifest, as one JSON document"),
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
        // what is no JSON is shown as text
        const manifest = yield* Effect.orElseSucceed(decodeJson(text), () => text)
        const document = { descriptor, manifest }
        yield* Output.json(document)
      })
    )
  })
).pipe(
  Connection.provide("image"),
  Command.withAlias("fetch"),
  Command.withShortDescription("Print a manifest as it is, to the byte"),
  Command.withDescription(
    "Prints a manifest as the registry has it, to the byte: hashed, it gives its digest. To read it, see manifest inspect."
  ),
  Command.withExamples([
    { command: "effect-oci manifest get ghcr.io/team/app:1", description: "The index or manifest behind a tag" },
    {
      command: "effect-oci manifest get --platform linux/arm64 -o manifest.json ghcr.io/team/app:1",
      description: "Keep the manifest for one platform in a file"
    }
  ])
)
