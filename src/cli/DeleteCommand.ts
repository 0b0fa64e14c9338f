/**
 * `effect-oci delete IMAGE`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import { Removed } from "./Documents.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"

export const DeleteCommand = Command.make(
  "delete",
  {
    image: Flags.place(
      "image",
      "Tag or manifest: host/repository, oci:DIR or oci-archive:FILE, with a tag or a digest"
    ),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ image, json }) {
    const namespace = yield* Namespace.Namespace
    const removed = yield* image.use(
      Locations.changed,
      Effect.fnUntraced(function*({ end, format }) {
        if (end.tag === undefined && end.digest === undefined) {
          return yield* misuse(`${format({})}: name a tag to delete the tag, or a digest to delete the manifest`)
        }
        yield* end.tag === undefined ? namespace.deleteManifest(end) : namespace.deleteTag(end)
        return format(end)
      })
    )
    yield* json ? Output.json(Removed, { removed }) : Output.line(removed)
  })
).pipe(
  Connection.provide("image"),
  Command.withAlias("rm"),
  Command.withShortDescription("Deletes a tag, or a manifest by its digest"),
  Command.withDescription(
    "Deletes a tag but not its manifest; or, given a digest, a manifest with all its tags. Given both, deletes the " +
      "tag if it points at the digest. Blobs are left to the garbage collection of the registry."
  ),
  Command.withExamples([
    { command: "effect-oci delete registry.example.com/team/app:old", description: "Delete a tag" },
    {
      command:
        "effect-oci delete registry.example.com/team/app@$(effect-oci resolve registry.example.com/team/app:old)",
      description: "Delete the manifest that a tag points at, with all its tags"
    }
  ])
)
