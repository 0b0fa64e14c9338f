/**
 * `effect-oci push REFERENCE FILE...`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Artifact from "../artifact/Artifact.ts"
import * as ArtifactFlags from "./ArtifactFlags.ts"
import * as ArtifactPush from "./ArtifactPush.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

export const PushCommand = Command.make(
  "push",
  {
    artifact: Flags.place("reference", "Destination: host/repository, oci:DIR or oci-archive:FILE, with a tag"),
    files: ArtifactFlags.files,
    artifactType: Flag.String("artifact-type").pipe(
      Flag.withMetavar("TYPE"),
      Flag.withDescription(
        "Type of the artifact, such as application/spdx+json. Default: application/vnd.unknown.artifact.v1, unless " +
          "there is a config"
      ),
      Flag.optional
    ),
    ...ArtifactFlags.flags,
    tag: Flags.tag("Additional tag at the destination. May be repeated").pipe(Flag.atLeast(0)),
    ifTagExists: Flag.Literals("if-tag-exists", ["replace", "keep", "fail"]).pipe(
      Flag.withMetavar("replace|keep|fail"),
      Flag.withDescription(
        "If the destination has the tag with another digest: move it (replace), push nothing (keep) or fail. Default: " +
          "replace"
      ),
      Flag.withDefault("replace")
    ),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ artifact, artifactType, ifTagExists, json, tag, ...input }) {
    const options = yield* ArtifactFlags.options(input)
    const { line, report } = yield* artifact.use(
      Locations.destination,
      Effect.fnUntraced(function*({ end, format }) {
        const events = Artifact.pushEvents({
          ...options,
          destination: end,
          tags: tag,
          onTagExists: ifTagExists,
          ...Option.isNone(artifactType) ? {} : { artifactType: artifactType.value }
        })
        return yield* ArtifactPush.run(events, format)
      })
    )
    yield* json ? Output.json(Artifact.PushReport, report) : Output.line(line)
  })
).pipe(
  Connection.provideUnwatched("artifact"),
  Command.withShortDescription("Pushes files and folders as an artifact"),
  Command.withDescription(
    "Pushes files and folders to a registry or a folder as an artifact, as oras does. Content that the destination has " +
      "already is not sent again. Prints the reference of the artifact by its digest."
  ),
  Command.withExamples([
    {
      command: "effect-oci push registry.example.com/team/config:1 settings.json:application/json",
      description: "Push a file with its media type"
    },
    {
      command: "effect-oci push --artifact-type application/vnd.example.site registry.example.com/team/site:1 public",
      description: "Push a folder"
    },
    {
      command: "tar c src | effect-oci push --stdin-name src.tar --stdin-type application/x-tar " +
        "registry.example.com/team/src:1 -",
      description: "Push stdin"
    }
  ])
)
