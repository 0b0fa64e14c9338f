/**
 * Pushes a folder as an artifact. `effect-oci pull` and `oras pull` restore it.
 *
 *     node examples/push.ts public 127.0.0.1:5000/team/site:1
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect } from "effect"
import * as Artifact from "effect-oci/Artifact"
import * as NodeNamespace from "effect-oci/NodeNamespace"

const [path = "", destination = ""] = process.argv.slice(2)

const program = Artifact.push({ destination, artifactType: "application/vnd.example.site", files: [{ path }] }).pipe(
  Effect.flatMap(({ bytes, reference }) => Console.log(`${reference} (${bytes} bytes sent)`)),
  Effect.provide([NodeNamespace.layer, NodeServices.layer])
)

NodeRuntime.runMain(program)
