/**
 * `serve --dir`, killed while clients push to it.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Random, Stream } from "effect"
import type { Descriptor } from "effect-oci/Descriptor"
import * as Manifest from "effect-oci/Manifest"
import * as Registry from "effect-oci/Registry"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { noise } from "../utils/BadNetwork.ts"
import { digestOf } from "../utils/digests.ts"
import { pushImage, tag } from "../utils/images.ts"
import { app, assertNoRollback, impatient, moving, type MovingTags, pull, serve } from "../utils/killed-servers.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import { connect } from "../utils/ScriptedServer.ts"

const rounds = process.env["EFFECT_OCI_LONG"] === undefined ? 3 : 50
const clients = 8
const movingTags = 4
const half = 100_000
const large = noise(2 * half)

/** Content that the server has acknowledged. */
interface Acknowledged {
  readonly images: Map<string, Descriptor>
  readonly moving: MovingTags
  readonly sessions: Array<string>
}

/** Pushes images until the server is gone. */
const pushing = Effect.fnUntraced(function*(registry: Registry.Registry, name: string, acknowledged: Acknowledged) {
  for (let number = 0;; number++) {
    const layers = [`${name} ${number}`, noise(70_000 + number), noise(1_000_000 + number)]
    const tagged = `${name}-${number}`
    acknowledged.images.set(tagged, yield* pushImage(registry, app, layers, { tags: [tag(tagged)] }))
  }
})

/** Opens sessions, and writes one half of a blob into each. */
const opening = Effect.fnUntraced(function*(registry: Registry.Registry, acknowledged: Acknowledged) {
  for (;;) {
    const started = yield* registry.startUpload(app)
    assert(started._tag === "Upload")
    yield* started.append({ offset: 0, size: half, stream: Stream.succeed(large.subarray(0, half)) })
    acknowledged.sessions.push(yield* started.id)
  }
})

/** Kills the server at its n-th request. */
const round = Effect.fnUntraced(function*(directory: string, prefix: string, acknowledged: Acknowledged) {
  const last = yield* Random.nextIntBetween(1, 300)
  const server = yield* serve(directory)
  const killed = yield* Deferred.make<void>()
  let requests = 0
  const observer = Registry.Observer.of(() =>
    Effect.suspend(() => {
      if (++requests < last) return Effect.void
      server.kill("SIGKILL")
      return Deferred.succeed(killed, undefined)
    })
  )
  const work = Effect.gen(function*() {
    const registry = yield* connect(server)
    const others = Array.from({ length: clients }, (_, index) => pushing(registry, `${prefix}-${index}`, acknowledged))
    const movers = Array.from(
      { length: movingTags },
      (_, index) => moving(registry, `moving-${prefix}-${index}`, acknowledged.moving)
    )
    yield* Effect.all([opening(registry, acknowledged), ...others, ...movers], { concurrency: "unbounded" })
  }).pipe(Effect.provideService(Registry.Observer, observer), impatient, Effect.scoped)
  const fiber = yield* Effect.forkChild(Effect.exit(work))
  yield* Deferred.await(killed)
  yield* Fiber.join(fiber)
  yield* server.ended
}, Effect.scoped)

/** Verifies that all acknowledged content exists unchanged. The client verifies digests. */
const assertComplete = Effect.fnUntraced(function*(registry: Registry.Registry, { images }: Acknowledged) {
  for (const [name, { digest }] of images) {
    const { bytes, descriptor } = yield* registry.getManifest(app, tag(name))
    assert.strictEqual(descriptor.digest, digest)
    const { blobs } = yield* Effect.fromResult(Manifest.digests(descriptor.mediaType, bytes))
    yield* Effect.forEach(blobs, (blob) => pull(registry, blob.digest), { concurrency: 4, discard: true })
  }
})

const assertNoWrongBlob = (directory: string) => {
  const blobs = Path.join(directory, app, "blobs", "sha256")
  if (!Fs.existsSync(blobs)) return
  for (const name of Fs.readdirSync(blobs)) {
    assert.strictEqual(digestOf(Fs.readFileSync(Path.join(blobs, name))), `sha256:${name}`)
  }
}

/** Continues an open session at its offset. */
const assertResumable = Effect.fnUntraced(function*(registry: Registry.Registry, host: string, id: string) {
  const upload = yield* registry.resumeUpload(app, new URL(new URL(id).pathname, `http://${host}`).href)
  assert.strictEqual(yield* upload.status, half)
  yield* upload.append({ offset: half, size: half, stream: Stream.succeed(large.subarray(half)) })
  yield* upload.commit(digestOf(large))
  yield* pull(registry, digestOf(large))
}, Effect.scoped)

describe("effect-oci serve --dir", () => {
  it.live(
    `has all acknowledged content, every tag as it was last set, and nothing invalid, after ${rounds} kills`,
    () =>
      Effect.gen(function*() {
        const directory = yield* temporaryFolder
        const total = { images: 0, sessions: 0, moved: 0 }
        for (let number = 0; number < rounds; number++) {
          const acknowledged: Acknowledged = { images: new Map(), moving: new Map(), sessions: [] }
          yield* round(directory, `round-${number}`, acknowledged).pipe(Random.withSeed(number))
          assertNoWrongBlob(directory)
          total.images += acknowledged.images.size
          total.sessions += acknowledged.sessions.length
          total.moved += Array.from(acknowledged.moving.values()).filter(({ last }) => last !== undefined).length
          yield* Effect.scoped(Effect.gen(function*() {
            const { host } = yield* serve(directory)
            const registry = yield* connect({ host })
            yield* assertComplete(registry, acknowledged)
            yield* assertNoRollback(registry, acknowledged.moving)
            yield* Effect.forEach(acknowledged.sessions.slice(-3), (id) => assertResumable(registry, host, id))
          }))
        }
        // the server was killed late enough to acknowledge something
        assert(total.images > 0 && total.sessions > 0 && total.moved > 0)
      }).pipe(Effect.provide(NodeServices.layer)),
    60_000 * rounds
  )
})
