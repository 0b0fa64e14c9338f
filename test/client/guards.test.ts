import { assert, describe } from "@effect/vitest"
import { Effect, Schedule, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import type { Registry } from "effect-oci/Registry"
import { repository } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { type Answer, digestOf, make, reasonOf, type Script } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const big = new Uint8Array(100_000)
const descriptor = { digest: digestOf(big), size: big.length }
const blob = `/v2/team/app/blobs/${descriptor.digest}`
const uploads = "/v2/team/app/blobs/uploads/"

const read = (registry: Registry) =>
  Effect.scoped(Effect.flatMap(registry.getBlob(name, descriptor.digest), ({ stream }) => Stream.runDrain(stream)))

/** Ways in which a registry names another address. */
const ways: Readonly<
  Record<string, (address: string) => readonly [Script, (registry: Registry) => Effect.Effect<unknown, unknown>]>
> = {
  "a redirect": (location) => [
    { [`GET ${blob}`]: { status: 307, headers: { location } } },
    (registry) => Effect.flip(read(registry))
  ],
  "a redirect behind a redirect": (location) => [
    {
      [`GET ${blob}`]: { status: 307, headers: { location: "https://cdn.test/blob" } },
      "GET https://cdn.test/blob": { status: 302, headers: { location } }
    },
    (registry) => Effect.flip(read(registry))
  ],
  "a Location": (location) => [
    { [`POST ${uploads}`]: { status: 202, headers: { location } } },
    (registry) => Effect.flip(registry.pushBlob(name, descriptor, BlobSource.fromBytes(big)))
  ],
  "a Link": (address) => [
    {
      "GET /v2/team/app/tags/list": {
        headers: { link: `<${address}>; rel="next"` },
        body: { name: "team/app", tags: ["1"] }
      }
    },
    (registry) => Effect.flip(Stream.runDrain(registry.tags(name)))
  ]
}

const forbidden = [
  "https://localhost/x",
  "https://127.0.0.1:8443/x",
  "https://[::1]/x",
  "https://10.0.0.1/x",
  "https://169.254.169.254/latest/meta-data",
  "https://[fd00::1]/x",
  "https://2130706433/x",
  "http://elsewhere.test/x"
]

describe.each(Object.entries(ways))("%s of a public registry", (_, way) => {
  it.effect.each(forbidden)("does not lead to %s", (address) =>
    Effect.gen(function*() {
      const [script, use] = way(address)
      const { registry, sent } = yield* make(script)
      const error = yield* use(registry)
      assert.deepInclude(error, { _tag: "RegistryError" })
      assert.include(String(error), `it leads to ${new URL(address).origin}`)
      assert.isTrue(sent().every((line) => !line.includes(address)))
    }))

  it.effect("leads there if the program allows it", () =>
    Effect.gen(function*() {
      const [script, use] = way("https://10.0.0.1/x")
      const { registry, sent } = yield* make({
        ...script,
        "GET https://10.0.0.1/x": { status: 404 },
        "PUT https://10.0.0.1/x": { status: 404 },
        "DELETE https://10.0.0.1/x": {}
      })
      yield* Effect.provideService(use(registry), HttpRegistry.AddressPolicy, () => true)
      assert.isTrue(sent().some((line) => line.includes("https://10.0.0.1/x")))
    }))
})

describe.each(["file:///etc/passwd", "ftp://elsewhere.test/x", "data:text/plain,hello"])(
  "an address such as %s",
  (address) => {
    it.effect.each(Object.keys(ways))(
      "is refused by name, and not requested again: %s",
      (name) =>
        Effect.gen(function*() {
          const [script, use] = ways[name]?.(address) ?? assert.fail()
          const { registry, sent } = yield* make(script)
          const retrying = Effect.provideService(use(registry), HttpRegistry.RetrySchedule, Schedule.recurs(3))
          assert.include(
            String(yield* retrying),
            `an address that begins with "${new URL(address).protocol}" is not followed`
          )
          assert.lengthOf(new Set(sent()), sent().length)
        })
    )

    it.effect("is not used as a token service", () =>
      Effect.gen(function*() {
        const { registry, sent } = yield* make({
          "GET /v2/": { status: 401, headers: { "www-authenticate": "Bearer realm=\"https://auth.test/\"" } },
          "GET https://auth.test/": { status: 302, headers: { location: address } }
        })
        const error = yield* Effect.flip(registry.ping)
        assert.include(error.message, `an address that begins with "${new URL(address).protocol}" is not followed`)
        assert.lengthOf(sent(), 2)
      }))
  }
)

describe("an address that a registry gives for itself", () => {
  const location = (given: string): Script => ({
    [`POST ${uploads}`]: { status: 202, headers: { location: given } },
    "PUT https://registry.test:8443/upload?state=a%2Bb": { status: 201 },
    "PUT /upload?state=a%2Bb": { status: 201 }
  })

  it.effect.each(["https://registry.test/upload?state=a%2Bb", "http://registry.test/upload?state=a%2Bb"])(
    "is at its own port and scheme, even if it omits them: %s",
    (given) =>
      Effect.gen(function*() {
        const { registry, sent } = yield* make({
          "POST https://registry.test:8443/v2/team/app/blobs/uploads/": { status: 202, headers: { location: given } },
          [`PUT https://registry.test:8443/upload?state=a%2Bb&${new URLSearchParams({ digest: descriptor.digest })}`]: {
            status: 201
          }
        }, { host: "registry.test:8443" })
        yield* registry.pushBlob(name, descriptor, BlobSource.fromBytes(big))
        assert.lengthOf(sent(), 2)
      })
  )

  it.effect("keeps its query to the letter (C14)", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        ...location("/upload?state=a%2Bb"),
        "PUT /upload": { status: 201 }
      })
      yield* registry.pushBlob(name, descriptor, BlobSource.fromBytes(big))
      assert.strictEqual(sent()[1], `PUT /upload?state=a%2Bb&${new URLSearchParams({ digest: descriptor.digest })}`)
    }))
})

describe("an upload that is redirected", () => {
  it.effect("continues at the new address of the session (C2)", () =>
    Effect.gen(function*() {
      const moved: Answer = { status: 307, headers: { location: "https://storage.test/session" } }
      const { registry, sent } = yield* make({
        [`POST ${uploads}`]: { status: 202, headers: { location: "/upload" } },
        "PUT /upload": moved,
        "GET https://storage.test/session": { status: 204, headers: { range: "0-0" } },
        "PUT https://storage.test/session": { status: 201 }
      })
      yield* Effect.provideService(
        registry.pushBlob(name, descriptor, BlobSource.fromBytes(big)),
        HttpRegistry.RetrySchedule,
        Schedule.recurs(1)
      )
      const query = `?${new URLSearchParams({ digest: descriptor.digest })}`
      assert.deepStrictEqual(sent(), [
        `POST ${uploads}`,
        `PUT /upload${query}`,
        "GET https://storage.test/session",
        `PUT https://storage.test/session${query}`
      ])
    }))

  it.effect("fails if its source can be read only once", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`POST ${uploads}`]: { status: 202, headers: { location: "/upload" } },
        "PUT /upload": { status: 307, headers: { location: "https://storage.test/session" } },
        "DELETE https://storage.test/session": {}
      })
      const push = registry.pushBlob(name, descriptor, BlobSource.fromStream(big.length, Stream.succeed(big)))
      assert.deepInclude(yield* reasonOf(push), { _tag: "BlobUploadInvalid", status: 307 })
    }))
})
