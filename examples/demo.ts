/**
 * Serves two registries over HTTP, one in memory and one in a folder, packs the sources of this project into an image,
 * and copies it from one to the other.
 *
 *     npm run demo
 */
import { NodeHttpServer, NodeRuntime, NodeServices } from "@effect/platform-node"
import { ByteSize, Console, Duration, Effect, FileSystem, Layer } from "effect"
import type { CopyReport, Entry } from "effect-oci/CopyReport"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Namespace from "effect-oci/Namespace"
import * as NodeNamespace from "effect-oci/NodeNamespace"
import * as Reference from "effect-oci/Reference"
import type { Registry } from "effect-oci/Registry"
import * as RegistryServer from "effect-oci/RegistryServer"
import { HttpServer } from "effect/http"
import { createServer } from "node:http"
import { pack } from "./support/pack.ts"
import { tree } from "./support/tree.ts"

/** Serves a registry on this machine, and tells where. */
const serve = Effect.fnUntraced(function*(registry: Registry) {
  const listener = NodeHttpServer.layerServer(() => createServer({ requestTimeout: 0 }), { host: "127.0.0.1", port: 0 })
  const app = yield* RegistryServer.make(registry)
  const context = yield* Layer.build(Layer.provideMerge(HttpServer.serve(app), listener))
  const { address } = yield* Effect.provide(HttpServer.HttpServer, context)
  return HttpServer.formatAddress(address).replace("http://", "")
})

const summary = (elapsed: Duration.Duration, report: CopyReport): string => {
  const count = (outcome: Entry["outcome"], word: string) => `${report.having(outcome).length} ${word}`
  const bytes = ByteSize.format(ByteSize.bytes(report.bytes), { precision: 1 })
  const parts = [count("copied", "copied"), count("mounted", "mounted"), count("present", "already there")]
  const cost = `${bytes} sent in ${report.requests} requests and ${Duration.toMillis(elapsed).toFixed(0)} ms`
  return `${parts.join(", ")}; ${cost}`
}

const copy = Effect.fnUntraced(function*(source: string, destination: string) {
  const namespace = yield* Namespace.Namespace
  yield* Console.log(`\n▸ copy ${source} to ${destination}\n`)
  const [elapsed, report] = yield* Effect.timed(namespace.copyManifest({ source, destination }))
  yield* Console.log(`${tree(report)}\n\n${summary(elapsed, report)}`)
})

const demo = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const directory = yield* fs.makeTempDirectoryScoped({ prefix: "effect-oci-demo-" })
  const memory = yield* MemoryRegistry.make()
  const folder = yield* LayoutRegistry.make({ directory })
  const [one, two] = [yield* serve(memory), yield* serve(folder)]
  yield* Console.log(`▸ serving a registry in memory at ${one}, and one in a folder at ${two}`)

  const { digest } = yield* pack(memory, Reference.Repository.make("demo/app"), Reference.Tag.make("1.0"))
  yield* Console.log(`\n▸ packed src/ as ${one}/demo/app:1.0, for two platforms, with a bill of materials\n\n${digest}`)

  yield* copy(`${one}/demo/app:1.0`, `${two}/mirror/app:1.0`)
  yield* copy(`${two}/mirror/app:1.0`, `${two}/team/app:stable`)
  yield* copy(`${one}/demo/app:1.0`, `${two}/mirror/app:1.0`)
})

NodeRuntime.runMain(Effect.provide(Effect.scoped(demo), [NodeNamespace.layer, NodeServices.layer]))
