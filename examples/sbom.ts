/**
 * Attaches an SBOM to an image, as an artifact whose subject is the image. Registries list it among the referrers of
 * the image, and copies include it.
 *
 *     node examples/sbom.ts 127.0.0.1:5000/team/app:1 sbom.spdx.json
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect } from "effect"
import * as Artifact from "effect-oci/Artifact"
import * as NodeNamespace from "effect-oci/NodeNamespace"

const [subject = "", path = ""] = process.argv.slice(2)
const artifactType = "application/spdx+json"

const program = Artifact.attach({ subject, artifactType, files: [{ path, mediaType: artifactType }] }).pipe(
  Effect.flatMap(({ reference }) => Console.log(reference)),
  Effect.provide([NodeNamespace.layer, NodeServices.layer])
)

NodeRuntime.runMain(program)
