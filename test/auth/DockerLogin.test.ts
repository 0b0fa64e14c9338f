import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Redacted } from "effect"
import { TestClock } from "effect/testing"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { type Login, login, logout } from "../../src/auth/DockerLogin.ts"
import { basic, keeps, make } from "../utils/DockerHome.ts"

const ada = (password = "secret"): Login => ({ _tag: "Basic", username: "ada", password: Redacted.make(password) })

const withNode = Effect.provide(NodeServices.layer)

const config = ".docker/config.json"

/** Advances the clock by seconds, in steps between which files can be read. */
const waited = (seconds: number) =>
  Effect.repeat(
    Effect.andThen(TestClock.adjust("20 millis"), Effect.promise(() => Fs.promises.stat("/"))),
    { times: seconds * 50 - 1 }
  )

const setUp = Effect.fnUntraced(function*(home: Parameters<typeof make>[0]) {
  const user = yield* make(home)
  const at = (name: string) => Path.join(user.home, name)
  return {
    ...user,
    at,
    json: (name: string = config) => JSON.parse(Fs.readFileSync(at(name), "utf8")),
    login: (host: string, credential = ada()) => user.inside(login(host, credential)),
    logout: (host: string) => user.inside(logout(host))
  }
})

describe("login", () => {
  it.effect("creates the file, readable only by its owner, if it is absent", () =>
    Effect.gen(function*() {
      const { at, json, login, lookup } = yield* setUp({})
      assert.deepStrictEqual(yield* login("reg.io:5000"), { source: at(config), changed: true })
      assert.deepStrictEqual(json(), { auths: { "reg.io:5000": basic("ada", "secret") } })
      assert.strictEqual(Fs.statSync(at(config)).mode & 0o777, 0o600)
      assert.strictEqual(Fs.statSync(at(".docker")).mode & 0o777, 0o700)
      assert.deepStrictEqual(Fs.readdirSync(at(".docker")), ["config.json"])
      assert.strictEqual(yield* lookup("reg.io:5000", "team/app"), "ada:secret")
    }).pipe(withNode))

  it.effect("keeps the rest of the file, its mode, and a link to it", () =>
    Effect.gen(function*() {
      const before = {
        HttpHeaders: { "User-Agent": "some" },
        auths: { "other.io": basic("bob"), "reg.io": { ...basic("old"), email: "old@example.com" } },
        plugins: { "x-cli-hints": { enabled: "true" } },
        currentContext: "here"
      }
      const { at, json, login } = yield* setUp({ files: { "real/config.json": before } })
      Fs.mkdirSync(at(".docker"))
      Fs.symlinkSync("../real/config.json", at(config))
      Fs.chmodSync(at("real/config.json"), 0o640)
      yield* login("reg.io")
      assert.deepStrictEqual(json("real/config.json"), {
        ...before,
        auths: { "other.io": basic("bob"), "reg.io": basic("ada", "secret") }
      })
      assert.deepStrictEqual(Object.keys(json("real/config.json")), Object.keys(before))
      assert.isTrue(Fs.lstatSync(at(config)).isSymbolicLink())
      assert.strictEqual(Fs.statSync(at(config)).mode & 0o777, 0o640)
      assert.deepStrictEqual(Fs.readdirSync(at("real")), ["config.json"])
    }).pipe(withNode))

  it.effect("leaves the rest of the file as it is, to the byte", () =>
    Effect.gen(function*() {
      const before = `{ "detachKeys" : "ctrl-\\u0065,}{",\r\n  "size": 12345678901234567890, "rate": 1.0,
  "auths": {"other.io": { "auth":"${basic("bob").auth}" , "n": 1e400, "nested": {"a,b": ["]", {}]} }, "reg.io":{} } ,
"2": null, "1" :[ true ]\n}\n`
      const { at, login, logout } = yield* setUp({ files: { [config]: before } })
      yield* login("reg.io")
      const [head = "", tail = ""] = before.trim().split(/\{"other\.io".*\{\} \}/s)
      const other = `"other.io": { "auth":"${basic("bob").auth}" , "n": 1e400, "nested": {"a,b": ["]", {}]} }`
      const entry = `"reg.io": {\n\t\t\t"auth": "${basic("ada", "secret").auth}"\n\t\t}`
      assert.strictEqual(
        Fs.readFileSync(at(config), "utf8"),
        `${head}{\n\t\t${other},\n\t\t${entry}\n\t}${tail}`
      )
      yield* logout("reg.io")
      assert.strictEqual(Fs.readFileSync(at(config), "utf8"), `${head}{\n\t\t${other}\n\t}${tail}`)
    }).pipe(withNode))

  it.effect.each<readonly [before: string, after: object]>([
    ["", {}],
    [" \n", {}],
    ["null", {}],
    ["{ }", {}],
    [`{"auths":null}`, {}],
    [`{"Auths":{"x.io":{}}}`, { Auths: { "x.io": {}, "reg.io": basic("ada", "secret") } }],
    [`{"other":1}`, { other: 1 }]
  ])("accepts a file that a lookup accepts: %j", ([before, after]) =>
    Effect.gen(function*() {
      const { json, login, lookup } = yield* setUp({ files: { [config]: before } })
      yield* login("reg.io")
      assert.deepStrictEqual(
        json(),
        "Auths" in after ? after : { ...after, auths: { "reg.io": basic("ada", "secret") } }
      )
      assert.strictEqual(yield* lookup("reg.io"), "ada:secret")
    }).pipe(withNode))

  it.effect("creates the target of a link, if it is absent", () =>
    Effect.gen(function*() {
      const { at, json, login } = yield* setUp({ files: { "real/other": "" } })
      Fs.mkdirSync(at(".docker"))
      Fs.symlinkSync("../real/config.json", at(config))
      yield* login("reg.io")
      assert.isTrue(Fs.lstatSync(at(config)).isSymbolicLink())
      assert.property(json("real/config.json").auths, "reg.io")
    }).pipe(withNode))

  it.effect("does not replace a device", () =>
    Effect.gen(function*() {
      const { at, login } = yield* setUp({})
      Fs.mkdirSync(at(".docker"))
      Fs.symlinkSync("/dev/null", at(config))
      const error = yield* Effect.flip(login("reg.io"))
      assert.strictEqual(error.problem, "it is not a regular file")
      assert.isTrue(Fs.statSync("/dev/null").isCharacterDevice())
    }).pipe(withNode))

  it.effect("writes to the given file", () =>
    Effect.gen(function*() {
      const { at, inside, json } = yield* setUp({ env: { REGISTRY_AUTH_FILE: "~/own.json" } })
      yield* inside(login("reg.io", ada(), { file: at("given.json") }))
      assert.deepStrictEqual(json("given.json"), { auths: { "reg.io": basic("ada", "secret") } })
      yield* inside(logout("reg.io", { file: at("given.json") }))
      assert.deepStrictEqual(json("given.json"), { auths: {} })
      assert.isFalse(Fs.existsSync(at("own.json")))
    }).pipe(withNode))

  it.effect("writes docker's key for Docker Hub, and removes its other names", () =>
    Effect.gen(function*() {
      const { json, login, lookup } = yield* setUp({
        files: { [config]: { auths: { "docker.io": basic("old"), "index.docker.io": basic("older") } } }
      })
      yield* login("docker.io")
      assert.deepStrictEqual(json(), { auths: { "https://index.docker.io/v1/": basic("ada", "secret") } })
      assert.strictEqual(yield* lookup("docker.io"), "ada:secret")
    }).pipe(withNode))

  it.effect("stores an identity token under docker's name for it", () =>
    Effect.gen(function*() {
      const { json, login, lookup } = yield* setUp({})
      yield* login("reg.io", { ...ada("refresh"), username: "<token>" })
      assert.deepStrictEqual(json(), { auths: { "reg.io": { identitytoken: "refresh" } } })
      assert.strictEqual(yield* lookup("reg.io"), "IdentityToken refresh")
    }).pipe(withNode))

  it.effect.each<readonly [name: string, config: object]>([
    ["the store of all hosts", { credsStore: "safe" }],
    ["the helper of one host", { credHelpers: { "reg.io": "safe" } }]
  ])("stores the secret in %s, and only an empty entry in the file", ([, files]) =>
    Effect.gen(function*() {
      const { calls, json, login, lookup } = yield* setUp({
        files: { [config]: { ...files, auths: { "reg.io": basic("old") } } },
        helpers: { safe: keeps }
      })
      assert.deepStrictEqual(yield* login("reg.io"), { source: "docker-credential-safe", changed: true })
      assert.deepStrictEqual(json(), { ...files, auths: { "reg.io": {} } })
      assert.deepStrictEqual(yield* calls, [`store {"ServerURL":"reg.io","Username":"ada","Secret":"secret"}`])
      assert.strictEqual(yield* lookup("reg.io"), "ada:secret")
    }).pipe(withNode))

  it.effect("excludes a host from the store if docker does", () =>
    Effect.gen(function*() {
      const { calls, json, login } = yield* setUp({
        files: { [config]: { credsStore: "safe", credHelpers: { "reg.io": "" } } },
        helpers: { safe: keeps }
      })
      yield* login("reg.io")
      assert.deepStrictEqual(json().auths, { "reg.io": basic("ada", "secret") })
      assert.deepStrictEqual(yield* calls, [])
    }).pipe(withNode))

  it.effect("writes to the file that REGISTRY_AUTH_FILE names, or to config.json in DOCKER_CONFIG", () =>
    Effect.gen(function*() {
      const podman = yield* setUp({ env: { REGISTRY_AUTH_FILE: "~/own.json" } })
      yield* podman.login("reg.io")
      assert.deepStrictEqual(podman.json("own.json"), { auths: { "reg.io": basic("ada", "secret") } })
      const docker = yield* setUp({ env: { DOCKER_CONFIG: "~/own" } })
      yield* docker.login("reg.io")
      assert.deepStrictEqual(docker.json("own/config.json"), { auths: { "reg.io": basic("ada", "secret") } })
    }).pipe(withNode))

  it.effect.each<readonly [text: string, problem: string]>([
    ["{ nope", "it is not JSON"],
    ["[]", "it is not a JSON object"],
    [`{ "auths": [] }`, "auths is not an object"],
    [`{ "credsStore": 5 }`, "credsStore is not a name"],
    [`{ "credsStore": "../evil" }`, "it names a credential helper by other characters"]
  ])("does not change a broken file: %s", ([text, problem]) =>
    Effect.gen(function*() {
      const { at, login } = yield* setUp({ files: { [config]: text } })
      const error = yield* Effect.flip(login("reg.io"))
      assert.include(error.message, problem)
      assert.strictEqual(Fs.readFileSync(at(config), "utf8"), text)
    }).pipe(withNode))

  it.effect("changes nothing if the helper fails, and does not quote its output", () =>
    Effect.gen(function*() {
      const before = { credsStore: "safe", auths: {} }
      const { json, login } = yield* setUp({
        files: { [config]: before },
        helpers: { safe: "cat; exit 3" }
      })
      const error = yield* Effect.flip(login("reg.io"))
      assert.strictEqual(error.message, "no credentials from docker-credential-safe: it ended with exit code 3")
      assert.notInclude(JSON.stringify(error), "secret")
      assert.deepStrictEqual(json(), before)
    }).pipe(withNode))
})

describe("concurrent logins", () => {
  it.live("are all stored, and leave no other files", () =>
    Effect.gen(function*() {
      const { at, json, login, logout } = yield* setUp({
        files: { [config]: { auths: { "old.io": basic("old") }, other: 1 } }
      })
      const hosts = Array.from({ length: 20 }, (_, n) => `reg${n}.io`)
      yield* Effect.all([...hosts.map((host) => login(host)), logout("old.io")], { concurrency: "unbounded" })
      assert.sameMembers(Object.keys(json().auths), hosts)
      assert.strictEqual(json().other, 1)
      assert.deepStrictEqual(Fs.readdirSync(at(".docker")), ["config.json"])
    }).pipe(withNode))

  it.effect("wait for a lock, until its holder has not moved for 10 seconds", () =>
    Effect.gen(function*() {
      const { at, json, login } = yield* setUp({ files: { [config]: {}, [`${config}.lock`]: "someone" } })
      const logins = yield* Effect.forkChild(Effect.all([login("a.io"), login("b.io")], { concurrency: 2 }))
      yield* waited(9)
      assert.isUndefined(logins.pollUnsafe())
      assert.deepStrictEqual(json(), {})
      Fs.writeFileSync(at(`${config}.lock`), "another")
      yield* waited(9)
      assert.isUndefined(logins.pollUnsafe())
      yield* Effect.raceFirst(Fiber.join(logins), Effect.forever(waited(1)))
      assert.sameMembers(Object.keys(json().auths), ["a.io", "b.io"])
      assert.deepStrictEqual(Fs.readdirSync(at(".docker")), ["config.json"])
    }).pipe(withNode))
})

describe("logout", () => {
  it.effect("deletes a host under all its names, and nothing else", () =>
    Effect.gen(function*() {
      const { at, json, logout } = yield* setUp({
        files: {
          [config]: {
            auths: { "https://reg.io/v2/": basic("a"), "reg.io": basic("b"), "reg.io/team": basic("c"), "x.io": {} },
            other: 1
          }
        }
      })
      assert.deepStrictEqual(yield* logout("reg.io"), { source: at(config), changed: true })
      assert.deepStrictEqual(json(), { auths: { "reg.io/team": basic("c"), "x.io": {} }, other: 1 })
    }).pipe(withNode))

  it.effect("reports if there is nothing to delete, and leaves the file unchanged", () =>
    Effect.gen(function*() {
      const { at, logout } = yield* setUp({ files: { [config]: `{"auths":{}}` } })
      assert.isFalse((yield* logout("reg.io")).changed)
      assert.strictEqual(Fs.readFileSync(at(config), "utf8"), `{"auths":{}}`)
    }).pipe(withNode))

  it.effect("deletes from a helper", () =>
    Effect.gen(function*() {
      const { json, login, logout, lookup } = yield* setUp({
        files: { [config]: { credsStore: "safe" } },
        helpers: { safe: keeps }
      })
      yield* login("docker.io")
      assert.deepStrictEqual(yield* logout("docker.io"), { source: "docker-credential-safe", changed: true })
      assert.deepStrictEqual(json(), { credsStore: "safe", auths: {} })
      assert.isUndefined(yield* lookup("docker.io"))
      assert.isFalse((yield* logout("docker.io")).changed)
    }).pipe(withNode))
})
