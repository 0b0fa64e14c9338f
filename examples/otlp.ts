/**
 * Copies an image, and sends its spans, metrics and logs to an OpenTelemetry collector. Nothing has to be switched on:
 * each operation of a registry has a span, and metrics count requests, retries, pauses and bytes.
 *
 *     node examples/otlp.ts http://127.0.0.1:4318 127.0.0.1:5001/team/app:1 127.0.0.1:5002/mirror/app:1
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import * as Namespace from "effect-oci/Namespace"
import * as NodeHttp from "effect-oci/NodeHttp"
import * as NodeNamespace from "effect-oci/NodeNamespace"
import { Otlp } from "effect/observability"

const [collector = "", source = "", destination = ""] = process.argv.slice(2)

const OtlpLayer = Otlp.layerJson({ baseUrl: collector, resource: { serviceName: "mirror" } }).pipe(
  Layer.provide(NodeHttp.layer())
)

const program = Namespace.Namespace.use((namespace) => namespace.copyManifest({ source, destination })).pipe(
  Effect.flatMap((report) => Effect.log(`${report.destination} (${report.bytes} bytes sent)`))
)

NodeRuntime.runMain(Effect.provide(program, [NodeNamespace.layer, OtlpLayer]))
