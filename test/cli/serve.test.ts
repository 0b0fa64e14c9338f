import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Os from "node:os"
import * as Path from "node:path"
import { pushImage, repository, tag } from "../utils/images.ts"
import { run, type Running, start } from "../utils/Program.ts"
import { connect, digestOf } from "../utils/ScriptedServer.ts"
import { connect as connectRaw, send } from "../utils/Served.ts"

const app = repository("team/app")

/** Where a server that was started listens. */
const hostOf = ({ firstLine }: Running) =>
  Effect.map(firstLine, (line) => /^listening on http:\/\/(127\.0\.0\.1:[0-9]+)$/.exec(line)?.[1] ?? "")

const serve = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  const running = yield* start("serve", "--port", "0", ...args)
  const host = yield* hostOf(running)
  assert.notStrictEqual(host, "", "the server did not start")
  return { ...running, host }
})

const temporary = (content: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-oci-"))),
      (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true }))
    ),
    (directory) => {
      const file = Path.join(directory, "file")
      Fs.writeFileSync(file, content)
      return file
    }
  )

describe("effect-oci serve", () => {
  it.live("serves a registry that can be pushed to, pulled from and deleted from", () =>
    Effect.gen(function*() {
      const { host } = yield* serve()
      const client = yield* connect({ host })
      const { digest } = yield* pushImage(client, app, ["layer"], { tags: [tag("1")] })
      assert.strictEqual((yield* client.resolveManifest(app, tag("1"))).digest, digest)
      yield* client.deleteManifest(app, digest)
      assert.strictEqual((yield* send(host, "HEAD /v2/team/app/manifests/1")).status, 404)
    }))

  it.live("says where it listens on stdout, and a line for each request on stderr", () =>
    Effect.gen(function*() {
      const { ended, host, kill } = yield* serve()
      yield* send(host, "GET /v2/")
      yield* send(host, "GET /v2/team/app/tags/list?n=1")
      kill("SIGTERM")
      const { stderr, stdout } = yield* ended
      assert.strictEqual(stdout, `listening on http://${host}\n`)
      const lines = stderr.split("\n")
      assert.match(`${lines[0]}`, /^\d{4}-\d\d-\d\dT[\d:.]+Z 127\.0\.0\.1 GET \/v2\/ 200 \d+ms$/)
      assert.match(`${lines[1]}`, / GET \/v2\/team\/app\/tags\/list\?n=1 404 \d+ms$/)
    }))

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    it.live(`ends within 5 seconds at a ${signal}, whoever is connected`, () =>
      Effect.gen(function*() {
        const { ended, host, kill } = yield* serve()
        const { headers } = yield* send(host, "POST /v2/team/app/blobs/uploads/")
        const { read, write } = yield* connectRaw(host)
        // one that is idle, and one that is in the middle of a body
        yield* write(`GET /v2/ HTTP/1.1\r\nhost: a\r\n\r\n`)
        yield* read(/\r\n\r\n\{\}/)
        const upload = yield* connectRaw(host)
        yield* upload.write(`PATCH ${headers.location} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123`)
        yield* send(host, "GET /v2/")
        const began = performance.now()
        kill(signal)
        const { code } = yield* ended
        assert.strictEqual(code, 130)
        assert.isBelow(performance.now() - began, 5_000)
      }))
  }

  it.live("deletes nothing with --no-delete", () =>
    Effect.gen(function*() {
      const { host } = yield* serve("--no-delete")
      const client = yield* connect({ host })
      const { digest } = yield* pushImage(client, app, ["layer"], { tags: [tag("1")] })
      for (const path of ["manifests/1", `manifests/${digest}`, `blobs/${digestOf("layer")}`]) {
        assert.strictEqual((yield* send(host, `DELETE /v2/team/app/${path}`)).status, 405)
      }
    }))

  it.live("changes nothing with --read-only", () =>
    Effect.gen(function*() {
      const { host } = yield* serve("--read-only")
      assert.strictEqual((yield* send(host, "POST /v2/team/app/blobs/uploads/")).status, 405)
      assert.strictEqual((yield* send(host, "GET /v2/")).status, 200)
    }))

  it.live("lets in only whom it is told of with --user", () =>
    Effect.gen(function*() {
      const file = yield* temporary("s3cret\nnot this\n")
      const { ended, host, kill } = yield* serve("--user", `ada:${file}`)
      const status = (user: string) =>
        Effect.map(
          send(host, "GET /v2/", { headers: { authorization: `Basic ${Buffer.from(user).toString("base64")}` } }),
          ({ status }) => status
        )
      assert.deepStrictEqual(
        [yield* status("ada:s3cret"), yield* status("ada:wrong"), yield* status("bob:s3cret")],
        [200, 401, 401]
      )
      assert.strictEqual((yield* send(host, "GET /v2/")).status, 401)
      kill("SIGTERM")
      assert.notInclude((yield* ended).stderr, "s3cret")
    }))

  it.live("gives with --proxy what another registry has, also when that is gone, and lets nobody write there", () =>
    Effect.gen(function*() {
      const upstream = yield* serve()
      const client = yield* connect({ host: upstream.host })
      const { digest } = yield* pushImage(client, app, ["layer"], { tags: [tag("1")] })
      const { host } = yield* serve("--proxy", upstream.host)
      const cached = yield* connect({ host })
      assert.strictEqual((yield* cached.getManifest(app, tag("1"))).descriptor.digest, digest)
      assert.strictEqual((yield* send(host, `GET /v2/team/app/blobs/${digestOf("layer")}`)).status, 200)
      assert.strictEqual((yield* send(host, "POST /v2/team/app/blobs/uploads/")).status, 405)
      upstream.kill("SIGTERM")
      yield* upstream.ended
      assert.strictEqual((yield* cached.getManifest(app, digest)).descriptor.digest, digest)
      assert.strictEqual((yield* send(host, `GET /v2/team/app/blobs/${digestOf("layer")}`)).text, "layer")
    }))
})

describe("effect-oci serve that cannot start", () => {
  const fails = Effect.fnUntraced(function*(code: number, ...args: ReadonlyArray<string>) {
    const ended = yield* run("serve", ...args)
    assert.strictEqual(ended.code, code, ended.stderr)
    assert.strictEqual(ended.stdout, "")
    assert.match(ended.stderr, /^effect-oci: [^\n]+\n$/)
    return ended.stderr
  })

  it.live("says so when something else listens there", () =>
    Effect.gen(function*() {
      const server = yield* Effect.acquireRelease(
        Effect.callback<Http.Server>((resume) => {
          const server = Http.createServer()
          server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => server.close())
      )
      const address = server.address()
      const port = typeof address === "object" ? `${address?.port}` : ""
      const said = yield* fails(1, "--port", port)
      assert.include(said, `cannot listen on 127.0.0.1:${port}: something else listens there already`)
    }))

  it.live("says so when this machine has no such address", () =>
    Effect.gen(function*() {
      assert.include(yield* fails(1, "--port", "0", "--host", "192.0.2.1"), "this machine has no such address")
    }))

  it.live("says so when there is no password", () =>
    Effect.gen(function*() {
      assert.include(
        yield* fails(1, "--user", "ada:/no/such/file"),
        "the password of ada cannot be read from /no/such/file"
      )
      const empty = yield* temporary("\nsecond line")
      assert.include(yield* fails(1, "--user", `ada:${empty}`), "there is no password for ada")
    }))

  it.live.each(
    [
      [["--port", "70000"], "--port is a number from 0 to 65535"],
      [["--port", "many"], "--port: \"many\""],
      [["--user", "ada"], "--user is NAME:PASSWORD_FILE, not \"ada\""],
      [["somewhere"], "somewhere"]
    ] as const
  )("is misused with %j", ([args, says]) =>
    Effect.gen(function*() {
      assert.include(yield* fails(2, ...args), says)
    }))
})
