/**
 * `effect-oci manifest delete IMAGE`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import { Removed } from "./Documents.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

export const ManifestDeleteCommand = Command.make(
  "delete",
  {
    image: Flags.place("image", "Manifest: host/repository, oci:DIR or oci-archive:FILE, with a digest"),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ image, json }) {
    const namespace = yield* Namespace.Namespace
    const removed = yield* image.use(
      Locations.changed,
      ({ end, format }) => Effect.as(namespace.deleteManifest(end), format(end))
    )
    yield* json ? Output.json(Removed, { removed }) : Output.line(removed)
  })
).pipe(
  Connection.provide("image"),
  Command.withAlias("rm"),
  Command.withShortDescription("Deletes a manifest and all its tags"),
  Command.withDescription(
    "Deletes a manifest by its digest, with all its tags. To delete a single tag, see delete."
  ),
  Command.withExamples([
    {
      command: "effect-oci manifest delete " +
        "registry.example.com/team/app@sha256:4c1d20cdee96111c8acf1858b62655a37ce81ae48648993542b7ac363ac5c0e5",
      description: "Delete a manifest"
    }
  ])
)
