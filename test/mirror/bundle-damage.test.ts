/**
 * Bundles that were damaged on their way, and those that another party has made to do harm.
 */
import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import * as Bundle from "effect-oci/Bundle"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { filesIn, outcomes, setup, test } from "../utils/bundles.ts"
import { pushSample, repository, tag } from "../utils/images.ts"
import { imagesOf } from "../utils/mirrors.ts"

const rounds = process.env["EFFECT_OCI_LONG"] === undefined ? 4 : 100

/** Returns numbers below a bound, which depend on the seed only. */
const random = (seed: number) => {
  let state = seed
  return (bound: number) => {
    state = Math.imul(state, 1664525) + 1013904223 >>> 0
    return Math.floor(state / 2 ** 32 * bound)
  }
}

const hashOf = (text: string) => createHash("sha256").update(text).digest("hex")

const forms = [["bundle", undefined], ["bundle.tar", undefined], ["bundle.tar", 1500], ["bundle", 1500]] as const

describe("a damaged bundle", () => {
  for (const [name, maximumSize] of forms) {
    test(
      `(${name}${maximumSize === undefined ? "" : " in pieces"}) is found by any flipped bit before a tag is set`,
      Effect.gen(function*() {
        const { folder, inside, outside, read, write } = yield* setup()
        yield* pushSample(outside, repository("app"), [tag("1")])
        yield* write(name, { maximumSize })
        const files = Array.from(filesIn(folder)).filter(([, size]) => size > 0)
        const next = random(17)
        for (let round = 0; round < rounds * files.length; round++) {
          // every kind of file in turn
          const [file = "", size = 0] = files[round % files.length] ?? []
          const path = Path.join(folder, file)
          const bytes = Fs.readFileSync(path)
          const position = next(size)
          const bit = 1 << next(8)
          const where = `${file} at ${position}, bit ${bit}`
          bytes[position] = (bytes[position] ?? 0) ^ bit
          Fs.writeFileSync(path, bytes)
          const error = yield* Effect.flip(read(name)).pipe(
            Effect.catch((report) => Effect.die(`${where} was not found: ${JSON.stringify(report)}`))
          )
          assert.strictEqual(error._tag, "BundleError", where)
          bytes[position] = (bytes[position] ?? 0) ^ bit
          Fs.writeFileSync(path, bytes)
        }
        assert.deepStrictEqual(yield* imagesOf(inside, "mirror/app"), {})
        assert.deepStrictEqual(outcomes(yield* read(name)), { 1: "set" })
      }),
      600_000
    )

    test(
      `(${name}${maximumSize === undefined ? "" : " in pieces"}) that lacks files asks for all of them by name`,
      Effect.gen(function*() {
        const { folder, inside, outside, read, write } = yield* setup()
        yield* pushSample(outside, repository("app"), [tag("1")])
        yield* write(name, { maximumSize })
        const files = Array.from(filesIn(folder).keys())
        const parts = files.filter((file) => /\.00[24]$|blobs\/sha256\/./.test(file))
        for (const file of parts) Fs.renameSync(Path.join(folder, file), Path.join(folder, `${Path.basename(file)}.x`))
        if (parts.length === 0) return
        const error = yield* Effect.flip(read(name))
        if (error._tag !== "BundleError") return assert.fail(error.message)
        assert.strictEqual(error.kind, "MissingPieces")
        assert.deepStrictEqual(
          error.missing.map((each) => Path.basename(each)).sort(),
          parts.map((each) => Path.basename(each)).sort()
        )
        assert.deepStrictEqual(yield* imagesOf(inside, "mirror/app"), {})
      })
    )
  }

  test(
    "is found if a file is cut off, has more bytes or begins with others",
    Effect.gen(function*() {
      const { folder, outside, path, read, write } = yield* setup()
      yield* pushSample(outside, repository("app"), [tag("1")])
      for (const [name, maximumSize] of [["a", undefined], ["b.tar", undefined], ["c.tar", 1500]] as const) {
        yield* write(name, { maximumSize })
      }
      for (const [file, size] of filesIn(folder)) {
        const name = file.split(/[/\\]/)[0]?.startsWith("c.tar") ? "c.tar" : file.split(/[/\\]/)[0] ?? ""
        if (size === 0) continue
        const bytes = Fs.readFileSync(path(file))
        const start = Math.min(size, 512)
        const changes = [
          bytes.subarray(0, size - 1),
          Buffer.concat([bytes, Buffer.alloc(1)]),
          Buffer.concat([Buffer.alloc(start, "x"), bytes.subarray(start)])
        ]
        for (const changed of changes) {
          Fs.writeFileSync(path(file), changed)
          const error = yield* Effect.flip(read(name)).pipe(
            Effect.catch(() => Effect.die(`${file} with ${changed.length} of ${size} bytes was accepted`))
          )
          assert.strictEqual(error._tag, "BundleError")
          if (error._tag === "BundleError") assert.lengthOf(error.message.split(`${error.path}: `), 2, error.message)
        }
        Fs.writeFileSync(path(file), bytes)
      }
    })
  )

  test(
    "is refused if its list of contents has another digest than was announced",
    Effect.gen(function*() {
      const { push, read, write } = yield* setup()
      yield* push("1", "one")
      const { digest } = yield* write("bundle.tar")
      yield* push("2", "two")
      const other = yield* write("other.tar")
      assert.strictEqual((yield* Effect.flip(read("other.tar", { digest })))._tag, "BundleError")
      assert.deepStrictEqual(outcomes(yield* read("other.tar", { digest: other.digest })), { 1: "set", 2: "set" })
    })
  )
})

describe("a hostile list of contents", () => {
  /** Writes a list with a valid id. */
  const seal = (text: string): string => {
    const zeros = text.replace(/"id":"sha256:[0-9a-f]{64}"/, `"id":"sha256:${"0".repeat(64)}"`)
    return zeros.replace(/"id":"sha256:[0-9a-f]{64}"/, `"id":"sha256:${hashOf(zeros)}"`)
  }

  const prepare = Effect.fnUntraced(function*() {
    const sides = yield* setup()
    yield* pushSample(sides.outside, repository("app"), [tag("1")])
    yield* sides.write("bundle.tar", { maximumSize: 1500 })
    const list = sides.path("bundle.tar.bundle.json")
    const text = Fs.readFileSync(list, "utf8")
    return {
      ...sides,
      text,
      /** Imports the bundle with another list, and returns the message of the error. */
      refuse: Effect.fnUntraced(function*(changed: string) {
        Fs.writeFileSync(list, seal(changed))
        const error = yield* Effect.flip(sides.read("bundle.tar")).pipe(
          Effect.catch((report) => Effect.die(`accepted ${changed.slice(0, 3000)}: ${JSON.stringify(report)}`))
        )
        assert.strictEqual(error._tag, "BundleError")
        assert.deepStrictEqual(yield* imagesOf(sides.inside, "mirror/app"), {})
        return error.message
      })
    }
  })

  test(
    "is refused with one clear error",
    Effect.gen(function*() {
      const { refuse, text } = yield* prepare()
      const parsed = JSON.parse(text)
      const edit = (change: (list: typeof parsed) => void) => {
        const copy = structuredClone(parsed)
        change(copy)
        return `${JSON.stringify(copy)}\n`
      }
      assert.strictEqual(seal(text), text)
      const table: ReadonlyArray<readonly [changed: string, says: RegExp]> = [
        [edit((list) => void (list.pieces[0].name = "../../etc/passwd")), /leads out of its folder: "\.\.\/\.\.\/etc/],
        [edit((list) => void (list.pieces[0].name = "..")), /leads out of its folder/],
        [edit((list) => void (list.pieces[0].name = "a\\b")), /leads out of its folder/],
        [edit((list) => void (list.pieces[0].name = "a\u0000b")), /leads out of its folder/],
        [edit((list) => void (list.pieces[1].name = list.pieces[0].name)), /lists a piece twice/],
        [edit((list) => void (list.pieces[0].size = 2 ** 52)), /has 1500 bytes instead of 4503599627370496/],
        [edit((list) => void (list.pieces[0].size = -1)), /do not match the schema/],
        [edit((list) => void (list.content[0].size = 2 ** 52)), /content lies outside of its pieces/],
        [
          edit((list) => {
            list.content[0].offset = 0
            list.content[0].size = list.pieces.reduce((sum: number, { size }: { size: number }) => sum + size, 0)
          }),
          /lists more content than its pieces have/
        ],
        [edit((list) => void (list.content[1].size += 1)), /bytes? |digest|content lies/],
        [edit((list) => void (list.content[0].offset = 2 ** 53)), /do not match the schema|lies outside/],
        // an empty blob may be anywhere
        [
          edit((list) => void (list.content.find(({ size }: { size: number }) => size > 0).offset += 1)),
          /blobs\/sha256/
        ],
        [edit((list) => void (list.content[1].digest = list.content[0].digest)), /lists a digest twice/],
        [edit((list) => void (list.content[0].digest = "sha256:../../../../etc/passwd")), /do not match the schema/],
        [edit((list) => void (list.repositories[0].tags[0].manifest = 1_000_000)), /content that it does not list/],
        [edit((list) => void (list.repositories[0].name = "inside.test/../x")), /the repository inside\.test\/\.\.\/x/],
        [edit((list) => void (list.repositories[0].tags[0].tag = "../x")), /do not match the schema/],
        [edit((list) => void (list.more = true)), /unknown, repeated or moved keys/],
        [edit((list) => void (list.version = 2)), /another version/],
        [text.replace("\"version\":1,", "\"version\":1,\"version\":1,"), /unknown, repeated or moved keys/],
        [text.replace("\"tags\":[", "\"tags\":[],\"tags\":["), /unknown, repeated or moved keys/],
        [text.slice(0, -20), /it is not JSON/],
        ["{}", /not the list of contents of a bundle/],
        ["[".repeat(100_000), /it is not JSON/],
        [
          edit((list) => void (list.content = new Array(1_000_000).fill(list.content[0]))),
          /more than \d+ (?:bytes|entries)/
        ],
        [edit((list) => void (list.content = new Array(500_000).fill(0))), /more than 400000 entries in content/],
        [
          edit((list) =>
            void (list.images = Array.from(
              { length: 5 },
              () => ({ manifest: 0, content: new Array(1_000_000).fill(0) })
            ))
          ),
          /lists have more than 4000000 entries/
        ],
        [edit((list) => void (list.omitted = new Array(1_000_000).fill(0))), /more than 200000 entries in omitted/]
      ]
      for (const [changed, says] of table) assert.match(yield* refuse(changed), says)
    }),
    60_000
  )

  test(
    "is refused if it is larger than 64 MiB, without reading it",
    Effect.gen(function*() {
      const { path, read } = yield* prepare()
      Fs.writeFileSync(path("bundle.tar.bundle.json"), "")
      Fs.truncateSync(path("bundle.tar.bundle.json"), 2 ** 40)
      assert.match((yield* Effect.flip(read("bundle.tar"))).message, /it has more than 67108864 bytes/)
    })
  )

  test(
    "may not hide that a manifest lacks content",
    Effect.gen(function*() {
      const { refuse, text } = yield* prepare()
      const list = JSON.parse(text)
      const blob = list.content.findIndex((each: { mediaType?: string }) => each.mediaType === undefined)
      // the content of another digest takes its place, and no position changes
      list.content[blob] = { digest: `sha256:${"1".repeat(64)}`, size: 1, assumed: true }
      assert.match(
        yield* refuse(`${JSON.stringify(list)}\n`),
        /neither has nor expects content of the manifest sha256:[0-9a-f]{64}: sha256:/
      )
    })
  )

  test(
    "is not read through a link that leads out of the folder",
    Effect.gen(function*() {
      const { folder, outside, path, read, write } = yield* setup()
      yield* pushSample(outside, repository("app"), [tag("1")])
      yield* write("bundle")
      const blob = Array.from(filesIn(folder).keys()).find((file) => file.includes("blobs")) ?? ""
      Fs.renameSync(path(blob), path("elsewhere"))
      Fs.symlinkSync(path("elsewhere"), path(blob))
      assert.match((yield* Effect.flip(read("bundle"))).message, /a symbolic link leads out of/)
    })
  )
})

describe("a damaged inventory", () => {
  test(
    "is refused if it is cut off, changed, or has lines after its end",
    Effect.gen(function*() {
      const { path, push, write } = yield* setup()
      yield* push("1", "one")
      const digest = `sha256:${"a".repeat(64)}`
      const lines = [
        JSON.stringify({ mediaType: Bundle.inventoryMediaType, version: 1, at: "2026-01-01T00:00:00.000Z" }),
        JSON.stringify({ repository: "inside.test/x", tag: "1", digest, size: 5, mediaType: "a/b", content: [] })
      ].map((line) => `${line}\n`)
      const end = `${JSON.stringify({ lines: 2, digest: `sha256:${hashOf(lines.join(""))}` })}\n`
      const table: ReadonlyArray<readonly [text: string, says: RegExp]> = [
        [lines.join(""), /it is cut off/],
        [lines.join("") + end.slice(0, -1), /it is cut off/],
        [lines.join("").replace("\"size\":5", "\"size\":6") + end, /its checksum does not match/],
        [lines.join("") + end + (lines[1] ?? ""), /lines after its end/],
        [(lines[0] ?? "") + "{}\n", /line 2 is not that of an inventory/],
        [(lines[0] ?? "") + (lines[0] ?? ""), /it begins twice/],
        [(lines[0] ?? "") + "[".repeat(17 * 2 ** 20), /a line has more than 16777216 bytes/]
      ]
      for (const [text, says] of table) {
        Fs.writeFileSync(path("have.json"), text)
        const error = yield* Effect.flip(write("bundle.tar", { since: [path("have.json")] }))
        assert.match(error.message, says)
      }
      Fs.writeFileSync(path("have.json"), lines.join("") + end)
      yield* write("bundle.tar", { since: [path("have.json")] })
    })
  )
})
