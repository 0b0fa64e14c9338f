/**
 * `mirror check` and `mirror convert`, and the schema of the file of a mirror.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import * as MirrorConfig from "effect-oci/MirrorConfig"
import * as Yaml from "effect/encoding/Yaml"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Command from "../utils/Command.ts"
import { validatorOf } from "../utils/JsonSchemas.ts"
import { temporaryFolder } from "../utils/layouts.ts"

const withNode = Effect.provide(NodeServices.layer)

const sample = fileURLToPath(new URL("../../examples/mirror.yml", import.meta.url))
const sampleText = Fs.readFileSync(sample, "utf8")

const write = (name: string, text: string) =>
  Effect.map(temporaryFolder, (folder) => {
    const file = Path.join(folder, name)
    Fs.writeFileSync(file, text)
    return file
  })

const regsync = `
creds: [{ registry: m.test, user: ada, pass: hunter2 }]
defaults: { parallel: 4 }
sync:
  - { source: a.test/app, target: m.test/app, type: repository, tags: { allow: ["v.*"] } }
`

describe("mirror check", () => {
  it.live("prints the rules as a table", () =>
    Effect.gen(function*() {
      const file = yield* write(
        "mirror.yml",
        "version: 1\nrules:\n" +
          "  - { name: bases, from: \"a.test/{x,y}\", to: m.test/$1, tags: { semver: ^1, newest: 2, per: major }, schedule: { every: 1h } }\n" +
          "  - { from: b.test/*, to: [\"m.test/b-$1:{tag}-b\", n.test], schedule: 15 3 * * * }\n"
      )
      for (const args of [["-c", file], ["--config", file], [file]]) {
        const { code, stderr, stdout } = yield* Command.run("mirror", "check", ...args)
        assert.deepStrictEqual([code, stderr], [0, ""])
        assert.strictEqual(
          stdout,
          [
            "RULE    FROM              TO                   TAGS                    SCHEDULE",
            "bases   a.test/x          m.test/$1            ^1; newest 2 per major  every 1h",
            "        a.test/y",
            "b.test  b.test ^([^/]*)$  m.test/b-$1:{tag}-b  all                     15 3 * * * UTC",
            "                          n.test/$0",
            ""
          ].join("\n")
        )
      }
    }).pipe(withNode))

  it.live("reports each problem on its line, and exits with 2", () =>
    Effect.gen(function*() {
      const file = yield* write(
        "mirror.yml",
        "version: 1\nrules:\n  - { from: x, to: m.test/x, tags: { semver: y } }\n"
      )
      const text = yield* Command.run("mirror", "check", "-c", file)
      const json = yield* Command.run("mirror", "check", "-c", file, "--json")
      assert.deepStrictEqual([text.code, text.stdout, json.code, json.stdout], [2, "", 2, ""])
      assert.deepStrictEqual(
        text.stderr.trimEnd().split("\n").map((line) => line.replace(/(write [^:]*):?.*$/, "$1")),
        [
          `effect-oci: ${file}: rules[0].tags.semver: write a range of versions, such as ">=1.4 <2", "^1.4" or "1.x || >=3"`,
          `effect-oci: ${file}: rules[0].from: write HOST/REPOSITORY`
        ]
      )
      assert.deepStrictEqual(
        json.stderr.trimEnd().split("\n").map((line) => Object.keys(JSON.parse(line))),
        [["type", "message"], ["type", "message"]]
      )
    }).pipe(withNode))

  it.live("reports the line of an error of syntax", () =>
    Effect.gen(function*() {
      const file = yield* write("mirror.yml", "version: 1\nrules: [\n")
      const { code, stderr } = yield* Command.run("mirror", "check", "-c", file)
      assert.deepStrictEqual([code, stderr], [2, `effect-oci: ${file}:2: invalid YAML: Expected ','\n`])
    }).pipe(withNode))

  it.live("reads stdin", () =>
    Effect.gen(function*() {
      const { code, stdout } = yield* Command.runWith({ stdin: sampleText }, "mirror", "check", "-c", "-", "--json")
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(
        JSON.parse(stdout).rules.map(({ name }: { readonly name: string }) => name),
        ["bases", "team", "tools", "node", "charts"]
      )
    }).pipe(withNode))

  it.live.each<readonly [args: ReadonlyArray<string>, line: string]>([
    [[], "effect-oci: missing file: use --config FILE\n"],
    [["a", "-c", "b"], "effect-oci: the file is given twice: omit the argument or --config\n"],
    [["-c", "/absent/mirror.yml"], "effect-oci: /absent/mirror.yml: cannot be read: there is no such file\n"]
  ])("is misused with %j", ([args, line]) =>
    Effect.gen(function*() {
      const { code, stderr } = yield* Command.run("mirror", "check", ...args)
      assert.deepStrictEqual([code, stderr], [2, line])
    }).pipe(withNode))
})

describe("mirror convert", () => {
  it.live("prints a file that has the same rules, with what has no counterpart as comments", () =>
    Effect.gen(function*() {
      const file = yield* write("regsync.yml", regsync)
      const { code, stderr, stdout } = yield* Command.run("mirror", "convert", file)
      assert.strictEqual(code, 0)
      assert.notInclude(stdout + stderr, "hunter2")
      assert.strictEqual(
        stderr,
        `warning: ${file}: defaults.parallel: concurrency adapts to each registry: see registries.concurrency\n` +
          "m.test: the password is not written: set M_TEST_USERNAME and M_TEST_PASSWORD\n"
      )
      assert.include(stdout, "# - defaults.parallel: concurrency adapts to each registry")
      assert.include(stdout, "# - m.test: the password is not written: set M_TEST_USERNAME and M_TEST_PASSWORD")
      const native = yield* write("mirror.yml", stdout)
      const [one, other] = [
        yield* Command.run("mirror", "check", "-c", file, "--json"),
        yield* Command.run("mirror", "check", "-c", native, "--json")
      ]
      assert.strictEqual(other.stderr, "")
      assert.deepStrictEqual(JSON.parse(other.stdout).rules, JSON.parse(one.stdout).rules)
    }).pipe(withNode))

  it.live("takes what the file does not contain from flags", () =>
    Effect.gen(function*() {
      const skopeo = yield* write("sync.yml", "a.test: { images: { team/app: [\"1\"] } }\n")
      const { stdout } = yield* Command.run("mirror", "convert", skopeo, "--to", "m.test/x", "--scoped", "--json")
      assert.strictEqual(JSON.parse(stdout).file.rules[0].to, "m.test/x/a.test/team/app")
      const images = yield* write("images.yml", "a.test/app: m.test/app\n")
      const auth = yield* write("auth.yml", "m.test: { username: ada, password: hunter2 }\n")
      const converted = yield* Command.run("mirror", "convert", images, "--auth", auth)
      assert.include(converted.stdout, "credentials: \"env:M_TEST\"")
    }).pipe(withNode))

  it.live("prints the file of a mirror as it is, in YAML", () =>
    Effect.gen(function*() {
      const { code, stdout } = yield* Command.run("mirror", "convert", sample)
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(Yaml.parse(stdout), Yaml.parse(sampleText))
    }).pipe(withNode))
})

describe("the sample of the file of a mirror", () => {
  it("decodes", () => {
    assert.strictEqual(Result.getOrThrow(MirrorConfig.parse(sample, sampleText)).rules.length, 5)
  })

  it.live("follows the schema for editors, which refuses unknown fields", () =>
    Effect.gen(function*() {
      const check = yield* validatorOf("mirror")
      const value = Yaml.parse(sampleText)
      check(value)
      assert.throws(() => check({ ...value as object, rule: [] }))
      assert.throws(() => check({ version: 1, rules: [{ from: "a.test/b", to: "c.test/d", tags: { semvr: "1" } }] }))
      assert.throws(() => check({ version: 1, rules: [{ from: "a.test/b", onTagMoved: "kep" }] }))
    }).pipe(withNode))

  it.live("has every field of the schema", () =>
    Effect.gen(function*() {
      const schema: unknown = JSON.parse((yield* Command.run("schema", "mirror")).stdout)
      const fields = new Set<string>()
      const visit = (value: unknown): void => {
        if (typeof value !== "object" || value === null) return
        if ("properties" in value && typeof value.properties === "object" && value.properties !== null) {
          for (const key of Object.keys(value.properties)) fields.add(key)
        }
        for (const inner of Object.values(value)) visit(inner)
      }
      visit(schema)
      const absent = Array.from(fields).filter((field) => !new RegExp(`\\b${field}:`).test(sampleText))
      assert.deepStrictEqual(absent, [])
    }).pipe(withNode))
})
