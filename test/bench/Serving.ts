/**
 * `effect-oci serve` beside CNCF distribution: blobs that are pushed and pulled by one client over `node:http`.
 */
import { Console, Effect } from "effect"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Path from "node:path"
import { main } from "./Peers.ts"
import * as Registries from "./Registries.ts"
import { median } from "./Runner.ts"

interface Blob {
  readonly bytes: Uint8Array
  readonly digest: string
}

/** Blobs that are pushed and pulled, `concurrency` at a time. */
export interface Load {
  readonly title: string
  readonly count: number
  readonly size: number
  readonly concurrency: number
}

const makeBlobs = ({ count, size }: Load): ReadonlyArray<Blob> =>
  Array.from({ length: count }, () => {
    const bytes = Crypto.randomBytes(size)
    return { bytes, digest: `sha256:${Crypto.createHash("sha256").update(bytes).digest("hex")}` }
  })

const agent = new Http.Agent({ keepAlive: true, maxSockets: 16 })

/** Sends a request, and returns the headers and the length of a response with this status. */
const request = (host: string, method: string, path: string, status: number, body?: Uint8Array) =>
  Effect.callback<{ readonly headers: Http.IncomingHttpHeaders; readonly length: number }>((resume) => {
    const headers = { "content-length": body?.length ?? 0 }
    const request = Http.request(`http://${host}${path}`, { method, agent, headers }, (response) => {
      let length = 0
      response.on("data", (piece: Uint8Array) => void (length += piece.length))
      response.on("end", () =>
        resume(
          response.statusCode === status
            ? Effect.succeed({ headers: response.headers, length })
            : Effect.die(new Error(`${method} ${path}: HTTP ${response.statusCode}`))
        ))
    })
    request.on("error", (error) => resume(Effect.die(error)))
    request.end(body)
  })

const push = Effect.fnUntraced(function*(host: string, { bytes, digest }: Blob) {
  const { headers } = yield* request(host, "POST", "/v2/bench/blobs/uploads/", 202)
  const location = new URL(`${headers.location}`, `http://${host}`)
  location.searchParams.set("digest", digest)
  yield* request(host, "PUT", location.pathname + location.search, 201, bytes)
})

const pull = Effect.fnUntraced(function*(host: string, { bytes, digest }: Blob) {
  const { length } = yield* request(host, "GET", `/v2/bench/blobs/${digest}`, 200)
  if (length !== bytes.length) return yield* Effect.die(new Error(`GET: ${length} of ${bytes.length} bytes`))
})

const remove = (host: string, { digest }: Blob) => request(host, "DELETE", `/v2/bench/blobs/${digest}`, 202)

/** Returns the CPU time of a process so far, in seconds, on Linux. */
const cpuOf = (pid: number): number => {
  const fields = Fs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? []
  // in hundredths of a second
  return (Number(fields[11]) + Number(fields[12])) / 100
}

interface Server extends Registries.Running {
  readonly name: string
}

const measure = Effect.fnUntraced(function*<A>(
  { host, pid }: Server,
  { concurrency }: Load,
  blobs: ReadonlyArray<Blob>,
  use: (host: string, blob: Blob) => Effect.Effect<A>
) {
  const [begun, cpu] = [performance.now(), cpuOf(pid)]
  yield* Effect.forEach(blobs, (blob) => use(host, blob), { concurrency, discard: true })
  return { wall: (performance.now() - begun) / 1000, cpu: cpuOf(pid) - cpu }
})

/** Measures all servers in turn, and prints the medians. */
const compare = Effect.fnUntraced(function*(servers: ReadonlyArray<Server>, load: Load, runs: number) {
  const results = servers.map((server) => ({ server, rounds: new Array<readonly [Timing, Timing]>() }))
  for (let round = 0; round <= runs; round++) {
    // the order alternates, because a later one finds warmer caches
    for (const { rounds, server } of round % 2 === 0 ? results : results.toReversed()) {
      const blobs = makeBlobs(load)
      const pushed = yield* measure(server, load, blobs, push)
      const pulled = yield* measure(server, load, blobs, pull)
      yield* Effect.forEach(blobs, (blob) => remove(server.host, blob), { discard: true })
      // the first round warms up
      if (round > 0) rounds.push([pushed, pulled])
    }
  }
  for (const [at, operation] of (["push", "pull"] as const).entries()) {
    yield* Console.log(`\n${load.title}, ${operation}`)
    const rows = results.map(({ rounds, server }) => ({
      name: server.name,
      wall: median(rounds.map((round) => round[at === 0 ? 0 : 1].wall)),
      cpu: median(rounds.map((round) => round[at === 0 ? 0 : 1].cpu))
    }))
    const other = rows.at(-1)
    for (const { cpu, name, wall } of rows) {
      const ratio = other === undefined || name === other.name
        ? ""
        : `  wall ${(wall / other.wall).toFixed(2)} and CPU ${(cpu / other.cpu).toFixed(2)} times ${other.name}`
      yield* Console.log(`${name.padEnd(24)} wall ${wall.toFixed(2)} s, CPU ${cpu.toFixed(2)} s${ratio}`)
    }
  }
})

interface Timing {
  readonly wall: number
  readonly cpu: number
}

/** Measures `serve` in memory, `serve` in a folder, and distribution. */
export const serving = Effect.fnUntraced(function*(loads: ReadonlyArray<Load>, runs: number) {
  const directory = yield* Registries.folder
  const own = (name: string, ...flags: ReadonlyArray<string>) =>
    Effect.map(
      Registries.start(process.execPath, [main, "serve", "--port", "0", ...flags], Path.join(directory, `${name}.log`)),
      (running): Server => ({ ...running, name })
    )
  const servers = [
    yield* own("serve"),
    yield* own("serve --dir", "--dir", Path.join(directory, "data")),
    { ...yield* Registries.distribution(), name: "distribution" }
  ]
  yield* Effect.forEach(loads, (load) => compare(servers, load, runs), { discard: true })
  agent.destroy()
})
