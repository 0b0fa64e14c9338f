/**
 * Copies an image, with everything that belongs to it.
 *
 *     node examples/copy.ts 127.0.0.1:5001/team/app:1 127.0.0.1:5002/mirror/app:1
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import * as Namespace from "effect-oci/Namespace"
import * as NodeNamespace from "effect-oci/NodeNamespace"

const [source = "", destination = ""] = process.argv.slice(2)

const program = Namespace.Namespace.use((namespace) => namespace.copyManifest({ source, destination })).pipe(
  Effect.flatMap((report) => Console.log(`${report.destination} (${report.bytes} bytes sent)`)),
  Effect.provide(NodeNamespace.layer)
)

NodeRuntime.runMain(program)
