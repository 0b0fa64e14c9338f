/**
 * `effect-oci tag IMAGE TAG...`
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

export const TagCommand = Command.make(
  "tag",
  {
    image: Flags.place("image", "What to tag: host/repository, oci:DIR or oci-archive:FILE, by tag or digest"),
    tags: Flags.tagArgument("tag", "The tag it gets besides, in the same repository").pipe(Argument.atLeast(1)),
    ifTagExists: Flag.Literals("if-tag-exists", ["replace", "keep", "fail"]).pipe(
      Flag.withMetavar("replace|keep|fail"),
      Flag.withDescription(
        "What to do where a tag points elsewhere: move it; change nothing; or fail. replace unless given"
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
    if (json) return yield* Output.json(result)
    yield* Output.lines(Stream.fromIterable(result.references.map((reference) => `${reference}@${result.digest}`)))
  })
).pipe(
  Connection.provide("image"),
  Command.withShortDescription("Give an image further tags"),
  Command.withDescription("Points further tags of the same repository at an image, without moving its content."),
  Command.withExamples([
    { command: "effect-oci tag ghcr.io/team/app:1.4.2 1.4 1 latest", description: "Move the tags of a release" },
    {
      command: "effect-oci tag --if-tag-exists fail oci:images:app stable",
      description: "Tag in a folder, unless it is tagged"
    }
  ])
)
