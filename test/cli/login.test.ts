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

/** A registry that only ada may use. */
const guarded = listen((request, response) => {
  if (request.headers.authorization === header) return void response.writeHead(200).end("{}")
  const errors = [{ code: "UNAUTHORIZED", message: "who is it?" }]
  response.writeHead(401, { "www-authenticate": "Basic realm=\"test\"" }).end(JSON.stringify({ errors }))
})

/** Somebody whose docker config is in a folder of its own. */
const somebody = Effect.gen(function*() {
  const folder = yield* temporaryFolder
  const file = Path.join(folder, "config.json")
  const env = { DOCKER_CONFIG: folder, HOME: folder }
  return {
    file,
    kept: Effect.sync(() => JSON.parse(Fs.readFileSync(file, "utf8"))),
    run: (...args: ReadonlyArray<string>) => Command.runWith({ env }, ...args),
    login: (host: string, typed: string, ...args: ReadonlyArray<string>) =>
      Command.runWith({ env, stdin: typed }, "login", host, "-u", "ada", "--password-stdin", ...args)
  }
})

describe("login", () => {
  it.live("keeps what the registry has let in, where docker does, and all verbs use it", () =>
    Effect.gen(function*() {
      const { file, kept, login, run } = yield* somebody
      const host = yield* guarded
      const { code, stderr, stdout } = yield* login(host, `${password}\n`)
      assert.deepStrictEqual(
        [code, stdout, stderr],
        [0, `logged in to ${host} as ada, which is kept by ${file}\n`, ""]
      )
      assert.deepStrictEqual(yield* kept, { auths: { [host]: { auth: header.slice("Basic ".length) } } })
      assert.strictEqual(Fs.statSync(file).mode & 0o777, 0o600)
      assert.include((yield* run("catalog", host)).stderr, "unexpected answer")
    }).pipe(withNode))

  it.live("keeps nothing that the registry refuses, and says no word of the password", () =>
    Effect.gen(function*() {
      const { file, login } = yield* somebody
      const host = yield* guarded
      const { code, stderr, stdout } = yield* login(host, "wrong-marker\n")
      assert.deepStrictEqual([code, stdout], [1, ""])
      assert.match(stderr, new RegExp(`^effect-oci: ${host} does not know this user: [^\\n]*\\n$`))
      assert.notInclude(stderr, "wrong-marker")
      assert.isFalse(Fs.existsSync(file))
    }).pipe(withNode))

  it.live("says that a registry which lets in everybody could not check it", () =>
    Effect.gen(function*() {
      const { login } = yield* somebody
      const host = yield* listen((_, response) => void response.writeHead(200).end("{}"))
      const { code, stderr, stdout } = yield* login(host, password, "--json")
      assert.strictEqual(code, 0)
      assert.include(stderr, `${host} does not require authentication`)
      assert.deepInclude(JSON.parse(stdout), { host, username: "ada" })
      assert.notInclude(stdout + stderr, password)
    }).pipe(withNode))

  it.live("leaves a config that is no JSON as it is, and says so", () =>
    Effect.gen(function*() {
      const { file, login } = yield* somebody
      Fs.writeFileSync(file, "{")
      const { code, stderr } = yield* login(yield* guarded, password)
      assert.strictEqual(code, 1)
      assert.include(stderr, `effect-oci: ${file}: `)
      assert.strictEqual(Fs.readFileSync(file, "utf8"), "{")
    }).pipe(withNode))
})

describe("logout", () => {
  it.live("forgets what login has kept, and says so if there was nothing", () =>
    Effect.gen(function*() {
      const { file, kept, login, run } = yield* somebody
      const host = yield* guarded
      yield* login(host, password)
      const done = yield* run("logout", host)
      assert.deepStrictEqual([done.code, done.stdout], [0, `logged out of ${host}: ${file}\n`])
      assert.notProperty((yield* kept).auths ?? {}, host)
      const again = yield* run("logout", host)
      assert.deepStrictEqual([again.code, again.stdout], [0, `not logged in to ${host}: ${file}\n`])
    }).pipe(withNode))
})

describe("whoever is not let in", () => {
  it.live("is told where credentials were looked for, what was found, and how to log in", () =>
    Effect.gen(function*() {
      const { file, run } = yield* somebody
      const host = yield* guarded
      const none = yield* run("tags", `${host}/team/app`)
      assert.strictEqual(none.code, 1)
      assert.include(none.stderr, `${host}/team/app: `)
      assert.include(none.stderr, `credentials for ${host} were looked for in `)
      assert.include(none.stderr, `${file} (not there)`)
      assert.include(none.stderr, `; effect-oci login ${host}\n`)

      Fs.writeFileSync(file, JSON.stringify({ auths: { [host]: { username: "ada", password: "other-marker" } } }))
      const wrong = yield* run("tags", `${host}/team/app`)
      assert.include(wrong.stderr, `${file} (an entry for ${host})`)
      assert.notInclude(wrong.stderr, "other-marker")
    }).pipe(withNode))
})
