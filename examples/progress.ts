/**
 * Copies an image, and prints its progress. Running the stream of events runs the copy.
 *
 *     node examples/progress.ts 127.0.0.1:5001/team/app:1 127.0.0.1:5002/mirror/app:1
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Duration, Effect, Stream } from "effect"
import type { CopyEvent } from "effect-oci/CopyEvent"
import type { Descriptor } from "effect-oci/Descriptor"
import * as Namespace from "effect-oci/Namespace"
import * as NodeNamespace from "effect-oci/NodeNamespace"

const [source = "", destination = ""] = process.argv.slice(2)

const short = ({ digest }: Descriptor) => digest.slice(0, 19)

const tell = (event: CopyEvent): Effect.Effect<void> => {
  switch (event._tag) {
    case "Progressed":
      return Console.error(`${short(event.descriptor)}  ${event.bytes} of ${event.descriptor.size} bytes`)
    case "Settled":
      return Console.error(`${short(event.entry.descriptor)}  ${event.entry.outcome}`)
    case "Retried":
      return Console.error(`again in ${Duration.format(event.delay)}: ${event.error.message}`)
    case "Paused":
      return Console.error(`${event.registry} asks for a pause of ${Duration.format(event.duration)}`)
    case "Warned":
      return Console.error(`${event.registry} warns: ${event.text}`)
    case "Done":
      return Console.log(`${event.report.destination} (${event.report.bytes} bytes sent)`)
    case "Planned":
    case "Started":
      return Effect.void
  }
}

const program = Namespace.Namespace.use((namespace) =>
  Stream.runForEach(namespace.copyEvents({ source, destination }), tell)
)

NodeRuntime.runMain(Effect.provide(program, NodeNamespace.layer))
