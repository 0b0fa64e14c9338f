import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, FileSystem, Stream } from "effect"
import * as Decompressor from "effect-oci/Decompressor"
import * as DockerArchive from "effect-oci/DockerArchive"
import * as OciArchive from "effect-oci/OciArchive"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Zlib from "node:zlib"
import * as TarFile from "../../src/stores/TarFile.ts"
import { pushImage, repository, tag } from "../utils/images.ts"
import { has, temporaryFolder } from "../utils/layouts.ts"
import { digestOf } from "../utils/ScriptedServer.ts"
import { tar } from "../utils/tars.ts"

const withNode = Effect.provide(NodeServices.layer)

const app = repository("app")

// more than one read returns, before and after unpacking
const noise = Buffer.concat(Array.from({ length: 40_000 }, (_, index) => Buffer.from(digestOf(`${index}`))))
const archive = tar({ name: "small", content: "content" }, { name: "large", content: noise })
const half = archive.length / 2
const halves = [archive.subarray(0, half), archive.subarray(half)]

const zeros = Buffer.alloc(20_000)
const skipped = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4])

const setUp = Effect.gen(function*() {
  const path = Path.join(yield* temporaryFolder, "archive")
  const open = (bytes: Uint8Array) => {
    Fs.writeFileSync(path, bytes)
    return TarFile.open(path)
  }
  return { path, open }
})

/** Returns a file system that records the temporary folders that are created. */
const remembering = Effect.map(FileSystem.FileSystem, (fs) => {
  const folders: Array<string> = []
  const made = FileSystem.FileSystem.of({
    ...fs,
    makeTempDirectory: (options) =>
      Effect.tap(fs.makeTempDirectory(options), (folder) => Effect.sync(() => folders.push(folder)))
  })
  const assertGone = () => {
    assert.lengthOf(folders, 1)
    assert.deepStrictEqual(folders.filter((folder) => Fs.existsSync(folder)), [])
  }
  return { assertGone, provide: Effect.provideService(FileSystem.FileSystem, made) }
})

describe("An archive is read if it is compressed with", () => {
  const table: ReadonlyArray<readonly [how: string, bytes: Uint8Array]> = [
    ["gzip", Zlib.gzipSync(archive)],
    ["gzip, in several members", Buffer.concat(halves.map((part) => Zlib.gzipSync(part)))],
    ["gzip, and padded with zeros", Buffer.concat([Zlib.gzipSync(archive), zeros])],
    ["zstd", Zlib.zstdCompressSync(archive)],
    ["zstd, in several frames", Buffer.concat(halves.map((part) => Zlib.zstdCompressSync(part)))],
    [
      "zstd, with skippable frames",
      Buffer.concat([skipped, ...halves.flatMap((part) => [Zlib.zstdCompressSync(part), skipped])])
    ],
    ["zstd, and padded with zeros", Buffer.concat([Zlib.zstdCompressSync(archive), zeros])]
  ]
  it.effect.each(table)("%s", ([, bytes]) =>
    Effect.gen(function*() {
      const { open } = yield* setUp
      const { assertGone, provide } = yield* remembering
      const found = yield* provide(open(bytes))
      assert.deepStrictEqual(found.names, ["small", "large"])
      assert.strictEqual(new TextDecoder().decode(yield* found.read("small", 100)), "content")
      assert.isTrue(noise.equals((yield* found.read("large", 1e8)) ?? new Uint8Array()))
      // the file has no name while it is open, so that it disappears even if the process is killed
      assertGone()
    }).pipe(withNode))

  for (const [program, ...options] of [["gzip"], ["zstd", "-q"], ["pzstd", "-q"]] as const) {
    it.effect.skipIf(!has(program))(`the program ${program}`, () =>
      Effect.gen(function*() {
        const { open } = yield* setUp
        const input = { input: archive, maxBuffer: 1e9 }
        const found = yield* open(ChildProcess.execFileSync(program, [...options, "-c"], input))
        assert.isTrue(noise.equals((yield* found.read("large", 1e8)) ?? new Uint8Array()))
      }).pipe(withNode))
  }
})

describe("A compressed archive is refused", () => {
  const gzip = Zlib.gzipSync(archive)
  const checksum = { params: { [Zlib.constants.ZSTD_c_checksumFlag]: 1 } }
  const zstd = Zlib.zstdCompressSync(archive, checksum)
  const table: ReadonlyArray<readonly [what: string, bytes: Uint8Array, says: string]> = [
    ["cut off", gzip.subarray(0, 100_000), "it is cut off"],
    ["cut off in its second frame", Buffer.concat([zstd, zstd.subarray(0, 100_000)]), "it is cut off"],
    ["changed", Buffer.from(gzip).fill(0, 100_000, 100_100), "its compressed data are broken"],
    ["changed in its checksum", Buffer.from(gzip).fill(0, gzip.length - 8), "its compressed data are broken"],
    ["changed, as zstd", Buffer.from(zstd).fill(0, 100_000, 100_100), "its compressed data are broken"],
    ["not all of the file", Buffer.concat([zstd, Buffer.from("more")]), "its compressed data are broken"],
    [
      "followed by zeros and other data",
      Buffer.concat([gzip, zeros, Buffer.from("more")]),
      "other data follow the compressed data"
    ],
    ["no archive", Zlib.gzipSync(Buffer.alloc(2048, "text")), "it is not a readable tar archive"]
  ]
  it.effect.each(table)("if it is %s", ([, bytes, says]) =>
    Effect.gen(function*() {
      const { open, path } = yield* setUp
      const { assertGone, provide } = yield* remembering
      const error = yield* Effect.flip(provide(Effect.scoped(open(bytes))))
      assert.strictEqual(error._tag, "Storage")
      assert.include(error.message, `${path}: ${says}`)
      assertGone()
    }).pipe(withNode))

  const limits = [
    { size: 1_000_000, ratio: 1000, ratioFrom: 1e9 },
    { size: 1e9, ratio: 2, ratioFrom: 1000 }
  ]
  it.effect.each(limits)("if it unpacks to more than %j", (limits) =>
    Effect.gen(function*() {
      const { open } = yield* setUp
      const { assertGone, provide } = yield* remembering
      const bomb = Zlib.gzipSync(tar({ name: "zeros", content: new Uint8Array(2_000_000) }))
      const error = yield* open(bomb).pipe(
        Effect.provideService(Decompressor.UnpackLimits, limits),
        Effect.scoped,
        provide,
        Effect.flip
      )
      assert(error._tag === "ContentTooLarge")
      assert.strictEqual(error.limit, Math.min(limits.size, Math.max(limits.ratioFrom, limits.ratio * bomb.length)))
      assertGone()
    }).pipe(withNode))

  it.effect("if the runtime does not support the format", () =>
    Effect.gen(function*() {
      const { open, path } = yield* setUp
      const error = yield* open(zstd).pipe(
        Effect.provideService(Decompressor.Decompressor, () => undefined),
        Effect.flip
      )
      const problem = "it is compressed with zstd, which this runtime cannot unpack, and has to be unpacked first"
      assert.strictEqual(error.message, `${path}: ${problem}`)
    }).pipe(withNode))

  it.effect("and leaves nothing behind if it is interrupted", () =>
    Effect.gen(function*() {
      const { open } = yield* setUp
      const { assertGone, provide } = yield* remembering
      const begun = yield* Deferred.make<void>()
      const stuck: Decompressor.Decompressor = () => () => ({
        stream: Stream.fromEffectDrain(Effect.andThen(Deferred.succeed(begun, undefined), Effect.never)),
        used: Effect.succeed(0)
      })
      const opening = yield* open(gzip).pipe(
        Effect.provideService(Decompressor.Decompressor, stuck),
        Effect.scoped,
        provide,
        Effect.forkChild
      )
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(opening)
      assertGone()
    }).pipe(withNode))
})

describe("Images are read from a compressed archive", () => {
  const compressed = Effect.gen(function*() {
    const folder = yield* temporaryFolder
    const [file, zipped] = [Path.join(folder, "image.tar"), Path.join(folder, "image.tgz")]
    const { digest } = yield* OciArchive.update(
      { file },
      (registry) => pushImage(registry, app, ["layer"], { tags: [tag("1")] })
    )
    Fs.writeFileSync(zipped, Zlib.gzipSync(Fs.readFileSync(file)))
    return { digest, file: zipped }
  })

  it.effect("as an oci-archive", () =>
    Effect.gen(function*() {
      const { digest, file } = yield* compressed
      const registry = yield* OciArchive.make({ file })
      assert.strictEqual((yield* registry.resolveManifest(app, tag("1"))).digest, digest)
    }).pipe(withNode))

  it.effect("as a docker-archive", () =>
    Effect.gen(function*() {
      const { digest, file } = yield* compressed
      const { images } = yield* DockerArchive.make({ file })
      assert.deepStrictEqual(images.map(({ descriptor }) => descriptor.digest), [digest])
    }).pipe(withNode))
})
