/**
 * Systems other than this one: names on Windows, and file systems that do not distinguish cases.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Result } from "effect"
import * as Artifact from "effect-oci/Artifact"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as FileName from "../../src/artifact/FileName.ts"
import * as Artifacts from "../utils/artifacts.ts"
import { refusal } from "../utils/files.ts"
import { type Member, tar } from "../utils/tars.ts"

const { folderLayer, pushTitled, read, reference, within } = Artifacts

describe("names in archives", () => {
  it("may contain what this system accepts", () => {
    for (const name of ["a\\b", "aux.c", "Foo::Bar.3pm", "a.", "a ", "dev-disk\\x2d1", "a\nb"]) {
      assert.deepStrictEqual(FileName.onSystem(name, "posix"), Result.succeed([name]))
    }
  })

  it.each(["a\\b", "..\\a", "aux.c", "c:a", "C:/a", "a.", "a ", "dir /a"])("are refused on Windows: %s", (name) => {
    assert.isTrue(Result.isFailure(FileName.onSystem(name, "windows")))
  })

  it.each(["../a", "/a", "a\0b", "a".repeat(256)])("are refused on every system: %s", (name) => {
    for (const system of ["posix", "windows"] as const) {
      assert.isTrue(Result.isFailure(FileName.onSystem(name, system)))
    }
  })
})

/** Returns a path with the part below the folder for drafts in lower case. */
const folded = (path: string): string =>
  path.replace(/(?<=\/\.effect-oci-[^/]+\/)(.*)$/, (below) => below.toLowerCase())

/** A file system that does not distinguish cases where archives are unpacked. */
const caseless = (fs: FileSystem.FileSystem): FileSystem.FileSystem =>
  FileSystem.FileSystem.of({
    ...fs,
    open: (path, options) => fs.open(folded(path), options),
    makeDirectory: (path, options) => fs.makeDirectory(folded(path), options),
    symlink: (target, path) => fs.symlink(target, folded(path)),
    link: (from, to) => fs.link(folded(from), folded(to)),
    remove: (path, options) => fs.remove(folded(path), options),
    utimes: (path, accessed, modified) => fs.utimes(folded(path), accessed, modified)
  })

/** A file system without hard links. */
const linkless = (fs: FileSystem.FileSystem): FileSystem.FileSystem =>
  FileSystem.FileSystem.of({
    ...fs,
    link: (from) => Effect.fail(refusal("EPERM", { operation: "link", path: from }))
  })

const on =
  (change: (fs: FileSystem.FileSystem) => FileSystem.FileSystem) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(FileSystem.FileSystem, (fs) => Effect.provideService(effect, FileSystem.FileSystem, change(fs)))

describe("a file system that does not distinguish cases", () => {
  const archives: ReadonlyArray<readonly [name: string, ...members: ReadonlyArray<Member>]> = [
    ["two files", { name: "dir/a", content: "1" }, { name: "dir/A", content: "2" }],
    ["a link and a folder", { name: "dir/L", type: "2", link: "x" }, { name: "dir/l/a", content: "a" }],
    ["a folder and a link", { name: "dir/l/", type: "5" }, { name: "dir/L", type: "2", link: "x" }],
    ["two folders", { name: "dir/l/", type: "5" }, { name: "dir/L/a", content: "a" }]
  ]
  for (const [name, ...members] of archives) {
    it.effect(`makes an archive unsafe that has ${name}`, () =>
      within(({ folder, registry }) =>
        Effect.gen(function*() {
          yield* pushTitled(registry, folderLayer("dir", tar(...members)))
          const pull = Artifact.pull({ source: reference, directory: folder })
          assert.include((yield* Effect.flip(on(caseless)(pull))).message, "does not distinguish")
          assert.deepStrictEqual(read(folder), {})
          yield* pull
          assert.deepStrictEqual(Fs.readdirSync(folder), ["dir"])
        })
      ))
  }
})

describe("a file system without hard links", () => {
  it.effect("gets the files nevertheless, and none is overwritten", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        const archive = tar({ name: "dir/a", content: "a" }, { name: "dir/b", type: "1", link: "dir/a" })
        yield* pushTitled(registry, { title: "x", content: "x" }, folderLayer("dir", archive))
        const pull = on(linkless)(Artifact.pull({ source: reference, directory: folder }))
        yield* pull
        assert.deepStrictEqual(read(folder), { dir: "/", "dir/a": "a", "dir/b": "a", x: "x" })
        Fs.writeFileSync(Path.join(folder, "x"), "mine")
        assert.include((yield* Effect.flip(pull)).message, "it exists with other content")
        assert.strictEqual(Fs.readFileSync(Path.join(folder, "x"), "utf8"), "mine")
      })
    ))
})
