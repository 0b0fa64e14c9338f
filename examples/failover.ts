/**
 * Copies an image from two hosts that have the same images. Reads use the first host, and the second one if the first
 * is unavailable or fails in the middle. Every manifest and every blob is looked up in both.
 *
 *     node examples/failover.ts 127.0.0.1:5001 127.0.0.1:5002 team/app:1 127.0.0.1:5003/team/app:1
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Schedule } from "effect"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as Namespace from "effect-oci/Namespace"
import * as NodeNamespace from "effect-oci/NodeNamespace"
import * as Registry from "effect-oci/Registry"

const [first = "", second = "", image = "", destination = ""] = process.argv.slice(2)

const program = Effect.gen(function*() {
  const namespace = yield* Namespace.Namespace
  const report = yield* namespace.copyManifest({ source: `${second}/${image}`, destination })
  yield* Console.log(`${report.destination} (${report.bytes} bytes sent)`)
})

NodeRuntime.runMain(program.pipe(
  // a host that is down is asked once more, and then passed over
  Effect.provideService(HttpRegistry.RetrySchedule, Schedule.upTo(Schedule.spaced("100 millis"), { times: 1 })),
  Effect.provideService(
    Registry.Observer,
    (event) =>
      event._tag === "Retried" ? Console.error(`${event.registry}: ${event.error.reason.message}`) : Effect.void
  ),
  Effect.provide(NodeNamespace.layerOptions({ mirrors: { [second]: [first] } }))
))
