import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { hashSync } from "bcryptjs"
import { Effect } from "effect"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as Https from "node:https"
import * as Certificates from "../utils/certificates.ts"
import { pushImage, repository, tag } from "../utils/images.ts"
import { run } from "../utils/Program.ts"
import { browser } from "../utils/registry-page.ts"
import { memory, send } from "../utils/Served.ts"
import { basicHeader, eventually, pullFrom, serve, serveWith, temporary } from "../utils/serving.ts"

const [app, hidden] = [repository("team/app"), repository("hidden")]

const withNode = Effect.provide(NodeServices.layer)

// the tests start processes, which takes seconds on a busy machine
const timeout = 60_000

const page = (host: string, path: string = "/", headers: Readonly<Record<string, string>> = {}) =>
  send(host, `GET ${path}`, { headers: { ...browser, ...headers } })

/** Makes a folder with two repositories. */
const filled = Effect.gen(function*() {
  const found = yield* temporary
  const registry = yield* LayoutRegistry.make({ directory: found.folder })
  yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
  yield* pushImage(registry, hidden, ["layer"], { tags: [tag("1")] })
  return found
})

describe("the page of effect-oci serve", { timeout }, () => {
  it.live("is on by default for this machine, and answers browsers only", () =>
    Effect.gen(function*() {
      const { folder } = yield* filled
      const { host } = yield* serve("--dir", folder)
      const { headers, status, text } = yield* page(host)
      assert.deepStrictEqual([status, headers["content-type"]], [200, "text/html; charset=utf-8"])
      assert.include(text, "<a href=\"/ui/team/app\">team/app</a>")
      assert.include((yield* page(host, "/ui/team/app:1")).text, `docker pull ${host}/team/app:1`)
      assert.strictEqual((yield* send(host, "GET /")).status, 404)
      assert.strictEqual((yield* send(host, "GET /", { headers: { accept: "*/*" } })).status, 404)
      const rebound = yield* page(host, "/", { host: "evil.test" })
      assert.strictEqual(rebound.status, 403)
    }).pipe(withNode))

  it.live("is off with --no-ui, and by default for other machines", () =>
    Effect.gen(function*() {
      const closed = yield* serve("--no-ui")
      assert.strictEqual((yield* page(closed.host)).status, 404)
      assert.strictEqual((yield* page(closed.host, "/style.css")).status, 404)
      const byVariable = yield* serveWith({ env: { EFFECT_OCI_SERVE_UI: "false" } }, "--port", "0")
      assert.strictEqual((yield* page(byVariable.host)).status, 404)
    }))

  it.live("has the limits of the server", () =>
    Effect.gen(function*() {
      const { host } = yield* serve("--max-client-rate", "1")
      assert.strictEqual((yield* page(host)).status, 200)
      assert.strictEqual((yield* page(host)).status, 429)
    }))

  it.live("shows users what they may pull, over HTTPS", () =>
    Effect.gen(function*() {
      const { folder } = yield* filled
      const config = yield* temporary
      config.write("users", `ada:${hashSync("a", 4)}\n`)
      config.write("access.yml", "rules: [{ repositories: \"team/*\", users: ada, allow: pull }]\n")
      config.write("tls.crt", Certificates.serverCertificate)
      config.write("tls.key", Certificates.serverKey)
      const file = config.write(
        "serve.yml",
        `dir: ${folder}\nui: true\nhtpasswd: users\naccess: access.yml\ntlsCert: tls.crt\ntlsKey: tls.key\nport: 0\n`
      )
      const { host } = yield* serveWith({}, "--config", file)
      const get = (headers: Readonly<Record<string, string>>) =>
        Effect.callback<readonly [number, string | undefined, string]>((resume) => {
          const options = { ca: Certificates.authority, headers: { ...browser, ...headers }, agent: false as const }
          Https.get(`https://${host}/`, options, (response) => {
            let text = ""
            response.setEncoding("utf8").on("data", (part: string) => text += part)
            response.on("end", () =>
              resume(Effect.succeed([response.statusCode ?? 0, response.headers["www-authenticate"], text])))
          }).on("error", (error) =>
            resume(Effect.die(error)))
        })
      const [status, challenge] = yield* get({})
      assert.deepStrictEqual([status, challenge], [401, "Basic realm=\"registry\", charset=\"UTF-8\""])
      const [, , text] = yield* get(basicHeader("ada:a"))
      assert.include(text, "team/app")
      assert.notInclude(text, "hidden")
    }).pipe(withNode))

  it.live("of a cache shows what is stored, and asks no upstream", () =>
    Effect.gen(function*() {
      const upstream = yield* memory()
      yield* pushImage(upstream.registry, app, ["layer"], { tags: [tag("1"), tag("2")] })
      const { folder } = yield* temporary
      const { host } = yield* serve("--dir", folder, "--proxy", upstream.host)
      assert.notInclude((yield* page(host)).text, "team/app")
      yield* pullFrom(host, app, "1")
      const { text } = yield* eventually(page(host, "/ui/team/app"), ({ text }) => text.includes("/ui/team/app:1"))
      assert.include(text, "This registry is a cache.")
      assert.notInclude(text, "/ui/team/app:2")
    }))

  it.live("changes nothing by default, and a tag on request", () =>
    Effect.gen(function*() {
      const { folder } = yield* filled
      const closed = yield* serve("--dir", folder)
      assert.notInclude((yield* page(closed.host, "/ui/team/app:1")).text, "<form class=\"change\"")
      const { host } = yield* serve("--dir", folder, "--ui-changes", "--no-delete")
      const { text } = yield* page(host, "/ui/team/app:1")
      const field = (name: string) => new RegExp(`name="${name}" value="([^"]+)"`).exec(text)?.[1] ?? ""
      const fields = { token: field("token"), repository: app, digest: field("digest"), tag: "2" }
      const { status } = yield* send(host, "POST /ui/-/tag", {
        body: new URLSearchParams(fields).toString(),
        headers: { ...browser, "content-type": "application/x-www-form-urlencoded", origin: `http://${host}` }
      })
      assert.strictEqual(status, 303)
      assert.strictEqual((yield* send(host, "HEAD /v2/team/app/manifests/2")).status, 200)
      assert.notInclude(text, "Delete the tag")
    }).pipe(withNode))

  it.live.each(["--ui-changes --no-ui", "--ui-changes --read-only", "--ui-changes --proxy docker.io"])(
    "refuses %s",
    (args) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* run("serve", "--port=0", ...args.split(" "))).code, 2)
      })
  )
})
