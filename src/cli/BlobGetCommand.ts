/**
 * `effect-oci blob get BLOB`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import { Descriptor } from "../Descriptor.ts"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"

export const BlobGetCommand = Command.make(
  "get",
  {
    blob: Flags.place(
      "blob",
      "Blob: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE, with a digest"
    ),
    output: Flags.output,
    json: Flags.onOff("json", "With --output FILE: print the descriptor of the blob as JSON"),
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ blob, json, output }) {
    if (json && !Output.isFile(output)) {
      return yield* misuse("--json requires --output FILE, because the blob goes to stdout")
    }
    const namespace = yield* Namespace.Namespace
    yield* blob.use(Locations.anything, ({ end }) =>
      Effect.scoped(Effect.gen(function*() {
        const { descriptor, stream } = yield* namespace.getBlob(end)
        yield* Output.to(output, stream)
        if (json) yield* Output.json(Descriptor, descriptor)
      })))
  })
).pipe(
  Connection.provide("blob"),
  Command.withAlias("fetch"),
  Command.withShortDescription("Prints a blob, or writes it to a file"),
  Command.withDescription(
    "Prints a blob, or writes it to a file. Verifies the blob while it streams. If the content does not match the " +
      "digest, fails before the last chunk and leaves no file."
  ),
  Command.withExamples([
    {
      command:
        "effect-oci blob get -o layer.tar.gz ghcr.io/team/app@sha256:4c1d20cdee96111c8acf1858b62655a37ce81ae48648993542b7ac363ac5c0e5",
      description: "Write a layer to a file"
    },
    {
      command:
        "effect-oci blob get ghcr.io/team/app@sha256:4c1d20cdee96111c8acf1858b62655a37ce81ae48648993542b7ac363ac5c0e5 | tar tz",
      description: "List the files of a layer"
    }
  ])
)
