/**
 * `effect-oci tree IMAGE`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as ImageContent from "./ImageContent.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"
import * as Tree from "./Tree.ts"

export const TreeCommand = Command.make(
  "tree",
  {
    image: Flags.place("image", "Whose tree: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE"),
    platform: Flags.platform("The tree of the image for this platform, such as linux/arm64").pipe(Flag.optional),
    referrers: Flag.Boolean("referrers").pipe(
      Flag.withDescription("Show what refers to each manifest too; --no-referrers leaves it out, and asks less"),
      Flag.withDefault(true)
    ),
    mermaid: Flags.onOff("mermaid", "Print it as a mermaid flowchart"),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ image, json, mermaid, platform, referrers }) {
    if (json && mermaid) return yield* misuse("--json and --mermaid contradict each other")
    const namespace = yield* Namespace.Namespace
    yield* image.use(
      Locations.image,
      Effect.fnUntraced(function*(place) {
        const content = yield* ImageContent.read(namespace, place, {
          referrers,
          ...Option.isNone(platform) ? {} : { platform: platform.value }
        })
        const name = place.format(place.end)
        if (json) return yield* Output.json({ reference: name, ...content })
        yield* Output.text(mermaid ? Tree.mermaid(name, content) : Tree.text(name, content))
      })
    )
  })
).pipe(
  Connection.provide("image"),
  Command.withShortDescription("What an image consists of, and what refers to it"),
  Command.withDescription(
    "Shows an image as a tree: the platforms of an index, the config and layers of each with their sizes, and what refers to " +
      "any of them: signatures, SBOMs, attestations."
  ),
  Command.withExamples([
    { command: "effect-oci tree ghcr.io/team/app:1", description: "All of an image" },
    { command: "effect-oci tree --mermaid oci:images:app > app.mmd", description: "A diagram of what is in a folder" },
    { command: "effect-oci tree --json --no-referrers ghcr.io/team/app:1", description: "For another program to read" }
  ])
)
