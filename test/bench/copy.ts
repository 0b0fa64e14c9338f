/**
 * `npm run bench [-- SCENARIO …]`: copies by this command beside the same copies by others, as far as they are on PATH.
 * Needs `docker-registry` and GNU `time` there, too.
 *
 * Each scenario prints a table: medians of runs in turn, and the ratio of ours to theirs in wall time, pair by pair.
 * `BENCH_RUNS` sets the number of runs. `BENCH_BASE` names `dist/cli/main.js` of another build, to compare with it.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Descriptor from "effect-oci/Descriptor"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as NodeHttp from "effect-oci/NodeHttp"
import * as Reference from "effect-oci/Reference"
import type { Registry } from "effect-oci/Registry"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as DockerRegistry from "../utils/DockerRegistry.ts"
import * as Proxy from "../utils/Proxy.ts"
import * as Distance from "./Distance.ts"
import { compare, type Competitor, isInstalled, type Row, run, table } from "./Runner.ts"

const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url))
const runs = Number(process.env["BENCH_RUNS"] ?? 5)

const base = process.env["BENCH_BASE"]

const caches = Fs.mkdtempSync(Path.join(Os.tmpdir(), "bench-caches-"))

// ---------------------------------------------------------------------------------------------------------------------
// who takes part
// ---------------------------------------------------------------------------------------------------------------------

const ours = (source: string, host: string, ...flags: ReadonlyArray<string>): Competitor => ({
  name: "effect-oci",
  command: process.execPath,
  args: (place) => [main, "copy", ...flags, source, `${host}/${place}:1`]
})

const peers = (source: string, host: string, tuned = false): ReadonlyArray<Competitor> => {
  const to = (place: string) => `${host}/${place}:1`
  const all: ReadonlyArray<Competitor> = [
    { name: "crane", command: "crane", args: (place) => ["copy", "--insecure", source, to(place)] },
    {
      name: "oras",
      command: "oras",
      args: (place) => ["cp", "--from-plain-http", "--to-plain-http", source, to(place)]
    },
    {
      name: "regctl",
      command: "regctl",
      args: (place) => [
        ...[source.split("/", 1)[0] ?? "", host].flatMap((host) => ["--host", `reg=${host},tls=disabled`]),
        "image",
        "copy",
        source,
        to(place)
      ]
    },
    {
      name: "skopeo",
      command: "skopeo",
      args: (place) => [
        "copy",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        `docker://${source}`,
        `docker://${to(place)}`
      ],
      // where it keeps which blob it has seen where: else it mounts what the run before has copied
      env: (place) => ({
        _CONTAINERS_ROOTLESS_UID: "1000",
        XDG_DATA_HOME: Path.join(caches, place)
      })
    }
  ]
  const most = tuned ? ["64"] : []
  const best: ReadonlyArray<Competitor> = most.flatMap((jobs) => [
    {
      name: `crane, ${jobs} jobs`,
      command: "crane",
      args: (place: string) => ["copy", "--insecure", "--jobs", jobs, source, to(place)]
    },
    {
      name: `oras, ${jobs} at a time`,
      command: "oras",
      args: (place: string) => [
        "cp",
        "--from-plain-http",
        "--to-plain-http",
        "--concurrency",
        jobs,
        source,
        to(place)
      ]
    }
  ])
  return [...all, ...best].filter(({ command }) => isInstalled(command))
}

// ---------------------------------------------------------------------------------------------------------------------
// what is copied
// ---------------------------------------------------------------------------------------------------------------------

/** An image of random layers. */
const push = Effect.fnUntraced(function*(registry: Registry, name: string, layers: ReadonlyArray<Uint8Array>) {
  const repository = Reference.Repository.make(name)
  const blob = Effect.fnUntraced(function*(bytes: Uint8Array, mediaType: string) {
    const descriptor = yield* Descriptor.fromBytes(bytes, { mediaType })
    yield* registry.pushBlob(repository, descriptor, BlobSource.fromBytes(bytes))
    return descriptor
  })
  const encode = (content: object) => new TextEncoder().encode(JSON.stringify(content))
  const config = yield* blob(encode({ os: "linux", architecture: "amd64", name }), MediaType.imageConfig)
  const descriptors = yield* Effect.forEach(layers, (layer) => blob(layer, MediaType.imageLayer), { concurrency: 8 })
  const mediaType = MediaType.imageManifest
  const bytes = encode({ schemaVersion: 2, mediaType, config, layers: descriptors })
  yield* registry.pushManifest(repository, { mediaType, bytes }, [Reference.Tag.make("1")])
})

const layers = (count: number, size: number): ReadonlyArray<Uint8Array> =>
  Array.from({ length: count }, () => Crypto.randomBytes(size))

/** Two registries, and images in the first. */
const setting = Effect.fnUntraced(function*(images: ReadonlyArray<readonly [string, ReadonlyArray<Uint8Array>]>) {
  const [source, destination] = [yield* DockerRegistry.make(), yield* DockerRegistry.make()]
  const http = yield* Layer.build(NodeHttp.layer())
  const client = yield* Effect.provide(HttpRegistry.make({ host: source.host, plainHttp: true }), http)
  for (const [name, layers] of images) yield* push(client, name, layers)
  return { source: source.host, destination: destination.host }
})

// ---------------------------------------------------------------------------------------------------------------------
// scenarios
// ---------------------------------------------------------------------------------------------------------------------

/** How many requests a command sends to both ends, in a run of its own. */
const requests = (
  source: string,
  destination: string,
  make: (source: string, destination: string) => ReadonlyArray<Competitor>,
  places: (place: string) => ReadonlyArray<string> = (place) => [place]
) =>
  Effect.scoped(Effect.gen(function*() {
    let count = 0
    const onRequest = () => void count++
    const [near, far] = [yield* Proxy.make(source, { onRequest }), yield* Proxy.make(destination, { onRequest })]
    const counts = new Map<string, number>()
    for (const competitor of make(near, far)) {
      count = 0
      for (const place of places(`counted/${competitor.name.replaceAll(/[^a-z]/g, "-")}`)) {
        yield* run(competitor, place)
      }
      counts.set(competitor.name, count)
    }
    return counts
  }))

const show = (title: string, rows: ReadonlyArray<Row>, counts: ReadonlyMap<string, number> = new Map()) =>
  Console.log(`\n${title}\n${
    table(rows.map(({ cpu, memory, name, ratio, wall }) => ({
      "": name,
      "wall s": wall,
      "ours / theirs": ratio,
      "cpu s": cpu,
      "peak MiB": Math.round(memory),
      ...counts.size === 0 ? {} : { requests: counts.get(name) }
    })))
  }`)

const all = (image: string, tuned = false) => (source: string, destination: string) => [
  ours(`${source}/${image}:1`, destination),
  ...base === undefined ? [] : [{
    name: "the other build",
    command: process.execPath,
    args: (place: string) => [base, "copy", `${source}/${image}:1`, `${destination}/${place}:1`]
  }],
  ...peers(`${source}/${image}:1`, destination, tuned)
]

const MiB = 1024 * 1024

const large = Effect.gen(function*() {
  const { destination, source } = yield* setting([["large", layers(4, 256 * MiB)]])
  const rows = yield* compare(all("large")(source, destination), runs)
  yield* show("large: 4 x 256 MiB", rows, yield* requests(source, destination, all("large")))
})

const many = Effect.gen(function*() {
  const { destination, source } = yield* setting([["many", layers(300, 64 * 1024)]])
  const rows = yield* compare(all("many")(source, destination), runs)
  yield* show("many: 300 x 64 KiB", rows, yield* requests(source, destination, all("many")))
})

const far = Effect.gen(function*() {
  const roundTrip = 50
  const { destination, source } = yield* setting([["far", layers(60, 64 * 1024)]])
  const [near, there] = [yield* Distance.make(source, roundTrip), yield* Distance.make(destination, roundTrip)]
  const rows = yield* compare(all("far", true)(near, there), runs)
  yield* show("far: 60 x 64 KiB, round trips of 50 ms at both ends", rows)
  // two connections; the tag and the root; then probe, read and write a blob; then the manifest
  const critical = ((2 + 2 + 3 + 1) * roundTrip) / 1000
  yield* Console.log(`the critical path: ${critical} s, ours by it: ${((rows[0]?.wall ?? NaN) / critical).toFixed(2)}`)
})

/** A copy of which everything is there already: what the command takes to start, and two requests. */
const settled = Effect.gen(function*() {
  const { destination, source } = yield* setting([["settled", layers(1, 1024)]])
  const competitor = ours(`${source}/settled:1`, destination)
  const copy: Competitor = { ...competitor, args: () => competitor.args("settled") }
  yield* run(copy, "settled")
  return copy
})

const start = Effect.gen(function*() {
  const node: Competitor = { name: "node -e 0", command: process.execPath, args: () => ["-e", "0"] }
  const version: Competitor = {
    name: "effect-oci --version",
    command: process.execPath,
    args: () => [main, "--version"]
  }
  const copy = { ...yield* settled, name: "effect-oci copy, of what is there" }
  for (const competitor of [version, copy]) {
    const rows = yield* compare([competitor, node], 4 * runs)
    yield* show(`start: ${competitor.name}`, rows)
  }
})

const again = Effect.gen(function*() {
  const roundTrip = 50
  const { destination, source } = yield* setting([["again", layers(20, 64 * 1024)]])
  const every = (source: string, destination: string) =>
    all("again")(source, destination).map((competitor): Competitor => ({
      ...competitor,
      args: () => competitor.args(competitor.name.replaceAll(/[^a-z]/g, "-"))
    }))
  const counts = yield* requests(source, destination, every, (place) => [place, place])
  const first = yield* requests(source, destination, all("again"), (place) => [`first/${place}`])
  const near = yield* compare(every(source, destination), runs)
  const second = new Map(Array.from(counts, ([name, count]) => [name, count - (first.get(name) ?? 0)]))
  yield* show("again: everything is there", near, second)
  const [far, there] = [yield* Distance.make(source, roundTrip), yield* Distance.make(destination, roundTrip)]
  const begun = near[0]?.wall ?? NaN
  // the two connections are a round trip; a registry without the API for referrers is asked for their tag, too
  for (const [what, flags] of [["with referrers", []], ["without referrers", ["--referrers=skip"]]] as const) {
    const competitor = ours(`${far}/again:1`, there, ...flags)
    const [row] = yield* compare([{ ...competitor, args: () => competitor.args("effect-oci") }], runs)
    const wall = row?.wall ?? NaN
    yield* Console.log(
      `far away, ${what}: ${wall.toFixed(2)} s, of which ${begun.toFixed(2)} s start: ${
        ((wall - begun) / (roundTrip / 1000)).toFixed(1)
      } round trips`
    )
  }
})

const mirror = Effect.gen(function*() {
  const shared = layers(14, 256 * 1024)
  const images = Array.from({ length: 40 }, (_, index) => {
    const common = Array.from({ length: 7 }, (_, layer) => shared[(index + layer) % shared.length] ?? new Uint8Array())
    return [`mirror/${index}`, [...common, ...layers(3, 256 * 1024)]] as const
  })
  const { destination, source } = yield* setting(images)
  const each = (make: typeof all) => (source: string, destination: string) =>
    make("mirror/0")(source, destination).map((competitor): Competitor => ({
      ...competitor,
      command: process.execPath,
      args: (place) => [
        script,
        JSON.stringify(images.map(([name], index) => {
          const one = make(name)(source, destination).find((other) => other.name === competitor.name)
          return one === undefined ? [] : [one.command, ...one.args(`${place}/${index}`)]
        }))
      ]
    }))
  const bytes = new Set(images.flatMap(([, layers]) => layers)).size * 256 * 1024
  const script = fileURLToPath(new URL("sequence.ts", import.meta.url))
  const whole = (source: string, destination: string) => {
    const [, ...others] = each(all)(source, destination)
    return [
      {
        name: "effect-oci",
        command: process.execPath,
        args: (place: string) => [
          fileURLToPath(new URL("mirror.ts", import.meta.url)),
          source,
          destination,
          place,
          `${images.length}`
        ]
      },
      ...others
    ]
  }
  const rows = yield* compare(whole(source, destination), Math.min(runs, 3))
  yield* show("mirror: 40 images that share 70 % of their layers", rows, yield* requests(source, destination, whole))
  yield* Console.log(`distinct bytes of layers: ${bytes / MiB} MiB`)
})

const growth = Effect.gen(function*() {
  const start = yield* compare([yield* settled], runs)
  const begun = start[0]?.wall ?? NaN
  const rows: Array<Record<string, string | number>> = []
  for (const count of [10, 100, 1000, 10_000]) {
    yield* Effect.scoped(Effect.gen(function*() {
      const { destination, source } = yield* setting([["growth", layers(count, 1024)]])
      const [row] = yield* compare([ours(`${source}/growth:1`, destination)], Math.min(runs, 3))
      if (row === undefined) return
      rows.push({
        blobs: `${count}`,
        "wall s": row.wall,
        "ms a blob, less the start": (1000 * (row.wall - begun)) / count,
        "peak MiB": Math.round(row.memory),
        "KiB a blob, beyond 80 MiB": ((row.memory - 80) * 1024) / count
      })
    }))
  }
  yield* Console.log(`\ngrowth: blobs of 1 KiB\n${table(rows)}`)
})

const scenarios = { start, large, many, far, again, mirror, growth }

const chosen = process.argv.slice(2)
NodeRuntime.runMain(
  Effect.forEach(
    Object.entries(scenarios).filter(([name]) => chosen.length === 0 || chosen.includes(name)),
    ([, scenario]) => Effect.scoped(scenario),
    { discard: true }
  ).pipe(Effect.ensuring(Effect.sync(() => Fs.rmSync(caches, { recursive: true }))))
)
