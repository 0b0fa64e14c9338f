/**
 * `effect-oci tree IMAGE`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Descriptor } from "../Descriptor.ts"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as ImageContent from "./ImageContent.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"
import * as Tree from "./Tree.ts"

/** Schema of the result. */
export const ContentTree = Schema.Struct({ reference: Schema.String, ...ImageContent.fields })

export const TreeCommand = Command.make(
  "tree",
  {
    image: Flags.place("image", "Image: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE"),
    platform: Flags.platform("Show the tree of the image for this platform, such as linux/arm64").pipe(Flag.optional),
    referrers: Flag.Boolean("referrers").pipe(
      Flag.withDescription(
        "Show the referrers of each manifest; --no-referrers omits them, and needs fewer requests. Default: shown"
      ),
      Flag.withDefault(true)
    ),
    artifactType: Flag.String("artifact-type").pipe(
      Flag.withMetavar("TYPE"),
      Flag.withDescription("Only referrers of this artifact type"),
      Flag.optional
    ),
    annotation: Flags.annotationFilter,
    mermaid: Flags.onOff("mermaid", "Print a Mermaid flowchart"),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ annotation, artifactType, image, json, mermaid, platform, referrers }) {
    if (json && mermaid) return yield* misuse("--json and --mermaid contradict each other")
    if (!referrers && (Option.isSome(artifactType) || annotation.length > 0)) {
      return yield* misuse("--no-referrers contradicts --artifact-type and --annotation")
    }
    const isWanted = (referrer: Descriptor) =>
      Flags.hasAnnotations(annotation)(referrer) &&
      (Option.isNone(artifactType) || referrer.artifactType === artifactType.value)
    const namespace = yield* Namespace.Namespace
    yield* image.use(
      Locations.image,
      Effect.fnUntraced(function*(place) {
        const content = yield* ImageContent.read(namespace, place, {
          ...referrers ? { referrers: isWanted } : {},
          ...Option.isNone(platform) ? {} : { platform: platform.value }
        })
        const name = place.format(place.end)
        if (json) return yield* Output.json(ContentTree, { reference: name, ...content })
        yield* Output.text(mermaid ? Tree.mermaid(name, content) : Tree.text(name, content))
      })
    )
  })
).pipe(
  Connection.provide("image"),
  Command.withShortDescription("Shows the content and referrers of an image as a tree"),
  Command.withDescription(
    "Shows an image as a tree: the platforms of an index, the config and layers of each with their sizes, and the " +
      "referrers of each: signatures, SBOMs, attestations."
  ),
  Command.withExamples([
    { command: "effect-oci tree ghcr.io/team/app:1", description: "Show all content of an image" },
    {
      command: "effect-oci tree --mermaid oci:images:app > app.mmd",
      description: "Draw a diagram of an image in a folder"
    },
    { command: "effect-oci tree --json --no-referrers ghcr.io/team/app:1", description: "Print the tree as JSON" },
    {
      command: "effect-oci tree --artifact-type application/spdx+json ghcr.io/team/app:1",
      description: "Show an image with its SBOMs, and no other referrers"
    }
  ])
)
