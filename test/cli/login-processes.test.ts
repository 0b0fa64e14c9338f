import { NodeServices } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { temporaryFolder } from "../utils/layouts.ts"
import * as Program from "../utils/Program.ts"
import { listen } from "../utils/ScriptedServer.ts"

const count = process.env["EFFECT_OCI_LONG"] === undefined ? 4 : 20

it.live("concurrent logins of several processes are all stored", () =>
  Effect.gen(function*() {
    const folder = yield* temporaryFolder
    const [file, password] = [Path.join(folder, "auth.json"), Path.join(folder, "password")]
    Fs.writeFileSync(password, "secret")
    const registry = listen((_, response) => void response.writeHead(200).end("{}"))
    const hosts = yield* Effect.all(Array.from({ length: count }, () => registry))
    const ended = yield* Effect.forEach(
      hosts,
      (host) => Program.run("login", host, "-u", "ada", "--password-file", password, "--authfile", file),
      { concurrency: "unbounded" }
    )
    for (const { code, stderr } of ended) assert.strictEqual(code, 0, stderr)
    assert.sameMembers(Object.keys(JSON.parse(Fs.readFileSync(file, "utf8")).auths), hosts)
    assert.sameMembers(Fs.readdirSync(folder), ["auth.json", "password"])
  }).pipe(Effect.provide(NodeServices.layer)), 180_000)
