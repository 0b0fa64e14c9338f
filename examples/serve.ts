/**
 * Serves a registry in memory over HTTP. Everyone may pull, and ada may push. The same program copies images into it by
 * name.
 *
 *     node examples/serve.ts 5000 127.0.0.1:5001/team/app:1
 */
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Redacted } from "effect"
import * as Authentication from "effect-oci/Authentication"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Namespace from "effect-oci/Namespace"
import * as NodeNamespace from "effect-oci/NodeNamespace"
import * as Reference from "effect-oci/Reference"
import * as Registry from "effect-oci/Registry"
import * as RegistryServer from "effect-oci/RegistryServer"
import { HttpRouter } from "effect/http"
import { createServer } from "node:http"

const [port = "", ...sources] = process.argv.slice(2)

const authentication = Authentication.basic({
  check: Authentication.passwords({ ada: Redacted.make("secret") }),
  authorize: (username, { action }) => Effect.succeed(username === "ada" || action === "pull")
})

const Server = HttpRouter.serve(RegistryServer.layer({ authentication })).pipe(
  Layer.provide(NodeHttpServer.layer(
    () => createServer({ requestTimeout: 0, headersTimeout: 60_000 }),
    { host: "127.0.0.1", port: Number(port) }
  ))
)

const program = Effect.gen(function*() {
  const registry = yield* Registry.Registry
  const namespace = yield* Namespace.Namespace
  const repository = Reference.Repository.make("kept/app")
  for (const source of sources) {
    yield* namespace.copyManifest({ source, destination: { registry, repository, tag: Reference.Tag.make("latest") } })
    yield* Console.log(`kept/app:latest is ${source}`)
  }
  return yield* Effect.never
})

NodeRuntime.runMain(program.pipe(
  Effect.provide([Server, NodeNamespace.layer]),
  Effect.provide(MemoryRegistry.layer())
))
