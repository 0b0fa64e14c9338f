/**
 * The examples, each as a process, between registries on this machine.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, FileSystem, Stream } from "effect"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as NodeHttp from "effect-oci/NodeHttp"
import type { Registry } from "effect-oci/Registry"
import { Contract, Images } from "effect-oci/testing"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { buffer, text } from "node:stream/consumers"
import { fileURLToPath } from "node:url"
import { makeObjectStore } from "../examples/support/object-store.ts"
import { layer, pushImageOf } from "./utils/image-layers.ts"
import { temporaryFolder } from "./utils/layouts.ts"
import { startNode } from "./utils/Program.ts"
import { listReferrers, override } from "./utils/registries.ts"
import { listen } from "./utils/ScriptedServer.ts"
import * as Served from "./utils/Served.ts"

const folder = fileURLToPath(new URL("../examples", import.meta.url))

const start = (name: string, ...args: ReadonlyArray<string>) =>
  startNode("--conditions=effect-oci:source", Path.join(folder, `${name}.ts`), ...args)

/** Runs an example to its end, which has to be a good one. */
const run = Effect.fnUntraced(function*(name: string, ...args: ReadonlyArray<string>) {
  const { code, stderr, stdout } = yield* Effect.flatMap(start(name, ...args), ({ ended }) => ended)
  assert.strictEqual(code, 0, stdout + stderr)
  return { stdout, stderr }
})

/** Starts an example that serves, and tells where. */
const serve = Effect.fnUntraced(function*(name: string, ...args: ReadonlyArray<string>) {
  const line = yield* Effect.flatMap(start(name, ...args), ({ firstLine }) => firstLine)
  return /http:\/\/(127\.0\.0\.1:[0-9]+)/.exec(line)?.[1] ?? `nowhere: ${line}`
})

const app = Images.repository("team/app")
const one = Images.tag("1")

/** A registry with an image. */
const source = Effect.gen(function*() {
  const served = yield* Served.memory()
  return { ...served, ...yield* Images.pushSample(served.registry, app, [one]) }
})

const temporaryFile = Effect.fnUntraced(function*(name: string, content: string) {
  const fs = yield* FileSystem.FileSystem
  const path = Path.join(yield* temporaryFolder, name)
  yield* fs.writeFileString(path, content)
  return path
})

const digestAt = (registry: Registry, repository: string) =>
  Effect.map(registry.resolveManifest(Images.repository(repository), one), ({ digest }) => digest)

/** An object store that stores, lists and returns objects, whole or from an offset on. */
const objectStore = Effect.gen(function*() {
  const objects = new Map<string, { readonly type: string | undefined; readonly bytes: Uint8Array }>()
  const store = yield* listen((request, response) => {
    const { headers, method, url = "" } = request
    if (method === "PUT") {
      // an object that was not sent whole is none
      void buffer(request).then((bytes) => {
        objects.set(url, { type: headers["content-type"], bytes })
        response.writeHead(201).end()
      }, () => {})
      return
    }
    const { bytes, type = "" } = objects.get(url) ?? {}
    if (bytes === undefined) return response.writeHead(404).end()
    const [, from = 0, to = ""] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "") ?? []
    const offset = Number(from)
    const end = to === "" ? bytes.length : Math.min(bytes.length, Number(to) + 1)
    if (offset > 0 && offset >= bytes.length) return response.writeHead(416).end()
    response.writeHead(headers.range === undefined ? 200 : 206, {
      "content-type": type,
      "content-length": end - offset,
      ...headers.range === undefined ? {} : {
        "content-range": `bytes ${offset}-${end - 1}/${bytes.length}`
      }
    })
    return response.end(method === "HEAD" ? undefined : bytes.subarray(offset, end))
  })
  return { objects, store }
})

describe("examples", () => {
  it("are all here", () => {
    const test = Fs.readFileSync(import.meta.filename, "utf8")
    const examples = Fs.globSync("*.ts", { cwd: folder }).filter((name) => !name.endsWith(".test.ts"))
    assert.deepStrictEqual(examples.filter((name) => !test.includes(`("${Path.basename(name, ".ts")}"`)), [])
  })

  it.live("copy", () =>
    Effect.gen(function*() {
      const { host, index } = yield* source
      const to = yield* Served.memory()
      const { stdout } = yield* run("copy", `${host}/team/app:1`, `${to.host}/mirror/app:1`)
      assert.match(stdout, new RegExp(`^${to.host}/mirror/app:1@${index.digest} \\(\\d+ bytes sent\\)\n$`))
      assert.strictEqual(yield* digestAt(to.registry, "mirror/app"), index.digest)
    }))

  it.live("progress", () =>
    Effect.gen(function*() {
      const store = yield* MemoryRegistry.make()
      const to = yield* Served.memory()
      const { digest } = yield* Images.pushImage(store, app, [new Uint8Array(3_000_000)], { tags: [one] })
      // what is there at once has no progress to tell
      const from = yield* Served.serve(override(store, {
        getBlob: (...args) =>
          Effect.map(store.getBlob(...args), ({ stream, ...blob }) => ({
            ...blob,
            stream: Stream.mapEffect(stream, (chunk) => Effect.delay(Effect.succeed(chunk), "10 millis"))
          }))
      }))
      const { stderr, stdout } = yield* run("progress", `${from.host}/team/app:1`, `${to.host}/mirror/app:1`)
      assert.match(stderr, /^sha256:[0-9a-f]{12} {2}[0-9]+ of 3000000 bytes$/m)
      assert.include(stderr, `${digest.slice(0, 19)}  copied\n`)
      assert.match(stdout, /^127\.0\.0\.1:\d+\/mirror\/app:1@sha256:/)
      assert.strictEqual(yield* digestAt(to.registry, "mirror/app"), digest)
    }))

  it.live("mirror", () =>
    Effect.gen(function*() {
      const { host, index, registry } = yield* source
      yield* Images.pushSample(registry, Images.repository("other"), [one])
      const to = yield* Served.memory()
      const list = yield* temporaryFile("images.txt", `${host}/team/app:1\n\n${host}/other:1\n`)
      const { stdout } = yield* run("mirror", list, `${to.host}/mirror`)
      assert.strictEqual(stdout.split("\n").length, 3)
      assert.strictEqual(yield* digestAt(to.registry, "mirror/team/app"), index.digest)
      assert.strictEqual(yield* digestAt(to.registry, "mirror/other"), index.digest)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("mirror, where one of the images is missing", () =>
    Effect.gen(function*() {
      const { host, index } = yield* source
      const to = yield* Served.memory()
      const list = yield* temporaryFile("images.txt", `${host}/missing:1\n${host}/team/app:1\n`)
      const ended = yield* Effect.flatMap(start("mirror", list, `${to.host}/mirror`), ({ ended }) => ended)
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, `${host}/missing:1: there is no such repository`)
      assert.strictEqual(yield* digestAt(to.registry, "mirror/team/app"), index.digest)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("failover", () =>
    Effect.gen(function*() {
      const { host, index } = yield* source
      const to = yield* Served.memory()
      const down = "127.0.0.1:1"
      const { stderr } = yield* run("failover", down, host, "team/app:1", `${to.host}/team/app:1`)
      assert.include(stderr, `${down}: `)
      assert.strictEqual(yield* digestAt(to.registry, "team/app"), index.digest)
    }))

  it.live("cache", () =>
    Effect.gen(function*() {
      const { ask, host, index } = yield* source
      const cache = yield* serve("cache", host, yield* temporaryFolder, "0")
      const first = yield* Served.send(cache, "GET /v2/team/app/manifests/1")
      yield* ask("DELETE /v2/team/app/manifests/1")
      const second = yield* Served.send(cache, "GET /v2/team/app/manifests/1")
      assert.strictEqual(first.headers["docker-content-digest"], index.digest)
      assert.strictEqual(second.text, first.text)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("serve", () =>
    Effect.gen(function*() {
      const { host } = yield* source
      const served = yield* serve("serve", "0", `${host}/team/app:1`)
      const { status } = yield* Served.send(served, "POST /v2/team/app/blobs/uploads/")
      assert.strictEqual(status, 401)
      const pulled = yield* Effect.repeat(Served.send(served, "GET /v2/kept/app/manifests/latest"), {
        until: ({ status }) => status === 200
      })
      assert.strictEqual(pulled.headers["content-type"], MediaType.imageIndex)
    }))

  it.live("inspect", () =>
    Effect.gen(function*() {
      const { host, index, onChild } = yield* source
      const { stdout } = yield* run("inspect", `${host}/team/app:1`)
      assert.include(stdout, `${host}/team/app:1 ${index.digest} (${index.size} bytes)\n`)
      assert.include(stdout, "  linux/arm64 sha256:")
      assert.include(stdout, `    referred to by application/vnd.example.sbom ${onChild.digest}`)
    }))

  it.live("resolver", () =>
    Effect.gen(function*() {
      const { host, index } = yield* source
      const { stdout } = yield* run("resolver", `${host}/team/app:1`)
      assert.strictEqual(stdout, `mem.local/kept/app:1 is ${index.digest} (${MediaType.imageIndex})\n`)
    }))

  it.live("mock", () =>
    Effect.gen(function*() {
      const { stdout } = yield* run("mock")
      assert.strictEqual(stdout, "the newest of 1.2, latest, 1.10 and 1.9 is 1.10\n")
    }))

  it.live("sbom", () =>
    Effect.gen(function*() {
      const { host, index, onIndex, registry } = yield* source
      const file = yield* temporaryFile("sbom.json", `{ "spdxVersion": "SPDX-2.3" }`)
      const { stdout } = yield* run("sbom", `${host}/team/app:1`, file)
      const attached = stdout.trim().replace(`${host}/team/app@`, "")
      assert.deepStrictEqual(yield* listReferrers(registry, app, index.digest), [attached, onIndex.digest].sort())
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("push", () =>
    Effect.gen(function*() {
      const { host, registry } = yield* Served.memory()
      const folder = yield* temporaryFolder
      Fs.writeFileSync(Path.join(folder, "index.html"), "<p>")
      const { stdout } = yield* run("push", folder, `${host}/team/app:1`)
      const { digest } = yield* registry.resolveManifest(app, one)
      assert.match(stdout, new RegExp(`^${host}/team/app@${digest} \\([0-9]+ bytes sent\\)\n$`))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("read-file", () =>
    Effect.gen(function*() {
      const { host, registry } = yield* Served.memory()
      yield* pushImageOf(registry, [[layer({ name: "etc/os-release", content: "NAME=test" })], [layer({ name: "b" })]])
      const { stdout } = yield* run("read-file", `${host}/app:1`)
      assert.strictEqual(stdout, "NAME=test\n")
    }))

  it.live("prune", () =>
    Effect.gen(function*() {
      const { host, registry } = yield* Served.memory()
      const now = yield* DateTime.now
      const push = Effect.fnUntraced(function*(days: number, ...tags: ReadonlyArray<string>) {
        const created = DateTime.formatIso(DateTime.subtract(now, { days }))
        const config = yield* Images.pushBlob(registry, app, JSON.stringify({ created }), MediaType.imageConfig)
        const content = { mediaType: MediaType.imageManifest, config, layers: [] }
        return yield* Images.pushManifest(registry, app, content, tags.map(Images.tag))
      })
      yield* push(40, "1.0", "1")
      const part = yield* push(50, "part")
      yield* Images.pushIndex(registry, app, [yield* push(20, "2.0", "latest"), part], { tags: [Images.tag("index")] })
      yield* Images.pushImage(registry, app, ["without a date"], { tags: [Images.tag("undated")] })
      const tags = Stream.runCollect(registry.tags(app))

      const { stdout } = yield* run("prune", `${host}/team/app`, "30", "--dry-run")
      assert.match(
        stdout,
        /^- 1 .*\n- 1\.0 .*\n {2}2\.0 .*\n {2}index .*\n {2}latest .*\n {2}part .*\n {2}undated {2}\?\n$/
      )
      assert.strictEqual((yield* tags).length, 7)
      yield* run("prune", `${host}/team/app`, "30")
      assert.deepStrictEqual(yield* tags, ["2.0", "index", "latest", "part", "undated"].map(Images.tag))
      const { ended } = yield* start("prune", `${host}/team/app`)
      assert.strictEqual((yield* ended).code, 1)
      assert.strictEqual((yield* tags).length, 5)
    }))

  it.live("prune, which keeps what refers to an image that stays, and what has no date", () =>
    Effect.gen(function*() {
      const { host, registry } = yield* Served.memory()
      const now = yield* DateTime.now
      const push = Effect.fnUntraced(function*(created: string, tags: ReadonlyArray<string>, extra: object = {}) {
        const config = yield* Images.pushBlob(registry, app, JSON.stringify({ created }), MediaType.imageConfig)
        const content = { mediaType: MediaType.imageManifest, config, layers: [], ...extra }
        return yield* Images.pushManifest(registry, app, content, tags.map(Images.tag))
      })
      const daysAgo = (days: number) => DateTime.formatIso(DateTime.subtract(now, { days }))
      const signatureTag = ({ digest }: { readonly digest: string }) => `${digest.replace(":", "-")}.sig`
      const young = yield* push(daysAgo(1), ["young"])
      const old = yield* push(daysAgo(40), ["old"])
      yield* push(daysAgo(41), [signatureTag(young)])
      yield* push(daysAgo(42), [signatureTag(old)])
      const sbom = yield* push(daysAgo(43), ["sbom"], { subject: young })
      yield* push(daysAgo(44), [signatureTag(sbom)])
      yield* push("1970-01-01T00:00:00Z", ["reproducible"])
      const dated = yield* push(daysAgo(45), [])
      const undated = yield* Images.pushImage(registry, app, ["without a date"])
      yield* Images.pushIndex(registry, app, [dated, undated], { tags: [Images.tag("mixed")] })
      yield* run("prune", `${host}/team/app`, "30")
      assert.deepStrictEqual(
        yield* Stream.runCollect(registry.tags(app)),
        ["young", signatureTag(young), "sbom", signatureTag(sbom), "reproducible", "mixed"].sort().map(Images.tag)
      )
    }))

  it.live("object-store", () =>
    Effect.gen(function*() {
      const { host, index } = yield* source
      const { objects, store } = yield* objectStore
      const to = yield* Served.memory()
      yield* run("object-store", `http://${store}/bucket`, `${host}/team/app:1`, `${to.host}/mirror/app:1`)
      assert.isTrue(objects.has(`/bucket/manifests/team/app/${index.digest}`))
      assert.isTrue(objects.has("/bucket/manifests/team/app/1"))
      assert.strictEqual(yield* digestAt(to.registry, "mirror/app"), index.digest)
    }))

  describe("object-store keeps the contract of registries:", () => {
    const cases = Contract.without(
      "ping",
      "tags",
      "referrers",
      "delete",
      "tagDelete",
      "sessions",
      "mount",
      "repositories",
      "kinds",
      "sizes",
      "sha512Tags"
    )
    it.live.each(cases)("$name", ({ effect }) =>
      Effect.gen(function*() {
        const { store } = yield* objectStore
        yield* effect(yield* makeObjectStore(`http://${store}/bucket`))
      }).pipe(Effect.provide(NodeHttp.layer())))
  })

  it.live("otlp", () =>
    Effect.gen(function*() {
      const { host } = yield* source
      const to = yield* Served.memory()
      const sent = new Map<string, string>()
      const collector = yield* listen((request, response) => {
        void text(request).then((body) => {
          sent.set(request.url ?? "", `${sent.get(request.url ?? "") ?? ""}${body}`)
          response.end("{}")
        })
      })
      yield* run("otlp", `http://${collector}`, `${host}/team/app:1`, `${to.host}/mirror/app:1`)
      assert.include(sent.get("/v1/traces") ?? "", `"Namespace.copyManifest"`)
      assert.include(sent.get("/v1/metrics") ?? "", `"oci.requests"`)
      assert.include(sent.get("/v1/logs") ?? "", "bytes sent")
    }))

  it.live("demo", () =>
    Effect.gen(function*() {
      const { stdout } = yield* run("demo")
      assert.include(stdout, "image for linux/arm64")
      assert.include(stdout, "mounted")
    }))
})
