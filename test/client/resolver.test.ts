import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { assert, describe } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Layer, Schema } from "effect"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as HttpResolver from "effect-oci/HttpResolver"
import * as MediaType from "effect-oci/MediaType"
import * as Namespace from "effect-oci/Namespace"
import * as NodeNamespace from "effect-oci/NodeNamespace"
import * as Reference from "effect-oci/Reference"
import { Registry } from "effect-oci/Registry"
import * as Resolver from "effect-oci/Resolver"
import { HttpClient, HttpClientRequest, HttpClientResponse } from "effect/http"
import { bytesOf } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { client, digestOf, listen } from "../utils/ScriptedServer.ts"

/** The URL of a request to the registry of a host. */
const pinged = Effect.fnUntraced(function*(host: string, options?: HttpResolver.Options) {
  let asked = ""
  const transformClient = HttpClient.mapRequest((request: HttpClientRequest.HttpClientRequest) => {
    asked = request.url
    return HttpClientRequest.setUrl(request, "https://registry.test/v2/")
  })
  const resolver = yield* HttpResolver.make({ ...options, transformClient }).pipe(
    Effect.provideService(HttpClient.HttpClient, client({ "GET /v2/": {} }).http)
  )
  const registry = yield* resolver.resolve(Reference.Host.make(host))
  yield* registry.ping
  return asked
})

describe("a host", () => {
  it.effect.each([
    "ghcr.io",
    "registry.example.com:8443",
    "10.0.0.1:5000",
    "127.0.0.1.example.com",
    "localhost.example.com",
    "[::2]:5000"
  ])(
    "is addressed in HTTPS: %s",
    (host) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* pinged(host), `https://${host}/v2/`)
      })
  )

  it.effect.each([
    "localhost",
    "localhost:5000",
    "127.0.0.1",
    "127.0.0.1:5000",
    "127.1.2.3:5000",
    "[::1]",
    "[::1]:5000"
  ])(
    "that is this machine is addressed in plain HTTP: %s",
    (host) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* pinged(host), `http://${host}/v2/`)
        assert.isTrue(HttpResolver.isLoopback(host))
      })
  )

  it.effect("is addressed in plain HTTP if the program says so, by name and port", () =>
    Effect.gen(function*() {
      const options = { plainHttp: ["registry.lan:5000"] }
      assert.strictEqual(yield* pinged("registry.lan:5000", options), "http://registry.lan:5000/v2/")
      assert.strictEqual(yield* pinged("registry.lan", options), "https://registry.lan/v2/")
    }))

  it.effect("that is this machine is addressed in HTTPS if the program says so, by name and port", () =>
    Effect.gen(function*() {
      const options = { tls: ["LOCALHOST:5000"] }
      assert.strictEqual(yield* pinged("localhost:5000", options), "https://localhost:5000/v2/")
      assert.strictEqual(yield* pinged("localhost:5001", options), "http://localhost:5001/v2/")
      assert.strictEqual(yield* pinged("ghcr.io", { tls: ["ghcr.io"] }), "https://ghcr.io/v2/")
    }))

  it.effect("does not resolve if the program says both", () =>
    Effect.gen(function*() {
      const options = { plainHttp: ["docker.io", "localhost:5000"], tls: ["index.docker.io", "localhost:5000"] }
      for (
        const [name, host] of [["docker.io", "registry-1.docker.io"], ["localhost:5000", "localhost:5000"]] as const
      ) {
        const error = yield* Effect.flip(pinged(name, options))
        assert.strictEqual(
          error.message,
          `the registry of the host ${host} could not be created: ${host} is named for plain HTTP (plainHttp) and for HTTPS (tls)`
        )
      }
      assert.strictEqual(yield* pinged("localhost:5001", options), "http://localhost:5001/v2/")
    }))

  it.effect.each(["docker.io", "index.docker.io"])(
    "of Docker Hub is the one at which its registry answers: %s",
    (host) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* pinged(host), "https://registry-1.docker.io/v2/")
      })
  )
})

describe("HttpResolver", () => {
  const layer = HttpResolver.layer().pipe(Layer.provide(Layer.succeed(HttpClient.HttpClient, client({}).http)))

  it.effect("returns the same registry for the same host, also to concurrent callers", () =>
    Effect.gen(function*() {
      const resolver = yield* Resolver.Resolver
      const host = Reference.Host.make("ghcr.io")
      const [one, two] = yield* Effect.all([resolver.resolve(host), resolver.resolve(host)], {
        concurrency: "unbounded"
      })
      assert.strictEqual(one, two)
      assert.strictEqual(one, yield* resolver.resolve(host))
      assert.notStrictEqual(one, yield* resolver.resolve(Reference.Host.make("quay.io")))
    }).pipe(Effect.provide(layer)))
})

it.effect("a host has the capabilities that the program sets, others those that are known", () =>
  Effect.gen(function*() {
    const resolver = yield* HttpResolver.make({
      capabilities: { "Registry.Example.com:5000": { maximumChunk: 5_000_000 }, "ghcr.io": { chunks: true } }
    }).pipe(Effect.provideService(HttpClient.HttpClient, client({}).http))
    const capabilitiesOf = (host: string) =>
      Effect.flatMap(resolver.resolve(Reference.Host.make(host)), ({ capabilities }) => capabilities)
    assert.deepStrictEqual(yield* capabilitiesOf("registry.example.com:5000"), { maximumChunk: 5_000_000 })
    assert.deepStrictEqual(yield* capabilitiesOf("ghcr.io"), { chunks: true })
    assert.deepStrictEqual(yield* capabilitiesOf("europe-docker.pkg.dev"), { chunks: false })
  }))

describe("HttpRegistry", () => {
  const http = Layer.succeed(HttpClient.HttpClient, client({ "GET /v2/": {} }).http)

  it.effect("is a layer, named after its host", () =>
    Effect.gen(function*() {
      const registry = yield* Registry
      yield* registry.ping
      assert.strictEqual(registry.name, "registry.test")
    }).pipe(Effect.provide(HttpRegistry.layer({ host: "registry.test" }).pipe(Layer.provide(http)))))

  it.effect.each([
    "",
    "name",
    "registry.test/path",
    "https://registry.test",
    "user@registry.test",
    "registry.test:port"
  ])(
    "is not created for an invalid host: %s",
    (host) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(HttpRegistry.make({ host }))
        assert.strictEqual(error._tag, "InvalidReference")
      }).pipe(Effect.provide(http))
  )
})

describe("NodeNamespace", () => {
  it.live("reads from this machine without options", () =>
    Effect.gen(function*() {
      const bytes = bytesOf({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [] })
      const host = yield* listen((request, response) => {
        if (request.url !== "/v2/team/app/manifests/latest") return response.writeHead(404).end()
        response.writeHead(200, { "content-type": MediaType.imageIndex }).end(bytes)
      })
      const manifest = yield* Effect.flatMap(
        Namespace.Namespace,
        (namespace) => namespace.getManifest(`${host}/team/app:latest`)
      ).pipe(Effect.provide(NodeNamespace.layer))
      assert.deepStrictEqual(manifest.descriptor, {
        mediaType: MediaType.imageIndex,
        digest: digestOf(bytes),
        size: bytes.length
      })
    }))

  it.live("closes its connections with the layer", () =>
    Effect.gen(function*() {
      const open = new Set<unknown>()
      const host = yield* listen((request, response) => {
        open.add(request.socket)
        request.socket.once("close", () => open.delete(request.socket))
        response.writeHead(404).end()
      })
      const closed = Effect.callback<void>((resume) => {
        for (const socket of open) (socket as NodeJS.EventEmitter).once("close", () => resume(Effect.void))
      })
      yield* Effect.gen(function*() {
        const namespace = yield* Namespace.Namespace
        yield* Effect.flip(namespace.getManifest(`${host}/team/app:latest`))
        assert.strictEqual(open.size, 1)
      }).pipe(Effect.provide(NodeNamespace.layer))
      if (open.size > 0) yield* closed
    }))
})

describe("the layer from the configuration", () => {
  const pinged = (host: string) => {
    const asked: Array<string> = []
    const http = HttpClient.make((request, url) =>
      Effect.sync(() => {
        asked.push(url.href)
        return HttpClientResponse.fromWeb(request, new Response())
      })
    )
    const layer = HttpResolver.layerConfig({ plainHttp: Config.Array(Schema.String, "PLAIN_HTTP") })
    return Effect.gen(function*() {
      const resolver = yield* Resolver.Resolver
      const registry = yield* resolver.resolve(Reference.Host.make(host))
      yield* registry.ping
      return asked
    }).pipe(Effect.provide(layer), Effect.provideService(HttpClient.HttpClient, http))
  }
  const provider = (env: Readonly<Record<string, string>>) =>
    Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))

  it.effect("resolves as its variables say", () =>
    Effect.gen(function*() {
      const variables = provider({ PLAIN_HTTP: "a.test,b.test" })
      assert.deepStrictEqual(yield* variables(pinged("b.test")), ["http://b.test/v2/"])
      assert.deepStrictEqual(yield* variables(pinged("c.test")), ["https://c.test/v2/"])
    }))

  it.effect("fails if a variable is missing", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(pinged("a.test").pipe(provider({})))
      assert.strictEqual(error._tag, "ConfigError")
    }))
})

describe("a client over fetch", () => {
  it.live("reads, including responses without a body", () =>
    Effect.gen(function*() {
      const bytes = bytesOf("0123456789")
      const host = yield* listen((request, response) => {
        response.writeHead(200, { "content-length": bytes.length })
        response.end(request.method === "HEAD" ? undefined : bytes)
      })
      const registry = yield* HttpRegistry.make({ host, plainHttp: true })
      const name = Reference.Repository.make("team/app")
      assert.strictEqual((yield* registry.resolveBlob(name, digestOf(bytes))).size, 10)
    }).pipe(Effect.provide(NodeHttpClient.layerFetch)))
})
