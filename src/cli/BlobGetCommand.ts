/**
 * `effect-oci blob get BLOB`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
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
      "Which: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE, by its digest"
    ),
    output: Flags.output,
    json: Flags.onOff("json", "With --output FILE: print the descriptor of what was written, as JSON"),
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ blob, json, output }) {
    if (json && !Output.isFile(output)) {
      return yield* misuse("--json needs --output FILE: the blob itself goes to stdout")
    }
    const namespace = yield* Namespace.Namespace
    yield* blob.use(Locations.anything, ({ end }) =>
      Effect.scoped(Effect.gen(function*() {
        const { descriptor, stream } = yield* namespace.getBlob(end)
        yield* Output.to(output, stream)
        if (json) yield* Output.json(descriptor)
      })))
  })
).pipe(
  Connection.provide("blob"),
  Command.withAlias("fetch"),
  Command.withShortDescription("Print a blob, or write it to a file"),
  Command.withDescription(
    "Prints a blob, or writes it to a file. It is verified as it comes, before its last piece is handed on: what is not as its " +
      "digest says ends with an error, and leaves no file."
  ),
  Command.withExamples([
    {
      command:
        "effect-oci blob get -o layer.tar.gz ghcr.io/team/app@sha256:4c1d20cdee96111c8acf1858b62655a37ce81ae48648993542b7ac363ac5c0e5",
      description: "Keep a layer in a file"
    },
    {
      command:
        "effect-oci blob get ghcr.io/team/app@sha256:4c1d20cdee96111c8acf1858b62655a37ce81ae48648993542b7ac363ac5c0e5 | tar tz",
      description: "List the files of a layer"
    }
  ])
)
