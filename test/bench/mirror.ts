/**
 * Mirrors the images `mirror/0`, `mirror/1`, … of one host to another, as a program with this library does.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Stream } from "effect"
import * as Namespace from "effect-oci/Namespace"
import * as NodeNamespace from "effect-oci/NodeNamespace"

const [, , source, destination, place, count] = process.argv

const mirror = Effect.gen(function*() {
  const namespace = yield* Namespace.Namespace
  const copies = Stream.range(0, Number(count) - 1).pipe(Stream.map((index) => ({
    source: `${source}/mirror/${index}:1`,
    destination: `${destination}/${place}/${index}:1`
  })))
  yield* Stream.runForEach(namespace.copyAll(copies), ({ exit }) => Effect.asVoid(exit))
})

NodeRuntime.runMain(Effect.provide(mirror, NodeNamespace.layer))
