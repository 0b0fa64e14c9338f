import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Command from "../utils/Command.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import { listen } from "../utils/ScriptedServer.ts"

const password = "s3cret-marker"
const header = `Basic ${Buffer.from(`ada:${password}`).toString("base64")}`

const withNode = Effect.provide(NodeServices.layer)

/** A registry that admits only ada. */
const guarded = listen((request, response) => {
  if (request.headers.authorization === header) return void response.writeHead(200).end("{}")
  const errors = [{ code: "UNAUTHORIZED", message: "log in first" }]
  response.writeHead(401, { "www-authenticate": "Basic realm=\"test\"" }).end(JSON.stringify({ errors }))
})

/** Makes a user with a docker config in a folder of its own. */
const newUser = Effect.gen(function*() {
  const folder = yield* temporaryFolder
  const file = Path.join(folder, "config.json")
  const env = { DOCKER_CONFIG: folder, HOME: folder }
  return {
    file,
    stored: Effect.sync(() => JSON.parse(Fs.readFileSync(file, "utf8"))),
    run: (...args: ReadonlyArray<string>) => Command.runWith({ env }, ...args),
    login: (host: string, typed: string, ...args: ReadonlyArray<string>) =>
      Command.runWith({ env, stdin: typed }, "login", host, "-u", "ada", "--password-stdin", ...args)
  }
})

describe("login", () => {
  it.live("stores accepted credentials where docker does, and all verbs use them", () =>
    Effect.gen(function*() {
      const { file, login, run, stored } = yield* newUser
      const host = yield* guarded
      const { code, stderr, stdout } = yield* login(host, `${password}\n`)
      assert.deepStrictEqual(
        [code, stdout, stderr],
        [0, `logged in to ${host} as ada, stored in ${file}\n`, ""]
      )
      assert.deepStrictEqual(yield* stored, { auths: { [host]: { auth: header.slice("Basic ".length) } } })
      assert.strictEqual(Fs.statSync(file).mode & 0o777, 0o600)
      assert.include((yield* run("catalog", host)).stderr, "unexpected answer")
    }).pipe(withNode))

  it.live("stores nothing after a refusal, and does not print the password", () =>
    Effect.gen(function*() {
      const { file, login } = yield* newUser
      const host = yield* guarded
      const { code, stderr, stdout } = yield* login(host, "wrong-marker\n")
      assert.deepStrictEqual([code, stdout], [1, ""])
      assert.match(stderr, new RegExp(`^effect-oci: cannot log in to ${host}: unknown name or password: [^\\n]*\\n$`))
      assert.notInclude(stderr, "wrong-marker")
      assert.isFalse(Fs.existsSync(file))
    }).pipe(withNode))

  it.live("reports that a registry without authentication did not verify the password", () =>
    Effect.gen(function*() {
      const { login } = yield* newUser
      const host = yield* listen((_, response) => void response.writeHead(200).end("{}"))
      const { code, stderr, stdout } = yield* login(host, password, "--json")
      assert.strictEqual(code, 0)
      assert.include(stderr, `${host} does not require authentication`)
      assert.deepInclude(JSON.parse(stdout), { host, username: "ada" })
      assert.notInclude(stdout + stderr, password)
    }).pipe(withNode))

  it.live("leaves a config that is not JSON unchanged, and reports it", () =>
    Effect.gen(function*() {
      const { file, login } = yield* newUser
      Fs.writeFileSync(file, "{")
      const { code, stderr } = yield* login(yield* guarded, password)
      assert.strictEqual(code, 1)
      assert.include(stderr, `effect-oci: ${file}: `)
      assert.strictEqual(Fs.readFileSync(file, "utf8"), "{")
    }).pipe(withNode))
})

describe("logout", () => {
  it.live("deletes stored credentials, and reports if there were none", () =>
    Effect.gen(function*() {
      const { file, login, run, stored } = yield* newUser
      const host = yield* guarded
      yield* login(host, password)
      const done = yield* run("logout", host)
      assert.deepStrictEqual([done.code, done.stdout], [0, `logged out of ${host}: ${file}\n`])
      assert.notProperty((yield* stored).auths ?? {}, host)
      const again = yield* run("logout", host)
      assert.deepStrictEqual([again.code, again.stdout], [0, `not logged in to ${host}: ${file}\n`])
    }).pipe(withNode))
})

describe("a refusal", () => {
  it.live("names the sources of credentials that were searched, what they contain, and how to log in", () =>
    Effect.gen(function*() {
      const { file, run } = yield* newUser
      const host = yield* guarded
      const none = yield* run("tags", `${host}/team/app`)
      assert.strictEqual(none.code, 1)
      assert.include(none.stderr, `${host}/team/app: `)
      assert.include(none.stderr, `credentials for ${host} were searched in `)
      assert.include(none.stderr, `${file} (absent)`)
      assert.include(none.stderr, `; effect-oci login ${host}\n`)

      Fs.writeFileSync(file, JSON.stringify({ auths: { [host]: { username: "ada", password: "other-marker" } } }))
      const wrong = yield* run("tags", `${host}/team/app`)
      assert.include(wrong.stderr, `${file} (an entry for ${host})`)
      assert.notInclude(wrong.stderr, "other-marker")
    }).pipe(withNode))
})
