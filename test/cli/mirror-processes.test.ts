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

const isLong = process.env["EFFECT_OCI_LONG"] !== undefined
const rounds = isLong ? 20 : 2
const repositories = isLong ? 12 : 6
const tags = ["1", "2", "3"]

const secret = "s3cret-marker"
const decode = Schema.decodeUnknownSync(Schema.fromJsonString(MirrorStatus))

/** A number from 0 to 1 that depends on the seed and on the calls before. */
const makeRandom = (seed: number) => {
  let state = seed
  return () => {
    state = Math.imul(state, 1_664_525) + 1_013_904_223 | 0
    return (state >>> 0) / 2 ** 32
  }
}

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

// each test starts processes, which takes seconds on a busy machine
const timeout = isLong ? 1_800_000 : 180_000

/** Returns true if a run has ended after the last one that was seen. */
const hasRun = (last: string | undefined) => ({ rules: [rule] }: MirrorStatus): boolean =>
  rule?.lastRun !== undefined && rule.lastRun.id !== last && rule.lastRun.endedAt !== undefined && rule.state === "idle"

// one after another, because they stop the server, and start processes
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
        }), { timeout, concurrent: false })

      it.effect("continue the run of one that was killed, and copy again only what it had in flight", () =>
        Effect.gen(function*() {
          const seed = Date.now() % 100_000
          const random = makeRandom(seed)
          const { assertExact, move, pushed, serve } = yield* setUp(150)
          yield* move
          let processes = yield* Effect.forEach([1, 2, 3], () =>
            serve, { concurrency: 3 })
          for (let round = 0; round < rounds; round++) {
            const text = `seed ${seed}, round ${round}`
            const before = pushed.length
            const last = (yield* processes[0]?.status ?? Effect.die("no process")).rules[0]?.lastRun?.id
            yield* processes[1]?.runNow ?? Effect.void
            yield* Effect.sleep(random() * 1500)
            const killed = Math.floor(random() * 3)
            processes[killed]?.kill("SIGKILL")
            const at = Date.now()
            processes = processes.filter((_, index) => index !== killed)
            yield* eventually(
              processes[0]?.status ?? Effect.die("no process"),
              hasRun(last)
            )
            // the lock lasts 15 seconds; the rest of the run takes its time
            assert.isBelow(Date.now() - at, 40_000, text)
            yield* assertExact
            // a process has up to 8 jobs, each with the tags of one repository
            const repeated = pushed.length - before - repositories * tags.length
            assert.isAtMost(repeated, 8 * tags.length, text)
            processes = [...processes, yield* serve]
            yield* move
          }
        }), { timeout, concurrent: false })

      it.effect("copy nothing again after the database was away", () =>
        Effect.gen(function*() {
          const postgres = yield* Postgres.Postgres
          const { assertExact, move, pushed, serve } = yield* setUp(400)
          yield* move
          const [one, two] = yield* Effect.all([serve, serve], { concurrency: 2 })
          yield* one.runNow
          yield* eventually(
            Effect.sync(() =>
              pushed.length
            ),
            (count) => count > 0
          )
          const before = pushed.length
          yield* postgres.stop()
          yield* Effect.sleep(isLong ? "30 seconds" : "8 seconds")
          yield* postgres.start
          yield* eventually(two.status, hasRun(undefined))
          yield* assertExact
          assert.isBelow(before, repositories * tags.length)
          assert.lengthOf(pushed, repositories * tags.length)
        }), { timeout, concurrent: false })
    })
)
