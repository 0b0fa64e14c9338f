/**
 * Processes of `mirror serve` that share a database of PostgreSQL, between registries that are served by the test.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule, Schema } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import { MirrorStatus } from "effect-oci/MirrorStatus"
import * as RegistryServer from "effect-oci/RegistryServer"
import { HttpServerRequest } from "effect/http"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { pushImage, repository, tag } from "../utils/images.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import { imagesOf } from "../utils/mirrors.ts"
import * as Postgres from "../utils/Postgres.ts"
import { runWith, startWith } from "../utils/Program.ts"
import { send, serveApp } from "../utils/Served.ts"

const repositories = 6
const tags = ["1", "2", "3"]

const secret = "s3cret-marker"
const decode = Schema.decodeUnknownSync(Schema.fromJsonString(MirrorStatus))

const eventually = <A, E, R>(effect: Effect.Effect<A, E, R>, isEnough: (value: A) => boolean) =>
  Effect.repeat(effect, { until: isEnough, schedule: Schedule.spaced("100 millis") }).pipe(
    Effect.andThen(effect),
    Effect.timeout("60 seconds")
  )

/** A registry in memory that is served, and waits before it accepts a manifest. Counts the pushes of tags. */
const slow = Effect.fnUntraced(function*(delay: number) {
  const registry = yield* MemoryRegistry.make()
  const served = yield* RegistryServer.make(registry)
  const pushed: Array<string> = []
  const app: RegistryServer.App = Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ method, url }) => {
    if (method !== "PUT" || !url.includes("/manifests/")) return served
    return Effect.sleep(delay).pipe(
      Effect.andThen(served),
      Effect.tap(() => Effect.sync(() => pushed.push(url)))
    )
  })
  return { registry, pushed, host: (yield* serveApp(app)).host }
})

/** A mirror of some repositories, whose processes share a database. */
const setUp = Effect.fnUntraced(function*(delay: number) {
  const url = yield* Postgres.Postgres.use(({ database }) => database)
  const folder = yield* Effect.provide(temporaryFolder, NodeServices.layer)
  const source = yield* slow(0)
  const destination = yield* slow(delay)
  const file = Path.join(folder, "mirror.json")
  const token = Path.join(folder, "token")
  Fs.writeFileSync(token, `${secret}\n`)
  const rule = { name: "team", from: `${source.host}/team/*`, to: `${destination.host}/copies/$1`, referrers: false }
  Fs.writeFileSync(file, JSON.stringify({ version: 1, store: "env:STORE", rules: [{ ...rule, atStart: "nothing" }] }))
  const options = { env: { STORE: url } }
  const serve = Effect.gen(function*() {
    const running = yield* startWith(options, "mirror", "serve", "-c", file, "--port", "0", "--token-file", token)
    const host = /^listening on http:\/\/(.+)$/.exec(yield* running.firstLine)?.[1] ?? ""
    if (host === "") return yield* Effect.die((yield* running.ended).stderr)
    return {
      ...running,
      status: Effect.map(send(host, "GET /status.json"), ({ text }) => decode(text)),
      page: Effect.map(send(host, "GET /"), ({ text }) => text),
      runNow: send(host, "POST /runs/team", { headers: { authorization: `Bearer ${secret}` } })
    }
  })
  let version = 0
  /** Moves every tag of the source. */
  const move = Effect.gen(function*() {
    version++
    for (let index = 0; index < repositories; index++) {
      for (const name of tags) {
        yield* pushImage(source.registry, repository(`team/r${index}`), [`${version} ${index} ${name}`], {
          tags: [tag(name)]
        })
      }
    }
  })
  const assertExact = Effect.gen(function*() {
    for (let index = 0; index < repositories; index++) {
      const wanted = yield* imagesOf(source.registry, `team/r${index}`)
      assert.deepStrictEqual(yield* imagesOf(destination.registry, `copies/r${index}`), wanted)
    }
  })
  const mirror = (...args: ReadonlyArray<string>) => runWith(options, "mirror", ...args, "-c", file)
  return { serve, move, assertExact, mirror, pushed: destination.pushed }
})

// the test starts processes, which takes seconds on a busy machine
const timeout = 180_000

describe.skipIf(!Postgres.available)(
  "processes of a mirror on PostgreSQL",
  () =>
    it.layer(Postgres.layer, { timeout: "1 minute", excludeTestServices: true })((it) => {
      it.effect("share a run, are shown by each other, and drain", () =>
        Effect.gen(function*() {
          const { assertExact, mirror, move, pushed, serve } = yield* setUp(20)
          yield* move
          const [one, two, three] = yield* Effect.all([serve, serve, serve], { concurrency: 3 })
          assert.strictEqual((yield* two.runNow).status, 202)
          yield* eventually(three.status, ({ rules }) => rules[0]?.lastRun?.endedAt !== undefined)
          yield* assertExact
          assert.lengthOf(pushed, repositories * tags.length)
          const { processes } = yield* one.status
          assert.deepStrictEqual(
            processes.map(({ draining, late }) => [draining, late]),
            Array.from({ length: 3 }, () => [false, false])
          )
          const name = processes[0]?.name ?? ""
          assert.include(yield* one.page, name)
          const shown = yield* mirror("status")
          assert.include(shown.stdout, `process ${name}`)
          const ambiguous = yield* mirror("drain")
          assert.strictEqual(ambiguous.code, 2, ambiguous.stderr)
          const drained = yield* mirror("drain", name, "--wait")
          assert.strictEqual(drained.stdout, `${name} has ended\n`, drained.stderr)
          const ended = yield* Effect.raceAll([one.ended, two.ended, three.ended])
          assert.strictEqual(ended.code, 0, ended.stderr)
          const running = JSON.parse((yield* mirror("status", "--json")).stdout)
          assert.lengthOf(running.processes, 2)
          for (const each of [one, two, three]) each.kill("SIGTERM")
          for (const each of [one, two, three]) assert.strictEqual((yield* each.ended).code, 0)
          assert.deepStrictEqual(JSON.parse((yield* mirror("status", "--json")).stdout).processes, [])
        }), timeout)
    })
)
