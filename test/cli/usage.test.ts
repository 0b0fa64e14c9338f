import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Net from "node:net"
import { main, run } from "../utils/Program.ts"

const somewhere = "127.0.0.1:1/mirror/app:1"

describe("misuse is one clear line on stderr, and exit code 2", () => {
  const table: ReadonlyArray<readonly [args: ReadonlyArray<string>, says: string]> = [
    [[], "what is to be done is missing (see effect-oci --help)"],
    [["kopy"], "Unknown subcommand \"kopy\""],
    [["copy"], "Missing required argument: source"],
    [["copy", "a.test/b:1"], "Missing required argument: destination"],
    [["copy", "a.test/b:1", somewhere, "more"], "Unexpected positional argument: \"more\""],
    [["copy", "--bogus", "a.test/b:1", somewhere], "Unrecognized flag: --bogus"],
    [
      ["copy", "a.test/B:1", somewhere],
      "invalid reference \"a.test/B:1\": repository: upper-case letter \"B\" (character 8)"
    ],
    [["copy", "a.test/b:1", "a.test:99999/b"], "registry: the port is not a number from 1 to 65535 (character 8)"],
    [["copy", "a.test/b@sha256:12", somewhere], "digest: expected 64 hexadecimal digits after sha256, found 2"],
    [["copy", "a".repeat(250), somewhere], "repository: it has 258 characters, 255 are allowed"],
    [["copy", "a.test/b:1", somewhere, "--platform", "linux"], "invalid platform \"linux\": expected os/architecture"],
    [["copy", "a.test/b:1", somewhere, "--plain-http", "vm"], "\"vm\" is not a host, with its port if it has one"],
    [["copy", "a.test/b:1", somewhere, "--plain-http", "http://vm:1"], "\"http://vm:1\" is not a host"],
    [["copy", "a.test/b:1", somewhere, "--concurrency", "0"], "--concurrency is a number from 1 on"],
    [["copy", "a.test/b:1", somewhere, "--concurrency", "many"], "--concurrency: \"many\""]
  ]
  for (const [args, says] of table) {
    it.live(`effect-oci ${args.join(" ")}`, () =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* run(...args)
        assert.strictEqual(code, 2, stderr)
        assert.strictEqual(stdout, "")
        assert.match(stderr, /^effect-oci: [^\n]+\n$/)
        assert.include(stderr, says)
      }))
  }
})

describe("failure is one clear line on stderr, and exit code 1", () => {
  const fails = (...args: ReadonlyArray<string>) =>
    Effect.map(run("copy", ...args), ({ code, stderr, stdout }) => {
      assert.strictEqual(code, 1, stderr)
      assert.strictEqual(stdout, "")
      assert.match(stderr, /^effect-oci: [^\n]+\n$/)
      return stderr
    })

  const serve = (listener: Http.RequestListener) =>
    Effect.acquireRelease(
      Effect.callback<string>((resume) => {
        const server = Http.createServer(listener)
        server.listen(0, "127.0.0.1", () => {
          const address = server.address()
          resume(Effect.succeed(`127.0.0.1:${typeof address === "object" ? address?.port : ""}`))
        })
        server.unref()
      }),
      () => Effect.void
    )

  it.live("when a host does not resolve", () =>
    Effect.gen(function*() {
      assert.include(yield* fails("no-such-host.invalid/app:1", somewhere), "the host name does not resolve")
    }))

  it.live("when nothing listens", () =>
    Effect.gen(function*() {
      assert.include(yield* fails("127.0.0.1:1/app:1", somewhere), "source 127.0.0.1:1/app:1: nothing listens there")
    }))

  it.live("when what listens does not speak HTTP", () =>
    Effect.gen(function*() {
      const server = yield* Effect.acquireRelease(
        Effect.callback<Net.Server>((resume) => {
          const server = Net.createServer((socket) => void socket.end("SSH-2.0-OpenSSH_9.2p1\r\n"))
          server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => void server.close())
      )
      const address = server.address()
      const host = `127.0.0.1:${typeof address === "object" ? address?.port : ""}`
      assert.include(yield* fails(`${host}/app:1`, somewhere), "does not speak HTTP")
    }))

  it.live("when what listens is a web site", () =>
    Effect.gen(function*() {
      const host = yield* serve((_, response) => {
        response.writeHead(404, { "content-type": "text/html" }).end("<h1>Not here</h1>")
      })
      assert.include(yield* fails(`${host}/app:1`, somewhere), "the answer is a web page: is this a registry?")
      const friendly = yield* serve((_, response) => {
        response.writeHead(200, { "content-type": "text/html" }).end("<h1>Welcome</h1>")
      })
      assert.include(
        yield* fails(`${friendly}/app:1`, somewhere),
        "\"text/html\" is not a type of manifest that is known here"
      )
    }))

  it.live("when a manifest is JSON that is none", () =>
    Effect.gen(function*() {
      const host = yield* serve((_, response) => {
        response.writeHead(200, { "content-type": "application/vnd.oci.image.manifest.v1+json" }).end("{ nope")
      })
      assert.include(yield* fails(`${host}/app:1`, somewhere), "valid JSON")
    }))

  it.live("when a \"manifest\" has 200 MB, which are not read", () =>
    Effect.gen(function*() {
      const chunk = Buffer.alloc(1024 * 1024, " ")
      let sent = 0
      const host = yield* serve((_, response) => {
        response.writeHead(200, {
          "content-type": "application/vnd.oci.image.manifest.v1+json",
          "content-length": 200 * chunk.length
        })
        const more = () => {
          while (sent < 200 * chunk.length) {
            sent += chunk.length
            if (!response.write(chunk)) return
          }
          response.end()
        }
        response.on("drain", more)
        more()
      })
      assert.include(yield* fails(`${host}/app:1`, somewhere), "the content is larger than 8388608 bytes")
      assert.isBelow(sent, 100 * chunk.length)
    }))

  it.live("when the registry asks for credentials", () =>
    Effect.gen(function*() {
      const host = yield* serve((_, response) => {
        response.writeHead(401, { "www-authenticate": "Basic realm=\"here\"" }).end()
      })
      assert.include(yield* fails(`${host}/app:1`, somewhere), "the registry asks for credentials")
    }))
})

describe("output that nobody takes", () => {
  const shell = (script: string) =>
    Effect.callback<{ readonly code: number | null; readonly stderr: string }>((resume) => {
      const child = ChildProcess.spawn("sh", ["-c", script], { stdio: ["ignore", "ignore", "pipe"] })
      let stderr = ""
      child.stderr.setEncoding("utf8").on("data", (text: string) => void (stderr += text))
      child.once("close", (code) => resume(Effect.succeed({ code, stderr })))
    })

  it.live.skipIf(!Fs.existsSync("/dev/full"))("is an error when it is the result", () =>
    Effect.gen(function*() {
      const { code, stderr } = yield* shell(`"${process.execPath}" "${main}" --version > /dev/full`)
      assert.strictEqual(code, 1)
      assert.match(stderr, /^effect-oci: the result could not be written: [^\n]+\n$/)
    }))

  it.live("is none when the reader has gone", () =>
    Effect.gen(function*() {
      const { stderr } = yield* shell(`"${process.execPath}" "${main}" copy --help | head -c 1`)
      assert.strictEqual(stderr, "")
    }))
})

describe("help", () => {
  it.live("goes to stdout when it is asked for", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* run("copy", "--help")
      assert.strictEqual(code, 0)
      assert.strictEqual(stderr, "")
      for (const flag of ["--platform", "--no-referrers", "--plain-http", "--concurrency", "--json"]) {
        assert.include(stdout, flag)
      }
    }))

  it.live("the version is that of the package", () =>
    Effect.gen(function*() {
      const { stdout } = yield* run("--version")
      const { version } = JSON.parse(Fs.readFileSync(new URL("../../package.json", import.meta.url), "utf8"))
      assert.strictEqual(stdout, `effect-oci v${version}\n`)
    }))
})
