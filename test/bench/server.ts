/**
 * Measures `effect-oci serve` beside CNCF distribution: both receive and send the same blobs in turn, from one load
 * generator, on one machine. A round is a pair; the result is the median of the ratios of the rounds.
 *
 *     npm run bench:server [-- --rounds N] [-- OPTION OF serve …]
 */
import * as Undici from "@effect/platform-node/Undici"
import * as ChildProcess from "node:child_process"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { parseArgs } from "node:util"
import { main } from "../utils/Program.ts"

const { values, positionals } = parseArgs({
  options: { rounds: { type: "string", default: "5" } },
  allowPositionals: true
})
const rounds = Number(values.rounds)
const directory = Fs.mkdtempSync(Path.join(Os.tmpdir(), "bench-server-"))

const MiB = 1024 * 1024
const small = { count: 2_000, size: 64 * 1024, concurrency: 16 }
const large = { count: 1, size: 256 * MiB, concurrency: 1 }

// -- the registries ---------------------------------------------------------------------------------------------------

/** Starts a command, which logs to a file, and waits until it tells where it listens. */
const start = async (name: string, command: string, args: ReadonlyArray<string>) => {
  const log = Path.join(directory, `${name}.log`)
  const output = Fs.openSync(log, "w")
  const child = ChildProcess.spawn(command, args, { stdio: ["ignore", output, output] })
  for (let waited = 0; waited < 10_000; waited += 50) {
    const port = /listening on (?:http:\/\/)?127\.0\.0\.1:([0-9]+)/.exec(Fs.readFileSync(log, "utf8"))?.[1]
    if (port !== undefined) {
      const pool = new Undici.Pool(`http://127.0.0.1:${port}`, { connections: 16 })
      return { name, child, pool }
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`${name} did not start: ${Fs.readFileSync(log, "utf8").slice(-1000)}`)
}

type Running = Awaited<ReturnType<typeof start>>

const distribution = () => {
  const config = Path.join(directory, "config.yml") // JSON is YAML
  Fs.writeFileSync(
    config,
    JSON.stringify({
      version: 0.1,
      log: { level: "info", accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: Path.join(directory, "data") }, delete: { enabled: true } },
      http: { addr: "127.0.0.1:0", secret: "any" }
    })
  )
  return start("docker-registry", "docker-registry", ["serve", config])
}

// -- the load ---------------------------------------------------------------------------------------------------------

interface Blob {
  readonly bytes: Uint8Array
  readonly digest: string
}

const makeBlobs = ({ count, size }: { readonly count: number; readonly size: number }): ReadonlyArray<Blob> =>
  Array.from({ length: count }, () => {
    const bytes = new Uint8Array(size)
    // what is not random is as good here, and soon made
    Crypto.getRandomValues(bytes.subarray(0, 64))
    return { bytes, digest: `sha256:${Crypto.createHash("sha256").update(bytes).digest("hex")}` }
  })

const expectStatus = (what: string, actual: number, expected: number) => {
  if (actual !== expected) throw new Error(`${what}: HTTP ${actual}`)
}

const push = async ({ pool }: Running, { bytes, digest }: Blob) => {
  const post = await pool.request({ method: "POST", path: "/v2/bench/app/blobs/uploads/" })
  await post.body.dump()
  expectStatus("POST", post.statusCode, 202)
  const location = new URL(`${post.headers["location"]}`, "http://registry")
  location.searchParams.set("digest", digest)
  const put = await pool.request({
    method: "PUT",
    path: location.pathname + location.search,
    headers: { "content-type": "application/octet-stream" },
    body: bytes
  })
  await put.body.dump()
  expectStatus("PUT", put.statusCode, 201)
}

const pull = async ({ pool }: Running, { bytes, digest }: Blob) => {
  const get = await pool.request({ method: "GET", path: `/v2/bench/app/blobs/${digest}` })
  expectStatus("GET", get.statusCode, 200)
  let received = 0
  for await (const chunk of get.body) received += (chunk as Uint8Array).length
  if (received !== bytes.length) throw new Error(`GET: ${received} of ${bytes.length} bytes`)
}

const remove = async ({ pool }: Running, { digest }: Blob) => {
  const answer = await pool.request({ method: "DELETE", path: `/v2/bench/app/blobs/${digest}` })
  await answer.body.dump()
  expectStatus("DELETE", answer.statusCode, 202)
}

/** Does something with each blob, a few at a time, and tells how many seconds it took. */
const each = async (blobs: ReadonlyArray<Blob>, concurrency: number, use: (blob: Blob) => Promise<void>) => {
  const began = performance.now()
  const queue = blobs.values()
  await Promise.all(Array.from({ length: concurrency }, async () => {
    for (const blob of queue) await use(blob)
  }))
  return (performance.now() - began) / 1000
}

// -- the measurement --------------------------------------------------------------------------------------------------

const median = (numbers: ReadonlyArray<number>): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? NaN

const measure = async (registry: Running, load: typeof small) => {
  const blobs = makeBlobs(load)
  const pushed = await each(blobs, load.concurrency, (blob) => push(registry, blob))
  const pulled = await each(blobs, load.concurrency, (blob) => pull(registry, blob))
  await each(blobs, load.concurrency, (blob) => remove(registry, blob))
  const amount = load.count === 1 ? load.size / MiB : load.count
  return { push: amount / pushed, pull: amount / pulled }
}

const compare = async (name: string, unit: string, load: typeof small, pair: readonly [Running, Running]) => {
  const results: Array<ReadonlyArray<Awaited<ReturnType<typeof measure>>>> = []
  for (let round = -1; round < rounds; round++) {
    // the order alternates, because the second one finds warmer caches, or a fuller disk
    const order = round % 2 === 0 ? pair : pair.toReversed()
    const measured = new Map<Running, Awaited<ReturnType<typeof measure>>>()
    for (const registry of order) measured.set(registry, await measure(registry, load))
    // the first round is for warming up
    if (round >= 0) results.push(pair.flatMap((registry) => measured.get(registry) ?? []))
  }
  for (const operation of ["push", "pull"] as const) {
    const ours = results.map(([own]) => own?.[operation] ?? NaN)
    const theirs = results.map(([, other]) => other?.[operation] ?? NaN)
    const ratios = ours.map((own, index) => own / (theirs[index] ?? NaN))
    const figures = [median(ours), median(theirs)].map((figure) => `${figure.toFixed(0).padStart(8)} ${unit}`)
    const spread = `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`
    process.stdout.write(
      `${`${name} ${operation}`.padEnd(24)}${figures.join("")}   × ${median(ratios).toFixed(2)} (${spread})\n`
    )
  }
}

const pair = [
  await start("effect-oci", process.execPath, [main, "serve", "--port", "0", ...positionals]),
  await distribution()
] as const
try {
  process.stdout.write(`${"".padEnd(24)}${"effect-oci".padStart(15)}${"docker-registry".padStart(16)}   ratio\n`)
  await compare("blobs of 64 KiB,", "/s    ", small, pair)
  await compare("a blob of 256 MiB,", "MiB/s ", large, pair)
} finally {
  for (const { child, pool } of pair) {
    await pool.destroy()
    child.kill("SIGKILL")
  }
  Fs.rmSync(directory, { recursive: true, force: true })
}
