import { assert, describe } from "@effect/vitest"
import { Effect, Redacted, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Credentials from "effect-oci/Credentials"
import * as Registry from "effect-oci/Registry"
import { HttpClient, HttpClientRequest } from "effect/http"
import { repository } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { digestOf, make, type Script } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const credentials = Credentials.basic("someone", Redacted.make("pass:word"))
const basic = `Basic ${Buffer.from("someone:pass:word").toString("base64")}`
const asks = { status: 401, headers: { "www-authenticate": "Basic realm=\"registry\"" } }
const blob = new Uint8Array(100_000)
const digest = digestOf(blob)
const uploads = "/v2/team/app/blobs/uploads/"

describe("credentials", () => {
  const authorized = Effect.fnUntraced(
    function*<A, E>(script: Script, operation: (registry: Registry.Registry) => Effect.Effect<A, E>) {
      const { registry, requests } = yield* make({ ...script, "GET /v2/": [asks, {}] }, { credentials })
      yield* registry.ping
      yield* operation(registry)
      return requests.slice(2).map(({ headers, method, url }) => [
        `${method} ${url.split("?", 1)[0]}`,
        headers["authorization"] === basic
          ? "authorized"
          : headers["authorization"] === undefined
          ? "anonymous"
          : "wrong"
      ])
    }
  )
  const read = (registry: Registry.Registry) =>
    Effect.scoped(Effect.flatMap(registry.getBlob(name, digest), ({ stream }) => Stream.runDrain(stream)))
  const push = (registry: Registry.Registry) =>
    registry.pushBlob(name, { digest, size: blob.length }, BlobSource.fromBytes(blob))

  it.effect("are sent when the registry requires them, and with every request from then on", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({ "GET /v2/": [asks, {}] }, { credentials })
      yield* registry.ping
      yield* registry.ping
      assert.deepStrictEqual(requests.map(({ headers }) => headers["authorization"]), [undefined, basic, basic])
      const seen = yield* authorized({
        [`POST ${uploads}`]: { status: 202, headers: { location: `https://registry.test${uploads}1` } },
        [`PUT ${uploads}1`]: { status: 500 },
        [`DELETE ${uploads}1`]: {}
      }, (registry) => Effect.andThen(registry.ping, Effect.ignore(push(registry))))
      assert.deepStrictEqual(seen.map(([, who]) => who), new Array(4).fill("authorized"))
    }))

  it.effect("are not sent unless they are given and required", () =>
    Effect.gen(function*() {
      const anonymous = yield* make({ "GET /v2/": asks })
      yield* Effect.flip(anonymous.registry.ping)
      const unasked = yield* make({ "GET /v2/": {} }, { credentials })
      yield* unasked.registry.ping
      for (const { headers } of [...anonymous.requests, ...unasked.requests]) {
        assert.notProperty(headers, "authorization")
      }
    }))

  it.effect("are not sent along a redirect to another origin (C2)", () =>
    Effect.gen(function*() {
      const get = `GET /v2/team/app/blobs/${digest}`
      const seen = yield* authorized({
        [get]: { status: 307, headers: { location: "/moved" } },
        "GET /moved": { status: 307, headers: { location: "https://cdn.test/a" } },
        "GET https://cdn.test/a": { status: 307, headers: { location: "https://registry.test:8443/back" } },
        "GET https://registry.test:8443/back": { body: blob }
      }, read)
      assert.deepStrictEqual(seen, [
        [get, "authorized"],
        ["GET /moved", "authorized"],
        ["GET https://cdn.test/a", "anonymous"],
        ["GET https://registry.test:8443/back", "anonymous"]
      ])
    }))

  it.effect.each(["https://storage.test/one", "https://registry.test:8443/one", "//storage.test/one"])(
    "are not sent along an upload to another origin (C14): %s",
    (location) =>
      Effect.gen(function*() {
        const url = new URL(location, "https://registry.test")
        const place = (url.host === "registry.test" ? "" : url.origin) + url.pathname
        const seen = yield* authorized({
          [`POST ${uploads}`]: { status: 202, headers: { location } },
          [`PUT ${place}`]: { status: 500 },
          [`DELETE ${place}`]: {}
        }, (registry) => Effect.ignore(push(registry)))
        assert.deepStrictEqual(seen, [
          [`POST ${uploads}`, "authorized"],
          [`PUT ${place}`, "anonymous"],
          [`DELETE ${place}`, "anonymous"]
        ])
      })
  )

  it.effect("are not sent along a list that continues at another origin (C41)", () =>
    Effect.gen(function*() {
      const seen = yield* authorized({
        "GET /v2/team/app/tags/list": {
          headers: { link: "<https://other.test/list>; rel=\"next\"" },
          body: { tags: ["1"] }
        },
        "GET https://other.test/list": { body: { tags: ["2"] } }
      }, (registry) => Stream.runDrain(registry.tags(name)))
      assert.deepStrictEqual(seen.map(([, who]) => who), ["authorized", "anonymous"])
    }))
})

describe("a transformation of the client", () => {
  it.effect("sees every request, redirects and bodies included", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        "GET /v2/": { status: 307, headers: { location: "/v2/moved" } },
        "GET /v2/moved": {},
        [`POST ${uploads}`]: { status: 202, headers: { location: `${uploads}1` } },
        [`PUT ${uploads}1`]: { status: 201 }
      }, { transformClient: HttpClient.mapRequest(HttpClientRequest.setHeader("x-proxy", "yes")) })
      yield* registry.ping
      yield* registry.pushBlob(name, { digest, size: blob.length }, BlobSource.fromBytes(blob))
      assert.deepStrictEqual(requests.map(({ headers }) => headers["x-proxy"]), new Array(4).fill("yes"))
    }))
})

describe("warnings (C4)", () => {
  const observed = Effect.fnUntraced(function*(...headers: ReadonlyArray<string>) {
    const { registry } = yield* make({ "GET /v2/": headers.map((warning) => ({ headers: { warning } })) })
    const texts: Array<string> = []
    const observer = (event: Registry.RegistryEvent) =>
      Effect.sync(() => {
        assert.strictEqual(event.registry, "registry.test")
        if (event._tag === "Warning") texts.push(event.text)
      })
    yield* Effect.forEach(headers, () => Effect.ignore(registry.ping)).pipe(
      Effect.provideService(Registry.Observer, observer)
    )
    return texts
  })

  it.effect("reach the observer", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* observed("299 - \"this image is old\""), ["this image is old"])
    }))

  it.effect("reach the observer from error responses as well", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ "GET /v2/": { status: 500, headers: { warning: "299 - \"broken\"" } } })
      const texts: Array<string> = []
      yield* Effect.ignore(registry.ping).pipe(
        Effect.provideService(Registry.Observer, (event) =>
          Effect.sync(() => event._tag === "Warning" && texts.push(event.text)))
      )
      assert.deepStrictEqual(texts, ["broken"])
    }))

  it.effect("reach it once, even if they are repeated", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* observed("299 - \"a\"", "299 - \"a\", 299 - \"b\"", "299 - \"b\""), ["a", "b"])
    }))

  it.effect("are one line of text each", () =>
    Effect.gen(function*() {
      const texts = yield* observed("299 - \"say \\\"hi\\\",\u0007\\\\o/\"")
      assert.deepStrictEqual(texts, ["say \"hi\", \\o/"])
    }))

  it.effect("may name an agent", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* observed("299 registry.test \"old\""), ["old"])
    }))

  it.effect("of one response are limited to ten", () =>
    Effect.gen(function*() {
      const header = Array.from({ length: 1000 }, (_, index) => `299 - "${index}"`).join(", ")
      assert.lengthOf(yield* observed(header), 10)
    }))

  it.effect("are limited to a hundred, and the last says that there are more", () =>
    Effect.gen(function*() {
      const texts = yield* observed(...Array.from({ length: 200 }, (_, index) => `299 - "${index}"`))
      assert.lengthOf(texts, 101)
      assert.deepStrictEqual(texts.slice(99), ["99", "it gives more warnings, which are not shown"])
    }))

  it.effect("with another code are ignored", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* observed("110 proxy \"stale\"", "nonsense", ""), [])
    }))
})
