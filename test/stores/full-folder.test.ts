/**
 * Folders whose `index.json` is at its size limit, or exceeds it.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as Descriptor from "effect-oci/Descriptor"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import type { Registry } from "effect-oci/Registry"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { bytesOf, pushImage, pushReferrer, repository, tag } from "../utils/images.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import { index, refusal, tags } from "../utils/limits.ts"
import { send, serve } from "../utils/Served.ts"

const app = repository("team/app")
const MiB = 1024 * 1024

describe("a folder", () => {
  const annotated = (name: string, digest: string, mediaType = MediaType.imageIndex) =>
    JSON.stringify({ mediaType, digest, size: 2, annotations: { "org.opencontainers.image.ref.name": name } })

  /** Creates a folder whose `index.json` has about this size, in bytes, and lists an image first. */
  const filled = Effect.fnUntraced(function*(
    size: number,
    entry: (number: number) => string,
    maximumIndexSize?: number
  ) {
    const directory = yield* temporaryFolder
    const make = LayoutRegistry.make({ directory, durability: "process-end", maximumIndexSize })
    const registry = yield* make
    const image = yield* pushImage(registry, app, ["layer"], { tags: [tag("first")] })
    const path = Path.join(directory, app, "index.json")
    const [start = ""] = Fs.readFileSync(path, "utf8").split("]}")
    const count = Math.floor((size - start.length) / (entry(0).length + 1))
    Fs.writeFileSync(path, `${start},${Array.from({ length: count }, (_, number) => entry(number)).join(",")}]}`)
    return { directory, image, path, restart: make }
  })

  const usual = (number: number) => annotated(`tag-${`${number}`.padStart(8, "0")}`, `sha256:${"0".repeat(64)}`)

  const worksAsBefore = Effect.fnUntraced(function*(registry: Registry, digest: Descriptor.Descriptor["digest"]) {
    assert.strictEqual((yield* registry.getManifest(app, tag("first"))).descriptor.digest, digest)
    assert.lengthOf(yield* Stream.runCollect(Stream.take(registry.tags(app, { after: "tag-00000010" }), 100)), 100)
  })

  // each change of a folder with the largest index takes seconds
  it.live.each(process.env["EFFECT_OCI_LONG"] === undefined ? [1] : [1, 64])(
    "with a full index of %i MiB is read and emptied, also after a restart, and takes no push beyond its limit",
    (limit) =>
      Effect.gen(function*() {
        const { directory, image, restart } = yield* filled(limit * MiB, usual, limit * MiB)
        const full =
          `Denied: access is denied: the repository is full: its index.json may have ${limit * MiB} bytes; ` +
          "delete tags or manifests to make room"
        const registry = yield* restart
        yield* worksAsBefore(registry, image.digest)
        const blobs = Path.join(directory, app, "blobs", "sha256")
        const before = Fs.readdirSync(blobs)
        assert.strictEqual(
          yield* refusal(
            registry.pushManifest(app, { mediaType: MediaType.imageIndex, bytes: index("new") }, tags(10))
          ),
          full
        )
        assert.deepStrictEqual(Fs.readdirSync(blobs), before)
        const served = yield* serve(registry)
        const answer = yield* send(served.host, `PUT /v2/${app}/manifests/one-more-tag-of-this-image`, {
          headers: { "content-type": MediaType.imageIndex },
          body: index("new", { more: "more" })
        })
        assert.deepStrictEqual([answer.status, answer.code], [403, "DENIED"])
        assert.include(answer.text, `${limit * MiB} bytes`)
        yield* registry.deleteTag(app, tag("tag-00000000"))
        yield* registry.deleteTag(app, tag("tag-00000001"))
        yield* registry.pushManifest(app, { mediaType: MediaType.imageIndex, bytes: index("new") }, [tag("new")])
        yield* registry.deleteManifest(app, image.digest)
        const restarted = yield* restart
        assert.strictEqual(
          (yield* Effect.flip(restarted.getManifest(app, tag("first")))).reason._tag,
          "ManifestUnknown"
        )
        yield* restarted.getManifest(app, tag("new"))
        yield* restarted.deleteTag(app, tag("new"))
      }).pipe(Effect.provide(NodeServices.layer)),
    240_000
  )

  it.live("that an earlier version filled beyond the limit is read and emptied", () =>
    Effect.gen(function*() {
      const long = "a/" + "b".repeat(11_000)
      const { image, path, restart } = yield* filled(
        72 * MiB,
        (number) =>
          annotated(`tag-${`${number}`.padStart(8, "0")}`, `sha256:${`${number % 26}`.padStart(64, "0")}`, long)
      )
      const registry = yield* restart
      yield* worksAsBefore(registry, image.digest)
      assert.include(
        yield* refusal(pushImage(registry, app, ["other"], { tags: [tag("other")] })),
        "the repository is full"
      )
      yield* registry.deleteTag(app, tag("first"))
      const { size } = Fs.statSync(path)
      const { descriptor } = yield* Effect.map(registry.getManifest(app, image.digest), (manifest) => manifest)
      assert.strictEqual(descriptor.digest, image.digest)
      assert.isBelow(size, 73 * MiB)
      const restarted = yield* restart
      yield* restarted.deleteTag(app, tag("tag-00000000"))
    }).pipe(Effect.provide(NodeServices.layer)), 240_000)

  it.effect("refuses each of 26 pushes that would make it too large to be read", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryFolder
      const registry = yield* LayoutRegistry.make({ directory, durability: "process-end" })
      const { digest } = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      const { host } = yield* serve(registry)
      const mediaType = `application/vnd.${"x".repeat(11_000)}`
      for (let number = 0; number < 26; number++) {
        const query = Array.from({ length: 250 }, (_, index) => `tag=${number}-${index}`).join("&")
        const bytes = bytesOf(`${number}`)
        const pushed = yield* Descriptor.fromBytes(bytes)
        const answer = yield* send(host, `PUT /v2/${app}/manifests/${pushed.digest}?${query}`, {
          headers: { "content-type": mediaType },
          body: bytes
        })
        assert.deepStrictEqual([answer.status, answer.code], [400, "MANIFEST_INVALID"])
        assert.include(answer.text, "255 characters")
      }
      const restarted = yield* LayoutRegistry.make({ directory, durability: "process-end" })
      assert.strictEqual((yield* restarted.resolveManifest(app, tag("1"))).digest, digest)
      yield* pushReferrer(restarted, app, yield* registry.resolveManifest(app, tag("1")), "about it")
      yield* restarted.deleteManifest(app, digest)
    }).pipe(Effect.provide(NodeServices.layer)))
})
