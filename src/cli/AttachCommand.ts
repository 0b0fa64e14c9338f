/**
 * `effect-oci attach REFERENCE FILE...`
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
import { misuse } from "./ReferenceInput.ts"

export const AttachCommand = Command.make(
  "attach",
  {
    subject: Flags.place("reference", "Subject: host/repository, oci:DIR or oci-archive:FILE, with a tag or a digest"),
    files: ArtifactFlags.files,
    artifactType: Flag.String("artifact-type").pipe(
      Flag.withMetavar("TYPE"),
      Flag.withDescription("Type of the artifact, such as application/spdx+json")
    ),
    platform: Flags.platform("Attach to the image for this platform instead of the index").pipe(Flag.optional),
    ...ArtifactFlags.flags,
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ artifactType, json, platform, subject, ...input }) {
    const options = yield* ArtifactFlags.options(input)
    if (options.files.length === 0 && Object.keys(options.annotations).length === 0) {
      return yield* misuse("there is nothing to attach: name a file, or use --annotation")
    }
    const { line, report } = yield* subject.use(
      Locations.tagged,
      Effect.fnUntraced(function*({ end, format }) {
        const events = Artifact.attachEvents({
          ...options,
          subject: end,
          artifactType,
          ...Option.isNone(platform) ? {} : { platform: platform.value }
        })
        return yield* ArtifactPush.run(events, format)
      })
    )
    yield* json ? Output.json(Artifact.PushReport, report) : Output.line(line)
  })
).pipe(
  Connection.provideUnwatched("subject"),
  Command.withShortDescription("Attaches files to an image, such as an SBOM or a report"),
  Command.withDescription(
    "Pushes files as an artifact that refers to an image in the same repository, so that referrers and tree list it, " +
      "and a copy of the image includes it. Prints the reference of the artifact by its digest."
  ),
  Command.withExamples([
    {
      command: "effect-oci attach --artifact-type application/spdx+json ghcr.io/team/app:1 sbom.json:application/json",
      description: "Attach an SBOM"
    },
    {
      command: "effect-oci attach --platform linux/arm64 --artifact-type application/vnd.example.scan " +
        "--annotation org.example.result=passed ghcr.io/team/app:1",
      description: "Attach a result without a file to the image for one platform"
    }
  ])
)
