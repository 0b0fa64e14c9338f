import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { read, write } from "../utils/artifacts.ts"
import { run } from "../utils/Command.ts"
import { app, diffIdOf, layer, pushImageOf } from "../utils/image-layers.ts"
import { pushIndex, repository, tag } from "../utils/images.ts"
import { blobPath, temporaryFolder } from "../utils/layouts.ts"

const withNode = Effect.provide(NodeServices.layer)

const lower = layer(
  { name: "etc/os-release", type: "2", link: "../usr/lib/os-release" },
  { name: "usr/lib/os-release", content: "NAME=test\n" },
  { name: "etc/gone", content: "gone" },
  { name: "outside", type: "2", link: "../../../../etc/passwd" },
  { name: "absolute", type: "2", link: "/usr/lib/os-release" },
  { name: "hard", type: "1", link: "usr/lib/os-release" },
  { name: "null", type: "3" }
)
const upper = layer({ name: "etc/.wh.gone" }, { name: "app/run", content: "run" })

/** Makes a layout with an image as `app:1`, and an index of it as `index`. */
const setUp = Effect.gen(function*() {
  const folder = yield* temporaryFolder
  const at = (name: string) => Path.join(folder, name)
  const registry = yield* LayoutRegistry.make({ directory: at("app"), form: "layout" })
  const image = yield* pushImageOf(registry, [[lower], [upper]], { config: { Env: ["A=1"] } })
  const platforms = ["amd64", "arm64"].map((architecture) => ({ ...image, platform: { os: "linux", architecture } }))
  yield* pushIndex(registry, app, platforms, { tags: [tag("index")] })
  return { at, image, place: `oci:${at("app")}:1`, index: `oci:${at("app")}:index` }
})

/** Returns the output of a command that succeeds. */
const result = (...args: ReadonlyArray<string>) =>
  Effect.map(run(...args), ({ code, stderr, stdout }) => {
    assert.strictEqual(code, 0, stderr)
    return stdout
  })

describe("config", () => {
  it.live("prints the config as it is, or with its descriptor", () =>
    Effect.gen(function*() {
      const { image, place } = yield* setUp
      assert.deepStrictEqual(JSON.parse(yield* result("config", place)).config, { Env: ["A=1"] })
      const { config, descriptor } = JSON.parse(yield* result("config", "--json", place))
      assert.deepStrictEqual([config.config, descriptor.digest], [{ Env: ["A=1"] }, image.digest])
    }).pipe(withNode))

  it.live("reads the image for this machine of an index, and says so", () =>
    Effect.gen(function*() {
      const { index } = yield* setUp
      const { code, stderr } = yield* run("config", index)
      if (code === 0) assert.include(stderr, "has several images: reading the one for linux/")
      assert.strictEqual((yield* run("config", "--platform", "linux/arm64", index)).code, 0)
      const missing = yield* run("config", "--platform", "linux/s390x", index)
      assert.strictEqual(missing.code, 1)
      assert.include(missing.stderr, "there is no image for linux/s390x")
    }).pipe(withNode))
})

describe("files", () => {
  it.live("lists the files", () =>
    Effect.gen(function*() {
      const { place } = yield* setUp
      assert.deepStrictEqual((yield* result("files", "ls", place)).trim().split("\n"), [
        "app/run",
        "etc/os-release",
        "usr/lib/os-release",
        "outside",
        "absolute",
        "hard",
        "null"
      ])
      assert.strictEqual(yield* result("files", "ls", place, "/usr/lib"), "usr/lib/os-release\n")
      assert.include(
        yield* result("files", "ls", "--long", place, "etc"),
        "lrw-r--r-- 0:0                  0 etc/os-release -> ../usr/lib/os-release\n"
      )
      const [file] = JSON.parse(yield* result("files", "ls", "--json", place, "usr"))
      assert.deepInclude(file, { path: "usr/lib/os-release", type: "File", size: 10, layer: diffIdOf(lower) })
    }).pipe(withNode))

  it.live("prints a file", () =>
    Effect.gen(function*() {
      const { at, place } = yield* setUp
      assert.strictEqual(yield* result("files", "cat", place, "/etc/os-release"), "NAME=test\n")
      const printed = yield* result("files", "cat", "--json", "--output", at("out"), place, "hard")
      assert.deepInclude(JSON.parse(printed), { path: "hard", size: 10 })
      assert.strictEqual(Fs.readFileSync(at("out"), "utf8"), "NAME=test\n")
      const { code, stderr } = yield* run("files", "cat", place, "etc/gone")
      assert.strictEqual(code, 1)
      assert.include(stderr, `${place}: it has no file "etc/gone"; list the files with effect-oci files ls`)
    }).pipe(withNode))

  it.live("exports an archive", () =>
    Effect.gen(function*() {
      const { at, place } = yield* setUp
      Fs.writeFileSync(at("all.tar"), yield* result("files", "export", place), "latin1")
      const names = ChildProcess.execFileSync("tar", ["-tf", at("all.tar")], { encoding: "utf8" })
      assert.deepStrictEqual(names.trim().split("\n").sort(), [
        "absolute",
        "app/run",
        "etc/os-release",
        "hard",
        "null",
        "outside",
        "usr/lib/os-release"
      ])
    }).pipe(withNode))

  it.live("exports into a folder, which no link leaves", () =>
    Effect.gen(function*() {
      const { at, place } = yield* setUp
      const { code, stderr } = yield* run("files", "export", "--directory", at("root"), place)
      assert.strictEqual(code, 0, stderr)
      assert.include(stderr, "null is left out")
      assert.deepStrictEqual(read(at("root")), {
        absolute: "-> usr/lib/os-release",
        app: "/",
        "app/run": "run",
        etc: "/",
        "etc/os-release": "-> ../usr/lib/os-release",
        hard: "NAME=test\n",
        outside: "-> etc/passwd",
        usr: "/",
        "usr/lib": "/",
        "usr/lib/os-release": "NAME=test\n"
      })
      const again = yield* run("files", "export", "--directory", at("root"), place)
      assert.strictEqual(again.code, 1)
      assert.include(again.stderr, "it is not empty")
    }).pipe(withNode))
})

describe("append, mutate and rebase", () => {
  it.live("make images that are valid", () =>
    Effect.gen(function*() {
      const { at, place } = yield* setUp
      write(at("dist"), { run: "new" })
      const made = `oci:${at("made")}:1`
      const line = yield* result(
        "append",
        place,
        made,
        `${at("dist")}:/srv`,
        "--env",
        "B=2",
        "--entrypoint",
        "/srv/run"
      )
      assert.match(line, /made@sha256:[0-9a-f]{64}\n$/)
      assert.strictEqual(yield* result("files", "cat", made, "srv/run"), "new")
      assert.deepStrictEqual(JSON.parse(yield* result("config", made)).config, {
        Env: ["A=1", "B=2"],
        Entrypoint: ["/srv/run"]
      })

      const report = JSON.parse(yield* result("mutate", "--json", made, made, "--remove-env", "A", "--label", "a=b"))
      assert.strictEqual(report.root.mediaType, "application/vnd.oci.image.manifest.v1+json")
      assert.deepStrictEqual(JSON.parse(yield* result("config", made)).config.Env, ["B=2"])
      const unnamed = yield* result("mutate", made, "--user", "me")
      assert.match(unnamed, /made@sha256:/)

      const rebased = yield* run("rebase", made, `oci:${at("made")}:2`)
      assert.strictEqual(rebased.code, 1)
      assert.include(rebased.stderr, "its new base is unknown")
      assert.include(rebased.stderr, "name the bases with --old-base and --new-base")
      yield* result("validate", `oci:${at("made")}`)
    }).pipe(withNode))

  it.live("make an image of nothing", () =>
    Effect.gen(function*() {
      const { at } = yield* setUp
      write(at("dist"), { run: "new" })
      const made = `oci:${at("made")}:1`
      yield* result("append", "scratch", made, at("dist"), "--cmd", "[\"/run\"]", "--set-platform", "linux/arm64")
      const { architecture, config } = JSON.parse(yield* result("config", made))
      assert.deepStrictEqual([architecture, config], ["arm64", { Cmd: ["/run"] }])
    }).pipe(withNode))
})

describe("validate", () => {
  it.live("finds nothing wrong", () =>
    Effect.gen(function*() {
      const { at, index, place } = yield* setUp
      for (const target of [place, index, `oci:${at("app")}`]) {
        const { code, stderr, stdout } = yield* run("validate", target)
        assert.deepStrictEqual([code, stdout], [0, ""], stderr)
        assert.match(stderr, /^read \d manifests? and 3 blobs/)
      }
    }).pipe(withNode))

  it.live("prints every problem, and fails", () =>
    Effect.gen(function*() {
      const { at, index } = yield* setUp
      Fs.rmSync(blobPath(at("app"), diffIdOf(upper)))
      const { code, stderr, stdout } = yield* run("validate", index)
      assert.strictEqual(code, 1)
      assert.include(stdout, `MissingBlob: app:index ${diffIdOf(upper)}: `)
      assert.include(stderr, `${index}: 1 problem`)
      const printed = yield* run("validate", "--json", index)
      assert.deepInclude(JSON.parse(printed.stdout).problems[0], { kind: "MissingBlob", tag: "index" })
    }).pipe(withNode))

  it.live("reads a folder that is served, and an archive", () =>
    Effect.gen(function*() {
      const { at, place } = yield* setUp
      const root = yield* LayoutRegistry.make({ directory: at("root") })
      yield* pushImageOf(root, [[lower]])
      yield* root.pushManifest(repository("other"), { mediaType: "application/x", bytes: new Uint8Array([123, 125]) })
      assert.strictEqual((yield* run("validate", `oci:${at("root")}`)).code, 0)
      Fs.rmSync(blobPath(at("root/app"), diffIdOf(lower)))
      const broken = yield* run("validate", `oci:${at("root")}`)
      assert.strictEqual(broken.code, 1, broken.stderr)
      assert.include(broken.stdout, "MissingBlob: app:1")
      yield* result("copy", place, `docker-archive:${at("a.tar")}:app:1`)
      assert.strictEqual((yield* run("validate", `docker-archive:${at("a.tar")}`)).code, 0)
    }).pipe(withNode))
})
