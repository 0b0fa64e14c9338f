import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Schema, Stream } from "effect"
import type { ContentTooLarge, Storage } from "effect-oci/RegistryError"
import * as Tar from "effect/encoding/Tar"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as TarFile from "../../src/stores/TarFile.ts"
import { bytesOf } from "../utils/images.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import { end, header, type Member, tar } from "../utils/tars.ts"

/** Opens an archive of these bytes. */
const open = Effect.fnUntraced(function*(bytes: Uint8Array) {
  const path = Path.join(yield* temporaryFolder, "archive.tar")
  Fs.writeFileSync(path, bytes)
  return yield* TarFile.open(path)
})

const problemOf = <A, R>(effect: Effect.Effect<A, ContentTooLarge | Storage, R>) =>
  Effect.map(Effect.flip(effect), (error) => {
    assert(error._tag === "Storage")
    return error
  })

const problem = (bytes: Uint8Array) => Effect.map(problemOf(open(bytes)), ({ problem }) => problem)

const text = (archive: TarFile.TarFile, name: string) =>
  Effect.map(archive.read(name, 1e6), (bytes) => bytes === undefined ? undefined : new TextDecoder().decode(bytes))

const withNode = Effect.provide(NodeServices.layer)

describe("TarFile", () => {
  const long = `${"folder/".repeat(30)}${"n".repeat(90)}`

  for (const format of ["v7", "ustar", "gnu", "pax"]) {
    it.effect(`reads what tar writes as ${format}`, () =>
      Effect.gen(function*() {
        const folder = yield* temporaryFolder
        const names = ["a", "blobs/sha256/b", "empty", ...format === "gnu" || format === "pax" ? [long, "ü"] : []]
        for (const name of names) {
          Fs.mkdirSync(Path.dirname(Path.join(folder, name)), { recursive: true })
          Fs.writeFileSync(Path.join(folder, name), name === "empty" ? "" : `content of ${name}`.repeat(100))
        }
        const out = Path.join(yield* temporaryFolder, "out.tar")
        ChildProcess.execFileSync("tar", [`--format=${format}`, "-C", folder, "-cf", out, "./a", ...names.slice(1)])
        const archive = yield* TarFile.open(out)
        assert.sameMembers([...archive.names], names)
        for (const name of names) {
          assert.strictEqual(yield* text(archive, name), Fs.readFileSync(Path.join(folder, name), "utf8"))
        }
      }).pipe(withNode))
  }

  it.effect("reads files in any order, in parts, and at the same time", () =>
    Effect.gen(function*() {
      const archive = yield* open(tar({ name: "a", content: "0123456789" }, { name: "b", content: "b" }))
      const part = (offset: number, to: number) =>
        Stream.mkString(Stream.decodeText(archive.open("a")?.read(offset, to) ?? Stream.empty))
      const parts = Effect.all([part(5, 10), text(archive, "b"), part(0, 5), part(3, 3)], { concurrency: "unbounded" })
      assert.deepStrictEqual(yield* parts, ["56789", "b", "01234", ""])
    }).pipe(withNode))

  it.effect("reads no content when it is opened", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* temporaryFolder, "archive.tar")
      const size = 2 ** 36
      const file = Fs.openSync(path, "w")
      Fs.writeSync(file, header({ name: "big", size }))
      // a hole
      const last = tar({ name: "last", content: "last" })
      Fs.writeSync(file, last, 0, last.length, 512 + size)
      Fs.closeSync(file)
      const archive = yield* TarFile.open(path)
      assert.strictEqual(archive.open("big")?.size, size)
      assert.strictEqual(yield* text(archive, "last"), "last")
    }).pipe(withNode))

  it.effect("has the last of several files with the same name, like an unpacked archive", () =>
    Effect.gen(function*() {
      const archive = yield* open(tar({ name: "a", content: "first" }, { name: "./a", content: "last" }))
      assert.deepStrictEqual(archive.names, ["a"])
      assert.strictEqual(yield* text(archive, "a"), "last")
    }).pipe(withNode))

  it.effect("follows links to other members", () =>
    Effect.gen(function*() {
      const archive = yield* open(tar(
        { name: "f/a", content: "a" },
        { name: "f/symbolic", type: "2", link: "../f/a" },
        { name: "hard", type: "1", link: "f/a" },
        { name: "both", type: "2", link: "f/symbolic" },
        { name: "nowhere", type: "2", link: "b" },
        { name: "self", type: "2", link: "self" },
        { name: "one", type: "2", link: "two" },
        { name: "two", type: "2", link: "one" }
      ))
      for (const name of ["f/symbolic", "hard", "both"]) assert.strictEqual(yield* text(archive, name), "a")
      for (const name of ["nowhere", "self", "one"]) assert.isUndefined(archive.open(name))
    }).pipe(withNode))

  it.effect("has no folders, devices, pipes or labels", () =>
    Effect.gen(function*() {
      const odd = ["3", "4", "5", "6", "V", "Z"].map((type) => ({ name: type, type }))
      const archive = yield* open(tar(...odd, { name: "Y", type: "Z", content: "x".repeat(600) }, { name: "a" }))
      assert.deepStrictEqual(archive.names, ["a"])
    }).pipe(withNode))

  it.effect("ends at two blocks of zeros, whatever follows them", () =>
    Effect.gen(function*() {
      const bytes = Buffer.concat([tar({ name: "a" }), Buffer.alloc(4096, "garbage")])
      assert.deepStrictEqual((yield* open(bytes)).names, ["a"])
    }).pipe(withNode))

  it.effect("may end without zeros", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* open(tar({ name: "a", content: "a" }).subarray(0, 1024))).names, ["a"])
      assert.deepStrictEqual((yield* open(new Uint8Array())).names, [])
    }).pipe(withNode))

  it.effect("limits the size of a file that is read at once", () =>
    Effect.gen(function*() {
      const archive = yield* open(tar({ name: "a", content: "01234" }))
      const error = yield* Effect.flip(archive.read("a", 4))
      assert.strictEqual(error.message, "the content is larger than 4 bytes")
    }).pipe(withNode))

  describe("refuses", () => {
    const member: Member = { name: "a", content: "content" }
    const table: ReadonlyArray<readonly [what: string, bytes: Uint8Array, says: string]> = [
      ["bzip2", Buffer.from("BZh91AY"), "it is compressed with bzip2, and has to be unpacked first"],
      ["xz", Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]), "it is compressed with xz"],
      ["what is no archive", Buffer.alloc(2048, "text"), "it is not a readable tar archive"],
      ["what is cut off in a header", tar(member).subarray(0, 300), "it is not a readable tar archive"],
      ["what is cut off in a file", tar({ ...member, size: 2000 }).subarray(0, 1024), "it is cut off"],
      ["a header that was changed", tar(member).fill("b", 0, 1), "checksum"],
      ["a file of more than the archive", Buffer.concat([header({ name: "a", size: 2 ** 52 }), end]), "it is cut off"],
      ["sparse files", tar({ name: "a", type: "S" }), "sparse"],
      ["a name above the archive", tar({ ...member, name: "../a" }), "the name \"../a\" leads out of it"],
      ["a name that goes up within", tar({ ...member, name: "b/../../a" }), "the name \"b/../../a\" leads out of it"],
      ["a name from the root", tar({ ...member, name: "/etc/passwd" }), "the name \"/etc/passwd\" leads out of it"],
      ["a symbolic link out", tar({ name: "f/a", type: "2", link: "../../a" }), "the link \"f/a\" leads out of it"],
      ["a symbolic link to the root", tar({ name: "a", type: "2", link: "/a" }), "the link \"a\" leads out of it"],
      ["a hard link out", tar({ name: "a", type: "1", link: "../a" }), "the link \"a\" leads out of it"]
    ]
    it.effect.each(table)("%s", ([, bytes, says]) =>
      Effect.gen(function*() {
        assert.include(yield* problem(bytes), says)
      }).pipe(withNode))

    it.effect("a folder", () =>
      Effect.gen(function*() {
        const folder = yield* temporaryFolder
        assert.strictEqual((yield* problemOf(TarFile.open(folder))).problem, "it is not a file")
      }).pipe(withNode))

    it.effect.skipIf(process.platform === "win32")(
      "a pipe, with or without a writer, without waiting",
      () =>
        Effect.gen(function*() {
          const pipe = Path.join(yield* temporaryFolder, "pipe")
          ChildProcess.execFileSync("mknod", [pipe, "p"])
          assert.include((yield* problemOf(TarFile.open(pipe))).problem, "it is a pipe")
          const writer = ChildProcess.spawn("cp", ["/dev/zero", pipe], { stdio: "ignore" })
          const ended = Effect.callback<void>((resume) => void writer.once("close", () => resume(Effect.void)))
          const isWaiting = Effect.repeat(Effect.flip(TarFile.open(pipe)), {
            until: () => writer.exitCode !== null || writer.signalCode !== null
          })
          yield* Effect.raceFirst(ended, isWaiting)
        }).pipe(withNode)
    )

    it.effect("an archive that does not exist", () =>
      Effect.gen(function*() {
        const path = Path.join(yield* temporaryFolder, "none.tar")
        const error = yield* problemOf(TarFile.open(path))
        assert.deepStrictEqual([error.path, error.problem, error.code], [
          path,
          "there is no such file or folder",
          "ENOENT"
        ])
      }).pipe(withNode))
  })

  // -- generated ------------------------------------------------------------------------------------------------------

  const Name = Schema.String.check(Schema.isPattern(/^[a-zé]{1,60}(\/[a-z.]{1,150}[a-z]){0,2}$/))

  it.effect.prop(
    "has every file of a generated archive, with its content",
    [Schema.Array(Schema.Tuple([Name, Schema.String]))],
    ([members]) =>
      Effect.gen(function*() {
        const entries = members.map(([name, content]) => Tar.file(name, content))
        const bytes = yield* Stream.fromIterable(entries).pipe(
          Stream.pipeThroughChannelOrFail(Tar.encode()),
          Stream.mkUint8Array
        )
        const archive = yield* open(bytes)
        const contents = new Map(members)
        assert.sameMembers([...archive.names], [...contents.keys()])
        for (const [name, content] of contents) assert.deepStrictEqual(yield* archive.read(name, 1e6), bytesOf(content))
      }).pipe(Effect.scoped, withNode)
  )

  const sample = tar(
    { name: "index.json", content: "{}" },
    { name: "pax", type: "x", content: "20 path=renamed/abc\n" },
    { name: "a", content: "a".repeat(600) },
    { name: "link", type: "2", link: "a" },
    { name: "name", type: "L", content: "a longer name\0" },
    { name: "b", content: "b" }
  )
  const Change = Schema.Tuple([
    Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: sample.length - 1 })),
    Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
  ])

  it.effect.prop(
    "reads or refuses an archive with any bytes changed, and never dies",
    [Schema.Array(Change), Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: sample.length }))],
    ([changes, length]) =>
      Effect.gen(function*() {
        const bytes = Buffer.from(sample)
        for (const [at, byte] of changes) bytes[at] = byte
        const exit = yield* Effect.exit(open(changes.length % 2 === 0 ? bytes : bytes.subarray(0, length)))
        if (Exit.isFailure(exit)) {
          assert.strictEqual((yield* Effect.flip(exit))._tag, "Storage")
        } else {
          for (const name of exit.value.names) {
            const file = exit.value.open(name)
            if (file !== undefined) yield* Stream.runDrain(file.read(0, file.size))
          }
        }
      }).pipe(Effect.scoped, withNode)
  )
})
