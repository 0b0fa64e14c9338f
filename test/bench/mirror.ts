/**
 * Mirrors repositories with their tags from one host to another, as a program with this library does.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Stream } from "effect"
import * as Namespace from "effect-oci/Namespace"
import * as NodeNamespace from "effect-oci/NodeNamespace"

const [, , source, destination, repositories = "", tags = ""] = process.argv

const mirror = Effect.gen(function*() {
  const namespace = yield* Namespace.Namespace
  const names = repositories.split(",").flatMap((repository) => tags.split(",").map((tag) => `${repository}:${tag}`))
  const copies = names.map((name) => ({ source: `${source}/${name}`, destination: `${destination}/${name}` }))
  yield* Stream.runForEach(namespace.copyAll(Stream.fromIterable(copies)), ({ exit }) => Effect.asVoid(exit))
})

NodeRuntime.runMain(Effect.provide(mirror, NodeNamespace.layer))
