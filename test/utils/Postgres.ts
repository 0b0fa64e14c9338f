/**
 * A PostgreSQL server of its own for a test, from the binaries that Debian's `postgresql` installs. It listens on
 * loopback, asks for a password, and is gone when the scope closes.
 */
import { Context, Effect, Layer, Semaphore } from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"

// Debian keeps the binaries of the server outside PATH
const debian = "/usr/lib/postgresql"

const folders = [
  ...(process.env["PATH"] ?? "").split(Path.delimiter),
  ...(Fs.existsSync(debian) ? Fs.readdirSync(debian).sort().reverse() : []).map((version) =>
    Path.join(debian, version, "bin")
  )
]

const folder = folders.find((folder) =>
  ["initdb", "postgres"].every((binary) => Fs.existsSync(Path.join(folder, binary)))
)

/** True if PostgreSQL is installed. In CI, tests that need it always run, and fail without it. */
export const available = process.env["CI"] !== undefined || folder !== undefined

/** Password of the user `mirror`. It must not appear in any message. */
export const password = "s3cret-marker"

/** How a server stops: it rolls back what is running, or ends at once, as if it had been killed. */
export type Stop = "fast" | "immediate"

/** A server. */
export class Postgres extends Context.Service<Postgres, {
  readonly port: number
  /** Creates an empty database, and returns its URL. */
  readonly database: Effect.Effect<string>
  /** Runs a statement in the database `postgres`, or in that of a URL. Returns its rows as text. */
  readonly execute: (statement: string, url?: string) => Effect.Effect<string>
  /** Ends the connections of clients, and stops the server. */
  readonly stop: (how?: Stop) => Effect.Effect<void>
  /** Starts the server after it was stopped, on the same port. */
  readonly start: Effect.Effect<void>
  readonly restart: (how?: Stop) => Effect.Effect<void>
}>()("effect-oci/test/Postgres") {}

// PostgreSQL refuses to run as root
const asUser = process.getuid?.() === 0 ? ["--reuid=postgres", "--regid=postgres", "--clear-groups"] : []

/** Returns the command and the arguments that run a binary as a user that is not root. */
const command = (binary: string, args: ReadonlyArray<string>): [string, Array<string>] => [
  "setpriv",
  // the server ends with the process of the test, however that ends
  [...asUser, "--pdeathsig=QUIT", "--", Path.join(folder ?? "", binary), ...args]
]

const run = (file: string, args: Array<string>, options: ChildProcess.ExecFileOptions = {}) =>
  Effect.callback<string>((resume) => {
    ChildProcess.execFile(file, args, { ...options, encoding: "utf8" }, (error, stdout, stderr) => {
      resume(error === null ? Effect.succeed(stdout) : Effect.die(new Error(`${file} failed: ${stderr}`)))
    })
  })

const freePort = Effect.callback<number>((resume) => {
  const server = Net.createServer().listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})

/** Creates the files of a server. Texts sort as in English, unlike in SQLite, to show where the order matters. */
const initialize = Effect.fnUntraced(function*(directory: string) {
  const file = Path.join(directory, "password")
  Fs.writeFileSync(file, password)
  if (asUser.length > 0) yield* run("chown", ["-R", "postgres:postgres", directory])
  const data = Path.join(directory, "data")
  yield* run(
    ...command("initdb", [
      `--pgdata=${data}`,
      "--username=mirror",
      `--pwfile=${file}`,
      "--auth=scram-sha-256",
      "--encoding=UTF8",
      "--locale=C.UTF-8",
      "--locale-provider=icu",
      "--icu-locale=en-US",
      "--no-sync"
    ]),
    { cwd: directory }
  )
  return data
})

const settings = (port: number) =>
  Object.entries({
    listen_addresses: "127.0.0.1",
    port,
    unix_socket_directories: "",
    fsync: "off",
    full_page_writes: "off",
    max_connections: 200,
    shared_buffers: "32MB",
    logging_collector: "off",
    log_destination: "stderr",
    lc_messages: "C"
  }).flatMap(([name, value]) => ["-c", `${name}=${value}`])

/** Starts the process of a server, and waits until it accepts connections. */
const launch = (data: string, port: number) =>
  Effect.callback<ChildProcess.ChildProcess>((resume) => {
    const [file, args] = command("postgres", ["-D", data, ...settings(port)])
    const child = ChildProcess.spawn(file, args, { cwd: data, stdio: ["ignore", "ignore", "pipe"] })
    let log = ""
    child.once("error", (error) => resume(Effect.die(error)))
    child.once("exit", () => resume(Effect.die(new Error(`PostgreSQL did not start: ${log}`))))
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      log = (log + text).slice(-65_536)
      if (log.includes("ready to accept connections")) resume(Effect.succeed(child))
    })
  })

const signals = { fast: "SIGINT", immediate: "SIGQUIT" } as const

const end = (child: ChildProcess.ChildProcess, how: Stop) =>
  Effect.callback<void>((resume) => {
    if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
    child.once("exit", () => resume(Effect.void))
    child.kill(signals[how])
  })

const urlOf = (port: number, database: string) => `postgres://mirror:${password}@127.0.0.1:${port}/${database}`

/** Starts a server with empty databases. */
export const make = Effect.gen(function*() {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "postgres-"))),
    (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true, force: true }))
  )
  const data = yield* initialize(directory)
  const port = yield* freePort
  let child: ChildProcess.ChildProcess | undefined
  let databases = 0
  const creating = Semaphore.makeUnsafe(1)
  const start = Effect.uninterruptible(
    Effect.suspend(() =>
      child !== undefined ? Effect.void : Effect.map(launch(data, port), (started) => {
        child = started
      })
    )
  )
  const stop = (how: Stop = "fast") =>
    Effect.uninterruptible(Effect.suspend(() => {
      const running = child
      child = undefined
      return running === undefined ? Effect.void : end(running, how)
    }))
  const execute = (statement: string, url = urlOf(port, "postgres")) =>
    run("psql", ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--dbname", url, "--command", statement])
  yield* Effect.acquireRelease(start, () => stop("immediate"))
  return Postgres.of({
    port,
    database: Effect.suspend(() => {
      const name = `test_${databases++}`
      // one at a time, because PostgreSQL waits seconds while another one is created from the same template
      return Effect.as(creating.withPermit(execute(`CREATE DATABASE ${name}`)), urlOf(port, name))
    }),
    execute,
    stop,
    start,
    restart: (how) => Effect.andThen(stop(how), start)
  })
})

/** A server for the tests of a file. */
export const layer: Layer.Layer<Postgres> = Layer.effect(Postgres, make)
