import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { CopyReport } from "effect-oci/CopyReport"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import type * as Registry from "effect-oci/Registry"
import * as Path from "node:path"
import * as Command from "../utils/Command.ts"
import { pushImage, pushSample, repository, tag } from "../utils/images.ts"
import { temporaryFolder } from "../utils/layouts.ts"

const app = repository("app")

const withNode = Effect.provide(NodeServices.layer)

/**
 * Makes the layout `from`: an image of two platforms with its referrers under the tags `1` and `main`, and one image
 * per tag `v1.4.0`, `v1.5.0` and `v2.0.0`.
 */
const setUp = Effect.gen(function*() {
  const folder = yield* temporaryFolder
  const layout = (name: string) => LayoutRegistry.make({ directory: Path.join(folder, name), form: "layout" })
  const from = yield* layout("from")
  const sample = yield* pushSample(from, app, [tag("1"), tag("main")])
  for (const version of ["v1.4.0", "v1.5.0", "v2.0.0"]) yield* pushImage(from, app, [version], { tags: [tag(version)] })
  const run = (...args: ReadonlyArray<string>) =>
    Effect.map(
      Command.run("copy", ...args.map((arg) => arg.replace(/^(oci|oci-archive):/, `$1:${folder}/`))),
      ({ code, stderr, stdout }) => ({
        code,
        stdout: stdout.replaceAll(`${folder}/`, ""),
        stderr: stderr.replaceAll(`${folder}/`, "")
      })
    )
  return { ...sample, folder, from, layout, run }
})

const tagsOf = (registry: Registry.Registry) => Effect.map(Stream.runCollect(registry.tags(app)), (tags) => [...tags])

const digestOf = (registry: Registry.Registry, name: string) =>
  Effect.map(registry.resolveManifest(app, tag(name)), ({ digest }) => digest)

const decodeReport = Schema.decodeEffect(Schema.fromJsonString(CopyReport))

describe("copy --all-tags", () => {
  it.live("copies every tag to every destination, and prints each reference", () =>
    Effect.gen(function*() {
      const { from, index, layout, run } = yield* setUp
      const { code, stderr, stdout } = yield* run("--all-tags", "oci:from", "oci:one", "oci:two")
      assert.strictEqual(code, 0, stderr)
      const tags = yield* tagsOf(from)
      assert.strictEqual(stdout.trimEnd().split("\n").length, 2 * tags.length)
      assert.include(stdout, `oci:one:main@${index.digest}\n`)
      for (const name of ["one", "two"]) {
        const copy = yield* layout(name)
        assert.deepStrictEqual(yield* tagsOf(copy), tags)
        for (const one of tags) assert.strictEqual(yield* digestOf(copy, one), yield* digestOf(from, one))
      }
    }).pipe(withNode))

  it.live("copies only versions in a range, the latest versions, or tags that match a pattern", () =>
    Effect.gen(function*() {
      const { layout, run } = yield* setUp
      yield* run("--all-tags", "--semver=^1", "oci:from", "oci:range")
      assert.deepStrictEqual(yield* tagsOf(yield* layout("range")), [tag("v1.4.0"), tag("v1.5.0")])
      yield* run("--all-tags", "--latest=2", "oci:from", "oci:latest")
      assert.deepStrictEqual(yield* tagsOf(yield* layout("latest")), [tag("v1.5.0"), tag("v2.0.0")])
      yield* run("--all-tags", "--include=^v", "--exclude=5", "oci:from", "oci:pattern")
      assert.deepStrictEqual(yield* tagsOf(yield* layout("pattern")), [tag("v1.4.0"), tag("v2.0.0")])
    }).pipe(withNode))

  it.live("continues after a tag that cannot be copied, reports it, and fails", () =>
    Effect.gen(function*() {
      const { layout, run } = yield* setUp
      const to = yield* layout("to")
      yield* pushImage(to, app, ["another"], { tags: [tag("main")] })
      const { code, stderr, stdout } = yield* run("--all-tags", "--if-tag-exists=fail", "--json", "oci:from", "oci:to")
      assert.strictEqual(code, 1)
      const errors = stderr.trimEnd().split("\n").map((line) => JSON.parse(line)).filter(({ type }) => type === "error")
      assert.deepStrictEqual(errors.map(({ reason }) => reason), ["TagExists", undefined])
      assert.include(errors[0].message, "oci:to:main")
      assert.include(errors[0].advice, "--if-tag-exists replace")
      assert.include(errors[1].message, "1 of 5 copies failed")
      const results: ReadonlyArray<{ readonly destination: string; readonly error?: object }> = JSON.parse(stdout)
      assert.deepStrictEqual(results.filter(({ error }) => error !== undefined).map(({ destination }) => destination), [
        "oci:to:main"
      ])
      assert.strictEqual((yield* tagsOf(to)).length, 5)
    }).pipe(withNode))

  it.live("fails if no tag is selected", () =>
    Effect.gen(function*() {
      const { run } = yield* setUp
      const { code, stderr } = yield* run("--all-tags", "--include=none", "oci:from", "oci:to")
      assert.deepStrictEqual([code, stderr], [1, "effect-oci: cannot copy oci:from: no tag is selected\n"])
    }).pipe(withNode))
})

describe("copy", () => {
  it.live("to several destinations reads the source once, and prints each reference", () =>
    Effect.gen(function*() {
      const { index, layout, run } = yield* setUp
      const { code, stdout } = yield* run("oci:from:1", "oci:one:1", "oci:two:2", "--tag=extra")
      assert.deepStrictEqual([code, stdout], [0, `oci:one:1@${index.digest}\noci:two:2@${index.digest}\n`])
      assert.strictEqual(yield* digestOf(yield* layout("two"), "extra"), index.digest)
    }).pipe(withNode))

  it.live("rewrites an index for the given platforms, or refuses to with --index fail", () =>
    Effect.gen(function*() {
      const { index, layout, run } = yield* setUp
      const one = ["--platform=linux/amd64", "--referrers=skip", "oci:from:1"]
      const rewritten = yield* run("--index=rewrite", ...one, "oci:rewritten:1")
      assert.strictEqual(rewritten.code, 0, rewritten.stderr)
      const digest = yield* digestOf(yield* layout("rewritten"), "1")
      assert.strictEqual(rewritten.stdout, `oci:rewritten@${digest}\n`)
      assert.notStrictEqual(digest, index.digest)
      const refused = yield* run("--index=fail", ...one, "oci:fail:1")
      assert.strictEqual(refused.code, 1)
      assert.include(refused.stderr, "; use --index rewrite to make an index of the copied images\n")
      assert.deepStrictEqual(refused.stdout, "")
    }).pipe(withNode))

  it.live("keeps an index of which some platforms are copied, in a folder and from there in an archive", () =>
    Effect.gen(function*() {
      const { amd64, arm64, index, layout, run } = yield* setUp
      const some = ["--platform=linux/amd64", "--index=keep", "--referrers=skip"]
      for (const [from, to] of [["oci:from:1", "oci:kept:1"], ["oci:kept:1", "oci-archive:kept.tar:1"]] as const) {
        const { code, stderr, stdout } = yield* run(...some, from, to)
        assert.deepStrictEqual([code, stdout], [0, `${to.replace(/:1$/, "")}@${index.digest}\n`], stderr)
      }
      const kept = yield* layout("kept")
      assert.strictEqual((yield* kept.resolveManifest(app, amd64.digest)).digest, amd64.digest)
      const missing = yield* Effect.flip(kept.resolveManifest(app, arm64.digest))
      assert.strictEqual(missing.reason._tag, "ManifestUnknown")
    }).pipe(withNode))

  it.live("copies all referrers, those of a type, or none", () =>
    Effect.gen(function*() {
      const { index, layout, run } = yield* setUp
      const count = Effect.fnUntraced(function*(name: string) {
        return (yield* Stream.runCollect((yield* layout(name)).referrers(app, index.digest))).length
      })
      assert.strictEqual((yield* run("oci:from:1", "oci:all:1")).code, 0)
      assert.strictEqual(yield* count("all"), 1)
      yield* run("--referrers=skip", "oci:from:1", "oci:none:1")
      assert.strictEqual(yield* count("none"), 0)
      yield* run("--referrer-type=application/other", "oci:from:1", "oci:other:1")
      assert.strictEqual(yield* count("other"), 0)
      yield* run("--referrer-type=application/vnd.example.sbom", "oci:from:1", "oci:type:1")
      assert.strictEqual(yield* count("type"), 1)
    }).pipe(withNode))

  it.live("keeps an existing tag with --if-tag-exists keep", () =>
    Effect.gen(function*() {
      const { layout, run } = yield* setUp
      const to = yield* layout("to")
      const { digest } = yield* pushImage(to, app, ["another"], { tags: [tag("1")] })
      assert.strictEqual((yield* run("--if-tag-exists=keep", "oci:from:1", "oci:to:1")).code, 0)
      assert.strictEqual(yield* digestOf(to, "1"), digest)
    }).pipe(withNode))

  it.live("a second time copies nothing, and verifies the content", () =>
    Effect.gen(function*() {
      const { index, run } = yield* setUp
      yield* run("oci:from:1", "oci:to:1")
      const again = yield* run("--json", "--verify=deep", "oci:from:1", "oci:to:1")
      assert.strictEqual(again.code, 0, again.stderr)
      assert.include(again.stderr, "nothing to copy")
      const report = yield* decodeReport(again.stdout)
      assert.strictEqual(report.root.digest, index.digest)
    }).pipe(withNode))
})
