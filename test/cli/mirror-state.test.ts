/**
 * `mirror state copy`, and the store of a mirror in PostgreSQL.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as MirrorState from "effect-oci/MirrorState"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Command from "../utils/Command.ts"
import { digestOf } from "../utils/digests.ts"
import { validatorOf } from "../utils/JsonSchemas.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import { layerFile, layerUrl, row, run } from "../utils/mirror-states.ts"
import * as Postgres from "../utils/Postgres.ts"

const State = MirrorState.MirrorState

const destinations = ["two.local/B", "two.local/a", "two.local/a-b", "two.local/a/b", "two.local/ä"]

/** Writes some of every kind of row. */
const write = Effect.gen(function*() {
  const state = yield* State
  for (const destination of destinations) {
    const begun = yield* state.begin(Array.from({ length: 150 }, (_, i) => row(`v${i}`, { destination })))
    yield* state.record(
      begun.map((tag) => ({ ...tag, status: "failed", error: "a\0b\nc", sourceDigest: digestOf("a") }))
    )
  }
  yield* state.recordRun(run("a", 1, { bytes: 5_000_000_000 }))
  yield* state.recordList({ rule: "apps", source: "one.local/app", tags: 3, listedAt: run("a", 1).startedAt })
  yield* state.confirmPrune("apps", "gone")
  yield* state.recordCreated(new Map([[digestOf("one"), run("a", 7).startedAt]]))
})

const rows = State.use((state) =>
  Effect.all([
    Effect.map(state.find({}), (tags) => tags.map((tag) => ({ ...tag, error: tag.error?.replaceAll("\0", "\uFFFD") }))),
    state.runs({ limit: 9 }),
    state.list("apps", "one.local/app"),
    state.confirmedPrune("apps"),
    state.created([digestOf("one")])
  ])
)

/** Writes the rows to one of two files. */
const written = Effect.gen(function*() {
  const folder = yield* temporaryFolder
  const one = Path.join(folder, "one.db")
  yield* Effect.provide(write, layerFile(one))
  return { one, two: Path.join(folder, "two.db") }
})

const copy = (...args: ReadonlyArray<string>) => Command.run("mirror", "state", "copy", ...args)

const expected = { tags: 750, runs: 1, lists: 1, prunes: 1, images: 1 }

describe("mirror state copy", () => {
  it.live("copies a state from one file to another, again if it is the same", () =>
    Effect.gen(function*() {
      const { one, two } = yield* written
      const { code, stdout } = yield* copy(`sqlite:${one}`, `sqlite:${two}`)
      assert.deepStrictEqual([code, stdout], [0, "copied 750 tags and 1 run; all rows were compared\n"])
      assert.strictEqual((yield* copy(`sqlite:${one}`, `sqlite:${two}`)).code, 0)
      assert.deepStrictEqual(yield* Effect.provide(rows, layerFile(two)), yield* Effect.provide(rows, layerFile(one)))
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))

  it.live("changes nothing if the destination has another state", () =>
    Effect.gen(function*() {
      const { one, two } = yield* written
      const other = State.use((state) => state.begin([row("other")]))
      yield* Effect.provide(other, layerFile(two))
      const { code, stderr } = yield* copy(`sqlite:${one}`, `sqlite:${two}`)
      assert.strictEqual(code, 1)
      assert.include(stderr, "the destination has another state: mirror_tag differs at")
      const found = yield* Effect.provide(State.use((state) => state.find({})), layerFile(two))
      assert.deepStrictEqual(found.map(({ tag }) => String(tag)), ["other"])
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))

  it.live("refuses stores that are not databases, and a file that does not exist", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const file = `sqlite:${Path.join(folder, "absent.db")}`
      const absent = yield* copy(file, "sqlite:two.db")
      assert.strictEqual(absent.code, 1)
      assert.match(absent.stderr, /cannot open the store .*absent\.db: there is no such file/)
      for (const store of ["redis://user:s3cret@host", "mysql:user:s3cret@host", "host=db password=s3cret"]) {
        const secret = yield* copy(store, file)
        assert.strictEqual(secret.code, 2)
        assert.notInclude(secret.stderr, "s3cret")
      }
      const unset = yield* copy("env:NOT_SET_AT_ALL", file)
      assert.match(unset.stderr, /the environment variable "NOT_SET_AT_ALL" is not set/)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
})

describe("a store that cannot be opened", () => {
  // the characters of a password that were not percent-encoded make it a port, a path, a query or a fragment
  const stores = [
    "//127.0.0.1:1#s3cret@host/x",
    "//127.0.0.1:1/s3cret@host/x",
    "//127.0.0.1:1?s3cret@host/x",
    "//mirror:%zz\ns3cret@127.0.0.1:x/x",
    "mirror:s3cret@127.0.0.1:1",
    "//127.0.0.1:1/x?password=s3cret&sslpassword=s3cret"
  ]
  for (const store of stores) {
    it.live(`is named without its password: postgres:${JSON.stringify(store)}`, () =>
      Effect.gen(function*() {
        const folder = yield* temporaryFolder
        const file = Path.join(folder, "mirror.yml")
        Fs.writeFileSync(file, "version: 1\nrules:\n  - from: one.local/app\n    to: two.local/app\n")
        const { code, stderr } = yield* Command.run("mirror", "status", "-c", file, "--store", `postgres:${store}`)
        assert.strictEqual(code, 1)
        assert.match(stderr, /^effect-oci: cannot open the store postgres:/)
        assert.notInclude(stderr, "s3cret")
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
  }
})

describe.skipIf(!Postgres.available)(
  "a mirror in PostgreSQL",
  () =>
    it.layer(Postgres.layer, { timeout: "1 minute", excludeTestServices: true })((it) => {
      it.effect("gets the state of a file of SQLite, and gives it back", () =>
        Effect.gen(function*() {
          const { one, two } = yield* written
          const url = yield* Postgres.Postgres.use(({ database }) => database)
          const env = { DATABASE_URL: url }
          const to = yield* Command.runWith(
            { env },
            "mirror",
            "state",
            "copy",
            `sqlite:${one}`,
            "env:DATABASE_URL",
            "--json"
          )
          assert.deepStrictEqual(JSON.parse(to.stdout), expected)
          const validate = yield* validatorOf("mirror-state-copy")
          validate(JSON.parse(to.stdout))
          const back = yield* Command.runWith({ env }, "mirror", "state", "copy", "env:DATABASE_URL", `sqlite:${two}`)
          assert.strictEqual(back.code, 0)
          const original = yield* Effect.provide(rows, layerFile(one))
          assert.deepStrictEqual(yield* Effect.provide(rows, layerUrl(url)), original)
          assert.deepStrictEqual(yield* Effect.provide(rows, layerFile(two)), original)
        }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))

      it.effect("is opened by the URL in the file or the environment, and its password is not shown", () =>
        Effect.gen(function*() {
          const folder = yield* temporaryFolder
          const file = Path.join(folder, "mirror.yml")
          const url = yield* Postgres.Postgres.use(({ database }) => database)
          const rules = "rules:\n  - name: apps\n    from: one.local/app\n    to: two.local/app\n"
          Fs.writeFileSync(file, `version: 1\nstore: env:DATABASE_URL\n${rules}`)
          const status = (env: Readonly<Record<string, string>>, ...args: ReadonlyArray<string>) =>
            Command.runWith({ env }, "mirror", "status", "-c", file, ...args)
          const found = yield* status({ DATABASE_URL: url })
          assert.deepStrictEqual([found.code, found.stderr], [0, ""])
          const separate = url.replace(`:${Postgres.password}`, "")
          assert.strictEqual((yield* status({ PGPASSWORD: Postgres.password }, "--store", separate)).code, 0)
          for (
            const broken of [
              url.replace("127.0.0.1", "127.0.0.2"),
              url.replace("mirror:", "other:"),
              `${url}?sslmode=x`
            ]
          ) {
            const { code, stderr } = yield* status({ DATABASE_URL: broken })
            assert.strictEqual(code, 1)
            assert.match(stderr, /^effect-oci: cannot open the store postgres:\/\//)
            assert.notInclude(stderr, Postgres.password)
          }
        }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
    })
)
