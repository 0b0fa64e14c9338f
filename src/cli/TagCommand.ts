/**
 * `effect-oci tag IMAGE TAG...`
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Digest } from "../Digest.ts"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

/** Schema of the result. */
export const Tagged = Schema.Struct({ digest: Digest, references: Schema.Array(Schema.String) })

export const TagCommand = Command.make(
  "tag",
  {
    image: Flags.place("image", "Image: host/repository, oci:DIR or oci-archive:FILE, with a tag or a digest"),
    tags: Flags.tagArgument("tag", "Additional tag in the same repository").pipe(Argument.atLeast(1)),
    ifTagExists: Flag.Literals("if-tag-exists", ["replace", "keep", "fail"]).pipe(
      Flag.withMetavar("replace|keep|fail"),
      Flag.withDescription(
        "If a tag has another digest: move it (replace), change nothing (keep) or fail. Default: replace"
      ),
      Flag.withDefault("replace")
    ),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ ifTagExists, image, json, tags }) {
    const namespace = yield* Namespace.Namespace
    const result = yield* image.use(
      Locations.tagged,
      Effect.fnUntraced(function*(place) {
        const { root } = yield* namespace.copyManifest({
          source: place.end,
          destination: Locations.withPart(place, {}).end,
          tags,
          onTagExists: ifTagExists,
          referrers: "skip"
        })
        return { digest: root.digest, references: tags.map((tag) => place.format({ tag })) }
      })
    )
    if (json) return yield* Output.json(Tagged, result)
    yield* Output.lines(Stream.fromIterable(result.references.map((reference) => `${reference}@${result.digest}`)))
  })
).pipe(
  Connection.provide("image"),
  Command.withShortDescription("Adds tags to an image"),
  Command.withDescription(
    "Points additional tags of the same repository at an image, without a transfer of its content."
  ),
  Command.withExamples([
    { command: "effect-oci tag ghcr.io/team/app:1.4.2 1.4 1 latest", description: "Move the tags of a release" },
    {
      command: "effect-oci tag --if-tag-exists fail oci:images:app stable",
      description: "Add a tag in a folder, unless the tag exists"
    }
  ])
)
