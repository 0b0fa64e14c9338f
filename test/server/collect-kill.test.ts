/**
 * `serve --dir`, killed while clients push to it and garbage is collected, by the server and by another process.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Random, Schedule, Stream } from "effect"
import type * as Digest from "effect-oci/Digest"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as Manifest from "effect-oci/Manifest"
import type * as Registry from "effect-oci/Registry"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { noise } from "../utils/BadNetwork.ts"
import { pushBlob, pushImage, pushIndex, repository, tag } from "../utils/images.ts"
import { assertValid, blobPath, temporaryFolder } from "../utils/layouts.ts"
import { start } from "../utils/Program.ts"
import { connect } from "../utils/ScriptedServer.ts"

const rounds = process.env["EFFECT_OCI_LONG"] === undefined ? 2 : 50
const clients = 6
const app = repository("team/app")

/** Content that the server has acknowledged. */
interface Acknowledged {
  /** Tags that no client moves. */
  readonly images: Map<string, Digest.Digest>
  /** Per moving tag: the digest of the last acknowledged push, and the one in flight. */
  readonly moving: Map<string, { last: Digest.Digest | undefined; next: Digest.Digest }>
  /** Blobs that no manifest needs. */
  readonly garbage: Array<Digest.Digest>
}

const everything = ["untagged=collect", "dangling=collect", "older-than=2s"]

const serve = Effect.fnUntraced(function*(directory: string) {
  const flags = everything.map((flag) => `--gc-${flag}`)
  const server = yield* start("serve", "--port", "0", "--dir", directory, "--gc", "1s", ...flags)
  const host = (yield* server.firstLine).replace("listening on http://", "")
  assert.notStrictEqual(host, "", "the server did not start")
  return { ...server, host }
})

const impatient = Effect.provideService(HttpRegistry.RetrySchedule, Schedule.recurs(0))

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

/** Moves one tag from image to image until the server is gone. No other writer moves that tag. */
const moving = Effect.fnUntraced(function*(registry: Registry.Registry, name: string, acknowledged: Acknowledged) {
  let last: Digest.Digest | undefined
  for (let number = 0;; number++) {
    const { digest } = yield* pushImage(registry, app, [`${name} at ${number}`])
    acknowledged.moving.set(name, { last, next: digest })
    const { bytes, descriptor } = yield* registry.getManifest(app, digest)
    yield* registry.pushManifest(app, { mediaType: descriptor.mediaType, bytes }, [tag(name)])
    last = digest
    acknowledged.moving.set(name, { last, next: digest })
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
  const server = yield* serve(directory)
  const lifetime = yield* Random.nextIntBetween(2000, 5000)
  const work = Effect.gen(function*() {
    const registry = yield* connect(server)
    const indexes = Array.from({ length: clients }, (_, index) => index)
    yield* Effect.all([
      ...indexes.map((index) => pushing(registry, `${prefix}-${index}`, acknowledged)),
      ...indexes.map((index) => moving(registry, `moving-${prefix}-${index}`, acknowledged))
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

const pull = (registry: Registry.Registry, digest: Digest.Digest) =>
  Effect.scoped(Effect.flatMap(registry.getBlob(app, digest), ({ stream }) => Stream.runDrain(stream)))

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
  for (const [name, { last, next }] of moving) {
    const found = yield* registry.resolveManifest(app, tag(name)).pipe(
      Effect.map(({ digest }): Digest.Digest | undefined => digest),
      Effect.catchReason("RegistryError", "ManifestUnknown", () => Effect.undefined)
    )
    assert(found === last || found === next, `${name} is ${found}, not ${last} or ${next}`)
    if (found !== undefined) yield* assertComplete(registry, found)
  }
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
            const registry = yield* connect(yield* serve(directory))
            yield* assertAcknowledged(registry, acknowledged)
          }))
          // a collection moves files back that a kill has left in quarantine
          const stopped = yield* LayoutRegistry.make({ directory })
          assert.deepStrictEqual((yield* stopped.collect({ olderThan: "1 day" })).skipped, [])
          assertValid(Path.join(directory, app))
        }
        // the server was killed late enough to acknowledge and to collect something
        assert(acknowledged.images.size > 0 && acknowledged.moving.size > 0)
        assert(acknowledged.garbage.some((digest) => !Fs.existsSync(blobPath(Path.join(directory, app), digest))))
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    60_000 * rounds
  )
})
