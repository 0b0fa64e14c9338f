/**
 * `effect-oci blob put REPOSITORY FILE`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import { DigestConflict } from "../copy/CopyError.ts"
import { Descriptor } from "../Descriptor.ts"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Input from "./Input.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

export const BlobPutCommand = Command.make(
  "put",
  {
    repository: Flags.place(
      "repository",
      "Repository: host/repository, oci:DIR or oci-archive:FILE; a digest must be that of the file"
    ),
    file: Flags.file(
      "Content of the blob; - reads stdin, and stores it in a temporary file until its digest is known"
    ),
    json: Flags.onOff("json", "Print the descriptor of the blob as JSON"),
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ file, json, repository }) {
    const namespace = yield* Namespace.Namespace
    const { descriptor, result } = yield* Effect.scoped(Effect.gen(function*() {
      const { digest, source } = yield* Input.readBlob(file)
      return yield* repository.use(
        Locations.changed,
        Effect.fnUntraced(function*(place) {
          const { end, format } = place
          if (end.digest !== undefined && end.digest !== digest) {
            return yield* new DigestConflict({ source: digest, destination: end.digest })
          }
          const { tag } = end
          const blob = Locations.withPart(place, tag === undefined ? { digest } : { digest, tag })
          return { descriptor: yield* namespace.pushBlob(blob.end, source), result: format({ digest }) }
        })
      )
    }))
    yield* json ? Output.json(Descriptor, descriptor) : Output.line(result)
  })
).pipe(
  Connection.provide("repository"),
  Command.withAlias("push"),
  Command.withShortDescription("Pushes a file as a blob"),
  Command.withDescription("Pushes a file to a repository as a blob. Prints the reference of the blob by its digest."),
  Command.withExamples([
    { command: "effect-oci blob put registry.example.com/team/app layer.tar.gz", description: "Push a layer" },
    {
      command: "tar cz files | effect-oci blob put --json registry.example.com/team/app -",
      description: "Push stdin as a blob, and print its descriptor for use in a manifest"
    }
  ])
)
