/**
 * `effect-oci serve --proxy`: several upstreams, their connections, and the policies of the cache.
 */
import { assert, describe, it } from "@effect/vitest"
import { hashSync } from "bcryptjs"
import { Effect } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { pushImage, repository, tag } from "../utils/images.ts"
import { connect, digestOf } from "../utils/ScriptedServer.ts"
import { send, serve as serveRegistry } from "../utils/Served.ts"
import { basicHeader, refusal, serve, temporary } from "../utils/serving.ts"

const timeout = 60_000

/** A registry with an image, served. */
const upstream = Effect.fnUntraced(function*(name: string, layer: string) {
  const registry = yield* MemoryRegistry.make()
  const { digest } = yield* pushImage(registry, repository(name), [layer], { tags: [tag("1")] })
  return { registry, digest, ...yield* serveRegistry(registry) }
})

describe("effect-oci serve --proxy", { timeout }, () => {
  it.live("serves several upstreams below prefixes, and by ns as a mirror", () =>
    Effect.gen(function*() {
      const [one, two, rest] = [
        yield* upstream("library/alpine", "one"),
        yield* upstream("tools/crane", "two"),
        yield* upstream("app", "rest")
      ]
      const flags = [`hub=${one.host}`, `ghcr=${two.host}`, rest.host].flatMap((proxy) => ["--proxy", proxy])
      const { host } = yield* serve(...flags)
      const digest = (line: string) =>
        Effect.map(send(host, `HEAD ${line}`), ({ headers }) => headers["docker-content-digest"])
      assert.strictEqual(yield* digest("/v2/hub/library/alpine/manifests/1"), one.digest)
      assert.strictEqual(yield* digest("/v2/ghcr/tools/crane/manifests/1"), two.digest)
      assert.strictEqual(yield* digest("/v2/app/manifests/1"), rest.digest)
      assert.strictEqual(yield* digest(`/v2/library/alpine/manifests/1?ns=${one.host}`), one.digest)
      assert.strictEqual(yield* digest(`/v2/app/manifests/1?ns=${rest.host}`), rest.digest)
      assert.strictEqual((yield* send(host, "GET /v2/app/manifests/1?ns=quay.io")).status, 404)
      const blob = yield* send(host, `GET /v2/library/alpine/blobs/${digestOf("one")}?ns=${one.host}`)
      assert.strictEqual(blob.text, "one")
      const { text } = yield* send(host, "GET /v2/_catalog")
      assert.deepStrictEqual(JSON.parse(text).repositories, ["app", "ghcr/tools/crane", "hub/library/alpine"])
    }))

  it.live("uses the credentials and the settings of each upstream in the file", () =>
    Effect.gen(function*() {
      const { folder, write } = yield* temporary
      write("users", `ada:${hashSync("s3cret", 4)}\nbob:${hashSync("other", 4)}\n`)
      const origin = yield* serve("--htpasswd", Path.join(folder, "users"), "--auth", "token")
      const login = { authorization: basicHeader("ada:s3cret").authorization }
      assert.strictEqual((yield* send(origin.host, "GET /v2/_catalog", { headers: login })).status, 200)
      write("secret", "s3cret\n")
      write("wrong", "s3cret2\n")
      const config = (file: string) =>
        `port: 0\nproxy:\n  - host: ${origin.host}\n    prefix: own\n    username: ada\n    passwordFile: ${file}\n` +
        "    plainHttp: true\n    rate: 100/s\n    concurrency: 2\n"
      const good = yield* serve("--config", write("good.yml", config("secret")))
      assert.strictEqual((yield* send(good.host, "HEAD /v2/own/app/manifests/1")).status, 404)
      const bad = yield* serve("--config", write("bad.yml", config("wrong")))
      assert.strictEqual((yield* send(bad.host, "HEAD /v2/own/app/manifests/1")).status, 401)
    }))

  it.live("serves tags as last known while the upstream is away, with their age, and never if so told", () =>
    Effect.gen(function*() {
      const origin = yield* serve()
      yield* pushImage(yield* connect({ host: origin.host }), repository("app"), ["layer"], { tags: [tag("1")] })
      const { host } = yield* serve("--proxy", origin.host, "--cache-tag-ttl", "0s")
      const strict = yield* serve("--proxy", origin.host, "--cache-tag-ttl", "0s", "--cache-stale", "never")
      for (const at of [host, strict.host]) {
        assert.strictEqual((yield* send(at, "GET /v2/app/manifests/1")).status, 200)
      }
      origin.kill("SIGKILL")
      yield* origin.ended
      const stale = yield* send(host, "GET /v2/app/manifests/1")
      assert.strictEqual(stale.status, 200)
      assert.match(String(stale.headers["warning"]), /^299 - "upstream is not available: 1 is as last known/)
      assert.isAbove((yield* send(strict.host, "GET /v2/app/manifests/1")).status, 499)
      assert.strictEqual((yield* send(host, "GET /readyz")).status, 200)
    }))

  it.live("keeps no more than the size of the cache in its folder, also after a restart", () =>
    Effect.gen(function*() {
      const { folder } = yield* temporary
      const { host: from, registry } = yield* upstream("app", "a")
      const layers = ["1", "2", "3", "4"].map((digit) => digit.repeat(400))
      yield* pushImage(registry, repository("layers"), layers, { tags: [tag("1")] })
      const flags = ["--proxy", from, "--dir", folder, "--cache-size", "1000"]
      const kept = () => layers.filter((layer) => Fs.existsSync(path(layer)))
      const path = (layer: string) => Path.join(folder, "layers", "blobs", ...digestOf(layer).split(":"))
      const get = (host: string, layer: string) => send(host, `GET /v2/layers/blobs/${digestOf(layer)}`)
      const stored = (layer: string) =>
        Effect.repeat(Effect.sleep("20 millis"), { until: () => Fs.existsSync(path(layer)) })
      const first = yield* serve(...flags)
      for (const layer of layers.slice(0, 3)) {
        yield* get(first.host, layer)
        yield* stored(layer)
      }
      assert.lengthOf(kept(), 2)
      first.kill("SIGTERM")
      yield* first.ended
      assert.isTrue(Fs.existsSync(Path.join(folder, ".effect-oci", "cache.json")))
      const { host } = yield* serve(...flags)
      yield* get(host, layers[3] ?? "")
      yield* stored(layers[3] ?? "")
      assert.deepStrictEqual(kept(), layers.slice(2))
    }))

  it.live("is refused with flags and files that make no sense", () =>
    Effect.gen(function*() {
      const { write } = yield* temporary
      const flags = (...args: ReadonlyArray<string>) => refusal(2, ...args)
      assert.include(yield* flags("--proxy", "a.test", "--proxy", "b.test"), "only one upstream may have no prefix")
      assert.include(yield* flags("--proxy", "a=a.test", "--proxy", "a=b.test"), "two upstreams have the prefix a")
      assert.include(yield* flags("--proxy", "A=a.test"), "is not a prefix of repositories")
      assert.include(
        yield* flags("--proxy", "a=a.test", "--proxy", "b.test", "--username", "ada"),
        "--username is for one registry"
      )
      const file = (text: string, code = 2) => refusal(code, "--config", write("serve.yml", text))
      assert.include(
        yield* file("proxy: [{ host: a.test, username: ada }]"),
        "username and passwordFile require each other"
      )
      assert.include(yield* file("proxy: [{ host: a.test, caFile: none.pem }]", 1), "cannot read")
      assert.include(yield* file("proxy: [{ hosts: a.test }]"), "hosts: unknown key")
    }))
})
