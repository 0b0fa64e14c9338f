/**
 * `serve --dir`, killed while clients push to it and garbage is collected, by the server and by another process.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Random } from "effect"
import type * as Digest from "effect-oci/Digest"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as Manifest from "effect-oci/Manifest"
import type * as Registry from "effect-oci/Registry"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { noise } from "../utils/BadNetwork.ts"
import { pushBlob, pushImage, pushIndex, tag } from "../utils/images.ts"
import { app, assertNoRollback, impatient, moving, type MovingTags, pull, serve } from "../utils/killed-servers.ts"
import { assertValid, blobPath, temporaryFolder } from "../utils/layouts.ts"
import { start } from "../utils/Program.ts"
import { connect } from "../utils/ScriptedServer.ts"

const rounds = process.env["EFFECT_OCI_LONG"] === undefined ? 2 : 50
const clients = 6

/** Content that the server has acknowledged. */
interface Acknowledged {
  /** Tags that no client moves. */
  readonly images: Map<string, Digest.Digest>
  readonly moving: MovingTags
  /** Blobs that no manifest needs. */
  readonly garbage: Array<Digest.Digest>
}

const everything = ["untagged=collect", "dangling=collect", "older-than=2s"]

const serveAndCollect = (directory: string) =>
  serve(directory, "--gc", "1s", ...everything.map((flag) => `--gc-${flag}`))

/** Pushes images until the server is gone. They share a layer that other images have lost again and again. */
const pushing = Effect.fnUntraced(function*(registry: Registry.Registry, name: string, acknowledged: Acknowledged) {
  for (let number = 0;; number++) {
    const image = yield* pushImage(registry, app, ["shared", `${name} ${number}`, noise(5000 + number)])
    const tagged = `${name}-${number}`
    const { digest } = yield* pushIndex(registry, app, [image], { tags: [tag(tagged)] })
    acknowledged.images.set(tagged, digest)
    // becomes garbage
    acknowledged.garbage.push((yield* pushBlob(registry, app, `${name} ${number} garbage`)).digest)
    yield* pushImage(registry, app, ["shared", `${name} ${number} untagged`])
  }
})

/** Collects in other processes until it is interrupted. Some of these are killed as well. */
const collecting = Effect.fnUntraced(function*(directory: string) {
  for (;;) {
    const process = yield* start("gc", ...everything.map((flag) => `--${flag}`), directory)
    if (yield* Random.nextBoolean) {
      yield* Effect.sleep(yield* Random.nextIntBetween(150, 600))
      process.kill("SIGKILL")
    }
    yield* process.ended
  }
})

/** Kills the server some time after it has started to collect. */
const round = Effect.fnUntraced(function*(directory: string, prefix: string, acknowledged: Acknowledged) {
  const server = yield* serveAndCollect(directory)
  const lifetime = yield* Random.nextIntBetween(2000, 5000)
  const work = Effect.gen(function*() {
    const registry = yield* connect(server)
    const indexes = Array.from({ length: clients }, (_, index) => index)
    yield* Effect.all([
      ...indexes.map((index) => pushing(registry, `${prefix}-${index}`, acknowledged)),
      ...indexes.map((index) => moving(registry, `moving-${prefix}-${index}`, acknowledged.moving))
    ], { concurrency: "unbounded" })
  }).pipe(impatient, Effect.scoped)
  const fiber = yield* Effect.forkChild(Effect.exit(work))
  const collector = yield* Effect.forkChild(collecting(directory))
  yield* Effect.sleep(lifetime)
  server.kill("SIGKILL")
  yield* Fiber.join(fiber)
  yield* Fiber.interrupt(collector)
  yield* server.ended
}, Effect.scoped)

/** Verifies that a manifest and all that it needs exists. The client verifies digests. */
const assertComplete = (
  registry: Registry.Registry,
  reference: Digest.Digest
): Effect.Effect<void, unknown> =>
  Effect.gen(function*() {
    const { bytes, descriptor } = yield* registry.getManifest(app, reference)
    const { blobs, manifests } = yield* Effect.fromResult(Manifest.digests(descriptor.mediaType, bytes))
    yield* Effect.forEach(blobs, ({ digest }) => pull(registry, digest), { discard: true })
    yield* Effect.forEach(manifests, ({ digest }) => assertComplete(registry, digest), { discard: true })
  })

const assertAcknowledged = Effect.fnUntraced(function*(
  registry: Registry.Registry,
  { images, moving }: Acknowledged
) {
  for (const [name, digest] of images) {
    assert.strictEqual((yield* registry.resolveManifest(app, tag(name))).digest, digest)
    yield* assertComplete(registry, digest)
  }
  for (const digest of yield* assertNoRollback(registry, moving)) yield* assertComplete(registry, digest)
})

describe("effect-oci serve --dir --gc", () => {
  it.live(
    `has all acknowledged content, every tag as it was last set, and nothing invalid, after ${rounds} kills`,
    () =>
      Effect.gen(function*() {
        const directory = yield* temporaryFolder
        const acknowledged: Acknowledged = { images: new Map(), moving: new Map(), garbage: [] }
        for (let number = 0; number < rounds; number++) {
          yield* round(directory, `round-${number}`, acknowledged).pipe(Random.withSeed(number))
          yield* Effect.scoped(Effect.gen(function*() {
            const registry = yield* connect(yield* serveAndCollect(directory))
            yield* assertAcknowledged(registry, acknowledged)
          }))
          // a collection moves files back that a kill has left in quarantine
          const stopped = yield* LayoutRegistry.make({ directory })
          assert.deepStrictEqual((yield* stopped.collect({ olderThan: "1 day" })).skipped, [])
          // on a busy machine, the server may be killed before it has stored anything
          if (acknowledged.images.size > 0) assertValid(Path.join(directory, app))
        }
        // the server was killed late enough to acknowledge and to collect something
        assert(acknowledged.images.size > 0 && acknowledged.moving.size > 0)
        assert(acknowledged.garbage.some((digest) => !Fs.existsSync(blobPath(Path.join(directory, app), digest))))
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    60_000 * rounds
  )
})
