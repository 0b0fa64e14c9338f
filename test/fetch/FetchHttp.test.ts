import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Credentials from "effect-oci/Credentials"
import * as FetchHttp from "effect-oci/FetchHttp"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import { Images } from "effect-oci/testing"
import type * as Http from "node:http"
import { gzipSync } from "node:zlib"
import { bytesOf } from "../utils/images.ts"
import { digestOf, listen } from "../utils/ScriptedServer.ts"
import * as Served from "../utils/Served.ts"

const app = Images.repository("app")

const client = (
  host: string,
  options?: FetchHttp.Options,
  more?: Partial<HttpRegistry.Options>
) => Effect.provide(HttpRegistry.make({ host, plainHttp: true, ...more }), FetchHttp.layer(options))

const readBlob = Effect.fnUntraced(function*(
  registry: Effect.Success<ReturnType<typeof client>>,
  content: Uint8Array,
  size?: number
) {
  const { stream } = yield* registry.getBlob(app, digestOf(content), { size })
  return yield* Stream.mkUint8Array(stream)
}, Effect.scoped)

/** A registry that records the headers of its requests, and sends the given answers. */
const answering = Effect.fnUntraced(function*(answer: (url: string, response: Http.ServerResponse) => void) {
  const seen: Array<Http.IncomingHttpHeaders> = []
  const host = yield* listen((request, response) => {
    seen.push(request.headers)
    request.resume().on("end", () => answer(request.url ?? "", response))
  })
  return { host, seen }
})

/** The response of a browser for a redirect that it does not follow. */
const hidden = () => Object.defineProperty(new Response(null), "type", { value: "opaqueredirect" })

const blob = bytesOf("a blob")

describe("a client over fetch", () => {
  it.effect("reads and pushes", () =>
    Effect.gen(function*() {
      const { host } = yield* Served.memory()
      const registry = yield* client(host)
      const { index } = yield* Images.pushSample(registry, app, [Images.tag("1")])
      assert.strictEqual((yield* registry.resolveManifest(app, Images.tag("1"))).digest, index.digest)
    }))

  it.effect.each([100, 100_000, 3_000_000])("says how long a body of %i bytes is", (size) =>
    Effect.gen(function*() {
      const content = new Uint8Array(size).fill(1)
      const { host, seen } = yield* answering((url, response) =>
        url.includes("uploads/?digest") || url.includes("/session")
          ? response.writeHead(201).end()
          : response.writeHead(202, { location: "/v2/app/blobs/uploads/session" }).end()
      )
      const registry = yield* client(host)
      const source = BlobSource.fromStream(size, Stream.fromIterable([content]))
      yield* registry.pushBlob(app, { digest: digestOf(content), size }, source)
      assert.strictEqual(seen.at(-1)?.["content-length"], `${size}`)
    }))

  it.effect("sends a larger body as a stream", () =>
    Effect.gen(function*() {
      const { host, registry: served } = yield* Served.memory()
      const content = new Uint8Array(1_000_000).fill(2)
      const source = BlobSource.fromBytes(content)
      const registry = yield* client(host)
      yield* registry.pushBlob(app, { digest: digestOf(content), size: content.length }, source).pipe(
        Effect.provideService(FetchHttp.BufferLimit, 1000)
      )
      assert.strictEqual((yield* served.resolveBlob(app, digestOf(content))).size, content.length)
    }))

  it.effect("keeps the error of a body that breaks off", () =>
    Effect.gen(function*() {
      const { host } = yield* Served.memory()
      const registry = yield* client(host)
      const source = BlobSource.fromStream(100_000, Stream.fail("torn" as const))
      const error = yield* Effect.flip(registry.pushBlob(app, { digest: digestOf(blob), size: 100_000 }, source))
      assert.strictEqual(error, "torn")
    }))

  it.effect("sends no headers of traces, no cookies and no address of a page", () =>
    Effect.gen(function*() {
      const { host, seen } = yield* answering((_, response) => response.writeHead(200).end())
      yield* (yield* client(host)).ping.pipe(Effect.withSpan("traced"))
      assert.deepStrictEqual(
        Object.keys(seen[0] ?? {}).filter((name) => /^(?:b3|traceparent|cookie|referer)$/.test(name)),
        []
      )
    }))

  it.effect("reads a body that the registry has encoded", () =>
    Effect.gen(function*() {
      const { host } = yield* answering((_, response) => {
        const encoded = gzipSync(blob)
        response.writeHead(200, { "content-encoding": "gzip", "content-length": encoded.length }).end(encoded)
      })
      assert.deepStrictEqual(yield* readBlob(yield* client(host), blob, blob.length), blob)
    }))

  it.effect("says that a runtime hides where a redirect leads, and does not ask again", () =>
    Effect.gen(function*() {
      let count = 0
      const registry = yield* client("registry.test", {
        fetch: () => {
          count++
          return Promise.resolve(hidden())
        }
      })
      const error = yield* Effect.flip(readBlob(registry, blob))
      assert.include(error.message, `this runtime hides the target: use redirect "follow"`)
      assert.strictEqual(count, 1)
    }))

  describe("redirects", () => {
    const redirecting = Effect.gen(function*() {
      const storage = yield* answering((_, response) => response.writeHead(200).end(blob))
      const { host } = yield* answering((_, response) =>
        response.writeHead(307, { location: `http://${storage.host}/blob` }).end()
      )
      return { host, storage }
    })
    const credentials = Credentials.static({ "127.0.0.1": { _tag: "RegistryToken", token: Redacted.make("secret") } })

    it.effect.each(["manual", "follow"] as const)(
      "%s leads to the blob, without credentials",
      (redirect) =>
        Effect.gen(function*() {
          const { host, storage } = yield* redirecting
          const registry = yield* client(host, { redirect }, { credentials })
          assert.deepStrictEqual(yield* readBlob(registry, blob), blob)
          assert.isUndefined(storage.seen[0]?.authorization)
        })
    )

    it.effect("are checked against the address policy unless fetch follows them", () =>
      Effect.gen(function*() {
        const { host } = yield* redirecting
        const read = (redirect: "manual" | "follow") =>
          Effect.flatMap(client(host, { redirect }), (registry) => readBlob(registry, blob)).pipe(
            Effect.provideService(HttpRegistry.AddressPolicy, () => false)
          )
        assert.include((yield* Effect.flip(read("manual"))).message, "must not lead to such an address")
        assert.deepStrictEqual(yield* read("follow"), blob)
      }))
  })

  it.effect("is another one for each layer", () =>
    Effect.gen(function*() {
      const calls: Array<string> = []
      const by = (name: string) =>
        FetchHttp.layer({
          fetch: () => {
            calls.push(name)
            return Promise.resolve(new Response())
          }
        })
      const ping = Effect.flatMap(HttpRegistry.make({ host: "a.test" }), ({ ping }) => ping)
      yield* Effect.provide(Effect.andThen(ping, Effect.provide(ping, by("two"))), by("one"))
      assert.deepStrictEqual(calls, ["one", "two"])
    }))
})
