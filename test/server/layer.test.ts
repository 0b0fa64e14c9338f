import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Layer, Redacted } from "effect"
import * as Authentication from "effect-oci/Authentication"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as RegistryServer from "effect-oci/RegistryServer"
import { HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "effect/http"
import * as Http from "node:http"
import { pushImage, repository, tag } from "../utils/images.ts"
import { send } from "../utils/Served.ts"

const listener = NodeHttpServer.layerServer(() => Http.createServer(), { host: "127.0.0.1", port: 0 })

const hostOf = <E>(server: Layer.Layer<never, E, HttpServer.HttpServer>) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(Layer.provideMerge(server, listener))
    const { address } = yield* Effect.provide(HttpServer.HttpServer, context)
    return address._tag === "UnixPathAddress" ? "" : `127.0.0.1:${address.port}`
  })

const quiet = { disableLogger: true, disableListenLog: true }

describe("the layer", () => {
  it.live("adds a registry to a router that has other routes", () =>
    Effect.gen(function*() {
      const routes = Layer.mergeAll(
        RegistryServer.layer(),
        HttpRouter.add("GET", "/health", HttpServerResponse.text("well"))
      )
      const host = yield* hostOf(Layer.provide(HttpRouter.serve(routes, quiet), MemoryRegistry.layer()))
      const upload = "/v2/team/app/blobs/uploads/"
      for (
        const [line, status] of [
          ["GET /health", 200],
          ["GET /v2/", 200],
          ["GET /v2", 200],
          ["HEAD /v2/team/app/manifests/1", 404],
          [`POST ${upload}`, 202],
          [`PATCH ${upload}1`, 404],
          ["PUT /v2/team/app/manifests/.1", 400],
          ["DELETE /v2/team/app/manifests/1", 404],
          [`GET /v2/${"a/".repeat(127)}a/tags/list`, 404],
          ["GET /v2/a%2Fb/tags/list", 400],
          ["GET /v2/a%20b/tags/list", 400],
          ["GET /token", 404]
        ] as const
      ) {
        assert.strictEqual((yield* send(host, line)).status, status, line)
      }
    }))

  it.live("adds the token service if the server issues tokens", () =>
    Effect.gen(function*() {
      const authentication = Authentication.bearer({
        service: "registry.test",
        check: Authentication.passwords({ ada: Redacted.make("s3cret") })
      })
      const host = yield* hostOf(
        Layer.provide(HttpRouter.serve(RegistryServer.layer({ authentication }), quiet), MemoryRegistry.layer())
      )
      assert.strictEqual((yield* send(host, "GET /v2/")).status, 401)
      const { status, text } = yield* send(host, "GET /token?service=registry.test")
      assert.strictEqual(status, 200)
      const headers = { authorization: `Bearer ${JSON.parse(text).token}` }
      assert.strictEqual((yield* send(host, "GET /v2/", { headers })).status, 200)
    }))
})

describe("the layer from the configuration", () => {
  const served = (env: Readonly<Record<string, string>>) => {
    const routes = RegistryServer.layerConfig({
      changes: Config.Literals(["all", "no-deletes", "none"], "CHANGES"),
      pageSize: Config.Int("PAGE_SIZE").pipe(Config.withDefault(10))
    })
    return hostOf(Layer.provide(HttpRouter.serve(routes, quiet), MemoryRegistry.layer())).pipe(
      Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))
    )
  }

  it.live("serves as its variables say", () =>
    Effect.gen(function*() {
      const host = yield* served({ CHANGES: "none" })
      assert.strictEqual((yield* send(host, "POST /v2/team/app/blobs/uploads/")).status, 405)
    }))

  it.live("fails if a variable is wrong", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(served({ CHANGES: "some" }))
      assert.strictEqual(error._tag, "ConfigError")
    }))
})

describe("a program", () => {
  it.live("serves several registries at once, each under its own name", () =>
    Effect.gen(function*() {
      const [one, two] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
      yield* pushImage(one, repository("app"), ["one"], { tags: [tag("1")] })
      yield* pushImage(two, repository("app"), ["two"], { tags: [tag("2")] })
      const apps = new Map([
        ["one.test", yield* RegistryServer.make(one)],
        ["two.test", yield* RegistryServer.make(two, { changes: "none" })]
      ])
      const app = Effect.flatMap(
        HttpServerRequest.HttpServerRequest,
        ({ headers }) => apps.get(headers["host"] ?? "") ?? Effect.succeed(HttpServerResponse.empty({ status: 421 }))
      )
      const host = yield* hostOf(HttpServer.serve(app))
      const tags = (name: string) =>
        Effect.map(
          send(host, "GET /v2/app/tags/list", { headers: { host: name } }),
          ({ status, text }) => [status, text]
        )
      assert.deepStrictEqual(yield* tags("one.test"), [200, `{"name":"app","tags":["1"]}`])
      assert.deepStrictEqual(yield* tags("two.test"), [200, `{"name":"app","tags":["2"]}`])
      assert.deepStrictEqual(yield* tags("three.test"), [421, ""])
    }))
})
