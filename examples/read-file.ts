/**
 * Prints a file of an image. Of the layers, only those from the top down to the one that has the file are read.
 *
 *     node examples/read-file.ts docker.io/library/debian:12 /etc/os-release
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect } from "effect"
import * as Image from "effect-oci/Image"
import * as NodeNamespace from "effect-oci/NodeNamespace"

const [reference = "", path = "/etc/os-release"] = process.argv.slice(2)

const program = Effect.gen(function*() {
  const image = yield* Image.open(reference, { platform: { os: "linux", architecture: "amd64" } })
  yield* Console.log(new TextDecoder().decode(yield* Image.readFile(image, path)))
})

NodeRuntime.runMain(Effect.provide(program, [NodeNamespace.layer, NodeServices.layer]))
