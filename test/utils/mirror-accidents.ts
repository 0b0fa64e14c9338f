/**
 * A mirror that several processes keep, with its state in PostgreSQL, while the tags of its source move and accidents
 * happen. The registries are in the process of the test, which sees each request that changes the destination.
 */
import { assert } from "@effect/vitest"
import { Clock, Duration, Effect, Fiber, Random, Schedule, Schema, type Scope } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as RegistryServer from "effect-oci/RegistryServer"
import { HttpServerRequest } from "effect/http"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { pushImage, repository, tag } from "./images.ts"
import { temporaryFolder } from "./layouts.ts"
import { imagesOf } from "./mirrors.ts"
import { Postgres } from "./Postgres.ts"
import * as Program from "./Program.ts"
import { override } from "./registries.ts"
import { listen } from "./ScriptedServer.ts"
import { serve, serveApp } from "./Served.ts"

/** True if each accident happens as often, and takes as long, as it has to be survived. */
export const isLong = process.env["EFFECT_OCI_LONG"] !== undefined

/** Seed of the moments of the accidents, and of the moves. It is new for each run, and the name of the test shows it. */
export const seed = Number(process.env["EFFECT_OCI_SEED"] ?? Math.floor(Math.random() * 1_000_000))

/** Time after which the lock of a job expires: the default, or that of `quick-mirror.ts`. */
const lock = Duration.seconds(isLong ? 15 : 3)

/**
 * Time after an accident in which the mirror is exact again. The short tests run beside many others, which make the
 * processes slow.
 */
export const recovery = Duration.sum(lock, Duration.seconds(isLong ? 5 : 20))

const quick = fileURLToPath(new URL("quick-mirror.ts", import.meta.url))

const launch = (...args: ReadonlyArray<string>) => isLong ? Program.start(...args) : Program.startNode(quick, ...args)

/** Options of {@link make}. */
export interface Options {
  readonly repositories?: number
  readonly tags?: number
  /** Time between two slots of the rule, in seconds. Default: 2. */
  readonly every?: number
  /** Time that a registry takes to set a tag. Default: 300 ms. */
  readonly delay?: Duration.Input
}

/** A tag of the destination that was set. */
export interface Put {
  readonly place: string
  readonly digest: string
}

const Notification = Schema.fromJsonString(Schema.Struct({ run: Schema.Struct({ id: Schema.String }) }))

const decodeNotification = Schema.decodeUnknownSync(Notification)

/** Returns the number of entries that repeat an earlier one. */
const repeatedIn = (entries: ReadonlyArray<string>): number => entries.length - new Set(entries).size

/** Creates the registry of the destination, which records the tags that are set, and the blobs that are uploaded. */
const makeDestination = Effect.fnUntraced(function*(delay: Duration.Input) {
  const memory = yield* MemoryRegistry.make()
  const puts: Array<Put> = []
  const uploads: Array<string> = []
  const registry = override(memory, {
    pushManifest: (repository, manifest, tags = []) =>
      Effect.sleep(delay).pipe(
        Effect.andThen(memory.pushManifest(repository, manifest, tags)),
        Effect.tap(({ digest }) =>
          Effect.sync(() => puts.push(...tags.map((tag) => ({ place: `${repository}:${tag}`, digest }))))
        ),
        // a request that was sent arrives, although its process was killed
        Effect.uninterruptible
      )
  })
  const served = yield* RegistryServer.make(registry)
  const { host } = yield* serveApp(Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ method, url }) => {
    const [, repository, digest] = /^\/v2\/(.+)\/blobs\/uploads\/.*[?&]digest=([^&]+)/.exec(url) ?? []
    if (method !== "DELETE" && repository !== undefined) uploads.push(`${repository} ${digest}`)
    return served
  }))
  return { memory, host, puts, uploads }
})

/** Receives the notifications of ended runs. Returns the number of each. */
const makeHook = Effect.gen(function*() {
  const ended = new Map<string, number>()
  const host = yield* listen((request, response) => {
    let body = ""
    request.setEncoding("utf8").on("data", (text: string) => void (body += text))
    request.on("end", () => {
      const { id } = decodeNotification(body).run
      ended.set(id, (ended.get(id) ?? 0) + 1)
      response.end()
    })
  })
  return { ended, host }
})

/** A process of the mirror. */
export interface Member extends Program.Running {
  /** Address of its page. */
  readonly host: string
}

/** Creates the registries, the database, and the file of the mirror. */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const { delay = "300 millis", every = 2, repositories = isLong ? 8 : 4, tags = 4 } = options
  const postgres = yield* Postgres
  const url = yield* postgres.database
  const source = yield* MemoryRegistry.make()
  const from = yield* serve(source)
  const destination = yield* makeDestination(delay)
  const hook = yield* makeHook
  const file = Path.join(yield* temporaryFolder, "mirror.json")
  Fs.writeFileSync(
    file,
    JSON.stringify({
      version: 1,
      rules: [{
        name: "team",
        from: `${from.host}/team/*`,
        to: `${destination.host}/mirror/$1`,
        referrers: false,
        trust: "1h",
        schedule: { every: `${every}s` }
      }],
      notify: [{ webhook: `http://${hook.host}/`, on: ["finished"] }]
    })
  )

  const places = Array.from(
    { length: repositories },
    (_, name) => Array.from({ length: tags }, (_, tag) => ({ name: `r${name}`, tag: `${tag}` }))
  ).flat()
  // number of each image, in the order in which the source got them
  const versions = new Map<string, number>()
  const push = Effect.fnUntraced(function*(place: { readonly name: string; readonly tag: string }) {
    const version = versions.size
    const layer = new Uint8Array(20_000).fill(version % 256)
    layer.set(new TextEncoder().encode(`${version} `))
    // its number is known before the tag is set, because a process may copy it at once
    const { digest } = yield* pushImage(source, repository(`team/${place.name}`), [layer])
    versions.set(digest, version)
    yield* pushImage(source, repository(`team/${place.name}`), [layer], { tags: [tag(place.tag)] })
  })
  for (const place of places) yield* push(place)

  const start = Effect.gen(function*() {
    const running = yield* launch("mirror", "serve", "-c", file, "--store", url, "--port", "0", "--copies", "4")
    const line = yield* running.firstLine
    if (line === "") return yield* Effect.die(`a process did not start: ${(yield* running.ended).stderr}`)
    return { ...running, host: line.replace("listening on http://", "") } satisfies Member
  })

  /** Runs an effect while tags of the source move to new images. */
  const whileMoving = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function*() {
      const moving = yield* Effect.forkChild(Effect.forever(
        Effect.gen(function*() {
          const place = places[yield* Random.nextIntBetween(0, places.length, { halfOpen: true })]
          if (place !== undefined) yield* Effect.uninterruptible(push(place))
          yield* Effect.sleep("100 millis")
        })
      ))
      const result = yield* effect
      yield* Fiber.interrupt(moving)
      return result
    })

  /** Returns the tags whose image differs from that of the source. */
  const different = Effect.gen(function*() {
    const found: Array<string> = []
    for (const name of new Set(places.map(({ name }) => name))) {
      const wanted = yield* imagesOf(source, `team/${name}`)
      const images = yield* imagesOf(destination.memory, `mirror/${name}`)
      for (const tag of new Set([...Object.keys(wanted), ...Object.keys(images)])) {
        if (wanted[tag] !== images[tag]) found.push(`${name}:${tag}`)
      }
    }
    return found
  })
  const query = (statement: string) =>
    Effect.map(postgres.execute(statement, url), (text) => text.split("\n").filter((line) => line !== ""))
  /** Waits until all images are exact. Returns the time that took, in milliseconds. */
  const settle = Effect.fnUntraced(function*(limit: Duration.Input = recovery) {
    const from = yield* Clock.currentTimeMillis
    const until = from + Duration.toMillis(limit)
    for (;;) {
      const left = yield* different
      const now = yield* Clock.currentTimeMillis
      if (left.length === 0) return now - from
      if (now > until) {
        const open = yield* query("SELECT * FROM mirror_job WHERE ended_at IS NULL")
        const queue = yield* query("SELECT *, now() FROM mirror_queue WHERE state = 'pending'")
        const processes = yield* query("SELECT *, now() FROM mirror_process")
        assert.fail(
          [`not exact after ${now - from} ms: ${left.join(" ")}`, ...open, ...queue, ...processes].join("\n")
        )
      }
      yield* Effect.sleep("50 millis")
    }
  })

  /** Returns the number of tags that jobs have begun to copy. */
  const inFlight = Effect.map(
    query("SELECT count(*) FROM mirror_tag WHERE status = 'pending'"),
    ([count]) => Number(count)
  )

  /** Starts as many processes, and waits until they have made the first copies. */
  const startAll = Effect.fnUntraced(function*(count: number) {
    const members = yield* Effect.replicateEffect(start, count, { concurrency: "unbounded" })
    yield* settle("2 minutes")
    return members
  })
  /** Returns the name of a process. */
  const nameOf = ({ pid }: Member) =>
    Effect.map(query(`SELECT name FROM mirror_process WHERE name LIKE '%:${pid}:%'`), ([name = ""]) => name)

  /** Returns how often a tag was set to an image that it had already got. */
  const repeated = () => repeatedIn(destination.puts.map(({ digest, place }) => `${place} ${digest}`))
  /** Returns how often a blob was uploaded to a repository that had already got it. */
  const repeatedUploads = () => repeatedIn(destination.uploads)
  /** Returns how often a tag was set to an older image. */
  const stepsBack = () => {
    const latest = new Map<string, number>()
    let steps = 0
    for (const { digest, place } of destination.puts) {
      const version = versions.get(digest) ?? -1
      if (version < (latest.get(place) ?? -1)) steps++
      latest.set(place, version)
    }
    return steps
  }
  const endedSlots = Effect.map(
    query("SELECT count(*) FROM mirror_job WHERE kind = 'Run' AND id LIKE '%@%Z' AND ended_at > 0"),
    ([count]) => Number(count)
  )

  /** Waits until the slots that passed so far were run. */
  const caughtUp = Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    const left = query(`SELECT 1 FROM mirror_job WHERE kind = 'Run' AND ended_at IS NULL AND offered_at <= ${now}`)
    yield* Effect.repeat(left, { until: (rows) => rows.length === 0, schedule: Schedule.spaced("200 millis") })
  }).pipe(Effect.timeout("5 minutes"))

  return {
    file,
    url,
    destination,
    start,
    repeated,
    repeatedUploads,
    stepsBack,
    caughtUp,
    endedSlots,
    /** Prints what a long test has measured. */
    report: (measured: Readonly<Record<string, unknown>>) => {
      if (!isLong) return
      const counts = { repeated: repeated(), repeatedUploads: repeatedUploads(), stepsBack: stepsBack() }
      console.log(JSON.stringify({ seed, tags: destination.puts.length, ...measured, ...counts }))
    },
    startAll,
    nameOf,
    whileMoving,
    settle,
    query,
    inFlight,
    notified: hook.ended,
    /** Verifies that each slot was run once, and that no two runs took place at the same time. Returns the number. */
    checkSlots: Effect.gen(function*() {
      yield* caughtUp
      const rows = yield* query(
        "SELECT id, job::json->>'slot', started_at, ended_at FROM mirror_job WHERE kind = 'Run' ORDER BY started_at"
      )
      const runs = rows.map((row) => {
        const [id = "", slot = "", startedAt, endedAt] = row.split("|")
        return { id, slot, startedAt: Number(startedAt), endedAt: Number(endedAt) }
      })
      const begun = runs.filter(({ startedAt }) => startedAt > 0)
      for (const [index, { endedAt, id }] of begun.entries()) {
        const next = begun[index + 1]
        if (next !== undefined) assert.isAtMost(endedAt, next.startedAt, `${id} overlaps ${next.id}`)
      }
      const slots = runs.flatMap(({ slot }) => slot === "" ? [] : [Date.parse(slot)]).sort((a, b) => a - b)
      for (const [index, slot] of slots.entries()) {
        const next = slots[index + 1]
        if (next !== undefined) assert.strictEqual(next - slot, every * 1000, `after ${new Date(slot).toISOString()}`)
      }
      for (const [id, count] of hook.ended) assert.strictEqual(count, 1, `${id} has ended ${count} times`)
      return slots.length
    })
  }
})

/** Waits until a random moment of some runs. */
export const randomMoment = Effect.flatMap(Random.nextIntBetween(500, isLong ? 4000 : 1500), Effect.sleep)

/** Returns a random number of milliseconds. */
export const between = (from: number, to: number) => Random.nextIntBetween(from, to)

/** Chooses one of several. */
export const choose = <A>(values: ReadonlyArray<A>): Effect.Effect<A> =>
  Effect.flatMap(Random.nextIntBetween(0, values.length, { halfOpen: true }), (index) => {
    const value = values[index]
    return value === undefined ? Effect.die("there is nothing to choose") : Effect.succeed(value)
  })

/** Runs a test with its seed. */
export const seeded = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, Scope.Scope>> =>
  effect.pipe(Random.withSeed(seed), Effect.scoped)

/** Starts a mirror of three processes, and measures how it survives accidents. */
export const trial = Effect.gen(function*() {
  const mirror = yield* make()
  const members = yield* mirror.startAll(3)
  const times: Array<number> = []
  let inFlight = 0
  return {
    mirror,
    members,
    /** Lets an accident happen at a random moment, while tags move. */
    accident: <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.andThen(mirror.caughtUp, mirror.whileMoving(Effect.andThen(randomMoment, effect))),
    /** Counts the copies that an accident may have stopped, so that they may be repeated. */
    countInFlight: Effect.map(mirror.inFlight, (count) => void (inFlight += count)),
    /** Waits until the mirror is exact. */
    settle: (limit?: Duration.Input) => Effect.map(mirror.settle(limit), (time) => void times.push(time)),
    /** Verifies the slots, and that nothing was repeated but the copies that were in flight. */
    verify: Effect.gen(function*() {
      const slots = yield* mirror.checkSlots
      mirror.report({ times, slots, inFlight })
      assert.isAtMost(mirror.repeated(), inFlight)
      assert.isAtMost(mirror.repeatedUploads(), 2 * inFlight)
    })
  }
})
