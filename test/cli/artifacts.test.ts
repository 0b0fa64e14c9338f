/**
 * The verbs about files and indexes: push, attach, pull, index; and the filters of referrers.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { read, write } from "../utils/artifacts.ts"
import * as Command from "../utils/Command.ts"
import { pushImage, pushSample, repository, tag } from "../utils/images.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import * as Program from "../utils/Program.ts"
import * as Served from "../utils/Served.ts"

const withNode = Effect.provide(NodeServices.layer)

const app = repository("app")

/** A folder with files, and a served registry with an image of two platforms under `team/app:1`. */
const setUp = Effect.gen(function*() {
  const folder = yield* temporaryFolder
  write(folder, { "hi.txt": "hi", "site/index.html": "<p>", "site/img/a.png": "png" })
  const served = yield* Served.memory()
  const sample = yield* pushSample(served.registry, repository("team/app"), [tag("1")])
  const at = (name: string) => Path.join(folder, name)
  const placed = (arg: string) =>
    arg.replace(/(?<=^oci:)/, `${folder}/`).replace(/^file:/, `${folder}/`).replace("HOST", served.host)
  const runWith = (options: Command.Options, ...args: ReadonlyArray<string>) =>
    Effect.map(Command.runWith(options, ...args.map(placed)), ({ code, stderr, stdout }) => ({
      code,
      stdout: stdout.replaceAll(`${folder}/`, "").replaceAll(served.host, "HOST"),
      stderr: stderr.replaceAll(`${folder}/`, "").replaceAll(served.host, "HOST")
    }))
  const run = (...args: ReadonlyArray<string>) => runWith({}, ...args)
  /** Returns the output of a command that succeeds. */
  const result = (...args: ReadonlyArray<string>) =>
    Effect.map(run(...args), ({ code, stderr, stdout }) => {
      assert.strictEqual(code, 0, stderr)
      return stdout
    })
  const manifestOf = (reference: string) => Effect.map(result("manifest", "get", reference), (text) => JSON.parse(text))
  return { at, folder, manifestOf, result, run, runWith, sample, served }
})

describe("push and pull", () => {
  it.live.each(["HOST/team/files:1", "oci:images:1"])(
    "carry files and folders through %s",
    (reference) =>
      Effect.gen(function*() {
        const { at, result } = yield* setUp
        const pushed = yield* result("push", reference, "file:hi.txt:text/plain", "file:site", "-a", "k=v")
        assert.match(pushed, /@sha256:[0-9a-f]{64}\n$/)
        assert.strictEqual(yield* result("pull", reference, "-o", "file:out"), "out/hi.txt\nout/site\n")
        assert.deepStrictEqual(read(at("out")), {
          "hi.txt": "hi",
          site: "/",
          "site/img": "/",
          "site/img/a.png": "png",
          "site/index.html": "<p>"
        })
      }).pipe(withNode)
  )

  it.live("push the type, the annotations and the config that the flags name", () =>
    Effect.gen(function*() {
      const { at, folder, manifestOf, result } = yield* setUp
      write(folder, { "config.json": "{\"a\":1}" })
      const file = at("hi.txt")
      write(folder, {
        "annotations.json": JSON.stringify({
          $manifest: { m: "1", k: "file" },
          $config: { c: "2" },
          [file]: { f: "3", "org.opencontainers.image.title": "renamed.txt" }
        })
      })
      yield* result(
        "push",
        "oci:images:1",
        "file:hi.txt:",
        "--artifact-type=application/vnd.example",
        "--annotation-file=" + at("annotations.json"),
        "--annotation=k=flag",
        `--config=${at("config.json")}:application/vnd.example.config+json`,
        "--tag=2"
      )
      const { annotations, artifactType, config, layers } = yield* manifestOf("oci:images:2")
      assert.strictEqual(artifactType, "application/vnd.example")
      assert.deepStrictEqual(annotations, { k: "flag", m: "1" })
      assert.deepStrictEqual([config.mediaType, config.annotations], ["application/vnd.example.config+json", {
        c: "2"
      }])
      assert.deepStrictEqual(layers[0].annotations, { f: "3", "org.opencontainers.image.title": "renamed.txt" })
    }).pipe(withNode))

  it.live("push stdin", () =>
    Effect.gen(function*() {
      const { at, result, runWith } = yield* setUp
      const args = ["push", "oci:images:1", "-", "--stdin-name=in.txt", "--stdin-type=text/plain"]
      const { code, stderr } = yield* runWith({ stdin: "from stdin" }, ...args)
      assert.strictEqual(code, 0, stderr)
      yield* result("pull", "oci:images:1", "-o", "file:out")
      assert.deepStrictEqual(read(at("out")), { "in.txt": "from stdin" })
    }).pipe(withNode))

  it.live("push the same digest twice, unless the time is added", () =>
    Effect.gen(function*() {
      const { manifestOf, result } = yield* setUp
      const first = yield* result("push", "oci:images:1", "file:site")
      assert.strictEqual(yield* result("push", "oci:images:1", "file:site"), first)
      yield* result("push", "oci:images:2", "file:site", "--created")
      const { annotations } = yield* manifestOf("oci:images:2")
      assert.match(annotations["org.opencontainers.image.created"], /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    }).pipe(withNode))

  it.live("report files that are absent, and a broken file of annotations", () =>
    Effect.gen(function*() {
      const { folder, run } = yield* setUp
      const absent = yield* run("push", "oci:images:1", "file:absent")
      assert.deepStrictEqual([absent.code, absent.stdout], [1, ""])
      assert.include(absent.stderr, "effect-oci: oci:images:1: absent: there is no such file or folder")
      write(folder, { "bad.json": "{\"$manifest\":1}" })
      const bad = yield* run("push", "oci:images:1", "--annotation-file", Path.join(folder, "bad.json"))
      assert.include(bad.stderr, "bad.json: it is not a JSON object of objects with texts")
      write(folder, { "other.json": "{\"other.txt\":{}}" })
      const other = yield* run("push", "oci:images:1", "--annotation-file", Path.join(folder, "other.json"))
      assert.deepStrictEqual([other.code, other.stderr.includes(`has annotations of "other.txt"`)], [2, true])
    }).pipe(withNode))

  it.live("overwrite files only on request", () =>
    Effect.gen(function*() {
      const { at, folder, result, run } = yield* setUp
      yield* result("push", "oci:images:1", "file:hi.txt")
      write(folder, { "out/hi.txt": "mine" })
      const refused = yield* run("pull", "oci:images:1", "-o", "file:out")
      assert.deepStrictEqual([refused.code, refused.stdout], [1, ""])
      assert.include(refused.stderr, "out/hi.txt: it exists with other content; replace it with --overwrite")
      assert.strictEqual(Fs.readFileSync(at("out/hi.txt"), "utf8"), "mine")
      yield* result("pull", "oci:images:1", "-o", "file:out", "--overwrite")
      assert.strictEqual(Fs.readFileSync(at("out/hi.txt"), "utf8"), "hi")
    }).pipe(withNode))

  it.live("pull into the current folder", () =>
    Effect.gen(function*() {
      const { at, folder, result } = yield* setUp
      yield* result("push", "oci:images:1", "file:hi.txt")
      Fs.mkdirSync(at("here"))
      const { code, stdout } = yield* Program.runWith({ cwd: at("here") }, "pull", `oci:${folder}/images:1`)
      assert.deepStrictEqual([code, stdout], [0, "hi.txt\n"])
      assert.deepStrictEqual(read(at("here")), { "hi.txt": "hi" })
    }).pipe(withNode))

  it.live("pull folders as archives on request", () =>
    Effect.gen(function*() {
      const { at, result } = yield* setUp
      yield* result("push", "oci:images:1", "file:site")
      yield* result("pull", "oci:images:1", "-o", "file:out", "--keep-archives")
      assert.isTrue(Fs.statSync(at("out/site")).isFile())
    }).pipe(withNode))

  it.live("warn of layers without a name", () =>
    Effect.gen(function*() {
      const { result, run } = yield* setUp
      const { code, stderr, stdout } = yield* run("pull", "HOST/team/app:1", "-o", "file:out")
      assert.deepStrictEqual([code, stdout], [0, ""])
      assert.include(stderr, "layers without a file name are left out")
      assert.strictEqual(yield* result("pull", "--quiet", "HOST/team/app:1", "-o", "file:out"), "")
    }).pipe(withNode))

  it.live("show names in tree and manifest inspect, in one line each", () =>
    Effect.gen(function*() {
      const { result } = yield* setUp
      yield* result("push", "oci:images:1", "file:hi.txt:text/plain")
      assert.match(yield* result("tree", "oci:images:1"), /└─ layer {2}sha256:\w+ {2}2 B {2}text\/plain {2}hi\.txt$/m)
      assert.match(yield* result("tree", "--mermaid", "oci:images:1"), /layer<br>hi\.txt<br>2 B/)
      assert.match(yield* result("manifest", "inspect", "oci:images:1"), /2 B {2}text\/plain {2}hi\.txt$/m)
    }).pipe(withNode))
})

describe("attach", () => {
  it.live("lists what it attached among the referrers, by type and by annotation", () =>
    Effect.gen(function*() {
      const { result } = yield* setUp
      const attach = (type: string, annotation: string) =>
        result("attach", "HOST/team/app:1", "file:hi.txt", "--artifact-type", type, "-a", annotation)
      const digestOf = (line: string) => line.trim().split("@")[1] ?? ""
      const one = digestOf(yield* attach("application/vnd.one", "k=1"))
      const two = digestOf(yield* attach("application/vnd.two", "k=2"))
      const digests = (...args: ReadonlyArray<string>) =>
        Effect.map(result("referrers", "HOST/team/app:1", ...args), (text) =>
          text.split("\n").filter((line) => line !== "").map((line) => line.split(" ")[0]))
      assert.includeMembers(yield* digests(), [one, two])
      assert.deepStrictEqual(yield* digests("--artifact-type", "application/vnd.one"), [one])
      assert.deepStrictEqual(yield* digests("--type", "application/vnd.one"), [one])
      assert.deepStrictEqual(yield* digests("--annotation", "k=2"), [two])
      assert.deepStrictEqual(yield* digests("--annotation", "k=2", "--annotation", "x=y"), [])
      const tree = yield* result("tree", "HOST/team/app:1", "--artifact-type", "application/vnd.two")
      assert.deepStrictEqual([tree.includes(one), tree.includes(two)], [false, true])
      const others = yield* result("tree", "HOST/team/app:1", "--annotation", "k=1")
      assert.deepStrictEqual([others.includes(one), others.includes(two)], [true, false])
    }).pipe(withNode))

  it.live("attaches to the image for one platform, without a file", () =>
    Effect.gen(function*() {
      const { manifestOf, result, sample } = yield* setUp
      const line = yield* result(
        "attach",
        "HOST/team/app:1",
        "--platform=linux/arm64",
        "--artifact-type=application/vnd.example",
        "-a",
        "k=v"
      )
      const { subject } = yield* manifestOf(line.trim())
      assert.strictEqual(subject.digest, sample.arm64.digest)
    }).pipe(withNode))

  it.live("fails if the image does not exist", () =>
    Effect.gen(function*() {
      const { run } = yield* setUp
      const { code, stderr } = yield* run("attach", "HOST/team/app:9", "file:hi.txt", "--artifact-type=a/b")
      assert.strictEqual(code, 1)
      assert.include(stderr, "effect-oci: HOST/team/app:9: ")
    }).pipe(withNode))
})

describe("index", () => {
  it.live("makes an index of images, adds, removes and annotates", () =>
    Effect.gen(function*() {
      const { folder, manifestOf, result } = yield* setUp
      const layout = yield* LayoutRegistry.make({ directory: Path.join(folder, "images"), form: "layout" })
      yield* pushImage(layout, app, ["l"], { tags: [tag("amd64")] })
      const other = yield* LayoutRegistry.make({ directory: Path.join(folder, "other"), form: "layout" })
      yield* pushImage(other, app, ["l"], { architecture: "arm64", tags: [tag("1")] })

      yield* result("index", "create", "oci:images:1", ":amd64", "-a", "k=v")
      yield* result("index", "add", "oci:images:1", "oci:other:1")
      yield* result("index", "annotate", "oci:images:1", "-a", "a=b", "--remove-annotation", "k")
      yield* result("index", "annotate", "oci:images:1", "-a", "t=1", "--image", "linux/arm64")
      const { annotations, manifests } = yield* manifestOf("oci:images:1")
      assert.deepStrictEqual(annotations, { a: "b" })
      assert.deepStrictEqual(
        manifests.map(({ annotations, platform }: { annotations: object; platform: { architecture: string } }) => [
          platform.architecture,
          annotations
        ]),
        [["amd64", undefined], ["arm64", { t: "1" }]]
      )
      yield* result("index", "remove", "oci:images:1", "linux/amd64")
      assert.lengthOf((yield* manifestOf("oci:images:1")).manifests, 1)
    }).pipe(withNode))

  it.live("says what an index lists if it does not list a platform", () =>
    Effect.gen(function*() {
      const { run } = yield* setUp
      const { code, stderr } = yield* run("index", "remove", "HOST/team/app:1", "linux/s390x")
      assert.strictEqual(code, 1)
      assert.include(stderr, "the index does not list linux/s390x; it lists: linux/amd64, linux/arm64")
    }).pipe(withNode))
})

describe("resolve", () => {
  it.live("prints one digest for each of several images, up to the first that fails", () =>
    Effect.gen(function*() {
      const { result, run, sample } = yield* setUp
      const { arm64, index } = sample
      const both = ["HOST/team/app:1", `HOST/team/app@${arm64.digest}`]
      assert.strictEqual(yield* result("resolve", ...both), `${index.digest}\n${arm64.digest}\n`)
      assert.strictEqual(
        yield* result("resolve", "--full-ref", ...both),
        `HOST/team/app@${index.digest}\nHOST/team/app@${arm64.digest}\n`
      )
      const { code, stderr, stdout } = yield* run("resolve", "HOST/team/app:1", "HOST/team/app:9")
      assert.deepStrictEqual([code, stdout], [1, `${index.digest}\n`])
      assert.include(stderr, "HOST/team/app:9: ")
    }).pipe(withNode))
})
