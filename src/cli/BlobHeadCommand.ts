/**
 * `effect-oci blob head BLOB`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

export const BlobHeadCommand = Command.make(
  "head",
  {
    blob: Flags.place(
      "blob",
      "Which: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE, by its digest"
    ),
    json: Flags.onOff("json", "Print its descriptor as JSON"),
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ blob, json }) {
    const namespace = yield* Namespace.Namespace
    const descriptor = yield* blob.use(Locations.anything, ({ end }) => namespace.resolveBlob(end))
    yield* json ? Output.json(descriptor) : Output.line(String(descriptor.size))
  })
).pipe(
  Connection.provide("blob"),
  Command.withShortDescription("Tell whether a blob is there, and how long it is"),
  Command.withDescription("Prints the length of a blob in bytes, or fails where it is not there."),
  Command.withExamples([
    {
      command:
        "effect-oci blob head ghcr.io/team/app@sha256:4c1d20cdee96111c8acf1858b62655a37ce81ae48648993542b7ac363ac5c0e5",
      description: "Look for a blob"
    }
  ])
)
