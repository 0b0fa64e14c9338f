/**
 * `effect-oci blob delete BLOB`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import { Removed } from "./Documents.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

export const BlobDeleteCommand = Command.make(
  "delete",
  {
    blob: Flags.place("blob", "Blob: host/repository, oci:DIR or oci-archive:FILE, with a digest"),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ blob, json }) {
    const namespace = yield* Namespace.Namespace
    const removed = yield* blob.use(
      Locations.changed,
      ({ end, format }) => Effect.as(namespace.deleteBlob(end), format(end))
    )
    yield* json ? Output.json(Removed, { removed }) : Output.line(removed)
  })
).pipe(
  Connection.provide("blob"),
  Command.withAlias("rm"),
  Command.withShortDescription("Deletes a blob"),
  Command.withDescription(
    "Deletes a blob from a repository, even if manifests refer to it. Registries delete unreferenced blobs by " +
      "themselves."
  ),
  Command.withExamples([
    {
      command:
        "effect-oci blob delete registry.example.com/team/app@sha256:4c1d20cdee96111c8acf1858b62655a37ce81ae48648993542b7ac363ac5c0e5",
      description: "Delete a blob"
    }
  ])
)
