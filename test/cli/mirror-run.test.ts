/**
 * `mirror plan`, `run`, `status` and `retry` between two registries of ours on the loopback interface.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import { Denied } from "effect-oci/RegistryError"
import { Faults } from "effect-oci/testing"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { withoutWarning } from "../../src/cli/SqliteWarning.ts"
import * as Command from "../utils/Command.ts"
import { pushImage, repository, tag } from "../utils/images.ts"
import { validatorOf } from "../utils/JsonSchemas.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import { imagesOf } from "../utils/mirrors.ts"
import * as Served from "../utils/Served.ts"

const app = repository("app")

/** Serves two registries, and writes a file that mirrors from one to the other. */
const setUp = Effect.fnUntraced(function*(faults: ReadonlyArray<Faults.Fault> = []) {
  const folder = yield* temporaryFolder
  const source = yield* MemoryRegistry.make()
  const destination = yield* MemoryRegistry.make()
  const from = yield* Served.serve(source)
  const to = yield* Served.serve((yield* Faults.make(destination, faults)).registry)
  const file = Path.join(folder, "mirror.yml")
  const write = (more = "") =>
    Fs.writeFileSync(
      file,
      `version: 1\nrules:\n  - name: apps\n    from: ${from.host}/app\n    to: ${to.host}/app\n    referrers: false\n${more}`
    )
  write()
  const env = { DOCKER_CONFIG: folder, HOME: folder }
  return {
    folder,
    file,
    source,
    destination,
    write,
    push: (name: string, content: string) => pushImage(source, app, [content], { tags: [tag(name)] }),
    mirror: (verb: string, ...args: ReadonlyArray<string>) =>
      Command.runWith({ env }, "mirror", verb, "-c", file, ...args)
  }
})

const served = (name: string, test: Effect.Effect<void, unknown, NodeServices.NodeServices | Scope.Scope>) =>
  it.live(name, () => test.pipe(Effect.scoped, Effect.provide(NodeServices.layer)))

const assertValid = Effect.fnUntraced(function*(name: string, json: string) {
  const validate = yield* validatorOf(name)
  validate(JSON.parse(json))
})

describe("mirror", () => {
  served(
    "plans, runs, and then has nothing to do",
    Effect.gen(function*() {
      const { destination, folder, mirror, push } = yield* setUp()
      const { digest } = yield* push("1", "one")
      const plan = yield* mirror("plan")
      assert.strictEqual(plan.code, 3)
      assert.match(plan.stdout, /copy 127\.0\.0\.1:\d+\/app:1: the destination lacks the tag/)
      assert.deepStrictEqual(yield* imagesOf(destination, "app"), {})
      const run = yield* mirror("run")
      assert.strictEqual(run.code, 0)
      assert.match(run.stdout, /^rule +tags +copied/)
      assert.match(run.stderr, /app:1: copied/)
      assert.deepStrictEqual(yield* imagesOf(destination, "app"), { 1: digest })
      // the state is beside the file
      assert.isTrue(Fs.existsSync(Path.join(folder, "mirror.db")))
      const again = yield* mirror("plan")
      assert.deepStrictEqual([again.code, again.stdout], [0, "unchanged 1\n"])
      const status = yield* mirror("status")
      assert.match(status.stdout, /^apps: 1 copied\n {2}last run: .*; 1 copied, 0 failed, 0 deleted/)
    })
  )

  served(
    "prints documents that their schemas describe",
    Effect.gen(function*() {
      const { file, mirror, push } = yield* setUp([
        Faults.fail(new Denied({}), { operation: "pushManifest", calls: [1] })
      ])
      yield* push("1", "one")
      const plan = yield* mirror("plan", "--json", "--deep")
      yield* assertValid("mirror-plan", plan.stdout)
      Fs.writeFileSync(`${file}.plan`, plan.stdout)
      const run = yield* mirror("run", "--json")
      assert.strictEqual(run.code, 1)
      yield* assertValid("mirror-report", run.stdout)
      const messages = run.stderr.trim().split("\n").map((line) => JSON.parse(line))
      assert.isTrue(messages.some(({ advice, type }) => type === "error" && advice !== undefined), run.stderr)
      yield* assertValid("mirror-status", (yield* mirror("status", "--json")).stdout)
      const changes = yield* mirror("plan", "--json", "--compare", `${file}.plan`)
      yield* assertValid("mirror-changes", changes.stdout)
      assert.deepStrictEqual(JSON.parse(changes.stdout).changes.map(({ after }: { after: string }) => after), ["later"])
      const retry = yield* mirror("retry", "--json")
      yield* assertValid("mirror-retry", retry.stdout)
      assert.deepStrictEqual(JSON.parse(retry.stdout), { retried: 1 })
      assert.strictEqual((yield* mirror("run")).code, 0)
    })
  )

  served(
    "keeps nothing with a store in memory, and explains each tag with --why",
    Effect.gen(function*() {
      const { folder, mirror, push, write } = yield* setUp()
      write("    tags: { match: \"^1\" }\n")
      yield* push("1", "one")
      yield* push("2", "two")
      assert.strictEqual((yield* mirror("run", "--store", "memory")).code, 0)
      assert.isFalse(Fs.existsSync(Path.join(folder, "mirror.db")))
      const plan = yield* mirror("plan", "--why", "--store", "memory")
      assert.match(plan.stdout, /unchanged .*app:1: the destination has the image already; another tool/)
      assert.match(plan.stdout, /skip :2: does not match/)
    })
  )

  served(
    "says what is wrong with its arguments, and changes nothing",
    Effect.gen(function*() {
      const { mirror } = yield* setUp()
      const rule = yield* mirror("run", "--rule", "other")
      assert.strictEqual(rule.code, 2)
      assert.match(rule.stderr, /there is no rule "other"; the file has: apps/)
      const store = yield* mirror("run", "--store", "mysql://x")
      assert.strictEqual(store.code, 2)
      const missing = yield* Command.run("mirror", "run")
      assert.strictEqual(missing.code, 2)
    })
  )

  served(
    "draws its progress on a terminal, and erases it",
    Effect.gen(function*() {
      const { file, folder, push } = yield* setUp()
      yield* push("1", "one")
      const run = yield* Command.runWith(
        { env: { DOCKER_CONFIG: folder, HOME: folder }, columns: 100 },
        "mirror",
        "run",
        "-c",
        file
      )
      assert.strictEqual(run.code, 0)
      assert.match(run.stderr, /of \d+ tags?/)
      assert.notMatch(run.stderr, /copied/)
    })
  )
})

describe("the warning that SQLite is experimental", () => {
  it.effect("is not printed, and others are", () =>
    Effect.sync(() => {
      const { emitWarning } = process
      const seen: Array<unknown> = []
      process.emitWarning = (warning: string | Error) => void seen.push(warning)
      const emit = Effect.sync(() => {
        process.emitWarning("SQLite is an experimental feature and might change at any time", "ExperimentalWarning")
        process.emitWarning("another", "ExperimentalWarning")
      })
      Effect.runSync(withoutWarning(emit))
      process.emitWarning = emitWarning
      assert.deepStrictEqual(seen, ["another"])
    }))
})
