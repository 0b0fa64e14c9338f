/**
 * Copies of several tags of one image: shared content is pushed once.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Stream } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Namespace from "effect-oci/Namespace"
import * as Resolver from "effect-oci/Resolver"
import * as DockerRegistry from "../utils/DockerRegistry.ts"
import { pushIndex, pushSample, repository, tag } from "../utils/images.ts"
import * as Proxy from "../utils/Proxy.ts"
import { connect } from "../utils/ScriptedServer.ts"

const from = repository("team/app")
const to = repository("mirror/app")
const tags = ["1", "1.2", "1.2.3", "latest", "stable", "newest"].map(tag)

/**
 * Copies six tags of one image, one of its platforms, and another index of the same images. Returns the references of
 * all pushed manifests.
 */
const copySix = Effect.fnUntraced(function*(host: string) {
  const pushes: Array<string> = []
  const near = yield* Proxy.make(host, {
    onRequest: (method, url) => {
      const place = url.split("/manifests/")[1]
      if (method === "PUT" && place !== undefined) pushes.push(place)
    }
  })
  const source = yield* MemoryRegistry.make()
  const { amd64, arm64, index } = yield* pushSample(source, from, tags)
  const { bytes, descriptor } = yield* source.getManifest(from, amd64.digest)
  yield* source.pushManifest(from, { mediaType: descriptor.mediaType, bytes }, [tag("amd64")])
  const other = yield* pushIndex(source, from, [arm64, amd64], { tags: [tag("other")] })
  const destination = yield* connect({ host: near })
  const namespace = Namespace.make({ resolver: Resolver.static({}) })
  const copied = yield* Stream.runCollect(namespace.copyAll(Stream.fromIterable(
    [...tags, tag("amd64"), tag("other")].map((tag) => ({
      source: { registry: source, repository: from, tag },
      destination: { registry: destination, repository: to, tag }
    }))
  )))
  for (const { exit } of copied) assert.isTrue(Exit.isSuccess(exit), `${exit}`)
  for (const tag of tags) assert.strictEqual((yield* destination.resolveManifest(to, tag)).digest, index.digest)
  assert.strictEqual((yield* destination.resolveManifest(to, tag("amd64"))).digest, amd64.digest)
  assert.strictEqual((yield* destination.resolveManifest(to, tag("other"))).digest, other.digest)
  return pushes
}, Effect.scoped)

const rounds = process.env["EFFECT_OCI_LONG"] === undefined ? 5 : 50

describe("tags of one image", () => {
  it.live.skipIf(!DockerRegistry.available)(
    "are copied to CNCF distribution concurrently, with one push for each manifest and each tag",
    () =>
      Effect.gen(function*() {
        for (let round = 0; round < rounds; round++) {
          const { host } = yield* DockerRegistry.make()
          const pushes = yield* copySix(host)
          const unique = new Set(pushes)
          assert.deepStrictEqual(pushes.toSorted(), Array.from(unique).toSorted())
        }
      }).pipe(Effect.scoped),
    120_000
  )
})
