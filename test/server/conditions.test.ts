import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import { digestOf } from "../utils/digests.ts"
import { bytesOf, pushBlob, pushManifest, repository, tag } from "../utils/images.ts"
import { listReferrers, override } from "../utils/registries.ts"
import { connect } from "../utils/ScriptedServer.ts"
import { memory, send, type Sent, serve } from "../utils/Served.ts"

const app = repository("team/app")
const indexOf = (name: string) => ({ mediaType: MediaType.imageIndex, manifests: [], annotations: { name } })
const digestOfIndex = (name: string) => digestOf(JSON.stringify(indexOf(name)))
const other = `"${digestOf("other")}"`

const put = (name: string, headers: Readonly<Record<string, string>> = {}): Sent => ({
  body: indexOf(name),
  headers: { "content-type": MediaType.imageIndex, ...headers }
})

/** Paths of a manifest by tag and by digest, and of a blob, with the entity tag of each. */
const setup = Effect.gen(function*() {
  const served = yield* memory()
  const { digest } = yield* pushManifest(served.registry, app, indexOf("one"), [tag("1")])
  const blob = yield* pushBlob(served.registry, app, "0123456789")
  return {
    ...served,
    places: [
      ["/v2/team/app/manifests/1", `"${digest}"`],
      [`/v2/team/app/manifests/${digest}`, `"${digest}"`],
      [`/v2/team/app/blobs/${blob.digest}`, `"${blob.digest}"`]
    ] as const
  }
})

describe("a conditional read", () => {
  for (const method of ["GET", "HEAD"]) {
    it.live(`answers 304 for content that the client has: ${method}`, () =>
      Effect.gen(function*() {
        const { ask, places } = yield* setup
        for (const [path, etag] of places) {
          for (const condition of [etag, `W/${etag}`, `${other}, ${etag}`, "*"]) {
            const { bytes, headers, status } = yield* ask(`${method} ${path}`, {
              headers: { "if-none-match": condition }
            })
            assert.deepStrictEqual([status, bytes.length, headers.etag], [304, 0, etag], `${path} ${condition}`)
          }
          const { status } = yield* ask(`${method} ${path}`, { headers: { "if-none-match": other } })
          assert.strictEqual(status, 200)
        }
      }))

    it.live(`fails if the content does not match: ${method}`, () =>
      Effect.gen(function*() {
        const { ask, places } = yield* setup
        for (const [path, etag] of places) {
          for (
            const [condition, status] of [[etag, 200], ["*", 200], [`${other}, ${etag}`, 200], [other, 412], [
              `W/${etag}`,
              412
            ]] as const
          ) {
            const { status: found } = yield* ask(`${method} ${path}`, { headers: { "if-match": condition } })
            assert.strictEqual(found, status, `${path} ${condition}`)
          }
        }
      }))
  }

  it.live("is 404 if the content is absent", () =>
    Effect.gen(function*() {
      const { ask } = yield* setup
      for (
        const path of ["/v2/team/app/manifests/2", `/v2/team/app/blobs/${digestOf("other")}`, "/v2/no/manifests/1"]
      ) {
        for (const headers of [{ "if-match": "*" }, { "if-none-match": "*" }]) {
          assert.strictEqual((yield* ask(`GET ${path}`, { headers })).status, 404)
        }
      }
    }))

  it.live("is evaluated before a range", () =>
    Effect.gen(function*() {
      const { ask, places: [, , [path, etag]] } = yield* setup
      const range = { range: "bytes=2-3" }
      assert.strictEqual((yield* ask(`GET ${path}`, { headers: { ...range, "if-none-match": etag } })).status, 304)
      const { status, text } = yield* ask(`GET ${path}`, { headers: { ...range, "if-match": etag } })
      assert.deepStrictEqual([status, text], [206, "23"])
    }))
})

describe("a conditional push", () => {
  it.live("of a new tag succeeds only if the tag is absent", () =>
    Effect.gen(function*() {
      const { ask, places: [[path, etag]] } = yield* setup
      const none = { "if-none-match": "*" }
      assert.strictEqual((yield* ask("PUT /v2/team/app/manifests/1", put("two", none))).status, 412)
      assert.strictEqual((yield* ask("PUT /v2/team/app/manifests/2", put("two", none))).status, 201)
      assert.strictEqual((yield* ask("PUT /v2/new/app/manifests/1", put("two", none))).status, 201)
      assert.strictEqual((yield* ask(`HEAD ${path}`)).headers.etag, etag)
    }))

  it.live("of a tag succeeds only if the tag has the expected digest", () =>
    Effect.gen(function*() {
      const { ask, places: [[path, etag]] } = yield* setup
      for (
        const [name, condition, status] of [["two", other, 412], ["two", etag, 201], ["three", etag, 412]] as const
      ) {
        assert.strictEqual((yield* ask(`PUT ${path}`, put(name, { "if-match": condition }))).status, status)
      }
      assert.strictEqual((yield* ask("PUT /v2/team/app/manifests/9", put("two", { "if-match": "*" }))).status, 412)
      const { headers } = yield* ask(`HEAD ${path}`)
      assert.strictEqual(headers["docker-content-digest"], digestOfIndex("two"))
    }))

  it.live("of several clients at once succeeds for exactly one", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      // a registry that is slow between its read and its write
      const { host } = yield* serve(override(registry, {
        pushManifest: (...call) =>
          Effect.andThen(Effect.replicateEffect(Effect.yieldNow, 20), registry.pushManifest(...call))
      }))
      const statuses = yield* Effect.forEach(
        ["a", "b", "c", "d", "e", "f", "g", "h"],
        (name) => send(host, "PUT /v2/team/app/manifests/1", put(name, { "if-none-match": "*" })),
        { concurrency: "unbounded" }
      )
      const created = statuses.filter(({ status }) => status === 201)
      assert.strictEqual(created.length, 1)
      assert.isTrue(statuses.every(({ status }) => status === 201 || status === 412))
      const { headers } = yield* send(host, "HEAD /v2/team/app/manifests/1")
      assert.strictEqual(headers["docker-content-digest"], created[0]?.headers["docker-content-digest"])
    }))

  it.live("waits for an earlier push without conditions, however that sets the tag", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const [began, done] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const { host } = yield* serve(override(registry, {
        pushManifest: (...call) =>
          Effect.andThen(
            Effect.andThen(Deferred.succeed(began, undefined), Deferred.await(done)),
            registry.pushManifest(...call)
          )
      }))
      const first = yield* Effect.forkChild(
        send(host, `PUT /v2/team/app/manifests/${digestOfIndex("one")}?tag=0&tag=1`, put("one"))
      )
      yield* Deferred.await(began)
      const second = yield* Effect.forkChild(
        send(host, "PUT /v2/team/app/manifests/1", put("two", { "if-none-match": "*" }))
      )
      yield* send(host, "GET /v2/")
      yield* Deferred.succeed(done, undefined)
      assert.deepStrictEqual([(yield* Fiber.join(first)).status, (yield* Fiber.join(second)).status], [201, 412])
    }))
})

describe("a conditional deletion", () => {
  it.live("succeeds only if the content has the expected digest", () =>
    Effect.gen(function*() {
      const { ask, places } = yield* setup
      for (const [path, etag] of places) {
        const conditions = [{ "if-match": other }, { "if-none-match": "*" }, { "if-none-match": etag }]
        for (const headers of conditions) {
          assert.strictEqual((yield* ask(`DELETE ${path}`, { headers })).status, 412)
        }
        assert.strictEqual((yield* ask(`DELETE ${path}`, { headers: { "if-match": etag } })).status, 202)
        assert.strictEqual((yield* ask(`DELETE ${path}`, { headers: { "if-match": etag } })).status, 404)
      }
    }))
})

describe("the list of referrers that clients keep under a tag", () => {
  it.live("loses none if many clients add to it concurrently", () =>
    Effect.gen(function*() {
      const { host, registry } = yield* memory({ quirks: ["noReferrers"] })
      const subject = yield* pushManifest(registry, app, indexOf("subject"), [tag("1")])
      const pushed = yield* Effect.forEach(
        Array.from({ length: 6 }, (_, index) => `${index}`),
        (name) =>
          Effect.flatMap(
            connect({ host }),
            (client) => {
              const bytes = bytesOf({ ...indexOf(name), schemaVersion: 2, subject })
              return client.pushManifest(app, { mediaType: MediaType.imageIndex, bytes })
            }
          ),
        { concurrency: "unbounded" }
      )
      const client = yield* connect({ host })
      const listed = yield* listReferrers(client, app, subject.digest)
      assert.deepStrictEqual(listed, pushed.map(({ digest }) => digest).sort())
    }), 30_000)
})
