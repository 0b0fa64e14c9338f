import { assert, describe, it } from "@effect/vitest"
import { hashSync } from "bcryptjs"
import { Effect } from "effect"
import * as Net from "node:net"
import * as Certificates from "../utils/certificates.ts"
import { run } from "../utils/Program.ts"
import { send } from "../utils/Served.ts"
import { basicHeader, eventually, refusal, serve, serveWith, temporary } from "../utils/serving.ts"

const line = (name: string, password: string) => `${name}:${hashSync(password, 4)}\n`

const ruleFor = (user: string) => `rules: [{ repositories: "team/*", users: ${user}, allow: push }]\n`

const statusOf = (host: string, request: string, user?: string) =>
  Effect.map(
    send(host, request, user === undefined ? {} : { headers: basicHeader(user) }),
    ({ status }) => status
  )

const upload = "POST /v2/team/app/blobs/uploads/"

/** A port that is free at the moment. */
const freePort = Effect.callback<number>((resume) => {
  const server = Net.createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" ? address?.port ?? 0 : 0)))
  })
})

// the tests start processes, which takes seconds on a busy machine
const timeout = 60_000

describe("effect-oci serve --config", { timeout }, () => {
  it.live("reads users and rights again after SIGHUP, and keeps them if they are not valid", () =>
    Effect.gen(function*() {
      const { folder, write } = yield* temporary
      write("users", line("ada", "a"))
      write("access.yml", ruleFor("ada"))
      const file = write("serve.yml", "port: 0\nhtpasswd: users\naccess: access.yml\n")
      const { ended, host, kill } = yield* serveWith({}, "-c", file)
      assert.strictEqual(yield* statusOf(host, upload, "ada:a"), 202)
      assert.strictEqual(yield* statusOf(host, upload, "ada:b"), 401)
      assert.strictEqual(yield* statusOf(host, upload, "bob:b"), 401)
      // a user is added
      write("users", line("ada", "a") + line("bob", "b"))
      kill("SIGHUP")
      yield* eventually(statusOf(host, upload, "bob:b"), (status) => status === 403)
      // the rights move to the other user
      write("access.yml", ruleFor("bob"))
      kill("SIGHUP")
      yield* eventually(statusOf(host, upload, "bob:b"), (status) => status === 202)
      assert.strictEqual(yield* statusOf(host, upload, "ada:a"), 403)
      // the file names others
      write("others", line("eve", "e"))
      write("serve.yml", "port: 1\nhtpasswd: others\n")
      kill("SIGHUP")
      yield* eventually(statusOf(host, upload, "eve:e"), (status) => status === 202)
      assert.strictEqual(yield* statusOf(host, upload, "bob:b"), 401)
      for (const [name, content] of [["others", "eve:plain\n"], ["serve.yml", "prot: 1\n"]] as const) {
        write(name, content)
        kill("SIGHUP")
        assert.strictEqual(yield* statusOf(host, upload, "eve:e"), 202)
      }
      yield* Effect.replicateEffect(statusOf(host, "GET /v2/"), 20)
      kill("SIGTERM")
      const { code, stderr } = yield* ended
      assert.strictEqual(code, 0)
      assert.include(stderr, "changes that need a restart: --port")
      assert.include(
        stderr,
        `the former configuration stays: ${folder}/serve.yml: prot: unknown key "prot"; did you mean`
      )
    }))

  it.live("reports users without a password, and files that are not valid, with exit code 2", () =>
    Effect.gen(function*() {
      const { write } = yield* temporary
      const users = write("users", "ada:$apr1$x$y\nbob\n")
      const said = yield* refusal(2, "--htpasswd", users)
      assert.include(said, `effect-oci: ${users}: line 1: the password of ada is hashed with MD5 (apr1)`)
      assert.include(said, `effect-oci: ${users}: line 2: write NAME:HASH`)
    }))
})

describe("effect-oci serve --check-config", { timeout }, () => {
  it.live("prints what it found and does not listen", () =>
    Effect.gen(function*() {
      const { write } = yield* temporary
      write("users", line("ada", "a"))
      write("access.yml", ruleFor("eve"))
      write("tls.crt", Certificates.serverCertificate)
      write("tls.key", Certificates.serverKey)
      const file = write("serve.yml", "htpasswd: users\naccess: access.yml\ntlsCert: tls.crt\ntlsKey: tls.key\n")
      const { code, stderr, stdout } = yield* run("serve", "--config", file, "--check-config", "--json")
      assert.deepStrictEqual([code, JSON.parse(stdout)], [0, {
        address: "127.0.0.1:5000",
        certificate: { names: ["registry.test", "127.0.0.1"], validUntil: "2126-10-31" },
        users: ["ada"],
        rules: 1
      }])
      assert.include(stderr, "the rights name users without a password: eve")
    }))

  it.live("reports the problems of all files", () =>
    Effect.gen(function*() {
      const { write } = yield* temporary
      const access = write("access.yml", "rules: [{ repositories: a, users: b, allow: pulll }]\n")
      const key = write("tls.key", Certificates.serverKey)
      const said = yield* refusal(2, "--check-config", "--access", access, "--tls-cert", key, "--tls-key", key)
      assert.include(
        said,
        `${access}: rules[0].allow: expected pull, push or delete, found "pulll"; did you mean pull?`
      )
      assert.include(said, `cannot use ${key}: it is not a certificate in PEM`)
    }))
})

describe("the probes of effect-oci serve", { timeout }, () => {
  it.live("are health, readiness and metrics on the main port, which are not logged", () =>
    Effect.gen(function*() {
      const { ended, host, kill } = yield* serve("--log", "json")
      yield* send(host, "GET /v2/team/app/tags/list")
      for (const path of ["/healthz", "/readyz"]) assert.strictEqual(yield* statusOf(host, `GET ${path}`), 200)
      const { headers, text } = yield* send(host, "GET /metrics")
      assert.match(`${headers["content-type"]}`, /^text\/plain; version=0\.0\.4/)
      assert.include(text, `registry_requests_total{method="GET",endpoint="tags",status="404"} 1\n`)
      assert.match(text, /registry_request_duration_seconds_count\{method="GET",endpoint="tags"\} 1\n/)
      assert.include(text, "\nregistry_requests_in_flight 0\n")
      assert.match(text, /\nprocess_resident_memory_bytes \d+\n/)
      assert.strictEqual(yield* statusOf(host, "POST /metrics"), 405)
      const rebound = yield* send(host, "GET /metrics", { headers: { host: "evil.test" } })
      assert.strictEqual(rebound.status, 403)
      kill("SIGTERM")
      const lines = (yield* ended).stderr.trim().split("\n")
      assert.strictEqual(lines.length, 1, lines.join("\n"))
      const { status, type, url } = JSON.parse(lines[0] ?? "")
      assert.deepStrictEqual({ status, type, url }, { status: 404, type: "access", url: "/v2/team/app/tags/list" })
    }))

  it.live("need rights for the metrics if there are users, but not for health", () =>
    Effect.gen(function*() {
      const { write } = yield* temporary
      const users = write("users", line("ada", "a") + line("prometheus", "p"))
      const access = write("access.yml", `${ruleFor("ada")}metrics: { users: prometheus }\n`)
      const { ended, host, kill } = yield* serve("--htpasswd", users, "--access", access, "--log", "off")
      assert.deepStrictEqual(
        [
          yield* statusOf(host, "GET /healthz"),
          yield* statusOf(host, "GET /readyz"),
          yield* statusOf(host, "GET /metrics"),
          yield* statusOf(host, "GET /metrics", "ada:a"),
          yield* statusOf(host, "GET /metrics", "prometheus:x"),
          yield* statusOf(host, "GET /metrics", "prometheus:p")
        ],
        [200, 200, 401, 403, 401, 200]
      )
      kill("SIGTERM")
      assert.strictEqual((yield* ended).stderr, "")
    }))

  it.live("limit how many passwords an address can try for the metrics, and not the requests for health", () =>
    Effect.gen(function*() {
      const { write } = yield* temporary
      const users = write("users", line("prometheus", "p"))
      const access = write("access.yml", "rules: []\nmetrics: { users: prometheus }\n")
      const { host } = yield* serve("--htpasswd", users, "--access", access, "--max-client-rate", "1")
      const read = (password: string) => statusOf(host, "GET /metrics", `prometheus:${password}`)
      assert.deepStrictEqual([yield* read("p"), yield* read("x"), yield* read("x")], [200, 401, 429])
      for (const _ of [1, 2]) assert.strictEqual(yield* statusOf(host, "GET /healthz"), 200)
    }))

  it.live("are open on a port of their own, so that the main port has no metrics", () =>
    Effect.gen(function*() {
      const { write } = yield* temporary
      const port = yield* freePort
      const { host } = yield* serve("--htpasswd", write("users", line("ada", "a")), "--metrics-port", `${port}`)
      assert.strictEqual(yield* statusOf(host, "GET /metrics", "ada:a"), 404)
      assert.strictEqual(yield* statusOf(host, "GET /healthz"), 200)
      const own = `127.0.0.1:${port}`
      for (const path of ["/metrics", "/healthz", "/readyz"]) {
        assert.strictEqual(yield* statusOf(own, `GET ${path}`), 200)
      }
      assert.strictEqual(yield* statusOf(own, "GET /v2/"), 404)
    }))
})
