/**
 * Names and archives of other parties that must not become files outside of a folder.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Artifact from "effect-oci/Artifact"
import * as Decompressor from "effect-oci/Decompressor"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { gzipSync, zstdCompressSync } from "node:zlib"
import * as Artifacts from "../utils/artifacts.ts"
import { end, header, type Member, tar } from "../utils/tars.ts"

const { folderLayer, pushTitled, read, reference, within, write } = Artifacts

/** Names that are refused, with a part of the reason. */
const names: ReadonlyArray<readonly [name: string, problem: string]> = [
  ["../a", "leads out of the folder"],
  ["..", "leads out of the folder"],
  ["a/../../b", "leads out of the folder"],
  ["a/../b", "leads out of the folder"],
  ["./../a", "leads out of the folder"],
  ["a/..", "leads out of the folder"],
  ["/etc/passwd", "is absolute"],
  ["//host/share", "is absolute"],
  ["/", "is absolute"],
  [".", "names the folder itself"],
  ["./.", "names the folder itself"],
  ["..\\a", "contains a backslash"],
  ["a\\..\\..\\b", "contains a backslash"],
  ["\\\\host\\share\\a", "contains a backslash"],
  ["\\a", "contains a backslash"],
  ["C:\\a", "contains a backslash"],
  ["C:a", "names a drive"],
  ["c:/a", "names a drive"],
  ["CON", "Windows reserves the name"],
  ["nul", "Windows reserves the name"],
  ["aux.txt", "Windows reserves the name"],
  ["dir/LPT1", "Windows reserves the name"],
  ["com¹.log", "Windows reserves the name"],
  ["prn .txt", "Windows reserves the name"],
  ["CONIN$", "Windows reserves the name"],
  ["clock$", "Windows reserves the name"],
  ["nul:", "Windows reserves the name"],
  ["dir/con:a", "Windows reserves the name"],
  ["a.", "ends with a dot or a space"],
  ["a ", "ends with a dot or a space"],
  ["dir./a", "ends with a dot or a space"],
  ["...", "ends with a dot or a space"],
  ["a\0b", "contains a NUL character"],
  ["a\nb", "contains a control character"],
  ["a\u001b[2Jb", "contains a control character"],
  ["a\u007fb", "contains a control character"],
  ["a\u2028b", "contains a control character"],
  ["txt.\u202eexe", "contains a control character"],
  ["a\ud800b", "is not valid Unicode"],
  ["a".repeat(256), "longer than 255 bytes"],
  ["é".repeat(128), "longer than 255 bytes"],
  [`${"a/".repeat(2048)}bb`, "longer than 4096 bytes"]
]

/** Pairs of names that are refused, because some file systems do not distinguish them. */
const pairs: ReadonlyArray<readonly [string, string]> = [
  ["a", "a"],
  ["readme", "README"],
  ["dir/a", "DIR/b"],
  ["é", "e\u0301"],
  ["straße", "STRASSE"],
  ["a", "a/b"]
]

const dir: Member = { name: "dir/", type: "5" }

/** A header of PAX with these records, and the member that it describes. */
const pax = (records: Readonly<Record<string, string>>, member: Member): ReadonlyArray<Member> => {
  const content = Object.entries(records).map(([key, value]) => {
    const rest = ` ${key}=${value}\n`
    const length = [2, 3].map((digits) => rest.length + digits).find((length) =>
      String(length).length + rest.length === length
    )
    return `${length}${rest}`
  }).join("")
  return [{ name: "pax", type: "x", content }, member]
}

/** Archives of the folder `dir` that are refused, with a part of the reason. */
const archives: ReadonlyArray<readonly [name: string, archive: Uint8Array, problem: string]> = [
  ["a name with ..", tar({ name: "dir/../../a", content: "a" }), "leads out of the folder"],
  ["a name outside of the folder", tar({ name: "other/a", content: "a" }), "is outside of the folder"],
  ["a name that only begins like the folder", tar({ name: "dirty/a", content: "a" }), "is outside of the folder"],
  ["an absolute name", tar({ name: "/dir/a", content: "a" }), "is absolute"],
  ["a name of PAX with ..", tar(...pax({ path: "dir/../../a" }, { name: "dir/a", content: "a" })), "leads out"],
  ["a link with an absolute target", tar({ name: "dir/l", type: "2", link: "/etc/passwd" }), "absolute target"],
  ["a link with a drive", tar({ name: "dir/l", type: "2", link: "c:/a" }), "absolute target"],
  ["a link to the folder above", tar({ name: "dir/l", type: "2", link: ".." }), "leads out of the folder"],
  ["a link that goes up too far", tar({ name: "dir/a/l", type: "2", link: "../../x" }), "leads out of the folder"],
  ["a link that goes up late", tar({ name: "dir/a/l", type: "2", link: "x/../../y" }), "after it has gone down"],
  ["a link that goes up with backslashes", tar({ name: "dir/l", type: "2", link: "a\\..\\..\\b" }), "has backslashes"],
  ["a link without a target", tar({ name: "dir/l", type: "2" }), "has no target"],
  [
    "a link of PAX that leads out",
    tar(...pax({ linkpath: "../../x" }, { name: "dir/l", type: "2", link: "x" })),
    "leads out of the folder"
  ],
  [
    "a file below a link",
    tar({ name: "dir/l", type: "2", link: "x" }, { name: "dir/l/a", content: "a" }),
    "which is not a folder"
  ],
  ["a file below a file", tar({ name: "dir/l", content: "x" }, { name: "dir/l/a", content: "a" }), "not a folder"],
  ["a hard link that leads out", tar({ name: "dir/l", type: "1", link: "../x" }), "leads out of the folder"],
  ["a hard link outside of the folder", tar({ name: "dir/l", type: "1", link: "etc/passwd" }), "outside of the folder"],
  [
    "a hard link to a file that is absent",
    tar({ name: "dir/l", type: "1", link: "dir/x" }),
    "does not refer to a file"
  ],
  [
    "a hard link to a symbolic link",
    tar({ name: "dir/s", type: "2", link: "x" }, { name: "dir/l", type: "1", link: "dir/s" }),
    "does not refer to a file"
  ],
  [
    "a folder that is a file too",
    tar(dir, { name: "dir/a/", type: "5" }, { name: "dir/a", content: "" }),
    "and a file"
  ],
  ["a file in place of the folder", tar({ name: "dir", content: "a" }), "the folder itself is not a folder"],
  ["a link in place of the folder", tar({ name: "dir", type: "2", link: "x" }), "the folder itself is not a folder"],
  ["a sparse file", tar({ name: "dir/a", type: "S", content: "a" }), "it is broken"],
  ["a body that is cut off", Buffer.concat([header({ name: "dir/a", size: 1000 })]), "it is broken"],
  ["no archive", Buffer.alloc(1024, "x"), "it is broken"]
]

const pullAll = (folder: string) => Artifact.pull({ source: reference, directory: Path.join(folder, "in", "out") })

/** Checks that a pull is refused, and has written nothing anywhere. */
const assertRefused = Effect.fnUntraced(function*(folder: string, problem: string) {
  for (const onFileExists of ["fail", "replace"] as const) {
    const directory = Path.join(folder, "in", "out")
    const error = yield* Effect.flip(Artifact.pull({ source: reference, directory, onFileExists }))
    assert.include(error.message, problem)
    assert.deepStrictEqual(Object.values(read(folder)).filter((content) => content !== "/"), [])
    assert.isFalse(Fs.existsSync(Path.join(directory, "dir")))
  }
})

describe("names of files", () => {
  for (const [name, problem] of names) {
    it.effect(`refuses ${JSON.stringify(name.slice(0, 40))}`, () =>
      within(({ folder, registry }) =>
        Effect.gen(function*() {
          yield* pushTitled(registry, { title: "fine.txt", content: "fine" }, { title: name, content: "a" })
          yield* assertRefused(folder, problem)
        })
      ))
  }

  for (const [one, two] of pairs) {
    it.effect(`refuses ${JSON.stringify(one)} beside ${JSON.stringify(two)}`, () =>
      within(({ folder, registry }) =>
        Effect.gen(function*() {
          yield* pushTitled(registry, { title: one, content: "a" }, { title: two, content: "b" })
          assert.match((yield* Effect.flip(pullAll(folder))).message, /two files have the name|do not distinguish/)
          assert.deepStrictEqual(read(folder), {})
        })
      ))
  }

  it.effect("accepts what is safe although it is unusual", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        const accepted = [
          "..a",
          "a..b",
          ".hidden",
          "hi:txt",
          "a b",
          "~",
          "$HOME",
          "-rf",
          "日本語",
          "console",
          "com10",
          "👩‍👩‍👧"
        ]
        yield* pushTitled(registry, ...accepted.map((title) => ({ title, content: title })))
        yield* pullAll(folder)
        assert.deepStrictEqual(Fs.readdirSync(Path.join(folder, "in/out")).sort(), accepted.sort())
      })
    ))

  it.effect("reads names as oras does: without empty parts and dots", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        yield* pushTitled(registry, { title: "./a//b/", content: "a" })
        yield* pullAll(folder)
        assert.deepStrictEqual(read(Path.join(folder, "in/out")), { a: "/", "a/b": "a" })
      })
    ))
})

describe("archives of folders", () => {
  for (const [name, archive, problem] of archives) {
    it.effect(`refuses ${name}`, () =>
      within(({ folder, registry }) =>
        Effect.gen(function*() {
          yield* pushTitled(registry, folderLayer("dir", archive))
          yield* assertRefused(folder, problem)
        })
      ))
  }

  it.effect("refuses content with another digest than the artifact says", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        yield* pushTitled(registry, folderLayer("dir", tar(dir), `sha256:${"0".repeat(64)}`))
        yield* assertRefused(folder, "its content has the digest")
      })
    ))

  it.effect("refuses what is not compressed as it says, and compressions that it cannot unpack", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        const whole = gzipSync(tar({ name: "dir/a", content: "a" }))
        const contents: ReadonlyArray<readonly [Uint8Array, string]> = [
          [whole.subarray(0, whole.length - 12), "it is cut off"],
          [whole.map((byte, index) => index >= 10 && index < 14 ? 0xff : byte), "compressed data are broken"],
          [Buffer.from("BZh91AY&SY"), "compressed with bzip2"],
          [Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]), "compressed with xz"]
        ]
        for (const [content, problem] of contents) {
          yield* pushTitled(registry, { ...folderLayer("dir", tar(dir)), content })
          yield* assertRefused(folder, problem)
        }
      })
    ))

  it.effect("unpacks archives that are compressed with zstd, or not at all", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        for (const [index, pack] of [zstdCompressSync, (bytes: Uint8Array) => bytes].entries()) {
          const name = `dir${index}`
          const archive = tar({ name: `${name}/a`, content: "a" })
          yield* pushTitled(registry, { ...folderLayer(name, archive), content: pack(archive) })
          yield* pullAll(folder)
          assert.strictEqual(read(Path.join(folder, "in/out"))[`${name}/a`], "a")
        }
      })
    ))

  it.effect("limits the entries, the size, and the ratio of sizes", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        const many = Array.from({ length: 20 }, (_, index) => ({ name: `dir/${index}`, content: "a" }))
        yield* pushTitled(registry, folderLayer("dir", tar(...many)))
        yield* Effect.provideService(assertRefused(folder, "more than 10 entries"), Artifact.EntryLimit, 10)
        const limits = (limits: Decompressor.Limits) => Effect.provideService(Decompressor.UnpackLimits, limits)
        yield* pushTitled(registry, folderLayer("dir", tar({ name: "dir/zeros", content: Buffer.alloc(1_000_000) })))
        yield* assertRefused(folder, "more than 100000 bytes").pipe(
          limits({ size: 100_000, ratio: 1e6, ratioFrom: 1e9 })
        )
        yield* assertRefused(folder, "unpacked, it has more than").pipe(
          limits({ size: 1e9, ratio: 10, ratioFrom: 1000 })
        )
      })
    ))

  it.effect("leaves out devices and pipes, and reports them", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        const others = ["3", "4", "6"].map((type) => ({ name: `dir/${type}`, type }))
        yield* pushTitled(registry, folderLayer("dir", tar(...others, { name: "dir/a", content: "a" })))
        const { skipped } = yield* pullAll(folder)
        assert.deepStrictEqual(skipped, others.map(({ name }) => ({ name: "dir", entry: name })))
        assert.deepStrictEqual(read(Path.join(folder, "in/out/dir")), { a: "a" })
      })
    ))

  it.effect("restores links, hard links and names of PAX that stay inside", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        const archive = tar(
          { name: "dir/sub/a", content: "a" },
          { name: "dir/sub/up", type: "2", link: "../sub/a" },
          { name: "dir/hard", type: "1", link: "dir/sub/a" },
          ...pax({ path: "dir/long" }, { name: "dir/short", content: "l" })
        )
        yield* pushTitled(registry, folderLayer("dir", archive))
        yield* pullAll(folder)
        assert.deepStrictEqual(read(Path.join(folder, "in/out/dir")), {
          hard: "a",
          long: "l",
          sub: "/",
          "sub/a": "a",
          "sub/up": "-> ../sub/a"
        })
      })
    ))

  it.effect("lets a later entry replace an earlier one, also if that is a link", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        write(folder, { target: "mine" })
        const archive = tar(
          { name: "dir/a", content: "first" },
          { name: "dir/b", type: "1", link: "dir/a" },
          { name: "dir/a", content: "second" },
          { name: "dir/l", type: "2", link: "a" },
          { name: "dir/l", content: "file" }
        )
        yield* pushTitled(registry, folderLayer("dir", archive))
        yield* pullAll(folder)
        assert.deepStrictEqual(read(Path.join(folder, "in/out/dir")), { a: "second", b: "first", l: "file" })
      })
    ))

  it.effect("takes from permissions only reading, writing and executing", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        const withMode = (member: Member, mode: string) => {
          const block = header(member)
          block.write(`${mode.padStart(7, "0")}\0`, 100)
          block.fill(" ", 148, 156)
          const sum = block.reduce((sum, byte) => sum + byte, 0)
          block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148)
          return block
        }
        const archive = Buffer.concat([
          withMode({ name: "dir/", type: "5" }, "7777"),
          withMode({ name: "dir/sub/", type: "5" }, "0"),
          withMode({ name: "dir/sub/a" }, "6755"),
          withMode({ name: "dir/all" }, "777"),
          end
        ])
        yield* pushTitled(registry, folderLayer("dir", archive))
        yield* pullAll(folder)
        const mode = (name: string) => Fs.statSync(Path.join(folder, "in/out", name)).mode & 0o7777
        const mask = process.umask()
        assert.strictEqual(mode("dir"), 0o777 & ~mask)
        assert.strictEqual(mode("dir/sub"), 0o700 & ~mask)
        assert.strictEqual(mode("dir/sub/a"), 0o755 & ~mask)
        assert.strictEqual(mode("dir/all"), 0o777 & ~mask)
      })
    ))
})
