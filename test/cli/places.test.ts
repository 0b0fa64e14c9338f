import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { CopyReport } from "effect-oci/CopyReport"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as OciArchive from "effect-oci/OciArchive"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Locations from "../../src/cli/Locations.ts"
import { bytesOf, pushImage, pushSample, repository, tag } from "../utils/images.ts"
import { assertValid, temporaryFolder } from "../utils/layouts.ts"
import * as Program from "../utils/Program.ts"
import { digestOf, listen } from "../utils/ScriptedServer.ts"
import { tar } from "../utils/tars.ts"

const app = repository("app")
const digest = `sha256:${"a".repeat(64)}`

const withNode = Effect.provide(NodeServices.layer)

/**
 * Returns the registry and repository, the tag, the digest, and the reference with another tag that an argument means.
 */
const read = (input: string) =>
  Effect.flatMap(Locations.read(input), ({ use }) =>
    use(Locations.anything, ({ end, format }) => {
      const registry = typeof end.registry === "string" ? end.registry : end.registry.name
      return Effect.succeed([`${registry} ${end.repository}`, end.tag, end.digest, format({ tag: tag("other") })])
    }))

describe("an argument names", () => {
  const table: ReadonlyArray<readonly [input: string, ...ReadonlyArray<string | undefined>]> = [
    ["oci:dir", "oci:. dir", undefined, undefined, "oci:dir:other"],
    ["oci:dir:1.0", "oci:. dir", "1.0", undefined, "oci:dir:other"],
    [`oci:dir@${digest}`, "oci:. dir", undefined, digest, "oci:dir:other"],
    [`oci:dir:1.0@${digest}`, "oci:. dir", "1.0", digest, "oci:dir:other"],
    ["oci:./some/dir:1", "oci:./some dir", "1", undefined, "oci:./some/dir:other"],
    ["oci:/some/dir", "oci:/some dir", undefined, undefined, "oci:/some/dir:other"],
    ["oci:/dir:1", "oci: dir", "1", undefined, "oci:/dir:other"],
    ["oci:Some Dir:1", "oci:Some Dir image", "1", undefined, "oci:Some Dir:other"],
    ["oci:.", "oci:. image", undefined, undefined, "oci:.:other"],
    // a colon starts a tag if no slash follows it
    ["oci:a:b", "oci:. a", "b", undefined, "oci:a:other"],
    ["oci:a:b/", "oci:a:b/ image", undefined, undefined, "oci:a:b/:other"],
    ["oci:a:b/c:d", "oci:a:b c", "d", undefined, "oci:a:b/c:other"],
    ["oci:a:b/:c", "oci:a:b/ image", "c", undefined, "oci:a:b/:other"],
    ["oci:C:\\images:1", "oci:C:\\images image", "1", undefined, "oci:C:\\images:other"],
    ["oci:C:\\images", "oci:C:\\images image", undefined, undefined, "oci:C:\\images:other"],
    ["oci:me@home", "oci:me@home image", undefined, undefined, "oci:me@home:other"],
    ["oci:me@home:1", "oci:me@home image", "1", undefined, "oci:me@home:other"],
    [`oci:me@home@${digest}`, "oci:me@home image", undefined, digest, "oci:me@home:other"],
    ["host.test/app:1", "host.test app", "1", undefined, "host.test/app:other"]
  ]
  it.effect.each(table)("%s", ([input, ...expected]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* read(input), expected)
    }).pipe(withNode))

  const misuses: ReadonlyArray<readonly [input: string, says: string]> = [
    ["oci:", "the path is missing"],
    ["oci::1", "the path is missing"],
    [`oci:@${digest}`, "the path is missing"],
    ["oci-archive::1", "the path is missing"],
    ["docker-archive:", "the path is missing"],
    ["docker-archive::app", "the path is missing"],
    ["oci:dir:", "the tag after the last colon: it is empty"],
    ["oci:dir:-1", "the tag after the last colon: it must begin with a letter, a digit or _"],
    ["oci:dir:a b", "the tag after the last colon: character \" \" is not allowed"],
    [`oci:dir:${"a".repeat(129)}`, "the tag after the last colon: it has 129 characters"],
    ["oci:dir@sha256:12", "expected 64 hexadecimal digits after sha256, found 2"],
    ["oci:dir@sha256:", "expected 64 hexadecimal digits after sha256, found 0"],
    ["docker-archive:f.tar:App", "upper-case letter \"A\""],
    ["docker-archive:f.tar@sha512:1", "expected 128 hexadecimal digits after sha512, found 1"]
  ]
  it.effect.each(misuses)("nothing, and fails: %s", ([input, says]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Locations.read(input))
      assert.include(error.message, says)
      assert.include(error.message, JSON.stringify(input))
    }).pipe(withNode))

  it.effect.prop(
    "something or nothing, without a defect, for any text",
    [Schema.String],
    ([text]) =>
      Effect.gen(function*() {
        for (const prefix of ["oci:", "oci-archive:", "docker-archive:"]) {
          yield* Effect.exit(Locations.read(prefix + text))
        }
      }).pipe(withNode)
  )
})

describe("effect-oci copy", () => {
  /** Makes a layout in the folder `layout`, with an image of two platforms under the tag 1. */
  const setUp = Effect.gen(function*() {
    const folder = yield* temporaryFolder
    const layout = yield* LayoutRegistry.make({ directory: Path.join(folder, "layout"), form: "layout" })
    const sample = yield* pushSample(layout, app, [tag("1")])
    const run = (...args: ReadonlyArray<string>) => Program.run("copy", ...args)
    return { ...sample, folder, layout, run, at: (name: string) => Path.join(folder, name) }
  })

  it.live("copies between folders and archives, and prints the reference of the copy", () =>
    Effect.gen(function*() {
      const { at, index, run } = yield* setUp
      const archive = `oci-archive:${at("image.tar")}`
      const written = yield* run(`oci:${at("layout")}:1`, `${archive}:2`)
      assert.deepStrictEqual([written.code, written.stdout], [0, `${archive}@${index.digest}\n`], written.stderr)
      assert.match(written.stderr, /copied 9 blobs and 5 manifests/)

      const json = yield* run("--json", `${archive}:2`, `oci:${at("copy")}:3`)
      const report = yield* Schema.decodeEffect(Schema.fromJsonString(CopyReport))(json.stdout)
      assert.strictEqual(report.source, `${archive}:2`)
      assert.strictEqual(report.destination, `oci:${at("copy")}:3@${index.digest}`)
      assertValid(at("copy"))
      const copy = yield* LayoutRegistry.make({ directory: at("copy"), form: "layout" })
      assert.strictEqual((yield* copy.resolveManifest(app, tag("3"))).digest, index.digest)
    }).pipe(withNode))

  it.live("selects the only image if none is named, and reports which", () =>
    Effect.gen(function*() {
      const { arm64, at, run } = yield* setUp
      const one = yield* run(`oci:${at("layout")}:1`, `oci:${at("one")}`, "--platform=linux/arm64", "--referrers=skip")
      assert.strictEqual(one.stdout, `oci:${at("one")}@${arm64.digest}\n`, one.stderr)
      const two = yield* run(`oci:${at("one")}`, `oci:${at("two")}:1`)
      assert.strictEqual(two.code, 0)
      assert.include(two.stderr, `oci:${at("one")} means oci:${at("one")}@${arm64.digest}\n`)
    }).pipe(withNode))

  it.live("fails if none is named and there are several", () =>
    Effect.gen(function*() {
      const { at, layout, run } = yield* setUp
      yield* pushImage(layout, app, ["other"], { tags: [tag("2")] })
      const several = yield* run(`oci:${at("layout")}`, `oci:${at("copy")}`)
      assert.deepStrictEqual([several.code, several.stdout], [2, ""])
      assert.include(several.stderr, "it contains 4 images: name one by its tag")
      assert.isFalse(Fs.existsSync(at("copy")))
    }).pipe(withNode))

  it.live("reads an archive of docker save, by name or as the only image", () =>
    Effect.gen(function*() {
      const { at, run } = yield* setUp
      const layer = new Uint8Array(tar({ name: "file", content: "content" }))
      const config = JSON.stringify({ rootfs: { type: "layers", diff_ids: [digestOf(layer)] } })
      const manifest = [{ Config: "c.json", RepoTags: ["docker.io/library/app:1"], Layers: ["l.tar"] }]
      Fs.writeFileSync(
        at("saved.tar"),
        tar(
          { name: "c.json", content: config },
          { name: "l.tar", content: layer },
          { name: "manifest.json", content: JSON.stringify(manifest) }
        )
      )
      const [named, only] = yield* Effect.forEach(
        [`docker-archive:${at("saved.tar")}:app:1`, `docker-archive:${at("saved.tar")}`],
        (source) => run(source, `oci:${at("copy")}:1`)
      )
      assert.strictEqual(named?.code, 0, named?.stderr)
      assert.strictEqual(named?.stdout, only?.stdout)
      assertValid(at("copy"))
    }).pipe(withNode))

  describe("of images that have the same tag", () => {
    /** Makes a layout and its archive with two images under the tag 1, in the format of containerd and docker. */
    const twoImages = Effect.gen(function*() {
      const { at, folder, layout, run } = yield* setUp
      const one = yield* pushImage(layout, app, ["one"])
      const two = yield* pushImage(layout, app, ["two"])
      const entry = (descriptor: typeof one, name: string) => ({
        ...descriptor,
        annotations: { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": "1" }
      })
      const manifests = [entry(one, "docker.io/team/app:1"), entry(two, "quay.io/team/app:1")]
      Fs.writeFileSync(at("layout/index.json"), JSON.stringify({ schemaVersion: 2, manifests }))
      ChildProcess.execFileSync("tar", ["-C", at("layout"), "-cf", at("two.tar"), "."])
      return { at, folder, one, two, run }
    })

    for (
      const [kind, name, plain] of [
        ["oci", "layout", ":1"],
        ["oci-archive", "two.tar", ":1"],
        ["docker-archive", "two.tar", ":team/app:1"]
      ] as const
    ) {
      it.live(`lists both, and selects the one with the full name: ${kind}`, () =>
        Effect.gen(function*() {
          const { at, one, run, two } = yield* twoImages
          const source = `${kind}:${at(name)}`
          const both = yield* run(`${source}${plain}`, `oci:${at("copy")}:1`)
          assert.deepStrictEqual([both.code, both.stdout], [1, ""])
          assert.include(
            both.stderr,
            `several images have the tag 1: docker.io/team/app:1 (${one.digest}), quay.io/team/app:1 (${two.digest})`
          )
          const first = yield* run(`${source}:docker.io/team/app:1`, `oci:${at("copy")}:1`)
          assert.strictEqual(first.stdout, `oci:${at("copy")}@${one.digest}\n`, first.stderr)
          const second = yield* run(`${source}:quay.io/team/app:1`, `oci:${at("copy")}:2`)
          assert.strictEqual(second.stdout, `oci:${at("copy")}@${two.digest}\n`, second.stderr)
          const none = yield* run(`${source}:quay.io/team/other:1`, `oci:${at("copy")}:3`)
          assert.strictEqual(none.code, 1)
          assert.include(none.stderr, "no image has the name quay.io/team/other:1")
        }).pipe(withNode))
    }

    it.live("moves the tag of neither", () =>
      Effect.gen(function*() {
        const { at, run } = yield* twoImages
        const before = Fs.readFileSync(at("layout/index.json"))
        const { digest } = yield* OciArchive.update({ file: at("other.tar") }, (registry) =>
          pushImage(registry, app, ["other"], { tags: [tag("1")] }))
        const { code, stderr } = yield* run(`oci-archive:${at("other.tar")}@${digest}`, `oci:${at("layout")}:1`)
        assert.strictEqual(code, 1)
        assert.include(stderr, "several images have the tag 1")
        assert.deepStrictEqual(Fs.readFileSync(at("layout/index.json")), before)
      }).pipe(withNode))

    it.live("refuses a full name as the destination", () =>
      Effect.gen(function*() {
        const { at, folder, run } = yield* twoImages
        const before = Fs.readdirSync(folder)
        const { code, stderr } = yield* run(
          `oci:${at("layout")}:docker.io/team/app:1`,
          `oci:${at("layout")}:quay.io/x/y:1`
        )
        assert.strictEqual(code, 2)
        assert.include(stderr, "a full name is for reading only: use a tag or a digest")
        assert.deepStrictEqual(Fs.readdirSync(folder), before)
      }).pipe(withNode))
  })

  it.live("suggests --platform if some images of an index are missing", () =>
    Effect.gen(function*() {
      const { amd64, arm64, at, run } = yield* setUp
      Fs.rmSync(Path.join(at("layout"), "blobs", ...arm64.digest.split(":")))
      const all = yield* run(`oci:${at("layout")}:1`, `oci:${at("copy")}:1`)
      assert.strictEqual(all.code, 1)
      assert.include(
        all.stderr,
        "the source has only some images of this index: copy one of them with --platform OS/ARCH"
      )
      const one = yield* run("--platform=linux/amd64", `oci:${at("layout")}:1`, `oci:${at("copy")}:1`)
      assert.strictEqual(one.stdout, `oci:${at("copy")}@${amd64.digest}\n`, one.stderr)
    }).pipe(withNode))

  it.live("reports an unusable folder or file in one line", () =>
    Effect.gen(function*() {
      const { at, run } = yield* setUp
      Fs.writeFileSync(at("text.tar"), "text".repeat(500))
      const table = [
        [`oci:${at("none")}:1`, `${at("none")} is not an image layout`],
        [`oci-archive:${at("none.tar")}:1`, "there is no such file or folder"],
        [`oci-archive:${at("text.tar")}:1`, "it is not a readable tar archive"]
      ] as const
      for (const [source, says] of table) {
        const { code, stderr, stdout } = yield* run(source, `oci:${at("copy")}:1`)
        assert.deepStrictEqual([code, stdout], [1, ""])
        assert.match(stderr, /^effect-oci: [^\n]+\n$/)
        assert.include(stderr, says)
      }
      assert.isFalse(Fs.existsSync(at("copy")))
    }).pipe(withNode))

  it.live("leaves no file if it is interrupted while it writes an archive", () =>
    Effect.gen(function*() {
      const { at, folder } = yield* setUp
      let reached: () => void = () => {}
      const begun = new Promise<void>((resolve) => {
        reached = resolve
      })
      const mediaType = "application/vnd.oci.image.manifest.v1+json"
      const blob = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest, size: 7 }
      const manifest = bytesOf({ schemaVersion: 2, mediaType, config: blob, layers: [] })
      const host = yield* listen((request, response) => {
        if (request.url?.includes("/manifests/") === true) {
          response.writeHead(200, { "content-type": mediaType, "content-length": manifest.length })
          response.end(request.method === "HEAD" ? "" : manifest)
        } else if (request.url?.includes("/blobs/") === true && request.method === "GET") {
          response.writeHead(200, { "content-length": 7 }).write("cont")
          reached()
        } else {
          response.writeHead(404).end()
        }
      })
      const before = Fs.readdirSync(folder)
      const running = yield* Program.start(
        "copy",
        "--referrers=skip",
        `${host}/app:1`,
        `oci-archive:${at("image.tar")}:1`
      )
      yield* Effect.promise(() => begun)
      running.kill("SIGINT")
      assert.strictEqual((yield* running.ended).code, 130)
      assert.deepStrictEqual(Fs.readdirSync(folder), before)
    }).pipe(withNode))

  it.live("adds to an existing archive", () =>
    Effect.gen(function*() {
      const { at, index, run } = yield* setUp
      const file = at("image.tar")
      const first = yield* OciArchive.update({ file }, (registry) =>
        pushImage(registry, app, ["first"], { tags: [tag("first")] }))
      const { code, stderr } = yield* run(`oci:${at("layout")}:1`, `oci-archive:${file}:second`)
      assert.strictEqual(code, 0, stderr)
      const archive = yield* OciArchive.make({ file })
      assert.strictEqual((yield* archive.resolveManifest(app, tag("first"))).digest, first.digest)
      assert.strictEqual((yield* archive.resolveManifest(app, tag("second"))).digest, index.digest)
    }).pipe(withNode))
})
