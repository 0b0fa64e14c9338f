import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, FileSystem, Option, Schema } from "effect"
import * as Credentials from "effect-oci/Credentials"
import * as DockerConfig from "effect-oci/DockerConfig"
import * as RegistryError from "effect-oci/RegistryError"
import { TestClock } from "effect/testing"
import { inspect } from "node:util"
import { basic, type Home, knows, knowsNobody, lookup, make, show } from "../utils/DockerHome.ts"

/** Part of every secret here. */
const marker = "MARKER"
const secretOf = (name: string) => `${marker}-${name}`

describe("DockerConfig", () => {
  it.effect.each<readonly [entry: unknown, found: string | undefined]>([
    [{ auth: "YWRhOnBhc3M=" }, "ada:pass"],
    [{ auth: "YWRhOnBhOnNz" }, "ada:pa:ss"],
    [{ auth: "YWRhOnBhc3M" }, "ada:pass"],
    [{ auth: "YWRhOnBh\nc3M=\r\n" }, "ada:pass"],
    [{ auth: "YWRhOnBhc3MAAA==" }, "ada:pass"],
    [{ auth: "w6nDoDrDqcOg" }, "éà:éà"],
    [{ username: "ada", password: "pass" }, "ada:pass"],
    [{ auth: "YWRhOnBhc3M=", username: "bob", password: "other" }, "ada:pass"],
    [{ auth: "", username: "ada", password: "pass", email: "ada@example.com" }, "ada:pass"],
    [{ auth: "MDAwMDo=", identitytoken: "refresh" }, "IdentityToken refresh"],
    [{ identitytoken: "refresh", registrytoken: "bearer" }, "RegistryToken bearer"],
    [{ auth: null, identitytoken: null, username: "ada", password: "pass" }, "ada:pass"],
    [{ Auth: "YWRhOnBhc3M=" }, "ada:pass"],
    [{ identityToken: "refresh", auth: "MDAwMDo=" }, "IdentityToken refresh"],
    [{ Username: "bob", username: "ada", password: "pass" }, "ada:pass"],
    [{}, undefined],
    [null, undefined],
    [{ email: "ada@example.com" }, undefined]
  ])("reads an entry of auths: %j", ([entry, found]) =>
    Effect.gen(function*() {
      const { lookup } = yield* make({ files: { ".docker/config.json": { auths: { "reg.io": entry } } } })
      assert.strictEqual(yield* lookup("reg.io"), found)
      assert.isUndefined(yield* lookup("other.io"))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect.each([
    { "https://index.docker.io/v1/": basic("hub") },
    { "index.docker.io": basic("hub") },
    { "docker.io": basic("hub") },
    { "https://registry-1.docker.io/v2/": basic("hub") }
  ])("recognizes all names of Docker Hub: %j", (auths) =>
    Effect.gen(function*() {
      const { lookup } = yield* make({ files: { ".docker/config.json": { auths } } })
      for (const host of ["docker.io", "index.docker.io", "registry-1.docker.io"]) {
        assert.strictEqual(yield* lookup(host, "library/busybox"), "hub:pass")
      }
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect.each([
    { Auths: { "reg.io": basic("ada") } },
    { AUTHS: {}, auths: { "reg.io": basic("ada") } },
    { auths: { "reg.io": basic("ada") }, AUTHS: {} },
    `\uFEFF${JSON.stringify({ auths: { "reg.io": basic("ada") } })}\n`
  ])("reads the fields of a config as Go does: %j", (config) =>
    Effect.gen(function*() {
      const { lookup } = yield* make({ files: { ".docker/config.json": config } })
      assert.strictEqual(yield* lookup("reg.io"), "ada:pass")
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("ignores the case of the names of helpers, and of the fields that they print", () =>
    Effect.gen(function*() {
      const { lookup } = yield* make({
        files: { ".docker/config.json": { credshelpers: {}, CredHelpers: { "one.io": "lower" }, CREDSSTORE: "lower" } },
        helpers: { lower: `read server; printf '{"username":"ada","SECRET":"pass"}'` }
      })
      assert.strictEqual(yield* lookup("one.io"), "ada:pass")
      assert.strictEqual(yield* lookup("two.io"), "ada:pass")
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect.each<Home>([
    { files: { ".docker/config.json": "" } },
    { files: { ".docker/config.json": " \r\n\t" } },
    { files: { ".docker/config.json": "null" } },
    { files: { ".docker/config.json": "{}" } },
    { files: { ".docker/config.json": { auths: null, credHelpers: null, credsStore: null } } },
    { files: { ".docker/config.json": { credHelpers: { "reg.io": null } } } },
    { env: { DOCKER_AUTH_CONFIG: " " } }
  ])("accepts a config without entries: %j", (home) =>
    Effect.gen(function*() {
      const { lookup, warnings } = yield* make(home)
      assert.isUndefined(yield* lookup("reg.io"))
      assert.deepStrictEqual(warnings, [])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("uses the longest key, as podman writes them", () =>
    Effect.gen(function*() {
      const { lookup } = yield* make({
        files: {
          ".config/containers/auth.json": {
            auths: {
              "reg.io:5000": basic("host"),
              "reg.io:5000/team": basic("team"),
              "reg.io:5000/team/app": basic("app"),
              "reg.io:5000/team/empty": {}
            }
          }
        }
      })
      assert.strictEqual(yield* lookup("reg.io:5000"), "host:pass")
      assert.strictEqual(yield* lookup("reg.io:5000", "teams/app"), "host:pass")
      assert.strictEqual(yield* lookup("reg.io:5000", "team/other"), "team:pass")
      assert.strictEqual(yield* lookup("reg.io:5000", "team/app/part"), "app:pass")
      assert.strictEqual(yield* lookup("reg.io:5000", "team/empty"), "team:pass")
      assert.isUndefined(yield* lookup("reg.io", "team/app"))
    }).pipe(Effect.provide(NodeServices.layer)))

  const auths = (name: string, ...others: ReadonlyArray<string>) => ({
    auths: Object.fromEntries([name, ...others].map((host) => [host, basic(name)]))
  })
  const everywhere: Home = {
    files: {
      ".docker/config.json": auths("docker.home", "all", "home"),
      "docker/config.json": auths("docker.env", "all"),
      "run/containers/auth.json": auths("podman.run", "all", "home", "podman"),
      ".config/containers/auth.json": auths("podman.home", "all", "home", "podman"),
      "config/containers/auth.json": auths("podman.env", "all", "podman"),
      "auth.json": auths("file", "all")
    }
  }

  it.effect.each<readonly [env: Record<string, string>, found: Record<string, string | undefined>]>([
    [{}, { all: "docker.home", home: "docker.home", podman: "podman.home" }],
    [{ DOCKER_CONFIG: "~/docker" }, { all: "docker.env", home: "podman.home", "docker.home": undefined }],
    [{ DOCKER_CONFIG: "~/nowhere" }, { all: "podman.home", "docker.home": undefined }],
    [{ DOCKER_CONFIG: "" }, { all: "docker.home" }],
    [{ XDG_RUNTIME_DIR: "~/run" }, { all: "docker.home", podman: "podman.run", "podman.home": "podman.home" }],
    [{ XDG_CONFIG_HOME: "~/config" }, { all: "docker.home", podman: "podman.env", "podman.home": undefined }],
    [{ REGISTRY_AUTH_FILE: "~/auth.json", DOCKER_CONFIG: "~/docker" }, { all: "file", podman: undefined }],
    [{ REGISTRY_AUTH_FILE: "~/missing.json" }, { all: undefined }],
    [{ DOCKER_AUTH_CONFIG: JSON.stringify(auths("inline", "all")) }, { all: "inline", home: "docker.home" }],
    [
      { DOCKER_AUTH_CONFIG: JSON.stringify(auths("inline", "all")), REGISTRY_AUTH_FILE: "~/auth.json" },
      { all: "inline", file: "file", home: undefined }
    ],
    [{ HOME: "" }, { all: undefined }],
    [{ HOME: "", USERPROFILE: "~" }, { all: "docker.home" }]
  ])("searches the places in order: %j", ([env, expected]) =>
    Effect.gen(function*() {
      const { lookup } = yield* make({ ...everywhere, env })
      for (const [host, name] of Object.entries(expected)) {
        assert.strictEqual(yield* lookup(host), name === undefined ? undefined : `${name}:pass`, host)
      }
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("reads podman's file for a user without a session, which root has on a server", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const own = "/run/containers/1234/auth.json"
      const linux = FileSystem.FileSystem.of({
        ...fs,
        stat: (path) =>
          path === "/proc/self"
            ? Effect.map(fs.stat("."), (info) => ({ ...info, uid: Option.some(1234) }))
            : fs.stat(path),
        readFileString: (path, encoding) =>
          path === own
            ? Effect.succeed(JSON.stringify({ auths: { "reg.io": basic("session") } }))
            : fs.readFileString(path, encoding)
      })
      const find = Effect.fnUntraced(function*(runtime: string) {
        const { lookup } = yield* make({ env: { XDG_RUNTIME_DIR: runtime } })
        return yield* lookup("reg.io")
      }, Effect.provideService(FileSystem.FileSystem, linux))
      assert.strictEqual(yield* find(""), "session:pass")
      assert.isUndefined(yield* find("~/run"))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("reads the given file, and no other", () =>
    Effect.gen(function*() {
      const { lookup } = yield* make({ ...everywhere, file: "~/auth.json" })
      assert.strictEqual(yield* lookup("all"), "file:pass")
      assert.isUndefined(yield* lookup("home"))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("reads at each lookup", () =>
    Effect.gen(function*() {
      const { lookup, write } = yield* make({})
      assert.isUndefined(yield* lookup("reg.io"))
      yield* write(".docker/config.json", { auths: { "reg.io": basic("later") } })
      assert.strictEqual(yield* lookup("reg.io"), "later:pass")
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("is a layer", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const file = yield* fs.makeTempFileScoped()
      yield* fs.writeFileString(file, JSON.stringify({ auths: { "reg.io": basic("ada") } }))
      const found = yield* Effect.provide(
        Credentials.Credentials.use((credentials) => lookup(credentials, "reg.io")),
        DockerConfig.layer({ file })
      )
      assert.strictEqual(show(found), "ada:pass")
    }).pipe(Effect.provide(NodeServices.layer)))
})

describe("credential helpers", () => {
  it.effect("are asked on their standard input, for Docker Hub by its URL", () =>
    Effect.gen(function*() {
      const { calls, lookup } = yield* make({
        files: { ".docker/config.json": { credsStore: "store" } },
        helpers: { store: knows("ada", "pass") }
      })
      assert.strictEqual(yield* lookup("reg.io:5000", "team/app"), "ada:pass")
      assert.strictEqual(yield* lookup("docker.io", "library/busybox"), "ada:pass")
      assert.deepStrictEqual(yield* calls, ["reg.io:5000", "https://index.docker.io/v1/"])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("return identity tokens under the name <token>", () =>
    Effect.gen(function*() {
      const { lookup } = yield* make({
        files: { ".docker/config.json": { credHelpers: { "reg.io": "acr" } } },
        helpers: { acr: knows("<token>", "refresh") }
      })
      assert.strictEqual(yield* lookup("reg.io"), "IdentityToken refresh")
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("precede the store, and that precedes auths; the next is used if one has nothing", () =>
    Effect.gen(function*() {
      const { calls, lookup } = yield* make({
        files: {
          ".docker/config.json": {
            auths: {
              "own.io": basic("auths"),
              "store.io": basic("auths"),
              "empty.io": basic("auths"),
              "plain.io": basic("auths"),
              "own.io/team": basic("team")
            },
            credHelpers: { "https://own.io": "own", "empty.io": "empty", "plain.io": "", "path.io/team": "own" },
            credsStore: "store"
          },
          ".config/containers/auth.json": { auths: { "podman.io": basic("podman") } }
        },
        helpers: {
          own: knows("own", "pass"),
          empty: knowsNobody,
          store:
            `read server; case $server in podman.io) echo "credentials not found in native keychain" >&2; exit 1;; esac
printf '{"Username":"store","Secret":"pass"}'`
        }
      })
      assert.strictEqual(yield* lookup("own.io"), "own:pass")
      assert.strictEqual(yield* lookup("own.io", "team/app"), "team:pass")
      assert.strictEqual(yield* lookup("path.io", "team/app"), "own:pass")
      assert.strictEqual(yield* lookup("path.io", "other"), "store:pass")
      assert.strictEqual(yield* lookup("store.io"), "store:pass")
      assert.strictEqual(yield* lookup("empty.io"), "auths:pass")
      assert.strictEqual(yield* lookup("plain.io"), "auths:pass")
      assert.strictEqual(yield* lookup("podman.io"), "podman:pass")
      assert.deepStrictEqual(yield* calls, ["own.io", "path.io/team", "empty.io"])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("with an empty secret have no credentials", () =>
    Effect.gen(function*() {
      const { lookup } = yield* make({
        files: { ".docker/config.json": { credsStore: "store" } },
        helpers: { store: knows("", "") }
      })
      assert.isUndefined(yield* lookup("reg.io"))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("run once for concurrent lookups", () =>
    Effect.gen(function*() {
      const { calls, lookup } = yield* make({
        files: { ".docker/config.json": { credsStore: "store" } },
        helpers: { store: knows("ada", "pass") }
      })
      const all = yield* Effect.all(
        Array.from({ length: 50 }, (_, n) => lookup("reg.io", `team/app${n}`)),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(all, new Array(50).fill("ada:pass"))
      assert.deepStrictEqual(yield* calls, ["reg.io"])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("run again when the cached value expires", () =>
    Effect.gen(function*() {
      const { calls, lookup } = yield* make({
        files: { ".docker/config.json": { credsStore: "store" } },
        helpers: { store: knows("ada", "pass") }
      })
      const count = Effect.map(calls, ({ length }) => length)
      yield* lookup("reg.io")
      yield* TestClock.adjust("59 minutes")
      yield* lookup("reg.io")
      assert.strictEqual(yield* count, 1)
      yield* TestClock.adjust("1 minute")
      yield* Effect.provideService(lookup("reg.io"), DockerConfig.HelperTimeToLive, Duration.minutes(5))
      assert.strictEqual(yield* count, 2)
      yield* TestClock.adjust("5 minutes")
      yield* lookup("reg.io")
      assert.strictEqual(yield* count, 3)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("run again soon after they had nothing, or failed", () =>
    Effect.gen(function*() {
      const { calls, lookup } = yield* make({
        files: { ".docker/config.json": { credHelpers: { "none.io": "empty", "fails.io": "fails" } } },
        helpers: { empty: knowsNobody, fails: `echo call >> calls; exit 2` }
      })
      yield* lookup("none.io")
      yield* TestClock.adjust("59 seconds")
      yield* lookup("none.io")
      assert.deepStrictEqual(yield* calls, ["none.io"])
      yield* TestClock.adjust("1 second")
      yield* lookup("none.io")
      assert.deepStrictEqual(yield* calls, ["none.io", "none.io"])
      for (let count = 0; count < 3; count++) yield* lookup("fails.io")
      assert.deepStrictEqual(yield* calls, ["none.io", "none.io", "call"])
      yield* TestClock.adjust("1 minute")
      yield* lookup("fails.io")
      assert.deepStrictEqual(yield* calls, ["none.io", "none.io", "call", "call"])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("run again when a registry refused their credentials, for that registry only", () =>
    Effect.gen(function*() {
      const { calls, credentials, lookup } = yield* make({
        files: { ".docker/config.json": { credsStore: "store" } },
        helpers: {
          store: `${knows("ada", "pass")} | sed "s/pass/pass$(grep -c . calls)/"`
        }
      })
      const first = yield* lookup("docker.io", "library/busybox")
      yield* lookup("reg.io")
      yield* credentials.refused({ host: "registry-1.docker.io", repository: "library/alpine" })
      assert.notStrictEqual(yield* lookup("docker.io", "library/busybox"), first)
      yield* lookup("reg.io")
      const hub = "https://index.docker.io/v1/"
      assert.deepStrictEqual(yield* calls, [hub, "reg.io", hub])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("are stopped when they hang", () =>
    Effect.gen(function*() {
      const { lookup, running, warnings } = yield* make({
        files: { ".docker/config.json": { credsStore: "hangs" } },
        helpers: { hangs: `echo ${secretOf("hangs")}; exec sleep 1000` }
      })
      const fiber = yield* Effect.forkChild(lookup("reg.io"))
      const helper = yield* running
      yield* TestClock.adjust("29 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      assert.isTrue(yield* helper.isRunning)
      yield* TestClock.adjust("1 second")
      assert.isUndefined(yield* Fiber.join(fiber))
      assert.deepStrictEqual(warnings, ["no credentials from docker-credential-hangs: it did not answer within 30s"])
      assert.isFalse(yield* helper.isRunning)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("have the time of HelperTimeout, and are killed if they ignore a signal", () =>
    Effect.gen(function*() {
      const { lookup, running, warnings } = yield* make({
        files: { ".docker/config.json": { credsStore: "hangs" } },
        helpers: { hangs: `trap "" TERM; sleep 1000 & wait; sleep 1000` }
      })
      const fiber = yield* lookup("reg.io").pipe(
        Effect.provideService(DockerConfig.HelperTimeout, Duration.seconds(2)),
        Effect.forkChild
      )
      const helper = yield* running
      yield* TestClock.adjust("2 seconds")
      assert.isUndefined(yield* Fiber.join(fiber))
      assert.deepStrictEqual(warnings, ["no credentials from docker-credential-hangs: it did not answer within 2s"])
      assert.isFalse(yield* helper.isRunning)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("are stopped when no lookup waits any more", () =>
    Effect.gen(function*() {
      const { lookup, running } = yield* make({
        files: { ".docker/config.json": { credsStore: "hangs" } },
        helpers: { hangs: `exec sleep 1000` }
      })
      const fiber = yield* Effect.forkChild(lookup("reg.io"))
      const helper = yield* running
      yield* Fiber.interrupt(fiber)
      assert.isFalse(yield* helper.isRunning)
    }).pipe(Effect.provide(NodeServices.layer)))
})

describe("a broken config", () => {
  const docker = (content: unknown, rest: Home = {}): Home => ({ files: { ".docker/config.json": content }, ...rest })
  const file = "~/.docker/config.json"
  const helper = (script: string): Home => docker({ credsStore: "broken" }, { helpers: { broken: script } })
  const entry = "the entry for reg.io is not as docker and podman write it"
  const auth = "auth in the entry for reg.io is not a name and a password in Base64"
  const name = "it names a credential helper by other characters than letters, digits and ._+-"
  const output = "what it printed is not JSON with a Username and a Secret"
  const program = "docker-credential-broken"
  const secret = secretOf("secret")

  type Rows = ReadonlyArray<readonly [what: string, home: Home, source: string, problem: string]>
  const errors: Rows = [
    ["a file that is cut", docker(`{"auths":{"reg.io":{"auth":"${secret}`), file, "it is not JSON"],
    ["a file that is no object", docker([secret]), file, "it is not a JSON object"],
    [
      "podman's file",
      { files: { "run/containers/auth.json": secret }, env: { XDG_RUNTIME_DIR: "~/run" } },
      "~/run/containers/auth.json",
      "it is not JSON"
    ],
    [
      "the file that a variable names",
      { files: { "auth.json": secret }, env: { REGISTRY_AUTH_FILE: "~/auth.json" } },
      "~/auth.json",
      "it is not JSON"
    ],
    [
      "the file that it is given",
      { files: { "auth.json": secret }, file: "~/auth.json" },
      "~/auth.json",
      "it is not JSON"
    ],
    ["a variable", { env: { DOCKER_AUTH_CONFIG: secret } }, "DOCKER_AUTH_CONFIG", "it is not JSON"]
  ]
  const warnings: Rows = [
    ["a directory", { files: { ".docker/config.json/file": "" } }, file, "it is not a file"],
    [
      "a file instead of the directory",
      { files: { own: secret }, env: { DOCKER_CONFIG: "~/own" } },
      "~/own/config.json",
      "it is not a file"
    ],
    ["auths that are no object", docker({ auths: secret }), file, "auths is not an object"],
    ["helpers that are no object", docker({ credHelpers: [secret] }), file, "credHelpers is not an object"],
    [
      "helpers that are no names",
      docker({ credHelpers: { "reg.io": [secret] } }),
      file,
      "the entry for reg.io in credHelpers is not a name"
    ],
    ["a store that is no name", docker({ credsStore: { secret } }), file, "credsStore is not a name"],
    ["an entry that is no object", docker({ auths: { "reg.io": secret } }), file, entry],
    ["an entry of numbers", docker({ auths: { "reg.io": { username: secret, password: 1 } } }), file, entry],
    ["auth that is not Base64", docker({ auths: { "reg.io": { auth: `${secret}%` } } }), file, auth],
    [
      "auth without a colon",
      docker({ auths: { "https://reg.io/v1/": { auth: Buffer.from(secret).toString("base64") } } }),
      file,
      auth
    ],
    ["a helper's name that is a path", docker({ credsStore: `../${secret}` }), file, name],
    ["a helper's name that is a path of Windows", docker({ credHelpers: { "reg.io": `a\\${secret}` } }), file, name],
    ["a helper that is missing", docker({ credsStore: "broken" }), program, "there is no such program on the PATH"],
    [
      "a helper that is no program",
      docker({ credsStore: "broken" }, {
        files: { ".docker/config.json": { credsStore: "broken" }, "bin/docker-credential-broken": secret }
      }),
      program,
      "it did not run to its end (PermissionDenied)"
    ],
    ["a helper that fails", helper(`echo ${secret}; echo ${secret} >&2; exit 3`), program, "it ended with exit code 3"],
    ["a helper that is killed", helper(`echo ${secret}; kill -9 $$`), program, "it did not run to its end (Unknown)"],
    ["a helper that prints rubbish", helper(`echo ${secret}`), program, output],
    ["a helper that prints nothing", helper("true"), program, output],
    ["a helper that prints other JSON", helper(`echo '{"Username":"ada","Password":"${secret}"}'`), program, output],
    ["a helper that prints without end", helper(`yes ${secret} | head -c 3000000`), program, output]
  ]

  const assertNoSecret = (...texts: ReadonlyArray<string>) => {
    for (const text of texts) assert.notInclude(text, marker)
  }

  it.effect.each(warnings)(
    "causes one warning that names it, and has no credentials: %s",
    ([, home, source, problem]) =>
      Effect.gen(function*() {
        const { credentials, home: directory, lookup, warnings } = yield* make(home)
        for (let count = 0; count < 3; count++) assert.isUndefined(yield* lookup("reg.io", "team/app"))
        assert.deepStrictEqual(
          warnings.map((text) => text.replaceAll(directory, "~")),
          [`no credentials from ${source}: ${problem}`]
        )
        assertNoSecret(...warnings, inspect(credentials, { depth: 20, showHidden: true }))
      }).pipe(Effect.provide(NodeServices.layer))
  )

  it.effect("does not hide other entries", () =>
    Effect.gen(function*() {
      const { lookup, warnings } = yield* make({
        files: {
          ".docker/config.json": {
            auths: {
              "reg.io": basic("ada"),
              "number.io": 5,
              "number.io/team": basic("team"),
              "podman.io": basic("no")
            },
            credHelpers: { "podman.io": 5, "reg.io": "missing" },
            credsStore: false
          },
          ".config/containers/auth.json": { auths: { "number.io": basic("podman") } }
        }
      })
      assert.strictEqual(yield* lookup("reg.io"), "ada:pass")
      assert.strictEqual(yield* lookup("number.io", "team/app"), "team:pass")
      assert.strictEqual(yield* lookup("number.io"), "podman:pass")
      assert.lengthOf(warnings, 4)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect.each(errors)(
    "fails with an error that names it without its content: %s",
    ([, home, source, problem]) =>
      Effect.gen(function*() {
        const { credentials, home: directory } = yield* make(home)
        const reason = yield* Effect.flip(lookup(credentials, "reg.io", "team/app"))
        assert.instanceOf(reason, RegistryError.CredentialsUnavailable)
        assert.strictEqual(reason.source.replaceAll(directory, "~"), source)
        assert.strictEqual(reason.problem, problem)
        const error = new RegistryError.RegistryError({ operation: "getBlob", registry: "reg.io", reason })
        assertNoSecret(
          inspect(error, { depth: 20, showHidden: true }),
          String(error.stack),
          JSON.stringify(error),
          yield* Schema.encodeEffect(Schema.fromJsonString(RegistryError.RegistryError))(error),
          inspect(credentials, { depth: 20, showHidden: true })
        )
      }).pipe(Effect.provide(NodeServices.layer))
  )

  it.effect("fails only when it is needed", () =>
    Effect.gen(function*() {
      const { lookup } = yield* make({
        files: {
          ".docker/config.json": { auths: { "reg.io": basic("ada"), "broken.io": { auth: "?" } } },
          ".config/containers/auth.json": "rubbish"
        }
      })
      assert.strictEqual(yield* lookup("reg.io"), "ada:pass")
      assert.include((yield* Effect.flip(lookup("broken.io"))).source, "auth.json")
      assert.include((yield* Effect.flip(lookup("other.io"))).source, "auth.json")
    }).pipe(Effect.provide(NodeServices.layer)))
})

describe("DockerConfig.explain", () => {
  it.effect("lists the places that are searched, and what each has, without calling a helper", () =>
    Effect.gen(function*() {
      const { calls, home, inside } = yield* make({
        env: { DOCKER_AUTH_CONFIG: `{ "auths": { "other.io": {} } }`, XDG_RUNTIME_DIR: "~/run" },
        files: {
          ".docker/config.json": {
            auths: { "reg.io": basic("ada", secretOf("explained")), "empty.io": {} },
            credHelpers: { "reg.io/team": "team" }
          },
          "run/containers/auth.json": "{ nope"
        },
        helpers: { team: knows("ada", "pass") }
      })
      const explain = (host: string, repository: string) => inside(DockerConfig.explain({ host, repository }))
      const file = `${home}/.docker/config.json`
      const others = [
        { source: `${home}/run/containers/auth.json`, found: "broken" },
        { source: `${home}/.config/containers/auth.json`, found: "absent" }
      ]
      const inline = { source: "DOCKER_AUTH_CONFIG", found: "none" }
      assert.deepStrictEqual<unknown>(yield* explain("reg.io", "app"), [
        inline,
        { source: file, found: "entry", key: "reg.io" },
        ...others
      ])
      assert.deepStrictEqual<unknown>(yield* explain("reg.io", "team/app"), [
        inline,
        { source: file, found: "helper", key: "reg.io/team", program: "docker-credential-team" },
        ...others
      ])
      assert.deepStrictEqual<unknown>(yield* explain("empty.io", "app"), [
        inline,
        { source: file, found: "none" },
        ...others
      ])
      assert.notInclude(inspect(yield* explain("reg.io", "app")), marker)
      assert.deepStrictEqual(yield* calls, [])
    }).pipe(Effect.provide(NodeServices.layer)))
})
