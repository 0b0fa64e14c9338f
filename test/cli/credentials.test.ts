import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import * as Authentication from "effect-oci/Authentication"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Fs from "node:fs"
import * as Https from "node:https"
import * as Path from "node:path"
import * as certificates from "../utils/certificates.ts"
import * as Command from "../utils/Command.ts"
import { pushImage, repository, tag } from "../utils/images.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import { listening } from "../utils/ScriptedServer.ts"
import { serve } from "../utils/Served.ts"

const withNode = Effect.provide(NodeServices.layer)

/** Serves a registry with `team/app:1` that admits only these users, and records the logins that it receives. */
const guarded = Effect.fnUntraced(function*(users: Readonly<Record<string, ReadonlyArray<string>>>) {
  const received = new Set<string>()
  const registry = yield* MemoryRegistry.make()
  yield* pushImage(registry, repository("team/app"), ["layer"], { tags: [tag("1")] })
  const { host } = yield* serve(registry, {
    authentication: Authentication.basic({
      check: (name, password) =>
        Effect.sync(() => {
          received.add(`${name}:${Redacted.value(password)}`)
          return Object.hasOwn(users, name) && Redacted.value(password) === `${name}-password`
        }),
      // each user may do everything in the repositories with these prefixes
      authorize: (name, permission) =>
        Effect.succeed(
          name !== undefined && (users[name] ?? []).some((prefix) => permission.name.startsWith(prefix))
        )
    })
  })
  return { host, received: () => Array.from(received).sort() }
})

const anywhere = [""]

/** Makes a user with a folder that contains password files. */
const newUser = Effect.gen(function*() {
  const folder = yield* temporaryFolder
  const at = (name: string) => Path.join(folder, name)
  for (const name of ["ada", "bob"]) Fs.writeFileSync(at(name), `${name}-password\n`)
  const env = { HOME: folder }
  return {
    at,
    write: (name: string, content: unknown) => {
      Fs.writeFileSync(at(name), typeof content === "string" ? content : JSON.stringify(content))
      return at(name)
    },
    run: (options: Command.Options, ...args: ReadonlyArray<string>) =>
      Command.runWith({ ...options, env: { ...env, ...options.env } }, ...args)
  }
})

const login = (name: string) => ({ username: name, password: `${name}-password` })

describe("--username", () => {
  it.live.each<readonly [args: (app: string) => ReadonlyArray<string>]>([
    [(app) => ["tags", app]],
    [(app) => ["resolve", `${app}:1`]],
    [(app) => ["manifest", "get", `${app}:1`]],
    [(app) => ["tree", `${app}:1`]],
    [(app) => ["tag", `${app}:1`, "2"]],
    [(app) => ["diff", `${app}:1`, `${app}:1`]],
    [(app) => ["catalog", app.split("/", 1).join()]]
  ])("authenticates at the registry that a verb names: %s", ([args]) =>
    Effect.gen(function*() {
      const { at, run } = yield* newUser
      const { host, received } = yield* guarded({ ada: anywhere })
      const words = args(`${host}/team/app`)
      for (const options of [["--password-stdin"], ["--password-file", at("ada")]]) {
        const { code, stderr } = yield* run({ stdin: "ada-password\r\n" }, ...words, "--username", "ada", ...options)
        assert.strictEqual(code, 0, stderr)
      }
      assert.deepStrictEqual(received(), ["ada:ada-password"])
    }).pipe(withNode))

  it.live("takes precedence over the environment, and that over the credentials of docker", () =>
    Effect.gen(function*() {
      const { at, run, write } = yield* newUser
      const { host, received } = yield* guarded({ ada: anywhere, bob: anywhere, eve: anywhere })
      const authfile = write("auth.json", { auths: { [host]: login("eve") } })
      const env = { OCI_REGISTRY: host, OCI_USERNAME: "bob", OCI_PASSWORD: "bob-password" }
      const verb = ["resolve", `${host}/team/app:1`, "--authfile", authfile]
      yield* run({}, ...verb)
      assert.deepStrictEqual(received(), ["eve:eve-password"])
      yield* run({ env }, ...verb)
      assert.deepStrictEqual(received(), ["bob:bob-password", "eve:eve-password"])
      yield* run({ env }, ...verb, "--username", "ada", "--password-file", at("ada"))
      assert.deepStrictEqual(received(), ["ada:ada-password", "bob:bob-password", "eve:eve-password"])
    }).pipe(withNode))

  it.live("is named after a refusal, without its password", () =>
    Effect.gen(function*() {
      const { run } = yield* newUser
      const { host } = yield* guarded({ ada: anywhere })
      const { code, stderr } = yield* run(
        { stdin: "wrong-marker" },
        "resolve",
        `${host}/team/app:1`,
        "--username",
        "ada",
        "--password-stdin"
      )
      assert.strictEqual(code, 1)
      assert.include(
        stderr,
        `; the credentials for ${host} come from --username; check the name and the password of --username\n`
      )
      assert.notInclude(stderr, "wrong-marker")
    }).pipe(withNode))
})

describe("--from-username and --to-username", () => {
  it.live.each(["copy", "plan"])("authenticate at one end each: %s", (verb) =>
    Effect.gen(function*() {
      const { at, run } = yield* newUser
      const source = yield* guarded({ ada: anywhere })
      const destination = yield* guarded({ bob: anywhere })
      const { code, stderr } = yield* run(
        { stdin: "bob-password\n" },
        verb,
        `${source.host}/team/app:1`,
        `${destination.host}/mirror/app:1`,
        "--from-username",
        "ada",
        "--from-password-file",
        at("ada"),
        "--to-username",
        "bob",
        "--to-password-stdin"
      )
      assert.strictEqual(code, 0, stderr)
      assert.deepStrictEqual(source.received(), ["ada:ada-password"])
      assert.deepStrictEqual(destination.received(), ["bob:bob-password"])
    }).pipe(withNode))

  it.live("authenticate for one repository each, if both are in one registry", () =>
    Effect.gen(function*() {
      const { at, run } = yield* newUser
      const { host, received } = yield* guarded({ ada: ["team/app"], bob: ["team/app/copy"] })
      const { code, stderr } = yield* run(
        {},
        "copy",
        `${host}/team/app:1`,
        `${host}/team/app/copy:1`,
        "--from-username",
        "ada",
        "--from-password-file",
        at("ada"),
        "--to-username",
        "bob",
        "--to-password-file",
        at("bob")
      )
      assert.strictEqual(code, 0, stderr)
      assert.deepStrictEqual(received(), ["ada:ada-password", "bob:bob-password"])
      const alone = yield* run(
        {},
        "copy",
        `${host}/team/app:1`,
        `${host}/team/app/other:1`,
        "--from-username",
        "ada",
        "--from-password-file",
        at("ada")
      )
      assert.strictEqual(alone.code, 1)
      assert.include(alone.stderr, `effect-oci login ${host}`)
    }).pipe(withNode))
})

describe("OCI_REGISTRY", () => {
  it.live("is the only host that gets OCI_USERNAME and OCI_PASSWORD", () =>
    Effect.gen(function*() {
      const { run } = yield* newUser
      const [one, two] = [yield* guarded({ ada: anywhere }), yield* guarded({ ada: anywhere })]
      const env = { OCI_REGISTRY: one.host, OCI_USERNAME: "ada", OCI_PASSWORD: "ada-password" }
      assert.strictEqual((yield* run({ env }, "resolve", `${one.host}/team/app:1`)).code, 0)
      assert.strictEqual((yield* run({ env }, "resolve", `${two.host}/team/app:1`)).code, 1)
      assert.deepStrictEqual(two.received(), [])
      const wrong = yield* run({ env: { ...env, OCI_PASSWORD: "x" } }, "resolve", `${one.host}/team/app:1`)
      assert.include(wrong.stderr, "come from OCI_REGISTRY; check the name and the password of OCI_REGISTRY")
    }).pipe(withNode))

  it.live("causes a warning if it is missing, and the credentials are sent to no host", () =>
    Effect.gen(function*() {
      const { run, write } = yield* newUser
      const { host, received } = yield* guarded({ ada: anywhere, bob: anywhere })
      const authfile = write("auth.json", { auths: { [host]: login("bob") } })
      const { code, stderr } = yield* run(
        { env: { OCI_USERNAME: "ada", OCI_PASSWORD: "ada-password" } },
        "resolve",
        `${host}/team/app:1`,
        "--authfile",
        authfile
      )
      assert.deepStrictEqual(
        [code, stderr],
        [0, "warning: credentials of the environment are ignored: OCI_REGISTRY is missing\n"]
      )
      assert.deepStrictEqual(received(), ["bob:bob-password"])
    }).pipe(withNode))
})

describe("--authfile", () => {
  it.live("is the file that login writes, that verbs read, and that logout clears", () =>
    Effect.gen(function*() {
      const { at, run, write } = yield* newUser
      const { host } = yield* guarded({ ada: anywhere })
      const ended = (...args: ReadonlyArray<string>) => run({ stdin: "ada-password" }, ...args)
      const file = at("own/auth.json")
      const resolve = ["resolve", `${host}/team/app:1`]
      const first = yield* ended("login", host, "-u", "ada", "--password-stdin", "--authfile", file)
      assert.deepStrictEqual(
        [first.code, first.stdout],
        [0, `logged in to ${host} as ada, stored in ${file}\n`]
      )
      assert.isFalse(Fs.existsSync(at(".docker")))
      assert.strictEqual((yield* ended(...resolve, "--authfile", file)).code, 0)
      assert.strictEqual((yield* ended(...resolve)).code, 1)
      assert.strictEqual((yield* ended("logout", host, "--authfile", file)).code, 0)
      const after = yield* ended(...resolve, "--authfile", file)
      assert.include(after.stderr, `credentials for ${host} were searched in ${file} (no entry)`)
      assert.include(after.stderr, `effect-oci login --authfile ${file} ${host}\n`)
      Fs.rmSync(file)
      assert.include((yield* ended(...resolve, "--authfile", file)).stderr, `${file} (absent)`)
      write("own/auth.json", "{")
      assert.include((yield* ended(...resolve, "--authfile", file)).stderr, `no credentials from ${file}`)
    }).pipe(withNode))
})

describe("a credential helper that is missing", () => {
  it.live("causes a warning, and is named again if the registry refuses", () =>
    Effect.gen(function*() {
      const { run, write } = yield* newUser
      const { host } = yield* guarded({ ada: anywhere })
      const authfile = write("auth.json", { credsStore: "effect-oci-missing" })
      const { code, stderr } = yield* run({}, "resolve", `${host}/team/app:1`, "--authfile", authfile)
      assert.strictEqual(code, 1)
      const [warning, error = "", ...rest] = stderr.trimEnd().split("\n")
      const helper = "docker-credential-effect-oci-missing"
      assert.strictEqual(
        warning,
        `warning: ${host}: no credentials from ${helper}: there is no such program on the PATH`
      )
      assert.include(error, `${authfile} (${helper}, for ${host})`)
      assert.include(error, `; effect-oci login --authfile ${authfile} ${host}, or make sure that ${helper} works`)
      assert.deepStrictEqual(rest, [])
    }).pipe(withNode))

  it.live("does not prevent the read of a public image", () =>
    Effect.gen(function*() {
      const { run, write } = yield* newUser
      const registry = yield* MemoryRegistry.make()
      yield* pushImage(registry, repository("team/app"), ["layer"], { tags: [tag("1")] })
      const { host } = yield* serve(registry)
      const authfile = write("auth.json", { credsStore: "effect-oci-missing" })
      const { code } = yield* run({}, "copy", `${host}/team/app:1`, `${host}/mirror:1`, "--authfile", authfile)
      assert.strictEqual(code, 0)
    }).pipe(withNode))
})

describe("--tls", () => {
  it.live("uses HTTPS for a registry on this machine", () =>
    Effect.gen(function*() {
      const { run, write } = yield* newUser
      const ca = write("ca.pem", certificates.authority)
      const host = yield* listening(() =>
        Https.createServer(
          { cert: certificates.serverCertificate, key: certificates.serverKey },
          (_, response) => void response.writeHead(200, { "content-type": "application/json" }).end(`{"tags":["1"]}`)
        )
      )
      const { code, stdout } = yield* run({}, "tags", `${host}/team/app`, "--tls", host, "--ca-file", ca)
      assert.deepStrictEqual([code, stdout], [0, "1\n"])
      const { code: insecure } = yield* run({}, "tags", `${host}/team/app`, "--tls", host, "--insecure", host)
      assert.strictEqual(insecure, 0)
    }).pipe(withNode))
})

describe("a proxy that cannot be used", () => {
  it.live("causes one line that names its variable, without a password", () =>
    Effect.gen(function*() {
      const { run } = yield* newUser
      for (const value of ["socks5://ada:marker@127.0.0.1:1", "://marker", "http://ada:marker@:x", "ftp://marker"]) {
        const { code, stderr } = yield* run(
          { env: { HTTP_PROXY: value } },
          "resolve",
          "registry.test/app:1",
          "--plain-http",
          "registry.test"
        )
        assert.strictEqual(code, 1)
        assert.match(stderr, /^effect-oci: [^\n]*HTTP_PROXY [^\n]*; correct this variable, or unset it\n$/)
        assert.notInclude(stderr, "marker")
      }
    }).pipe(withNode))
})
