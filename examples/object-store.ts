/**
 * Copies an image to an object store, and from there to another registry. `support/object-store.ts` implements the
 * registry over the object store.
 *
 *     node examples/object-store.ts http://127.0.0.1:9000/bucket 127.0.0.1:5001/app:1 127.0.0.1:5002/app:1
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import * as Namespace from "effect-oci/Namespace"
import * as NodeHttp from "effect-oci/NodeHttp"
import * as NodeNamespace from "effect-oci/NodeNamespace"
import * as Reference from "effect-oci/Reference"
import { makeObjectStore } from "./support/object-store.ts"

const [bucket = "", source = "", destination = ""] = process.argv.slice(2)

const program = Effect.gen(function*() {
  const registry = yield* makeObjectStore(bucket)
  const namespace = yield* Namespace.Namespace
  const { digest, repository, tag } = yield* Effect.fromResult(Reference.parse(source))
  const stored = {
    registry,
    repository,
    ...tag === undefined ? {} : { tag },
    ...digest === undefined ? {} : { digest }
  }
  for (const copy of [{ source, destination: stored }, { source: stored, destination }]) {
    const { bytes, destination } = yield* namespace.copyManifest({ ...copy, referrers: "skip" })
    yield* Console.log(`${destination} (${bytes} bytes sent)`)
  }
})

NodeRuntime.runMain(Effect.provide(program, [NodeNamespace.layer, NodeHttp.layer()]))
