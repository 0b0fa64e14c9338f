import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Scope } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type * as Registry from "effect-oci/Registry"
import { Denied } from "effect-oci/RegistryError"
import * as RegistryServer from "effect-oci/RegistryServer"
import type { Upload } from "effect-oci/Upload"
import { TestClock } from "effect/testing"
import { digestOf } from "../utils/digests.ts"
import { repository } from "../utils/images.ts"
import { failing, override } from "../utils/registries.ts"
import { memory, send, serve } from "../utils/Served.ts"

const content = "0123456789"
const digest = digestOf(content)

/** Creates a registry whose sessions have UUIDs, so that they outlive a server, and records the cancelled ones. */
const keeping = Effect.gen(function*() {
  const registry = yield* MemoryRegistry.make()
  const cancelled: Array<string> = []
  const ids = new Map<string, string>()
  const renamed = (upload: Upload, id: string): Upload => ({ ...upload, id: Effect.succeed(id) })
  const kept: Registry.Registry = override(registry, {
    startUpload: Effect.fnUntraced(function*(name, options) {
      const started = yield* registry.startUpload(name, options)
      if (started._tag === "Mounted") return started
      const id = crypto.randomUUID()
      ids.set(id, yield* started.id)
      yield* Effect.addFinalizer(() => Effect.sync(() => cancelled.push(id)))
      return renamed(started, id)
    }),
    resumeUpload: (name, id) =>
      Effect.map(registry.resumeUpload(name, ids.get(id) ?? ""), (upload) => renamed(upload, id))
  })
  return { kept, cancelled }
})

const begin = (host: string) =>
  Effect.map(send(host, "POST /v2/team/app/blobs/uploads/"), ({ headers }) => `${headers.location}`)

const patch = (host: string, location: string, body: string) => send(host, `PATCH ${location}`, { body })

describe("an upload session without requests", () => {
  it.effect("is cancelled after an hour", () =>
    Effect.gen(function*() {
      const { cancelled, kept } = yield* keeping
      const { host } = yield* serve(kept)
      const location = yield* begin(host)
      yield* patch(host, location, content)
      yield* TestClock.adjust("75 minutes")
      assert.strictEqual((yield* send(host, `GET ${location}`)).code, "BLOB_UPLOAD_UNKNOWN")
      assert.strictEqual(cancelled.length, 1)
    }))

  it.effect("is kept for an hour after its last request of any kind", () =>
    Effect.gen(function*() {
      const { host } = yield* memory()
      const location = yield* begin(host)
      yield* TestClock.adjust("59 minutes")
      yield* send(host, `GET ${location}`)
      yield* TestClock.adjust("59 minutes")
      yield* patch(host, location, "0123")
      yield* TestClock.adjust("59 minutes")
      assert.strictEqual((yield* send(host, `GET ${location}`)).headers.range, "0-3")
    }))

  it.effect("is cancelled after another configured time", () =>
    Effect.gen(function*() {
      const { host } = yield* memory()
      const location = yield* begin(host)
      yield* TestClock.adjust("75 seconds")
      assert.strictEqual((yield* send(host, `GET ${location}`)).status, 404)
    }).pipe(Effect.provideService(RegistryServer.UploadTimeout, Duration.minutes(1))))

  it.effect.each(["append", "commit"] as const)(
    "is not cancelled while the registry works on it: %s",
    (operation) =>
      Effect.gen(function*() {
        const registry = yield* MemoryRegistry.make()
        const [began, done] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const slowly = <A, E>(effect: Effect.Effect<A, E>) =>
          Effect.andThen(Effect.andThen(Deferred.succeed(began, undefined), Deferred.await(done)), effect)
        const { host } = yield* serve(override(registry, {
          startUpload: (name, options) =>
            Effect.map(registry.startUpload(name, options), (started) =>
              started._tag === "Mounted" ? started : {
                ...started,
                append: (chunk) => operation === "append" ? slowly(started.append(chunk)) : started.append(chunk),
                commit: (...args) => slowly(started.commit(...args))
              })
        }))
        const location = yield* begin(host)
        if (operation === "commit") yield* patch(host, location, content)
        const fiber = yield* Effect.forkChild(
          operation === "append" ? patch(host, location, content) : send(host, `PUT ${location}?digest=${digest}`)
        )
        yield* Deferred.await(began)
        yield* TestClock.adjust("3 hours")
        yield* Deferred.succeed(done, undefined)
        assert.strictEqual((yield* Fiber.join(fiber)).status, operation === "append" ? 202 : 201)
      })
  )

  it.effect("is kept for ever if the timeout is infinite", () =>
    Effect.gen(function*() {
      const { host } = yield* memory()
      const location = yield* begin(host)
      yield* TestClock.adjust("30 days")
      assert.strictEqual((yield* send(host, `GET ${location}`)).status, 204)
    }).pipe(
      Effect.provideService(RegistryServer.UploadTimeout, Duration.infinity),
      Effect.provideService(RegistryServer.IdleTimeout, Duration.infinity)
    ))
})

describe("an upload session, after the server has ended,", () => {
  /** Serves a registry while an effect uses it. */
  const during = <A>(
    registry: Registry.Registry,
    use: (host: string) => Effect.Effect<A>,
    options?: RegistryServer.Options
  ) => Effect.scoped(Effect.flatMap(serve(registry, options), ({ host }) => use(host)))

  it.live("is kept by a registry that gives it a UUID, and continues at its offset in the next one", () =>
    Effect.gen(function*() {
      const { cancelled, kept } = yield* keeping
      const location = yield* during(kept, (host) => Effect.tap(begin(host), (place) => patch(host, place, "0123")))
      assert.deepStrictEqual(cancelled, [])
      yield* during(kept, (host) =>
        Effect.gen(function*() {
          assert.strictEqual((yield* send(host, `GET ${location}`)).headers.range, "0-3")
          const sent = { body: "456789", headers: { "content-range": "4-9" } }
          assert.strictEqual((yield* send(host, `PUT ${location}?digest=${digest}`, sent)).status, 201)
          assert.strictEqual((yield* send(host, `GET /v2/team/app/blobs/${digest}`)).text, content)
        }))
    }))

  it.live.each(["clientSessionLimit", "sessionLimit"] as const)(
    "counts in the next one after its first use: %s",
    (limit) =>
      Effect.gen(function*() {
        const { kept } = yield* keeping
        const [first, second] = yield* during(kept, (host) => Effect.all([begin(host), begin(host)]))
        yield* during(kept, (host) =>
          Effect.gen(function*() {
            assert.strictEqual((yield* send(host, `GET ${first}`)).status, 204)
            assert.strictEqual((yield* send(host, `GET ${first}`)).status, 204)
            assert.strictEqual((yield* send(host, `GET ${second}`)).code, "TOOMANYREQUESTS")
            assert.strictEqual((yield* patch(host, second, "0123")).status, 429)
            assert.strictEqual((yield* send(host, "POST /v2/team/app/blobs/uploads/")).status, 429)
            yield* send(host, `PUT ${first}?digest=${digest}`, { body: content })
            assert.strictEqual((yield* patch(host, second, "0123")).status, 202)
          }), { [limit]: 1 })
      })
  )

  it.live("can be cancelled in the next one also beyond the limit of sessions", () =>
    Effect.gen(function*() {
      const { kept } = yield* keeping
      const location = yield* during(kept, begin)
      yield* during(kept, (host) =>
        Effect.gen(function*() {
          const other = yield* begin(host)
          assert.strictEqual((yield* send(host, `DELETE ${location}`)).status, 204)
          yield* send(host, `DELETE ${other}`)
          assert.strictEqual((yield* send(host, `GET ${location}`)).status, 404)
        }), { sessionLimit: 1 })
    }))

  it.live("is kept, and is unknown to another repository in the next one", () =>
    Effect.gen(function*() {
      const { kept } = yield* keeping
      const location = yield* during(kept, begin)
      yield* during(kept, (host) =>
        Effect.gen(function*() {
          assert.strictEqual((yield* send(host, `GET ${location.replace("app", "other")}`)).status, 404)
          assert.strictEqual((yield* send(host, `GET ${location}`)).status, 204)
          assert.strictEqual((yield* send(host, `GET ${location.replace("app", "other")}`)).status, 404)
        }))
    }))

  it.live("is resumed once for several concurrent requests", () =>
    Effect.gen(function*() {
      const { kept } = yield* keeping
      const location = yield* during(kept, begin)
      let taken = 0
      const counting = override(kept, {
        resumeUpload: (name, id) => {
          taken++
          return Effect.delay(kept.resumeUpload(name, id), "10 millis")
        }
      })
      yield* during(counting, (host) =>
        Effect.map(
          Effect.all(Array.from({ length: 5 }, () => send(host, `GET ${location}`)), { concurrency: "unbounded" }),
          (answers) => assert.deepStrictEqual(answers.map(({ status }) => status), [204, 204, 204, 204, 204])
        ))
      assert.strictEqual(taken, 1)
    }))

  it.live("is cancelled if no client could find it again", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      let cancelled = 0
      const counting = override(registry, {
        startUpload: (name, options) =>
          Effect.tap(
            registry.startUpload(name, options),
            () => Effect.addFinalizer(() => Effect.sync(() => cancelled++))
          )
      })
      yield* during(counting, (host) => Effect.andThen(begin(host), begin(host)))
      assert.strictEqual(cancelled, 2)
    }))
})

describe("a committed upload session", () => {
  it.live("holds no resources", () =>
    Effect.gen(function*() {
      const { cancelled, kept } = yield* keeping
      const { host } = yield* serve(kept)
      for (const path of [yield* begin(host), yield* begin(host)]) {
        yield* send(host, `PUT ${path}?digest=${digest}`, { body: content })
      }
      // its scope is closed
      assert.strictEqual(cancelled.length, 2)
    }))
})

describe("an upload session with a known offset", () => {
  it.live("is not asked for its status again", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      let asked = 0
      const { host } = yield* serve(override(registry, {
        startUpload: (name, options) =>
          Effect.map(registry.startUpload(name, options), (started) =>
            started._tag === "Mounted" ? started : {
              ...started,
              status: Effect.tap(started.status, () => Effect.sync(() => asked++))
            })
      }))
      const location = yield* begin(host)
      yield* patch(host, location, "0123")
      yield* patch(host, location, "456")
      yield* send(host, `PUT ${location}?digest=${digest}`, { body: "789" })
      assert.strictEqual((yield* send(host, `GET /v2/team/app/blobs/${digest}`)).text, content)
      assert.strictEqual(asked, 0)
    }))
})

describe("an upload session of a registry that does not look at repositories", () => {
  it.live("is unknown to another repository as well", () =>
    Effect.gen(function*() {
      const { kept } = yield* keeping
      const { host } = yield* serve(override(kept, {
        resumeUpload: (_, id) => kept.resumeUpload(repository("team/app"), id)
      }))
      const location = yield* begin(host)
      assert.strictEqual((yield* send(host, `GET ${location.replace("app", "other")}`)).status, 404)
    }))
})

describe("an upload session that cannot be opened", () => {
  it.live("leaves no resources open", () =>
    Effect.gen(function*() {
      const { registry } = yield* memory()
      let open = 0
      const { host } = yield* serve(override(registry, {
        startUpload: Effect.fnUntraced(function*() {
          yield* Effect.acquireRelease(Effect.sync(() => open++), () => Effect.sync(() => open--))
          return yield* failing("startUpload", new Denied({}))
        })
      }))
      assert.strictEqual((yield* send(host, "POST /v2/team/app/blobs/uploads/")).status, 403)
      assert.strictEqual(open, 0)
    }))
})

describe("several servers", () => {
  it.live("in one program know only their own sessions", () =>
    Effect.gen(function*() {
      const [one, two] = [yield* memory(), yield* memory()]
      const location = yield* begin(one.host)
      assert.strictEqual((yield* send(two.host, `GET ${location}`)).status, 404)
      assert.strictEqual((yield* send(one.host, `GET ${location}`)).status, 204)
    }))

  it.live("end independently", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const scope = yield* Scope.make()
      const one = yield* Scope.provide(serve(registry), scope)
      const two = yield* serve(registry)
      const location = yield* begin(two.host)
      yield* begin(one.host)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* send(two.host, `GET ${location}`)).status, 204)
    }))
})
