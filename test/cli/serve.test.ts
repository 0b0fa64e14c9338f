import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Os from "node:os"
import * as Path from "node:path"
import { pushImage, repository, tag } from "../utils/images.ts"
import { blobPath } from "../utils/layouts.ts"
import { run, type Running, start } from "../utils/Program.ts"
import { connect, digestOf } from "../utils/ScriptedServer.ts"
import { connect as connectRaw, send } from "../utils/Served.ts"

const app = repository("team/app")

/** Returns the host of a server that was started. */
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

  it.live("prints its address on stdout, and a line for each request on stderr", () =>
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

  for (const [signal, expected] of [["SIGTERM", 0], ["SIGINT", 130]] as const) {
    it.live(`ends within 5 seconds after ${signal} with exit code ${expected}, despite open connections`, () =>
      Effect.gen(function*() {
        const { ended, host, kill } = yield* serve()
        const { headers } = yield* send(host, "POST /v2/team/app/blobs/uploads/")
        const { read, write } = yield* connectRaw(host)
        // the first connection is idle, the second sends a body
        yield* write(`GET /v2/ HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`)
        yield* read(/\r\n\r\n\{\}/)
        const upload = yield* connectRaw(host)
        yield* upload.write(`PATCH ${headers.location} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 10\r\n\r\n0123`)
        yield* send(host, "GET /v2/")
        const began = performance.now()
        kill(signal)
        const { code } = yield* ended
        assert.strictEqual(code, expected)
        assert.isBelow(performance.now() - began, 5_000)
      }))
  }

  it.live("answers the requests in flight after SIGTERM, and refuses new connections", () =>
    Effect.gen(function*() {
      const { ended, host, kill } = yield* serve("--grace", "30")
      const { headers } = yield* send(host, "POST /v2/team/app/blobs/uploads/")
      const upload = yield* connectRaw(host)
      const line = `PUT ${headers.location}?digest=${digestOf("0123456789")} HTTP/1.1`
      yield* upload.write(`${line}\r\nhost: 127.0.0.1\r\ncontent-length: 10\r\n\r\n01234`)
      yield* send(host, "GET /v2/")
      kill("SIGTERM")
      // waits until it no longer listens
      yield* Effect.repeat(Effect.exit(send(host, "GET /v2/")), { until: Exit.isFailure })
      yield* upload.write("56789")
      assert.match(yield* upload.read(/\r\n\r\n/), /^HTTP\/1\.1 201 /)
      assert.strictEqual((yield* ended).code, 0)
    }))

  it.live("ends immediately after a second signal", () =>
    Effect.gen(function*() {
      const { ended, host, kill } = yield* serve("--grace", "600")
      const upload = yield* connectRaw(host)
      yield* upload.write("PUT /v2/team/app/manifests/1 HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 10\r\n\r\n01234")
      yield* send(host, "GET /v2/")
      kill("SIGTERM")
      yield* Effect.repeat(Effect.exit(send(host, "GET /v2/")), { until: Exit.isFailure })
      kill("SIGTERM")
      assert.strictEqual((yield* ended).code, 130)
    }))

  it.live("accepts loopback names only, unless another name is allowed", () =>
    Effect.gen(function*() {
      const status = (host: string, name: string) =>
        Effect.map(send(host, "GET /v2/", { headers: { host: name } }), ({ status }) => status)
      const { host } = yield* serve("--allowed-host", "registry.test")
      assert.strictEqual(yield* status(host, "localhost:5000"), 200)
      assert.strictEqual(yield* status(host, "registry.test"), 200)
      assert.strictEqual(yield* status(host, "evil.test"), 403)
      const origin = { headers: { origin: "https://evil.test" } }
      assert.strictEqual((yield* send(host, "POST /v2/team/app/blobs/uploads/", origin)).status, 403)
    }))

  it.live("accepts requests for every name with --user", () =>
    Effect.gen(function*() {
      const { host } = yield* serve("--user", `ada:${yield* temporary("s3cret")}`)
      assert.strictEqual((yield* send(host, "GET /v2/", { headers: { host: "registry.test" } })).status, 401)
    }))

  it.live("enforces the limits of its flags", () =>
    Effect.gen(function*() {
      const { host } = yield* serve("--max-blob", "1KiB", "--max-client-uploads", "1")
      const { headers, status } = yield* send(host, "POST /v2/team/app/blobs/uploads/")
      assert.strictEqual(status, 202)
      assert.strictEqual((yield* send(host, "POST /v2/team/app/blobs/uploads/")).status, 429)
      assert.strictEqual((yield* send(host, `PATCH ${headers.location}`, { body: "x".repeat(1025) })).status, 413)
    }))

  for (const [flag, where] of [["--max-repository", "the repository"], ["--max-total", "the registry"]] as const) {
    for (const place of ["memory", "a folder"]) {
      it.live(`refuses content beyond ${flag}, in ${place}`, () =>
        Effect.gen(function*() {
          const folder = place === "memory" ? [] : ["--dir", Path.join(Path.dirname(yield* temporary("")), "registry")]
          const { host } = yield* serve(flag, "10KiB", ...folder)
          const small = `POST /v2/team/app/blobs/uploads/?digest=${digestOf("small")}`
          assert.strictEqual((yield* send(host, small, { body: "small" })).status, 201)
          const large = "l".repeat(10 * 1024)
          const { code, status, text } = yield* send(
            host,
            `POST /v2/team/app/blobs/uploads/?digest=${digestOf(large)}`,
            { body: large }
          )
          assert.deepStrictEqual([status, code], [403, "DENIED"])
          assert.include(text, `${where} is full: it may have 10240 bytes`)
        }))
    }
  }

  it.live("reads the passwords again after SIGHUP, and keeps them if it cannot", () =>
    Effect.gen(function*() {
      const file = yield* temporary("first")
      const { ended, host, kill } = yield* serve("--user", `ada:${file}`)
      const status = (password: string) =>
        Effect.map(
          send(host, "GET /v2/", {
            headers: { authorization: `Basic ${Buffer.from(`ada:${password}`).toString("base64")}` }
          }),
          ({ status }) => status
        )
      assert.deepStrictEqual([yield* status("first"), yield* status("second")], [200, 401])
      Fs.writeFileSync(file, "second")
      kill("SIGHUP")
      yield* Effect.repeat(status("second"), { until: (status) => status === 200 })
      assert.strictEqual(yield* status("first"), 401)
      Fs.writeFileSync(file, "")
      kill("SIGHUP")
      yield* Effect.replicateEffect(status("second"), 20)
      assert.strictEqual(yield* status("second"), 200)
      kill("SIGTERM")
      const { code, stderr } = yield* ended
      assert.strictEqual(code, 0)
      assert.include(
        stderr,
        `the former users and rights stay valid: cannot read the password of ada: the first line of ${file} is empty`
      )
    }))

  it.live("logs a failure under the id that the client receives", () =>
    Effect.gen(function*() {
      const directory = Path.dirname(yield* temporary(""))
      const { ended, host, kill } = yield* serve("--dir", directory)
      Fs.mkdirSync(Path.join(directory, "app"))
      Fs.writeFileSync(Path.join(directory, "app", "oci-layout"), `{"imageLayoutVersion":"1.0.0"}`)
      Fs.writeFileSync(Path.join(directory, "app", "index.json"), "no JSON")
      const { headers, status } = yield* send(host, "GET /v2/app/tags/list")
      assert.isAtLeast(status, 500)
      kill("SIGTERM")
      assert.include((yield* ended).stderr, `${headers["x-request-id"]}`)
    }))

  it.live("refuses deletes with --no-delete", () =>
    Effect.gen(function*() {
      const { host } = yield* serve("--no-delete")
      const client = yield* connect({ host })
      const { digest } = yield* pushImage(client, app, ["layer"], { tags: [tag("1")] })
      for (const path of ["manifests/1", `manifests/${digest}`, `blobs/${digestOf("layer")}`]) {
        assert.strictEqual((yield* send(host, `DELETE /v2/team/app/${path}`)).status, 405)
      }
    }))

  it.live("refuses changes with --read-only", () =>
    Effect.gen(function*() {
      const { host } = yield* serve("--read-only")
      assert.strictEqual((yield* send(host, "POST /v2/team/app/blobs/uploads/")).status, 405)
      assert.strictEqual((yield* send(host, "GET /v2/")).status, 200)
    }))

  it.live("admits only the users of --user", () =>
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

  it.live("with --proxy serves the content of another registry, also after that has ended, and refuses writes", () =>
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

  it.live("with --proxy fetches a blob again that was damaged in the folder, although a manifest needs it", () =>
    Effect.gen(function*() {
      const upstream = yield* serve()
      const image = yield* pushImage(yield* connect({ host: upstream.host }), app, ["layer"], { tags: [tag("1")] })
      const directory = Path.join(Path.dirname(yield* temporary("")), "cache")
      const path = `GET /v2/team/app/blobs/${digestOf("layer")}`
      const first = yield* serve("--proxy", upstream.host, "--dir", directory)
      const { bytes } = yield* (yield* connect({ host: first.host })).getManifest(app, tag("1"))
      const config: string = JSON.parse(new TextDecoder().decode(bytes)).config.digest
      yield* send(first.host, `GET /v2/team/app/blobs/${config}`)
      assert.strictEqual((yield* send(first.host, path)).text, "layer")
      const layout = Path.join(directory, "team", "app")
      const file = blobPath(layout, digestOf("layer"))
      // the cache stores content after it has sent it, and the manifest after its blobs
      while (![file, blobPath(layout, image.digest)].every((path) => Fs.existsSync(path))) {
        yield* Effect.sleep("20 millis")
      }
      first.kill("SIGTERM")
      yield* first.ended
      Fs.writeFileSync(file, "LAYER")
      const { host } = yield* serve("--proxy", upstream.host, "--dir", directory)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(send(host, path))))
      assert.strictEqual((yield* send(host, path)).text, "layer")
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

  it.live("reports that the address is in use", () =>
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
      assert.include(said, `cannot listen on 127.0.0.1:${port}: the address is in use`)
    }))

  it.live("reports an address that this machine does not have", () =>
    Effect.gen(function*() {
      assert.include(yield* fails(1, "--port", "0", "--host", "192.0.2.1"), "this machine has no such address")
    }))

  /** Makes a folder that is an image layout itself and contains a file. */
  const folder = Effect.map(temporary(""), (file) => {
    Fs.writeFileSync(Path.join(Path.dirname(file), "oci-layout"), `{"imageLayoutVersion":"1.0.0"}`)
    return Path.dirname(file)
  })

  it.live.each(
    [
      ["file", [], "cannot write to the folder"],
      ["file/below", [], "cannot create the folder"],
      ["missing", ["--read-only"], "cannot read the folder"],
      ["", [], "it is an image layout itself"]
    ] as const
  )("reports a folder that it cannot use: %j %j", ([name, flags, says]) =>
    Effect.gen(function*() {
      const directory = Path.join(yield* folder, name)
      assert.include(yield* fails(1, "--port", "0", ...flags, "--dir", directory), says)
    }))

  it.live("reports a missing password", () =>
    Effect.gen(function*() {
      assert.include(
        yield* fails(1, "--user", "ada:/no/such/file"),
        "cannot read the password of ada from /no/such/file"
      )
      const empty = yield* temporary("\nsecond line")
      assert.include(yield* fails(1, "--user", `ada:${empty}`), "cannot read the password of ada: the first line of ")
    }))

  it.live.each(
    [
      [["--port", "70000"], "--port: \"70000\" is not a number from 0 to 65535"],
      [["--port", "many"], "--port: \"many\""],
      [["--max-blob", "1XB"], "--max-blob: \"1XB\" is not a size"],
      [["--max-blob", "0"], "is not a size"],
      [["--grace", "0"], "--grace"],
      [["--user", "ada"], "--user must be NAME:PASSWORD_FILE, not \"ada\""],
      [["somewhere"], "somewhere"]
    ] as const
  )("is misused with %j", ([args, says]) =>
    Effect.gen(function*() {
      assert.include(yield* fails(2, ...args), says)
    }))
})
