import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { type Duration, Effect, Schedule, Schema, Stream } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import { MirrorStatus } from "effect-oci/MirrorStatus"
import * as RegistryServer from "effect-oci/RegistryServer"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { pushImage, repository, tag } from "../utils/images.ts"
import { validatorOf } from "../utils/JsonSchemas.ts"
import { runWith, start, startWith } from "../utils/Program.ts"
import { listen } from "../utils/ScriptedServer.ts"
import { send, serveApp } from "../utils/Served.ts"

const app = repository("team/app")
const copies = repository("copies/app")
const secret = "s3cret-marker"

/** A registry in memory that is served, with the requests that it got. While it is stuck, large blobs do not end. */
const stuckable = Effect.fnUntraced(function*() {
  const registry = yield* MemoryRegistry.make()
  const served = yield* RegistryServer.make(registry)
  const requests: Array<string> = []
  let isStuck = false
  const app: RegistryServer.App = Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ method, url }) => {
    requests.push(`${method} ${url}`)
    if (!isStuck || method !== "GET" || !url.includes("/blobs/")) return served
    return Effect.map(served, (response) => {
      const { body } = response
      if (body._tag !== "Stream" || (body.contentLength ?? 0) < 1_000_000) return response
      const first = new Uint8Array(100_000)
      return HttpServerResponse.stream(Stream.concat(Stream.succeed(first), Stream.never), {
        headers: { "content-length": `${body.contentLength}` }
      })
    })
  })
  const { host } = yield* serveApp(app)
  return {
    registry,
    host,
    requests,
    stick: (value: boolean) => {
      isStuck = value
    }
  }
})

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-oci-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
)

const eventually = <A, E, R>(effect: Effect.Effect<A, E, R>, isEnough: (value: A) => boolean) =>
  Effect.repeat(effect, { until: isEnough, schedule: Schedule.spaced("50 millis") }).pipe(
    Effect.andThen(effect),
    Effect.timeout("60 seconds")
  )

const decode = Schema.decodeUnknownSync(Schema.fromJsonString(MirrorStatus))

/** A mirror of `team/app`, whose file is in a folder with a token. */
const setUp = Effect.gen(function*() {
  const folder = yield* temporary
  const source = yield* stuckable()
  const destination = yield* stuckable()
  const file = Path.join(folder, "mirror.json")
  const token = Path.join(folder, "token")
  Fs.writeFileSync(token, `${secret}\n`)
  const rule = (name: string) => ({
    name,
    from: `${source.host}/team/${name}`,
    to: `${destination.host}/copies/${name}`
  })
  const write = (content: object) => Fs.writeFileSync(file, JSON.stringify({ version: 1, ...content }))
  write({ rules: [rule("app")] })
  const serve = Effect.gen(function*() {
    const running = yield* start("mirror", "serve", "-c", file, "--port", "0", "--token-file", token)
    const line = yield* running.firstLine
    const host = /^listening on http:\/\/(.+)$/.exec(line)?.[1] ?? ""
    if (host === "") {
      running.kill("SIGKILL")
      return yield* Effect.die((yield* running.ended).stderr)
    }
    const status = Effect.map(send(host, "GET /status.json"), ({ text }) => decode(text))
    const post = (path: string) => send(host, `POST ${path}`, { headers: { authorization: `Bearer ${secret}` } })
    return { ...running, host, status, post }
  })
  return { destination, file, folder, rule, serve, source, token, write }
})

const limit: Duration.Input = "10 seconds"

// each test starts processes, which takes seconds on a busy machine
const timeout = 120_000

describe("effect-oci mirror serve", () => {
  it.live(
    "runs a rule on request, and keeps its state in a file beside the configuration",
    () =>
      Effect.gen(function*() {
        const { destination, folder, serve, source } = yield* setUp
        const { digest } = yield* pushImage(source.registry, app, ["layer"], { tags: [tag("1")] })
        const { host, kill, ended, post, status } = yield* serve
        yield* eventually(status, ({ rules }) => rules[0]?.lastRun?.endedAt !== undefined)
        const next = yield* pushImage(source.registry, app, ["other"], { tags: [tag("2")] })
        assert.strictEqual((yield* post("/runs/app")).status, 202)
        yield* eventually(status, ({ rules }) => rules[0]?.tags.copied === 2)
        const check = yield* Effect.provide(validatorOf("mirror-service"), NodeServices.layer)
        check(JSON.parse((yield* send(host, "GET /status.json")).text))
        assert.strictEqual((yield* destination.registry.resolveManifest(copies, tag("1"))).digest, digest)
        assert.strictEqual((yield* destination.registry.resolveManifest(copies, tag("2"))).digest, next.digest)
        assert.isTrue(Fs.existsSync(Path.join(folder, "mirror.db")))
        assert.strictEqual((yield* send(host, "POST /runs/app")).status, 401)
        assert.include((yield* send(host, "GET /")).text, "<h1>Mirror</h1>")
        kill("SIGTERM")
        const { code, stderr, stdout } = yield* ended
        assert.strictEqual(code, 0, stderr)
        assert.strictEqual(stdout, `listening on http://${host}\n`)
        assert.include(stderr, "app: 1 copied, 0 failed, 0 deleted")
        assert.notInclude(stderr, secret)
      }),
    timeout
  )

  it.live(
    "ends within ten seconds of SIGTERM during a copy, cancels its uploads, and continues at the next start",
    () =>
      Effect.gen(function*() {
        const { destination, serve, source } = yield* setUp
        const large = new Uint8Array(8_000_000).fill(7)
        const { digest } = yield* pushImage(source.registry, app, [large], { tags: [tag("1")] })
        source.stick(true)
        const first = yield* serve
        const isUploading = () => destination.requests.some((line) => /^PATCH|^PUT .*\/blobs\/uploads\//.test(line))
        yield* eventually(Effect.sync(isUploading), (isUploading) => isUploading)
        const running = yield* eventually(first.status, ({ rules }) => rules[0]?.state === "running")
        assert.deepStrictEqual(running.rules[0]?.progress?.copies.map(({ destination }) => destination), [
          `${destination.host}/copies/app:1`
        ])
        first.kill("SIGTERM")
        const { code, stderr } = yield* Effect.timeout(first.ended, limit)
        assert.strictEqual(code, 0, stderr)
        const opened = destination.requests.filter((line) => /^POST .*\/blobs\/uploads\//.test(line)).length
        const cancelled = destination.requests.filter((line) => /^DELETE .*\/blobs\/uploads\//.test(line)).length
        const ended = destination.requests.filter((line) => /^PUT .*\/blobs\/uploads\//.test(line)).length
        assert.isAbove(cancelled, 0)
        assert.isAtLeast(cancelled + ended, opened)
        source.stick(false)
        const second = yield* serve
        yield* eventually(second.status, ({ rules }) => rules[0]?.tags.copied === 1)
        assert.strictEqual((yield* destination.registry.resolveManifest(copies, tag("1"))).digest, digest)
      }),
    timeout
  )

  it.live(
    "reads the file again after SIGHUP, and keeps the former one if it is not valid",
    () =>
      Effect.gen(function*() {
        const { file, rule, serve, token, write } = yield* setUp
        const { ended, host, kill, status } = yield* serve
        Fs.writeFileSync(token, "another\n")
        write({ rules: [rule("app"), rule("tools")], store: "sqlite:elsewhere.db" })
        kill("SIGHUP")
        yield* eventually(status, ({ rules }) => rules.length === 2)
        const run = (secret: string) =>
          Effect.map(
            send(host, "POST /runs/app", { headers: { authorization: `Bearer ${secret}` } }),
            ({ status }) => status
          )
        assert.deepStrictEqual([yield* run(secret), yield* run("another")], [401, 202])
        Fs.writeFileSync(token, "\n")
        Fs.writeFileSync(file, "{ \"version\": 1, \"rules\": [{ \"from\": \"nothing\" }] }")
        kill("SIGHUP")
        const { problem, rules } = yield* eventually(status, ({ problem }) => problem !== undefined)
        assert.include(problem, "rules[0]")
        assert.deepStrictEqual(rules.map(({ name }) => name), ["app", "tools"])
        assert.include((yield* send(host, "GET /")).text, "The new configuration cannot be used")
        write({ rules: [rule("tools")] })
        kill("SIGHUP")
        yield* eventually(status, ({ problem, rules }) => problem === undefined && rules.length === 1)
        kill("SIGTERM")
        const { stderr } = yield* ended
        assert.include(stderr, "the configuration was read again: 1 added, 0 changed, 0 removed, 1 rule unchanged")
        assert.include(stderr, "the former configuration stays")
        assert.include(stderr, "the former token stays: cannot read the token: the first line of")
        assert.match(
          stderr,
          /the store stays sqlite:.*mirror\.db until the next start, which uses sqlite:.*elsewhere\.db/
        )
      }),
    timeout
  )

  it.live("notifies webhooks, and asks a command to create a repository", () =>
    Effect.gen(function*() {
      const { destination, folder, rule, serve, source, write } = yield* setUp
      const bodies: Array<string> = []
      const hook = yield* listen((request, response) => {
        let body = ""
        request.setEncoding("utf8").on("data", (text: string) => void (body += text))
        request.on("end", () => {
          bodies.push(body)
          response.end()
        })
      })
      const created = Path.join(folder, "created")
      const script = `require("node:fs").writeFileSync(${JSON.stringify(created)},
        [process.argv[1], process.env.MIRROR_REGISTRY, process.env.MIRROR_REPOSITORY].join(" "))`
      write({
        rules: [rule("app")],
        notify: [{ webhook: `http://${hook}/hook`, on: ["finished"] }],
        onRepositoryMissing: { exec: [process.execPath, "-e", script, "{repository}"] }
      })
      yield* pushImage(source.registry, app, ["layer"], { tags: [tag("1")] })
      yield* serve
      yield* eventually(Effect.sync(() => bodies.length), (count) => count > 0)
      const notification = JSON.parse(bodies[0] ?? "")
      assert.deepInclude(notification, { event: "finished", rule: "app" })
      const check = yield* Effect.provide(validatorOf("mirror-notification"), NodeServices.layer)
      check(notification)
      assert.strictEqual(Fs.readFileSync(created, "utf8"), `copies/app ${destination.host} copies/app`)
    }), timeout)

  it.live("shows why the command did not create a repository", () =>
    Effect.gen(function*() {
      const { rule, serve, source, write } = yield* setUp
      const script = "console.error('no <permission>'); process.exit(3)"
      write({ rules: [rule("app")], onRepositoryMissing: { exec: [process.execPath, "-e", script] } })
      yield* pushImage(source.registry, app, ["layer"], { tags: [tag("1")] })
      const { host, status } = yield* serve
      const { failures } = yield* eventually(status, ({ failures }) => failures.length > 0)
      assert.match(failures[0]?.error ?? "", /onRepositoryMissing: .* has exited with 3: no <permission>/)
      assert.include((yield* send(host, "GET /")).text, "no &lt;permission&gt;")
    }), timeout)

  it.live(
    "reports a file that is not valid, an address in use, and flags that do not fit",
    () =>
      Effect.gen(function*() {
        const { file, serve, token, write } = yield* setUp
        const { host } = yield* serve
        const port = host.split(":")[1] ?? ""
        const failing = (...args: ReadonlyArray<string>) =>
          Effect.map(
            runWith({ env: { MIRROR_TOKEN: "" } }, "mirror", "serve", "-c", file, ...args),
            ({ code, stderr }) => [code, stderr] as const
          )
        const [code, stderr] = yield* failing("--port", port, "--token-file", token)
        assert.deepStrictEqual([code, stderr.includes(`cannot listen on 127.0.0.1:${port}: the address is in use`)], [
          1,
          true
        ])
        assert.match((yield* failing("--private"))[1], /--private requires --token-file/)
        assert.match((yield* failing("--store", "redis://x", "--port", "0"))[1], /is not sqlite:FILE, postgres:/)
        write({ rules: [{ from: "a.test/b", to: "c.test/d", tags: { semver: "nonsense" } }] })
        assert.match((yield* failing("--port", "0"))[1], /rules\[0\]\.tags\.semver/)
      }),
    timeout
  )

  it.live("refuses changes to other machines without a token, and says so", () =>
    Effect.gen(function*() {
      const { file } = yield* setUp
      const running = yield* startWith(
        { env: { MIRROR_TOKEN: "" } },
        "mirror",
        "serve",
        "-c",
        file,
        "--port",
        "0",
        "--host",
        "0.0.0.0",
        "--json"
      )
      const listening = JSON.parse(yield* running.firstLine)
      const check = yield* Effect.provide(validatorOf("mirror-serve"), NodeServices.layer)
      check(listening)
      const { address } = listening
      const host = String(address).replace("http://0.0.0.0", "127.0.0.1")
      assert.notInclude((yield* send(host, "GET /")).text, "<button")
      running.kill("SIGTERM")
      const { stderr } = yield* running.ended
      assert.include(stderr, "use --token-file")
    }), timeout)
})
