import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as Decompressor from "effect-oci/Decompressor"
import * as Image from "effect-oci/Image"
import * as MediaType from "effect-oci/MediaType"
import * as Zlib from "node:zlib"
import { layer, layersRead, openImage, pushLayers } from "../utils/image-layers.ts"

/** Lists the paths of an image, sorted. */
const paths = (image: Image.Image) =>
  Effect.map(Stream.runCollect(Image.files(image)), (entries) => entries.map(({ path }) => path).sort())

const text = (image: Image.Image, path: string) =>
  Effect.map(Image.readFile(image, path), (bytes) => new TextDecoder().decode(bytes))

const tagOf = <A>(effect: Effect.Effect<A, { readonly reason: { readonly _tag: string } }>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason._tag)

describe("the files of an image", () => {
  it.effect("are those of all layers", () =>
    Effect.gen(function*() {
      const image = yield* openImage([layer({ name: "a/", type: "5" }, { name: "a/b" })], [layer({ name: "c" })])
      assert.deepStrictEqual(yield* paths(image), ["a", "a/b", "c"])
    }))

  const table: ReadonlyArray<
    readonly [says: string, lower: ReadonlyArray<string>, upper: ReadonlyArray<string>, seen: ReadonlyArray<string>]
  > = [
    ["a file is replaced", ["etc/motd"], ["etc/motd"], ["etc/motd"]],
    ["a file is deleted", ["etc/motd", "etc/os"], ["etc/.wh.motd"], ["etc/os"]],
    ["a folder is deleted", ["etc/", "etc/a", "etc/b/c"], [".wh.etc"], []],
    ["a folder is deleted and made again", ["etc/", "etc/a"], [".wh.etc", "etc/", "etc/b"], ["etc/", "etc/b"]],
    ["a folder is cleared", ["etc/", "etc/a", "etc/b/c", "x"], ["etc/", "etc/.wh..wh..opq", "etc/d"], [
      "etc/",
      "etc/d",
      "x"
    ]],
    ["a folder is cleared after its new files", ["etc/a"], ["etc/d", "etc/.wh..wh..opq"], ["etc/d"]],
    ["the root is cleared", ["etc/a", "b"], [".wh..wh..opq", "c"], ["c"]],
    ["a folder becomes a file", ["etc/", "etc/a"], ["etc"], ["etc"]],
    ["a file becomes a folder", ["etc"], ["etc/", "etc/a"], ["etc/", "etc/a"]],
    ["a file becomes a folder without an entry", ["etc"], ["etc/a"], ["etc/a"]],
    ["a folder has no entry in the upper layer", ["etc/", "etc/a"], ["etc/b"], ["etc/", "etc/a", "etc/b"]],
    ["a name only begins with a deleted one", ["etc/a", "etc/ab"], ["etc/.wh.a"], ["etc/ab"]],
    ["a deleted path never was", [], [".wh.x", "y/.wh.z"], []],
    ["metadata of AUFS", ["a"], [".wh..wh.plnk/1", ".wh..wh.aufs"], ["a"]],
    ["names with dots and slashes", ["./etc//a", "/b"], ["etc/../c", ".wh.b"], ["c", "etc/a"]],
    ["a name that leads out of the image", ["../../a"], ["../b"], ["a", "b"]]
  ]
  it.effect.each(table)("are right if %s", ([, lower, upper, seen]) =>
    Effect.gen(function*() {
      const members = (names: ReadonlyArray<string>) =>
        layer(...names.map((name) => ({ name, type: name.endsWith("/") ? "5" : "0" })))
      const image = yield* openImage([members(lower)], [members(upper)])
      assert.deepStrictEqual(yield* paths(image), seen.map((name) => name.replace(/\/$/, "")))
    }))

  it.effect("come from the top layer first", () =>
    Effect.gen(function*() {
      const image = yield* openImage([layer({ name: "low" })], [layer({ name: "middle" })], [layer({ name: "top" })])
      const entries = yield* Stream.runCollect(Image.files(image))
      assert.deepStrictEqual(entries.map(({ path }) => path), ["top", "middle", "low"])
      assert.deepStrictEqual(entries[0]?.layer.descriptor, image.layers[2]?.descriptor)
    }))

  it.effect("have their content", () =>
    Effect.gen(function*() {
      const image = yield* openImage([layer({ name: "a", content: "one" }, { name: "b", content: "two" })])
      const contents = yield* Image.files(image).pipe(
        Stream.mapEffect(({ content }) => Stream.mkString(Stream.decodeText(content))),
        Stream.runCollect
      )
      assert.deepStrictEqual(contents, ["one", "two"])
    }))

  it.effect("include the content of a hard link whose other name was replaced", () =>
    Effect.gen(function*() {
      const image = yield* openImage(
        [layer({ name: "a", content: "old" }, { name: "b", type: "1", link: "a" })],
        [layer({ name: "a", content: "new" })]
      )
      const contents = yield* Image.files(image).pipe(
        Stream.mapEffect(({ content, header, path }) =>
          Effect.map(Stream.mkString(Stream.decodeText(content)), (text) => [path, header.type, text])
        ),
        Stream.runCollect
      )
      assert.deepStrictEqual(contents, [["a", "File", "new"], ["b", "File", "old"]])
      assert.strictEqual(yield* text(image, "b"), "old")
    }))

  it.effect("are limited in number", () =>
    Effect.gen(function*() {
      const image = yield* openImage([layer({ name: "a" }, { name: "b" })], [layer({ name: "c" })])
      const listed = Effect.provideService(paths(image), Image.EntryLimit, 2)
      assert.strictEqual(yield* tagOf(listed), "InvalidLayer")
      assert.lengthOf(yield* Effect.provideService(paths(image), Image.EntryLimit, 3), 3)
    }))
})

describe("a file of an image", () => {
  it.effect("is found without the layers below it", () =>
    Effect.gen(function*() {
      const { image, reads } = yield* layersRead(
        [layer({ name: "etc/motd", content: "low" })],
        [layer({ name: "other" })],
        [layer({ name: "etc/motd", content: "high" })],
        [layer({ name: "more" })]
      )
      assert.strictEqual(yield* text(image, "/etc/motd"), "high")
      assert.deepStrictEqual(reads(), [3, 2])
    }))

  it.effect("that is deleted is not searched below", () =>
    Effect.gen(function*() {
      const { image, reads } = yield* layersRead([layer({ name: "a" })], [layer({ name: ".wh.a" })])
      assert.strictEqual(yield* tagOf(text(image, "a")), "FileNotFound")
      assert.deepStrictEqual(reads(), [1])
    }))

  const base = layer(
    { name: "usr/lib/os-release", content: "release" },
    { name: "etc/os-release", type: "2", link: "../usr/lib/os-release" },
    { name: "lib", type: "2", link: "usr/lib" },
    { name: "absolute", type: "2", link: "/lib/os-release" },
    { name: "outside", type: "2", link: "../../../../etc/os-release" },
    { name: "loop", type: "2", link: "loop" },
    { name: "one", type: "2", link: "two/x" },
    { name: "two", type: "2", link: "one" },
    { name: "dangling", type: "2", link: "nowhere" },
    { name: "hard", type: "1", link: "usr/lib/os-release" },
    { name: "harder", type: "1", link: "hard" },
    { name: "device", type: "3" }
  )

  it.effect.each([
    "etc/os-release",
    "/etc/os-release",
    "./etc/../etc//os-release",
    "lib/os-release",
    "absolute",
    "outside",
    "hard",
    "harder"
  ])("is read as %s", (path) =>
    Effect.gen(function*() {
      const image = yield* openImage([base], [layer({ name: "top" })])
      assert.strictEqual(yield* text(image, path), "release")
    }))

  it.effect.each(
    [
      ["loop", "TooManyLinks"],
      ["one", "TooManyLinks"],
      ["dangling", "FileNotFound"],
      ["nothing", "FileNotFound"],
      ["etc/os-release/x", "FileNotFound"],
      ["etc", "NotAFile"],
      ["usr/lib", "NotAFile"],
      ["lib", "NotAFile"],
      ["/", "NotAFile"],
      ["", "NotAFile"],
      ["device", "NotAFile"]
    ] as const
  )("%s fails with %s", ([path, reason]) =>
    Effect.gen(function*() {
      const image = yield* openImage([base])
      assert.strictEqual(yield* tagOf(text(image, path)), reason)
    }))

  it.effect("whose link is replaced by an upper layer has the content of the upper layer", () =>
    Effect.gen(function*() {
      const image = yield* openImage(
        [layer({ name: "a", type: "2", link: "b" }, { name: "b", content: "low" })],
        [layer({ name: "b", content: "high" })]
      )
      assert.strictEqual(yield* text(image, "a"), "high")
    }))

  it.effect("that its layer has twice is the last one", () =>
    Effect.gen(function*() {
      const image = yield* openImage([layer({ name: "a", content: "first" }, { name: "a", content: "last" })])
      assert.strictEqual(yield* text(image, "a"), "last")
    }))

  it.effect("that is large is read again from its layer", () =>
    Effect.gen(function*() {
      const content = new Uint8Array(9 * 1024 * 1024).fill(7)
      const { image, reads } = yield* layersRead([layer({ name: "a", content }, { name: "b" })])
      assert.strictEqual(yield* tagOf(Image.readFile(image, "a", { limit: 1000 })), "FileTooLarge")
      assert.deepStrictEqual(reads(), [0])
      assert.strictEqual((yield* Image.readFile(image, "a")).length, content.length)
      assert.deepStrictEqual(reads(), [0, 0, 0])
    }))
})

describe("the layers of an image", () => {
  const archive = layer({ name: "a", content: "content" }, { name: "b", content: new Uint8Array(300_000) })
  const halves = [archive.subarray(0, 1000), archive.subarray(1000)]

  it.effect.each<readonly [string, Buffer]>([
    ["as they are", archive],
    ["compressed with gzip", Zlib.gzipSync(archive)],
    ["compressed with zstd", Zlib.zstdCompressSync(archive)],
    ["compressed in members of gzip", Buffer.concat(halves.map((half) => Zlib.gzipSync(half)))],
    ["compressed in frames of zstd", Buffer.concat(halves.map((half) => Zlib.zstdCompressSync(half)))],
    [
      "compressed in many frames of zstd",
      Buffer.concat(
        Array.from(
          { length: archive.length / 512 },
          (_, i) => Zlib.zstdCompressSync(archive.subarray(512 * i, 512 * (i + 1)))
        )
      )
    ],
    ["padded with zeros", Buffer.concat([Zlib.gzipSync(archive), Buffer.alloc(1000)])]
  ])("are read %s", ([, bytes]) =>
    Effect.gen(function*() {
      const image = yield* openImage([bytes, archive])
      assert.deepStrictEqual(yield* paths(image), ["a", "b"])
      assert.strictEqual(yield* text(image, "a"), "content")
    }))

  it.effect.each<readonly [string, Buffer, string]>([
    ["cut off", Zlib.gzipSync(archive).subarray(0, 100), "it is cut off"],
    [
      "followed by other data",
      Buffer.concat([Zlib.gzipSync(archive), Buffer.from("more")]),
      "its compressed data are broken"
    ],
    [
      "followed by zeros and other data",
      Buffer.concat([Zlib.gzipSync(archive), Buffer.alloc(600), Buffer.from("more")]),
      "other data follow"
    ],
    ["compressed with xz", Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 0]), "compressed with xz"],
    ["not an archive", Buffer.from("x".repeat(2000)), "it is not a readable tar archive"],
    ["an archive that is cut off", archive.subarray(0, 700), "it is not a readable tar archive"]
  ])("that are %s are refused", ([, bytes, says]) =>
    Effect.gen(function*() {
      const image = yield* openImage([bytes, bytes])
      assert.include((yield* Effect.flip(paths(image))).message, says)
    }))

  it.effect("with another diff_id than the config says are refused, also if the file was found", () =>
    Effect.gen(function*() {
      const image = yield* openImage([archive, layer({ name: "other" })])
      assert.strictEqual(yield* tagOf(paths(image)), "DiffIdMismatch")
      assert.strictEqual(yield* tagOf(text(image, "a")), "DiffIdMismatch")
    }))

  it.effect("are limited in size and ratio", () =>
    Effect.gen(function*() {
      const image = yield* openImage([Zlib.gzipSync(archive), archive])
      const listed = (limits: Decompressor.Limits) =>
        Effect.provideService(paths(image), Decompressor.UnpackLimits, limits)
      assert.strictEqual(yield* tagOf(listed({ size: 1000, ratio: 1000, ratioFrom: 0 })), "InvalidLayer")
      assert.strictEqual(yield* tagOf(listed({ size: 1e9, ratio: 2, ratioFrom: 1000 })), "InvalidLayer")
      assert.lengthOf(yield* listed({ size: 1e9, ratio: 2, ratioFrom: 1e9 }), 2)
    }))

  it.effect("are described by diff_ids and history", () =>
    Effect.gen(function*() {
      const image = yield* pushLayers([[archive]], {
        history: [{ created_by: "one" }, { created_by: "two", empty_layer: true }]
      })
      assert.deepStrictEqual(image.layers.map(({ history }) => history?.created_by), ["one"])
      assert.match(image.layers[0]?.diffId ?? "", /^sha256:/)
    }))

  it.effect("may have the types of Docker", () =>
    Effect.gen(function*() {
      const image = yield* pushLayers([[Zlib.gzipSync(archive), archive]], {}, {
        manifest: MediaType.dockerManifest,
        config: "application/vnd.docker.container.image.v1+json",
        layer: "application/vnd.docker.image.rootfs.diff.tar.gzip"
      })
      assert.deepStrictEqual(yield* paths(image), ["a", "b"])
    }))
})
