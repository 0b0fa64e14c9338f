import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as Image from "effect-oci/Image"
import * as Tar from "effect/encoding/Tar"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { read } from "../utils/artifacts.ts"
import { layer, openImage } from "../utils/image-layers.ts"
import { temporaryFolder } from "../utils/layouts.ts"

/** Exports an image into a new folder, and returns what is there. */
const exported = Effect.fnUntraced(function*(image: Image.Image, path?: string) {
  const folder = Path.join(yield* temporaryFolder, "root")
  const report = yield* Image.toFolder(image, folder, path)
  return { report, files: read(folder) }
})

const withNode = Effect.provide(NodeServices.layer)

/** Exports an image as an archive, and returns the type and the content of each entry. */
const archived = (image: Image.Image, path?: string) =>
  Image.toTar(image, path).pipe(
    Stream.pipeThroughChannelOrFail(Tar.decode()),
    Stream.mapEffect(({ body, header }) =>
      Effect.map(Stream.mkString(Stream.decodeText(body)), (text) => [header.path, header.type, text])
    ),
    Stream.runCollect
  )

const linked = openImage([
  layer({ name: "a/one", content: "one" }, { name: "b/two", type: "1", link: "a/one" })
])

describe("an export", () => {
  it.effect("has the files of all layers, and links", () =>
    Effect.gen(function*() {
      const image = yield* openImage(
        [layer({ name: "etc/", type: "5" }, { name: "etc/motd", content: "old" }, { name: "etc/os", content: "os" })],
        [layer({ name: "etc/motd", content: "new" }, { name: "motd", type: "2", link: "etc/motd" })]
      )
      const { files, report } = yield* exported(image)
      assert.deepStrictEqual(files, { etc: "/", "etc/motd": "new", "etc/os": "os", motd: "-> etc/motd" })
      assert.deepStrictEqual(report, { entries: 4, skipped: [] })
    }).pipe(withNode))

  it.effect.each<readonly [string, string]>([
    ["/etc/passwd", "../etc/passwd"],
    ["../../../x", "../x"],
    ["x/../../../y", "../y"],
    ["/", "../"],
    ["..", ".."]
  ])("rewrites the target of a link that leads out: %s", ([target, written]) =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      yield* Image.toFolder(yield* openImage([layer({ name: "d/l", type: "2", link: target })]), folder)
      assert.strictEqual(Fs.readlinkSync(Path.join(folder, "d/l")), written)
    }).pipe(withNode))

  it.effect("writes nothing through a link of the image", () =>
    Effect.gen(function*() {
      const outside = yield* temporaryFolder
      const image = yield* openImage([
        layer({ name: "l", type: "2", link: outside }, { name: "l/a", content: "a" })
      ])
      yield* Effect.flip(exported(image))
      assert.deepStrictEqual(read(outside), {})
    }).pipe(withNode))

  it.effect("leaves out devices, and reports them", () =>
    Effect.gen(function*() {
      const { files, report } = yield* exported(
        yield* openImage([layer({ name: "a", content: "a" }, { name: "dev", type: "3" })])
      )
      assert.deepStrictEqual(files, { a: "a" })
      assert.deepStrictEqual(report.skipped, ["dev"])
    }).pipe(withNode))

  it.effect("has the last one of several entries with the same path", () =>
    Effect.gen(function*() {
      const link = { name: "a", type: "2", link: "b" }
      const image = yield* openImage([layer(link, { name: "a", content: "file" })])
      assert.deepStrictEqual((yield* exported(image)).files, { a: "file" })
      const other = yield* openImage([layer({ name: "a", content: "file" }, link)])
      assert.deepStrictEqual((yield* exported(other)).files, { a: "-> b" })
    }).pipe(withNode))

  it.effect("of a part has the content of a hard link whose other name is outside of the part", () =>
    Effect.gen(function*() {
      const image = yield* linked
      const { files, report } = yield* exported(image, "b")
      assert.deepStrictEqual(files, { b: "/", "b/two": "one" })
      assert.deepStrictEqual(report.skipped, [])
      assert.deepStrictEqual(yield* archived(image, "/b"), [["b/two", "File", "one"]])
      assert.deepStrictEqual(yield* archived(image), [["a/one", "File", "one"], ["b/two", "Hardlink", ""]])
    }).pipe(withNode))
})
