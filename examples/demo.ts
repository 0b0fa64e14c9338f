/**
 * The demo: packs the sources of this project into an image, and copies it from registry to registry.
 *
 *     npm run demo
 */
import { NodeHttpClient, NodeRuntime, NodeServices } from "@effect/platform-node"
import { ByteSize, Console, Duration, Effect, Layer } from "effect"
import type { CopyReport, Entry } from "effect-oci/CopyReport"
import * as HttpResolver from "effect-oci/HttpResolver"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Namespace from "effect-oci/Namespace"
import * as Reference from "effect-oci/Reference"
import * as Resolver from "effect-oci/Resolver"
import * as DockerRegistry from "../test/utils/DockerRegistry.ts"
import { pack } from "./support/pack.ts"
import { tree } from "./support/tree.ts"

const summary = (elapsed: Duration.Duration, report: CopyReport): string => {
  const count = (outcome: Entry["outcome"], word: string) => `${report.having(outcome).length} ${word}`
  const bytes = ByteSize.format(ByteSize.bytes(report.bytes), { precision: 1 })
  const parts = [count("copied", "copied"), count("mounted", "mounted"), count("present", "already there")]
  return `${parts.join(", ")}; ${bytes} sent in ${Duration.toMillis(elapsed).toFixed(0)} ms`
}

const copy = Effect.fnUntraced(function*(source: string, destination: string) {
  const namespace = yield* Namespace.Namespace
  yield* Console.log(`\n▸ copy ${source} to ${destination}\n`)
  const [elapsed, report] = yield* Effect.timed(namespace.copyManifest({ source, destination }))
  yield* Console.log(`${tree(report)}\n\n${summary(elapsed, report)}`)
})

const tour = Effect.fnUntraced(function*(one: string, two: string) {
  const resolver = yield* Resolver.Resolver
  const registry = yield* resolver.resolve(Reference.Host.make(one))
  const { digest } = yield* pack(registry, Reference.Repository.make("demo/app"), Reference.Tag.make("1.0"))
  yield* Console.log(`\n▸ packed src/ as ${one}/demo/app:1.0, for two platforms, with a bill of materials\n\n${digest}`)
  yield* copy(`${one}/demo/app:1.0`, `${two}/mirror/app:1.0`)
  yield* copy(`${two}/mirror/app:1.0`, `${two}/team/app:stable`)
  yield* copy(`${one}/demo/app:1.0`, `${two}/mirror/app:1.0`)
})

const world = <E, R>(resolver: Layer.Layer<Resolver.Resolver, E, R>) =>
  Namespace.layer.pipe(Layer.provideMerge(resolver))

const InMemory = world(Layer.effect(
  Resolver.Resolver,
  Effect.gen(function*() {
    const one = yield* MemoryRegistry.make({ name: "one.local" })
    const two = yield* MemoryRegistry.make({ name: "two.local" })
    return Resolver.static({ "one.local": one, "two.local": two })
  })
))

const OverHttp = world(HttpResolver.layer().pipe(Layer.provide(NodeHttpClient.layerUndici)))

const demo = Effect.gen(function*() {
  yield* Console.log("━━ in memory ━━")
  yield* Effect.provide(tour("one.local", "two.local"), InMemory)

  yield* Console.log("\n━━ over HTTP, between two processes of docker-registry ━━")
  if (!DockerRegistry.available) return yield* Console.log("\nleft out: docker-registry is not on PATH")
  const [one, two] = yield* Effect.all([DockerRegistry.make(), DockerRegistry.make()], { concurrency: 2 })
  yield* Effect.provide(tour(one.host, two.host), OverHttp)
})

NodeRuntime.runMain(Effect.provide(Effect.scoped(demo), NodeServices.layer))
