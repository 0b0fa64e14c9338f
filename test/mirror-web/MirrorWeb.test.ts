import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Schema } from "effect"
import { MirrorStatus } from "effect-oci/MirrorStatus"
import type * as MirrorWeb from "effect-oci/MirrorWeb"
import { hostile, served } from "../utils/mirror-page.ts"

const secret = "s3cret-marker"
const protectedBy: Partial<MirrorWeb.Options> = { secret: Redacted.make(secret) }

const form = (fields: Readonly<Record<string, string>>, headers: Readonly<Record<string, string>> = {}) => ({
  body: new URLSearchParams(fields).toString(),
  headers: { "content-type": "application/x-www-form-urlencoded", ...headers }
})

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })
const basic = (password: string) => ({ authorization: `Basic ${btoa(`any:${password}`)}` })

/** Waits until a runner was asked for a run of a rule. */
const untilAsked = (asked: ReadonlyArray<{ readonly rule: { readonly name: string } }>, rule: string) =>
  Effect.gen(function*() {
    while (!asked.some((run) => run.rule.name === rule)) yield* Effect.sleep("5 millis")
  })

describe("the page of a mirror", () => {
  it.live("shows rules, failures, registries and history", () =>
    Effect.gen(function*() {
      const { ask } = yield* served()
      const { headers, status, text } = yield* ask("GET /")
      assert.strictEqual(status, 200)
      assert.strictEqual(headers["content-type"], "text/html; charset=utf-8")
      for (
        const part of [
          "<html lang=\"en\">",
          "5 rules, 40 tags, 3 failed, 1 running",
          "source.test/team/bases",
          "every 6 h",
          "503 the registry is overloaded",
          "Retry mirror.test/copies/bases:3.20",
          "docker.io",
          "30 of 100",
          "1.15 GiB",
          "<svg"
        ]
      ) assert.include(text, part)
    }))

  it.live("escapes every text", () =>
    Effect.gen(function*() {
      const { ask } = yield* served()
      const { text } = yield* ask("GET /")
      assert.notInclude(text, "<script")
      assert.notInclude(text, "<img")
      assert.notInclude(text, "\u202e")
      assert.notInclude(text, "\u0007")
      assert.include(text, "&lt;/td&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&quot;&gt;&lt;img")
      assert.notInclude(text, hostile)
    }))

  it.live("has no script, and headers that forbid scripts, frames and other sites", () =>
    Effect.gen(function*() {
      const { ask } = yield* served()
      for (const path of ["/", "/status.json", "/metrics", "/healthz", "/style.css", "/nothing", "/actions/run"]) {
        const { headers } = yield* ask(`GET ${path}`)
        assert.match(
          String(headers["content-security-policy"]),
          /^default-src 'none'; .*form-action 'self'.*frame-ancestors 'none'$/
        )
        assert.strictEqual(headers["x-content-type-options"], "nosniff")
      }
    }))

  it.live("is loaded again by the browser only on request", () =>
    Effect.gen(function*() {
      const { ask } = yield* served()
      assert.notInclude((yield* ask("GET /")).text, "http-equiv=\"refresh\"")
      assert.include((yield* ask("GET /?refresh=10")).text, "http-equiv=\"refresh\" content=\"10\"")
      assert.notInclude((yield* ask("GET /?refresh=0")).text, "http-equiv=\"refresh\"")
    }))
})

describe("a form of the page", () => {
  it.live("starts a run, and leads back to the page", () =>
    Effect.gen(function*() {
      const { ask, asked, formToken } = yield* served()
      const token = (yield* formToken) ?? ""
      const { headers, status } = yield* ask("POST /actions/run", form({ token, rule: "by-hand" }))
      assert.deepStrictEqual([status, headers["location"]], [303, "/?done=started"])
      yield* untilAsked(asked, "by-hand")
      assert.include((yield* ask("GET /?done=started")).text, "The run was started.")
    }))

  it.live("tries one failed tag again, or all of a destination", () =>
    Effect.gen(function*() {
      const { ask, formToken, state } = yield* served()
      const token = (yield* formToken) ?? ""
      const destination = "mirror.test/copies/bases"
      const attempts = Effect.map(state.tags(destination), (rows) =>
        rows.filter(({ status }) => status === "failed").map(({ attempts }) => attempts))
      const one = yield* ask("POST /actions/retry", form({ token, destination, tag: "3.20" }))
      assert.deepStrictEqual([one.status, one.headers["location"]], [303, "/?done=retried&count=1"])
      assert.deepStrictEqual(yield* attempts, [0, 3])
      const all = yield* ask("POST /actions/retry", form({ token, destination, tag: "" }))
      assert.strictEqual(all.headers["location"], "/?done=retried&count=2")
      assert.deepStrictEqual(yield* attempts, [0, 0])
    }))

  it.live("is refused without the token of the page, from another site, or if it is no form", () =>
    Effect.gen(function*() {
      const { ask, asked, formToken } = yield* served()
      const token = (yield* formToken) ?? ""
      const fields = { token, rule: "by-hand" }
      const statuses = []
      for (
        const sent of [
          form({ rule: "by-hand" }),
          form({ token: "", rule: "by-hand" }),
          form({ token: `${token}0`, rule: "by-hand" }),
          form(fields, { origin: "https://elsewhere.test" }),
          form(fields, { origin: "null" }),
          form(fields, { "sec-fetch-site": "cross-site" }),
          { body: JSON.stringify(fields), headers: { "content-type": "application/json" } },
          form({ ...fields, more: "x".repeat(20_000) }),
          form({ token, rule: "nothing" })
        ]
      ) statuses.push((yield* ask("POST /actions/run", sent)).status)
      assert.deepStrictEqual(statuses, [403, 403, 403, 403, 403, 403, 415, 400, 404])
      assert.strictEqual((yield* ask("POST /actions/retry", form({ token, tag: "not a tag" }))).status, 400)
      assert.isFalse(asked.some(({ rule }) => rule.name === "by-hand"))
    }))

  it.live("is refused under a name of another site that leads to this machine", () =>
    Effect.gen(function*() {
      const { ask } = yield* served({ allowedHosts: ["mirror.example.com"] })
      const statuses = []
      for (const host of ["rebound.test", "mirror.example.com", "localhost:80"]) {
        statuses.push((yield* ask("GET /", { headers: { host } })).status)
      }
      assert.deepStrictEqual(statuses, [403, 200, 200])
    }))

  it.live("needs the secret of the server as a password, if there is one", () =>
    Effect.gen(function*() {
      const { ask, formToken } = yield* served(protectedBy)
      const token = (yield* formToken) ?? ""
      const without = yield* ask("POST /actions/run", form({ token, rule: "by-hand" }))
      assert.deepStrictEqual(
        [without.status, without.headers["www-authenticate"]],
        [401, "Basic realm=\"mirror\", charset=\"UTF-8\""]
      )
      const wrong = yield* ask("POST /actions/run", form({ token, rule: "by-hand" }, basic("guessed")))
      const right = yield* ask("POST /actions/run", form({ token, rule: "by-hand" }, basic(secret)))
      // a browser sends a remembered password also with a form of another site
      const forged = yield* ask("POST /actions/run", form({ rule: "by-hand" }, basic(secret)))
      assert.deepStrictEqual([wrong.status, right.status, forged.status], [401, 303, 403])
    }))

  it.live("does not exist if others can reach the server and there is no secret", () =>
    Effect.gen(function*() {
      const { ask, formToken } = yield* served({ isLocal: false })
      assert.isUndefined(yield* formToken)
      assert.notInclude((yield* ask("GET /")).text, "<form")
      assert.strictEqual((yield* ask("POST /actions/run", form({ token: "", rule: "by-hand" }))).status, 403)
    }))
})

describe("POST /runs/RULE", () => {
  it.live("starts a run for a program with the secret", () =>
    Effect.gen(function*() {
      const { ask, asked } = yield* served(protectedBy)
      const { status, text } = yield* ask("POST /runs/by-hand", bearer(secret))
      assert.deepStrictEqual([status, JSON.parse(text)], [202, { rule: "by-hand", state: "started" }])
      yield* untilAsked(asked, "by-hand")
    }))

  it.live("finds a rule with a name that a path must encode", () =>
    Effect.gen(function*() {
      const { ask } = yield* served(protectedBy)
      assert.strictEqual((yield* ask(`POST /runs/${encodeURIComponent(hostile)}`, bearer(secret))).status, 202)
      assert.strictEqual((yield* ask("POST /runs/%", bearer(secret))).status, 404)
    }))

  it.live("is refused with another token, without one, without a secret, and for a rule that does not exist", () =>
    Effect.gen(function*() {
      const withSecret = yield* served(protectedBy)
      const without = yield* served()
      const statuses = [
        yield* withSecret.ask("POST /runs/by-hand"),
        yield* withSecret.ask("POST /runs/by-hand", bearer("guessed")),
        yield* withSecret.ask("POST /runs/by-hand", bearer(`${secret}0`)),
        yield* withSecret.ask("POST /runs/nothing", bearer(secret)),
        yield* withSecret.ask("GET /runs/by-hand", bearer(secret)),
        yield* without.ask("POST /runs/by-hand"),
        yield* without.ask("POST /runs/by-hand", bearer(""))
      ].map(({ status }) => status)
      assert.deepStrictEqual(statuses, [401, 401, 401, 404, 405, 403, 403])
      assert.isFalse(withSecret.asked.some(({ rule }) => rule.name === "by-hand"))
    }))
})

describe("the server of a mirror", () => {
  it.live("gives the status as JSON", () =>
    Effect.gen(function*() {
      const { ask } = yield* served()
      const { text } = yield* ask("GET /status.json")
      const status = Schema.decodeUnknownSync(Schema.fromJsonString(MirrorStatus))(text, { onExcessProperty: "error" })
      assert.deepStrictEqual(status.rules.map(({ name, state }) => [name, state]), [
        ["bases", "idle"],
        ["tools", "idle"],
        ["large", "running"],
        ["by-hand", "idle"],
        [hostile, "idle"]
      ])
      assert.strictEqual(status.failures.length, 3)
      assert.strictEqual(status.failures[1]?.error, hostile)
      assert.deepInclude(status.hosts[2], { host: "mirror.test" })
    }))

  it.live("gives metrics", () =>
    Effect.gen(function*() {
      const { ask } = yield* served()
      const { headers, text } = yield* ask("GET /metrics")
      assert.strictEqual(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
      assert.include(text, "mirror_tags{rule=\"bases\",status=\"copied\"} 40")
      assert.match(text, /mirror_lag_seconds\{rule="tools"\} \d+/)
      assert.include(text, "mirror_host_budget{host=\"docker.io\"} 30")
      assert.include(text, "mirror_running{rule=\"large\"} 1")
      for (const line of text.split("\n")) assert.match(line, /^(#.*|[a-z_:]+(\{.*\})? \S+|)$/)
    }))

  it.live("is healthy, and ready while its state can be read", () =>
    Effect.gen(function*() {
      const { ask } = yield* served({ ...protectedBy, isPrivate: true })
      assert.deepStrictEqual([(yield* ask("GET /healthz")).text, (yield* ask("GET /readyz")).text], ["ok\n", "ready\n"])
    }))

  it.live("that is private shows nothing without the secret", () =>
    Effect.gen(function*() {
      const { ask } = yield* served({ ...protectedBy, isPrivate: true })
      for (const path of ["/", "/status.json", "/metrics"]) {
        assert.strictEqual((yield* ask(`GET ${path}`)).status, 401)
        assert.strictEqual((yield* ask(`GET ${path}`, { headers: basic("guessed") })).status, 401)
        assert.strictEqual((yield* ask(`GET ${path}`, { headers: basic(secret) })).status, 200)
        assert.strictEqual((yield* ask(`GET ${path}`, bearer(secret))).status, 200)
      }
    }))

  it.live("refuses other paths and methods", () =>
    Effect.gen(function*() {
      const { ask } = yield* served()
      const statuses = []
      for (const line of ["GET /nothing", "GET /../etc/passwd", "DELETE /", "POST /actions/other", "HEAD /"]) {
        statuses.push((yield* ask(line)).status)
      }
      assert.deepStrictEqual(statuses, [404, 404, 405, 404, 200])
    }))
})
