/**
 * Lists the files of the image with the tag `1` in an image layout, and prints their number. It is run as a process,
 * whose memory is measured.
 */
import { NodeServices } from "@effect/platform-node"
import { Effect, Stream } from "effect"
import * as Image from "effect-oci/Image"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as Namespace from "effect-oci/Namespace"
import * as Resolver from "effect-oci/Resolver"
import { repository, tag } from "./images.ts"

const program = Effect.gen(function*() {
  const registry = yield* LayoutRegistry.make({ directory: process.argv[2] ?? "", form: "layout" })
  const image = yield* Image.open({ registry, repository: repository("app"), tag: tag("1") })
  process.stdout.write(`${yield* Stream.runCount(Image.files(image))}\n`)
})

const namespace = Namespace.make({ resolver: Resolver.static({}) })

await Effect.runPromise(
  program.pipe(Effect.provideService(Namespace.Namespace, namespace), Effect.provide(NodeServices.layer))
)
