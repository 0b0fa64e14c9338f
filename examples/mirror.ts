/**
 * Mirrors a list of images, one per line. Many run at a time, as far as the registries accept. Common content is copied
 * once, and content that the mirror has is not copied again, so that the script can run every night.
 *
 *     node examples/mirror.ts images.txt 127.0.0.1:5000/mirror
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Cause, Console, Effect, Exit, FileSystem, Stream } from "effect"
import * as Namespace from "effect-oci/Namespace"
import * as NodeNamespace from "effect-oci/NodeNamespace"

const [list = "", mirror = ""] = process.argv.slice(2)

const images = Stream.unwrap(FileSystem.FileSystem.useSync((fs) => fs.stream(list))).pipe(
  Stream.decodeText,
  Stream.splitLines,
  Stream.map((line) => line.trim()),
  Stream.filter((line) => line !== "")
)

const program = Effect.gen(function*() {
  const namespace = yield* Namespace.Namespace
  const copies = Stream.map(images, (source) => ({ source, destination: source.replace(/^[^/]+/, mirror) }))
  const failures = yield* namespace.copyAll(copies).pipe(
    Stream.tap(({ exit }) =>
      Exit.isSuccess(exit)
        ? Console.log(`${exit.value.destination} (${exit.value.bytes} bytes sent)`)
        : Console.error(Cause.prettyErrors(exit.cause)[0]?.message)
    ),
    Stream.filter(({ exit }) => Exit.isFailure(exit)),
    Stream.runCount
  )
  if (failures > 0) return yield* Effect.fail(`images that could not be mirrored: ${failures}`)
})

NodeRuntime.runMain(Effect.provide(program, [NodeNamespace.layer, NodeServices.layer]))
