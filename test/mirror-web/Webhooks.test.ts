import { assert, describe, it } from "@effect/vitest"
import { Clock, DateTime, Effect, References } from "effect"
import type { Notification } from "effect-oci/MirrorConfig"
import type { MirrorNotification } from "effect-oci/MirrorNotification"
import { HttpClient } from "effect/http"
import { TestClock } from "effect/testing"
import * as Webhooks from "../../src/mirror-web/Webhooks.ts"
import * as RunEvents from "../../src/mirror/RunEvents.ts"
import * as mirrors from "../utils/mirror-services.ts"
import { client, type Script, transportError } from "../utils/ScriptedServer.ts"

const hook = "https://hooks.test/T0/s3cret-marker"

const notification = (event: MirrorNotification["event"]) =>
  RunEvents.make(event, mirrors.runState("bases", DateTime.makeUnsafe("2026-11-27T12:00:00Z")), [
    mirrors.failed("bases", "3.20")
  ])

/** Starts webhooks whose answers follow a script. */
const start = Effect.fnUntraced(function*(
  script: Script,
  webhooks: ReadonlyArray<Notification> = [{ webhook: hook, on: ["failed"] }]
) {
  const { http, requests, sent } = client(script)
  const notify = yield* Webhooks.make(webhooks).pipe(
    Effect.provideService(HttpClient.HttpClient, http),
    Effect.provideService(References.MinimumLogLevel, "None")
  )
  return { notify, requests, sent }
})

const failed = notification("failed")

/** Lets time pass, in small steps, until so many requests were sent. */
const untilSent = (requests: ReadonlyArray<unknown>, count: number) =>
  Effect.gen(function*() {
    while (requests.length < count) yield* TestClock.adjust("10 millis")
  })

describe("a webhook", () => {
  it.effect("receives a notification as JSON", () =>
    Effect.gen(function*() {
      const { notify, requests } = yield* start({ [`POST ${hook}`]: { status: 204 } })
      yield* notify(failed)
      yield* TestClock.adjust(0)
      assert.strictEqual(requests[0]?.headers["content-type"], "application/json")
      assert.deepStrictEqual(JSON.parse(new TextDecoder().decode(requests[0]?.body)), {
        version: 1,
        event: "failed",
        rule: "bases",
        run: {
          id: "bases 1795780800000",
          startedAt: "2026-11-27T12:00:00.000Z",
          endedAt: "2026-11-27T12:00:00.000Z",
          planned: 0,
          copied: 0,
          failed: 0,
          pruned: 0,
          bytes: 0,
          requests: 0
        },
        failures: [{
          destination: "mirror.test/copies/bases",
          tag: "3.20",
          source: "source.test/team/bases:3.20",
          error: "the registry is away",
          attempts: 3
        }]
      })
    }))

  it.effect("receives only the events that it is for", () =>
    Effect.gen(function*() {
      const { notify, sent } = yield* start({ [`POST ${hook}`]: {} })
      for (const event of ["finished", "pruned", "recovered"] as const) yield* notify(notification(event))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(sent(), [])
    }))

  it.effect("is tried again while it is away or overloaded, five times in all", () =>
    Effect.gen(function*() {
      const away: Script[string] = () =>
        Effect.fail(transportError({ url: hook } as Parameters<typeof transportError>[0], "away"))
      const { notify, sent } = yield* start({
        [`POST ${hook}`]: [away, { status: 503 }, { status: 429 }, {}, { status: 500 }]
      })
      yield* notify(failed)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(sent().length, 4)
      yield* notify(failed)
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(sent().length, 9)
    }))

  it.effect("is not tried again if it refuses the notification", () =>
    Effect.gen(function*() {
      const { notify, sent } = yield* start({ [`POST ${hook}`]: { status: 404 } })
      yield* notify(failed)
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(sent().length, 1)
    }))

  it.effect("that does not answer within ten seconds delays neither the caller nor another webhook", () =>
    Effect.gen(function*() {
      const other = "https://other.test/hook"
      const { notify, requests, sent } = yield* start({ [`POST ${hook}`]: () => Effect.never, [`POST ${other}`]: {} }, [
        { webhook: hook, on: ["failed"] },
        { webhook: other, on: ["failed"] }
      ])
      for (let count = 0; count < 3; count++) yield* notify(failed)
      yield* untilSent(requests, 4)
      assert.strictEqual(sent().filter((line) => line === `POST ${other}`).length, 3)
      assert.isBelow(yield* Clock.currentTimeMillis, 10_000)
      yield* untilSent(requests, 5)
      // the second attempt follows the timeout and the first delay
      assert.isAtLeast(yield* Clock.currentTimeMillis, 12_000)
    }))

  it.effect("gets the latest notifications if there are too many", () =>
    Effect.gen(function*() {
      const { notify, requests } = yield* start({
        [`POST ${hook}`]: [() => Effect.as(Effect.sleep("5 seconds"), {}), {}]
      })
      for (let count = 0; count < 300; count++) yield* notify({ ...failed, rule: `${count}` })
      yield* untilSent(requests, 100)
      yield* TestClock.adjust("1 minute")
      assert.isAtMost(requests.length, 101)
      assert.include(new TextDecoder().decode(requests.at(-1)?.body), "\"rule\":\"299\"")
    }))

  it.effect("may redirect to another public address, and keeps the notification", () =>
    Effect.gen(function*() {
      const moved = "https://new.test/hook"
      const { notify, requests, sent } = yield* start({
        [`POST ${hook}`]: { status: 307, headers: { location: moved } },
        [`POST ${moved}`]: {}
      })
      yield* notify(failed)
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(sent(), [`POST ${hook}`, `POST ${moved}`])
      assert.isAbove(requests[1]?.body.length ?? 0, 100)
    }))

  it.effect.each(
    [
      "http://169.254.169.254/latest/meta-data",
      "https://10.0.0.1/hook",
      "https://localhost/hook",
      "file:///etc/passwd"
    ]
  )("cannot lead to %s", (location) =>
    Effect.gen(function*() {
      const { notify, sent } = yield* start({ [`POST ${hook}`]: { status: 307, headers: { location } } })
      yield* notify(failed)
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(sent(), [`POST ${hook}`])
    }))

  it.effect("that redirects in a way that loses the notification is refused", () =>
    Effect.gen(function*() {
      const { notify, sent } = yield* start({ [`POST ${hook}`]: { status: 302, headers: { location: "/login" } } })
      yield* notify(failed)
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(sent(), [`POST ${hook}`])
    }))

  it.effect("may be at a private address, because the configuration names it", () =>
    Effect.gen(function*() {
      const own = "http://10.1.2.3:9000/hook"
      const { notify, sent } = yield* start({ [`POST ${own}`]: {} }, [{ webhook: own, on: ["failed"] }])
      yield* notify(failed)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(sent(), [`POST ${own}`])
    }))
})
