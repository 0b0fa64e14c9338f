/**
 * `effect-oci blob head BLOB`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import { Descriptor } from "../Descriptor.ts"
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
      "Blob: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE, with a digest"
    ),
    json: Flags.onOff("json", "Print the descriptor as JSON"),
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ blob, json }) {
    const namespace = yield* Namespace.Namespace
    const descriptor = yield* blob.use(Locations.anything, ({ end }) => namespace.resolveBlob(end))
    yield* json ? Output.json(Descriptor, descriptor) : Output.line(String(descriptor.size))
  })
).pipe(
  Connection.provide("blob"),
  Command.withShortDescription("Prints the size of a blob, if it exists"),
  Command.withDescription("Prints the size of a blob in bytes, or fails if it does not exist."),
  Command.withExamples([
    {
      command:
        "effect-oci blob head ghcr.io/team/app@sha256:4c1d20cdee96111c8acf1858b62655a37ce81ae48648993542b7ac363ac5c0e5",
      description: "Look up a blob"
    }
  ])
)
