import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Schema, Stream } from "effect"
import { CopyReport } from "effect-oci/CopyReport"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as NodeHttp from "effect-oci/NodeHttp"
import type { Registry } from "effect-oci/Registry"
import { randomBytes } from "node:crypto"
import * as DockerRegistry from "../utils/DockerRegistry.ts"
import { pushImage, pushSample, repository, tag } from "../utils/images.ts"
import { run, start } from "../utils/Program.ts"
import * as Proxy from "../utils/Proxy.ts"
import { listReferrers } from "../utils/registries.ts"

const connect = (host: string) => Effect.orDie(HttpRegistry.make({ host, plainHttp: true }))

const twoRegistries = Effect.gen(function*() {
  const [from, to] = yield* Effect.all([DockerRegistry.make(), DockerRegistry.make()], { concurrency: 2 })
  return { from: from.host, to: to.host, source: yield* connect(from.host), destination: yield* connect(to.host) }
})

const MiB = 1024 * 1024
const pushBig = (registry: Registry, layers: number, size: number) =>
  pushImage(registry, repository("team/big"), Array.from({ length: layers }, () => randomBytes(size)), {
    tags: [tag("1")]
  })

const tagsOf = (registry: Registry, name: string) =>
  Stream.runCollect(registry.tags(repository(name))).pipe(
    Effect.catchReason("RegistryError", "NameUnknown", () => Effect.succeed([]))
  )

describe.skipIf(!DockerRegistry.available)("effect-oci copy between two docker-registry processes", () => {
  it.live("copies a multi-platform image with its referrers", () =>
    Effect.gen(function*() {
      const { destination, from, source, to } = yield* twoRegistries
      const { arm64, index, onChild, onIndex } = yield* pushSample(source, repository("team/app"), [tag("1")])
      const { code, stderr, stdout } = yield* run("copy", `${from}/team/app:1`, `${to}/mirror/app:1`)
      assert.strictEqual(code, 0, stderr)
      assert.strictEqual(stdout, `${to}/mirror/app@${index.digest}\n`)
      assert.match(stderr, /copied 9 blobs and 5 manifests \(3\.\d+ KiB\), in \d+\.\d s\n$/)

      const there = repository("mirror/app")
      assert.deepStrictEqual(
        yield* destination.getManifest(there, tag("1")),
        yield* source.getManifest(repository("team/app"), tag("1"))
      )
      assert.deepStrictEqual(yield* listReferrers(destination, there, index.digest), [onIndex.digest])
      assert.deepStrictEqual(yield* listReferrers(destination, there, arm64.digest), [onChild.digest])
    }).pipe(Effect.provide(NodeHttp.layer())))

  it.live("prints a report with --json, and accepts flags before, between and after its arguments", () =>
    Effect.gen(function*() {
      const { from, source, to } = yield* twoRegistries
      const { arm64 } = yield* pushSample(source, repository("team/app"), [tag("1")])
      const { code, stderr, stdout } = yield* run(
        "copy",
        "--json",
        `${from}/team/app:1`,
        "--platform=linux/arm64",
        `${to}/mirror/app:1`,
        "--referrers=skip",
        "--concurrency",
        "1"
      )
      assert.strictEqual(code, 0, stderr)
      const report = yield* Schema.decodeEffect(Schema.fromJsonString(CopyReport))(stdout)
      assert.strictEqual(report.root.digest, arm64.digest)
      assert.deepStrictEqual(new Set(report.entries.map(({ role }) => role)), new Set(["blob", "root"]))
    }).pipe(Effect.provide(NodeHttp.layer())))

  it.live("mounts blobs that the destination has in another repository", () =>
    Effect.gen(function*() {
      const { from, source } = yield* twoRegistries
      yield* pushSample(source, repository("team/app"), [tag("1")])
      const { code, stderr } = yield* run("copy", `${from}/team/app:1`, `${from}/mirror/app:1`)
      assert.strictEqual(code, 0, stderr)
      assert.include(stderr, "copied 0 blobs and 5 manifests")
      assert.include(stderr, "9 mounted")
    }).pipe(Effect.provide(NodeHttp.layer())))

  it.live("fails for a blob that does not match its digest, and pushes neither the blob nor the manifest", () =>
    Effect.gen(function*() {
      const { destination, from, source, to } = yield* twoRegistries
      const image = yield* pushImage(source, repository("team/app"), [randomBytes(3 * MiB)], { tags: [tag("1")] })
      const { bytes } = yield* source.getManifest(repository("team/app"), image.digest)
      const { digest } = JSON.parse(new TextDecoder().decode(bytes)).layers[0]
      const proxy = yield* Proxy.make(from, {
        onAnswer: (_, url) => {
          if (!url.includes(digest)) return undefined
          let position = 0
          return (chunk) => {
            const at = 2 * MiB - position
            position += chunk.length
            if (at >= 0 && at < chunk.length) chunk[at] = (chunk[at] ?? 0) ^ 1
            return chunk
          }
        }
      })
      const { code, stderr, stdout } = yield* run("copy", `${proxy}/team/app:1`, `${to}/mirror/app:1`)
      assert.strictEqual(code, 1)
      assert.strictEqual(stdout, "")
      assert.include(stderr, `source ${proxy}/team/app:1: the content does not match its digest`)
      assert.include(stderr, `content: ${digest}`)
      const blob = yield* Effect.flip(destination.resolveBlob(repository("mirror/app"), digest))
      assert.strictEqual(blob.reason._tag, "BlobUnknown")
      const manifest = yield* Effect.flip(destination.resolveManifest(repository("mirror/app"), image.digest))
      assert.strictEqual(manifest.reason._tag, "ManifestUnknown")
    }).pipe(Effect.provide(NodeHttp.layer())))

  it.live("copies 1 GiB with less than 250 MiB of memory", () =>
    Effect.gen(function*() {
      const { from, source, to } = yield* twoRegistries
      const image = yield* pushBig(source, 4, 256 * MiB)
      const { code, memory, stderr, stdout } = yield* run("copy", `${from}/team/big:1`, `${to}/mirror/big:1`)
      assert.strictEqual(code, 0, stderr)
      assert.strictEqual(stdout, `${to}/mirror/big@${image.digest}\n`)
      assert.isBelow(memory / MiB, 250)
    }).pipe(Effect.provide(NodeHttp.layer())), 120_000)

  it.live("continues after the reader of stderr has gone", () =>
    Effect.gen(function*() {
      const { from, source, to } = yield* twoRegistries
      const { index } = yield* pushSample(source, repository("team/app"), [tag("1")])
      const running = yield* start("copy", `${from}/team/app:1`, `${to}/mirror/app:1`)
      running.ignore()
      const { code, stdout } = yield* running.ended
      assert.strictEqual(code, 0)
      assert.strictEqual(stdout, `${to}/mirror/app@${index.digest}\n`)
    }).pipe(Effect.provide(NodeHttp.layer())))
})

describe.skipIf(!DockerRegistry.available)("a signal", () => {
  /** Starts a copy whose uploads do not end, and counts the requests that reach the destination. */
  const stuck = (answersDelete: boolean) =>
    Effect.gen(function*() {
      const { destination, from, source, to } = yield* twoRegistries
      yield* pushBig(source, 3, MiB)
      const counts = { POST: 0, PUT: 0, DELETE: 0 }
      let begin: () => void = () => {}
      const allBegun = new Promise<void>((resolve) => {
        begin = resolve
      })
      const proxy = yield* Proxy.make(to, {
        onRequest: (method, url) => {
          if (!url.includes("/blobs/uploads/")) return undefined
          if (method === "POST" || method === "PUT" || method === "DELETE") counts[method]++
          if (counts.PUT === 4) begin()
          return method === "POST" || method === "DELETE" && answersDelete ? undefined : false
        }
      })
      const running = yield* start("copy", `${from}/team/big:1`, `${proxy}/mirror/big:1`)
      yield* Effect.promise(() => allBegun)
      return { counts, destination, running }
    })

  it.live.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
    "ends a copy within two seconds with 130, no tag, and a DELETE for every session: %s",
    (signal) =>
      Effect.gen(function*() {
        const { counts, destination, running } = yield* stuck(true)
        running.kill(signal)
        const [elapsed, { code, stdout }] = yield* Effect.timed(running.ended)
        assert.strictEqual(code, 130)
        assert.strictEqual(stdout, "")
        assert.isBelow(Duration.toMillis(elapsed), 2000)
        assert.strictEqual(counts.DELETE, counts.POST)
        assert.deepStrictEqual(yield* tagsOf(destination, "mirror/big"), [])
      }).pipe(Effect.provide(NodeHttp.layer()))
  )

  it.live("ends a copy within two seconds even if the registry no longer answers", () =>
    Effect.gen(function*() {
      const { running } = yield* stuck(false)
      running.kill("SIGTERM")
      const [elapsed, { code }] = yield* Effect.timed(running.ended)
      assert.strictEqual(code, 130)
      assert.isBelow(Duration.toMillis(elapsed), 2000)
    }).pipe(Effect.provide(NodeHttp.layer())))

  it.live("ends the copy immediately if it is the second one", () =>
    Effect.gen(function*() {
      const { counts, running } = yield* stuck(false)
      running.kill("SIGINT")
      while (counts.DELETE === 0) yield* Effect.sleep(5)
      running.kill("SIGINT")
      const [elapsed, { code }] = yield* Effect.timed(running.ended)
      assert.strictEqual(code, 130)
      assert.isBelow(Duration.toMillis(elapsed), 900)
    }).pipe(Effect.provide(NodeHttp.layer())))
})
