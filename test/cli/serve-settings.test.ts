import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Option } from "effect"
import { Host } from "effect-oci/Reference"
import * as Yaml from "effect/encoding/Yaml"
import * as Path from "node:path"
import * as ServeSettings from "../../src/cli/ServeSettings.ts"
import { validatorOf } from "../utils/JsonSchemas.ts"
import { temporary } from "../utils/serving.ts"

const host = (name: string) => Host.make(name)

// each value is absent
const nothing = Object.fromEntries(
  Object.keys(ServeSettings.flags).map((name) => [name, Option.none()])
) as ServeSettings.Given

const read = (
  { env = {}, file, given = {} }: {
    readonly env?: Readonly<Record<string, string>>
    readonly file?: string
    readonly given?: Partial<ServeSettings.Given>
  }
) =>
  ServeSettings.read({ ...nothing, ...given }, file).pipe(
    Effect.provide([NodeServices.layer, ConfigProvider.layer(ConfigProvider.fromEnv({ env }))])
  )

const definedIn = (values: ServeSettings.Values) =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))

const whole = `
host: 0.0.0.0
port: 443
dir: data
delete: false
readOnly: true
user: [ada:passwords/ada]
htpasswd: users
access: /etc/access.yml
tlsCert: tls.crt
tlsKey: tls.key
allowedHost: [registry.test]
maxBlob: 2GiB
maxRepository: 1000
maxRequests: 5
proxy: docker.io
metricsPort: 9090
log: json
`

describe("the settings of serve", () => {
  it.effect("are those of the file, whose paths are relative to its folder", () =>
    Effect.gen(function*() {
      const { folder, write } = yield* temporary
      assert.deepStrictEqual(definedIn(yield* read({ file: write("serve.yml", whole) })), {
        host: "0.0.0.0",
        port: 443,
        dir: Path.join(folder, "data"),
        delete: false,
        readOnly: true,
        user: [`ada:${Path.join(folder, "passwords/ada")}`],
        htpasswd: Path.join(folder, "users"),
        access: "/etc/access.yml",
        tlsCert: Path.join(folder, "tls.crt"),
        tlsKey: Path.join(folder, "tls.key"),
        allowedHost: ["registry.test"],
        maxBlob: 2 * 1024 ** 3,
        maxRepository: 1000,
        maxRequests: 5,
        proxy: [{ host: host("docker.io"), prefix: "", connection: {} }],
        metricsPort: 9090,
        log: "json"
      })
    }))

  it.effect("may be written in JSON and TOML", () =>
    Effect.gen(function*() {
      const { write } = yield* temporary
      const expected = { port: 1, allowedHost: ["a.test"] }
      assert.deepStrictEqual(definedIn(yield* read({ file: write("a.json", JSON.stringify(expected)) })), expected)
      const toml = write("a.toml", "port = 1\nallowedHost = [\"a.test\"]\n")
      assert.deepStrictEqual(definedIn(yield* read({ file: toml })), expected)
    }))

  it.effect("of the environment override the file, and flags override both", () =>
    Effect.gen(function*() {
      const { write } = yield* temporary
      const file = write("serve.yml", "port: 1\nmaxBlob: 1\nmaxTotal: 1\ndelete: false\n")
      const env = {
        EFFECT_OCI_SERVE_MAX_BLOB: "2",
        EFFECT_OCI_SERVE_MAX_TOTAL: "2",
        EFFECT_OCI_SERVE_DELETE: "true",
        EFFECT_OCI_SERVE_ALLOWED_HOST: "a.test, b.test",
        EFFECT_OCI_SERVE_HOST: ""
      }
      assert.deepStrictEqual(definedIn(yield* read({ file, env, given: { maxTotal: Option.some(3) } })), {
        port: 1,
        maxBlob: 2,
        maxTotal: 3,
        delete: true,
        allowedHost: ["a.test", "b.test"]
      })
    }))

  it.effect("may be patterns with commas in the environment", () =>
    Effect.gen(function*() {
      const env = { EFFECT_OCI_SERVE_GC_EXCLUDE: "^v\\d{1,3}$, ^pr-" }
      assert.deepStrictEqual(definedIn(yield* read({ env })), { gcExclude: ["^v\\d{1,3}$", "^pr-"] })
    }))

  it.effect("name several upstreams, with their connections in the file", () =>
    Effect.gen(function*() {
      const { folder, write } = yield* temporary
      const text = "proxy:\n  - ghcr=ghcr.io\n  - { host: own.test:5000, prefix: own, caFile: ca.pem, rate: 20/s }\n"
      const expected = [
        { host: host("ghcr.io"), prefix: "ghcr", connection: {} },
        { host: host("own.test:5000"), prefix: "own", connection: { caFile: Path.join(folder, "ca.pem"), rate: 20 } }
      ]
      assert.deepStrictEqual((yield* read({ file: write("serve.yml", text) })).proxy, expected)
      const env = { EFFECT_OCI_SERVE_PROXY: "hub=docker.io,quay.io" }
      assert.deepStrictEqual((yield* read({ env })).proxy, [
        { host: host("docker.io"), prefix: "hub", connection: {} },
        { host: host("quay.io"), prefix: "", connection: {} }
      ])
      const failed = yield* Effect.flip(read({ env: { EFFECT_OCI_SERVE_PROXY: "hub=docker.io,hub=quay.io" } }))
      assert.deepStrictEqual(failed.lines, ["EFFECT_OCI_SERVE_PROXY: two upstreams have the prefix hub"])
    }))

  it.effect("that are unknown are reported in one short line", () =>
    Effect.gen(function*() {
      const { write } = yield* temporary
      const { lines } = yield* Effect.flip(read({ file: write("serve.yml", "maximumSize: 1\nzzz: 1\n") }))
      assert.lengthOf(lines, 2)
      for (const line of lines) assert.isBelow(line.length, 300)
      assert.include(lines[0], "use one of maxBlob")
    }))

  it.effect("are refused with all problems of the file", () =>
    Effect.gen(function*() {
      const { write } = yield* temporary
      const file = write("serve.yml", "max-blob: 1\nport: 70000\nreadOnly: maybe\nmaxTotal: 1XB\nlog: xml\n")
      const { lines } = yield* Effect.flip(read({ file }))
      assert.sameMembers(lines.map((line) => line.slice(file.length + 2)), [
        "max-blob: unknown key \"max-blob\"; did you mean maxBlob?",
        "port: \"70000\" is not a number from 0 to 65535",
        "readOnly: expected true or false, found text",
        "maxTotal: \"1XB\" is not a size of at least 1 byte, such as 1000, 500MB or 2GiB",
        "log: \"xml\" is not text, json or off"
      ])
    }))

  it.effect("are refused if a variable is not valid, or the file is absent", () =>
    Effect.gen(function*() {
      const env = { EFFECT_OCI_SERVE_PORT: "tcp://10.0.0.1:5000", EFFECT_OCI_SERVE_READ_ONLY: "perhaps" }
      assert.deepStrictEqual((yield* Effect.flip(read({ env }))).lines, [
        "EFFECT_OCI_SERVE_PORT: \"tcp://10.0.0.1:5000\" is not a number from 0 to 65535",
        "EFFECT_OCI_SERVE_READ_ONLY: \"perhaps\" is not true or false"
      ])
      const absent = yield* Effect.flip(read({ file: "/no/such/file.yml" }))
      assert.deepStrictEqual(absent.lines, ["/no/such/file.yml: cannot read the file: there is no such file"])
    }))

  it.live("and the rights have JSON Schemas", () =>
    Effect.gen(function*() {
      const checkSettings = yield* validatorOf("serve-config")
      checkSettings(Yaml.parse(whole))
      assert.throws(() => checkSettings({ port: true }))
      const checkAccess = yield* validatorOf("serve-access")
      checkAccess({ rules: [{ repositories: "a", users: ["ada"], allow: "pull" }], metrics: { anonymous: true } })
      assert.throws(() => checkAccess({ rules: [{ repositories: "a", users: "ada", allow: "pulll" }] }))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("that need a restart are known", () =>
    Effect.gen(function*() {
      const { write } = yield* temporary
      const former = yield* read({ file: write("a.yml", "port: 1\nmaxBlob: 1\nhtpasswd: a\n") })
      const current = yield* read({ file: write("b.yml", "port: 2\nmaxBlob: 1\nhtpasswd: b\nreadOnly: true\n") })
      assert.deepStrictEqual(ServeSettings.needRestart(former, current), ["--port", "--read-only"])
    }))
})
