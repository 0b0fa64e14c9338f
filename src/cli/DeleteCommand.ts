/**
 * `effect-oci delete IMAGE`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"

export const DeleteCommand = Command.make(
  "delete",
  {
    image: Flags.place("image", "What to remove: host/repository, oci:DIR or oci-archive:FILE, with a tag or a digest"),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ image, json }) {
    const namespace = yield* Namespace.Namespace
    const removed = yield* image.use(
      Locations.changed,
      Effect.fnUntraced(function*({ end, format }) {
        if (end.tag === undefined && end.digest === undefined) {
          return yield* misuse(`${format({})}: name a tag, to remove it, or a digest, to remove the manifest`)
        }
        yield* end.tag === undefined ? namespace.deleteManifest(end) : namespace.deleteTag(end)
        return format(end)
      })
    )
    yield* json ? Output.json({ removed }) : Output.line(removed)
  })
).pipe(
  Connection.provide("image"),
  Command.withAlias("rm"),
  Command.withShortDescription("Remove a tag, or a manifest by its digest"),
  Command.withDescription(
    "Removes a tag, and leaves the manifest that it points at; or by digest a manifest, and with it every tag on it. With tag and " +
      "digest the tag is removed if it points there. Blobs are left to the registry."
  ),
  Command.withExamples([
    { command: "effect-oci delete registry.example.com/team/app:old", description: "Remove a tag" },
    {
      command:
        "effect-oci delete registry.example.com/team/app@$(effect-oci resolve registry.example.com/team/app:old)",
      description: "Remove what a tag points at, under all its tags"
    }
  ])
)
