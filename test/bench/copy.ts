/**
 * `npm run bench [-- WORK …]`: measures this command beside others on PATH, on one machine. Needs `docker-registry` and
 * GNU `time`.
 *
 * Each work prints the medians of runs in turn, the number of requests in the access logs of both registries, and the
 * ratio of ours to the best of the others. Works that are not run by default: `growth`, and `mirror-large`, which has
 * 2000 images. `BENCH_RUNS` sets the number of runs. `BENCH_BASE` names `dist/cli/main.js` of another build, to compare
 * with it.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Duration, Effect, type Scope } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Certificates from "../utils/certificates.ts"
import * as Distance from "./Distance.ts"
import * as Peers from "./Peers.ts"
import * as Registries from "./Registries.ts"
import { compare, type Competitor, placeOf, run, show } from "./Runner.ts"
import { serving } from "./Serving.ts"
import * as Works from "./Works.ts"

const runs = Number(process.env["BENCH_RUNS"] ?? 3)

const requestsOf = ({ destination, source }: Registries.Pair) => () => source.requests() + destination.requests()

const copy = Effect.fnUntraced(function*({ isSettled = false, layers, roundTrip, title, tls = false }: Works.Work) {
  const folder = yield* Registries.folder
  const pair = yield* Registries.pair([{ repository: "image", tag: "1", layers: layers() }], { tls })
  const authority = Path.join(folder, "authority.pem")
  Fs.writeFileSync(authority, Certificates.authority)
  const at = ({ host }: Registries.Running) =>
    roundTrip === undefined ? Effect.succeed(host) : Distance.make(host, roundTrip)
  const ends = { source: yield* at(pair.source), destination: yield* at(pair.destination) }
  const rows = yield* compare(Peers.copies({ ...ends, image: "image:1", tls, folder, authority }), runs, {
    requests: requestsOf(pair),
    ...isSettled ? { place: (competitor: Competitor) => placeOf(competitor, "settled") } : {}
  })
  yield* show(title, rows)
})

const start = Effect.gen(function*() {
  const node = (name: string, ...args: ReadonlyArray<string>): Competitor => ({
    name,
    command: process.execPath,
    args: () => args
  })
  const version = node("effect-oci --version", Peers.main, "--version")
  yield* show("start", yield* compare([version, node("node -e 0", "-e", "0")], 3 * runs))
})

const mirror = Effect.fnUntraced(function*(mirrored: Works.Mirrored) {
  const folder = yield* Registries.folder
  const pair = yield* Registries.pair(Works.mirrorImages(mirrored))
  const ends = { source: pair.source.host, destination: pair.destination.host, folder }
  const competitors = Peers.mirrors(ends, mirrored.repositories)
  const requests = requestsOf(pair)
  const rounds = mirrored.runs ?? runs
  const images = `mirror of ${mirrored.repositories.length * Works.mirroredTags.length} images`
  yield* show(`${images}, cold`, yield* compare(competitors, rounds, { requests }))
  const place = (competitor: Competitor) => placeOf(competitor, rounds)
  yield* show(`${images}, when nothing has changed`, yield* compare(competitors, rounds, { requests, place }))
})

/** Prints the cost of a blob as their number grows. */
const growth = Effect.gen(function*() {
  for (const count of Works.growing) {
    yield* Effect.scoped(Effect.gen(function*() {
      const folder = yield* Registries.folder
      const pair = yield* Registries.pair([{ repository: "image", tag: "1", layers: Registries.layers(count, 1024) }])
      const ends = { source: pair.source.host, destination: pair.destination.host }
      const [ours] = Peers.copies({ ...ends, image: "image:1", tls: false, folder, authority: "" })
      if (ours === undefined) return
      const { cpu, memory, wall } = yield* Effect.orDie(run(ours, "growth"))
      const figures = `wall ${wall.toFixed(2)} s, CPU ${cpu.toFixed(2)} s, peak ${memory.toFixed(0)} MiB`
      yield* Console.log(`${count} blobs of 1 KiB: ${figures}`)
    }))
  }
})

interface Entry {
  readonly name: string
  readonly effect: Effect.Effect<void, unknown, Scope.Scope>
}

const usual: ReadonlyArray<Entry> = [
  { name: "start", effect: start },
  ...Works.works.map((work): Entry => ({ name: work.name, effect: copy(work) })),
  { name: Works.mirrors.usual.name, effect: mirror(Works.mirrors.usual) },
  { name: "serve", effect: serving(Works.loads, runs) }
]
const all: ReadonlyArray<Entry> = [
  ...usual,
  { name: Works.mirrors.large.name, effect: mirror(Works.mirrors.large) },
  { name: "growth", effect: growth }
]

const chosen = process.argv.slice(2)
const unknown = chosen.filter((name) => !all.some((work) => work.name === name))
const program = unknown.length > 0
  ? Effect.die(new Error(`unknown: ${unknown.join()}; works are ${all.map(({ name }) => name).join(", ")}`))
  : Effect.forEach(
    chosen.length === 0 ? usual : all.filter(({ name }) => chosen.includes(name)),
    ({ effect, name }) =>
      Effect.scoped(effect).pipe(
        Effect.catchCause((cause) => Console.error(`${name}: ${cause}`)),
        Effect.timed,
        Effect.flatMap(([duration]) => Console.log(`(${name} took ${Duration.toSeconds(duration).toFixed(0)} s)`))
      ),
    { discard: true }
  )

NodeRuntime.runMain(program)
