/**
 * Resolves one host to a registry in memory, beside all other hosts, and copies between them.
 *
 *     node examples/resolver.ts 127.0.0.1:5001/team/app:1
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"
import * as HttpResolver from "effect-oci/HttpResolver"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Namespace from "effect-oci/Namespace"
import * as NodeHttp from "effect-oci/NodeHttp"
import * as Resolver from "effect-oci/Resolver"

const ResolverLayer = Layer.effect(
  Resolver.Resolver,
  Effect.gen(function*() {
    const memory = yield* MemoryRegistry.make({ name: "mem.local" })
    return Resolver.firstOf(Resolver.static({ "mem.local": memory }), yield* HttpResolver.make())
  })
).pipe(Layer.provide(NodeHttp.layer()))

const program = Effect.gen(function*() {
  const namespace = yield* Namespace.Namespace
  const source = process.argv[2] ?? ""
  yield* namespace.copyManifest({ source, destination: "mem.local/kept/app:1" })
  const { digest, mediaType } = yield* namespace.resolveManifest("mem.local/kept/app:1")
  yield* Console.log(`mem.local/kept/app:1 is ${digest} (${mediaType})`)
})

NodeRuntime.runMain(Effect.provide(program, Namespace.layer.pipe(Layer.provide(ResolverLayer))))
