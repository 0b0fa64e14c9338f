import { assert, describe } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as Bundle from "effect-oci/Bundle"
import * as Namespace from "effect-oci/Namespace"
import * as OciArchive from "effect-oci/OciArchive"
import * as Fs from "node:fs"
import { filesIn, outcomes, setup, test } from "../utils/bundles.ts"
import { pushImage, pushReferrer, pushSample, repository, tag } from "../utils/images.ts"
import { imagesOf } from "../utils/mirrors.ts"
import { override } from "../utils/registries.ts"

const mirrored = repository("mirror/app")
describe("a bundle", () => {
  const forms: ReadonlyArray<readonly [form: string, path: string, maximumSize: number | undefined]> = [
    ["a folder", "bundle", undefined],
    ["an archive", "bundle.tar", undefined],
    ["an archive in pieces", "bundle.tar", 1500],
    ["a folder of pieces", "bundle", 1500]
  ]
  for (const [form, path, maximumSize] of forms) {
    test(
      `as ${form} carries images with their referrers`,
      Effect.gen(function*() {
        const { folder, inside, outside, read, write } = yield* setup()
        const sample = yield* pushSample(outside, repository("app"), [tag("1")])
        const report = yield* write(path, { maximumSize })
        assert.strictEqual(report.tags, 1)
        if (maximumSize !== undefined) assert.isAbove(report.pieces.length, 2)
        const files = filesIn(folder)
        assert.strictEqual(Array.from(files.values()).reduce((sum, size) => sum + size, 0), report.bytes)
        if (maximumSize !== undefined) {
          assert.isTrue(Array.from(files).every(([name, size]) => name.endsWith("bundle.json") || size <= maximumSize))
        }
        const imported = yield* read(path)
        assert.deepStrictEqual(outcomes(imported), { 1: "set" })
        assert.deepStrictEqual(yield* imagesOf(inside, "mirror/app"), yield* imagesOf(outside, "app"))
        const referrers = yield* Stream.runCollect(inside.referrers(mirrored, sample.index.digest))
        assert.strictEqual(referrers.length, 1)
      })
    )
  }

  test(
    "has only what the other side lacks according to earlier bundles, of which the lists suffice",
    Effect.gen(function*() {
      const { inside, outside, path, push, read, write } = yield* setup()
      const base = new Uint8Array(50_000).fill(1)
      yield* push("1", base, "one")
      yield* write("first.tar")
      yield* read("first.tar")
      yield* push("2", base, "two")
      const second = yield* write("second", { since: [path("first.tar")] })
      assert.isBelow(second.bytes, 5000)
      assert.deepStrictEqual(outcomes(yield* read("second")), { 1: "unchanged", 2: "set" })
      // the third is based on the list of the second, which says what the first had
      yield* push("3", base, "three")
      const third = yield* write("third.tar", { since: [path("second/bundle.json")] })
      assert.isBelow(third.carried, 4)
      yield* read("third.tar")
      assert.deepStrictEqual(yield* imagesOf(inside, "mirror/app"), yield* imagesOf(outside, "app"))
    })
  )

  test(
    "has only what the other side lacks according to an inventory",
    Effect.gen(function*() {
      const { inside, outside, path, push, read, there, write } = yield* setup()
      const base = new Uint8Array(50_000).fill(1)
      const image = yield* push("1", base, "one")
      yield* pushReferrer(outside, repository("app"), image, "signature")
      yield* push("also-1", base, "one")
      yield* write("first.tar")
      yield* read("first.tar")
      const bytes = yield* Stream.mkUint8Array(
        Stream.provideService(Bundle.inventory({ registries: ["inside.test"] }), Namespace.Namespace, there)
      )
      Fs.writeFileSync(path("have.json"), bytes)
      yield* push("2", base, "two")
      const second = yield* write("second.tar", { since: [path("have.json")] })
      // the manifest, its layer, and the list; the config is that of the first image
      assert.strictEqual(second.carried, 2)
      assert.deepStrictEqual(outcomes(yield* read("second.tar")), { 1: "unchanged", 2: "set", "also-1": "unchanged" })
      assert.deepStrictEqual(yield* imagesOf(inside, "mirror/app"), yield* imagesOf(outside, "app"))
    })
  )

  test(
    "carries a signature that an image has got since",
    Effect.gen(function*() {
      const { inside, outside, path, push, read, write } = yield* setup()
      const image = yield* push("1", "one")
      yield* write("first.tar")
      yield* read("first.tar")
      const signature = yield* pushReferrer(outside, repository("app"), image, "signature")
      const second = yield* write("second.tar", { since: [path("first.tar")] })
      // the signature with its layer and its config
      assert.strictEqual(second.carried, 3)
      const report = yield* read("second.tar")
      assert.deepStrictEqual(outcomes(report), { 1: "unchanged" })
      const referrers = yield* Stream.runCollect(inside.referrers(mirrored, image.digest))
      assert.deepStrictEqual(referrers.map(({ digest }) => digest), [signature.digest])
      assert.strictEqual((yield* read("second.tar")).bytes, 0)
    })
  )

  test(
    "leaves out referrers and tags that the rules leave out",
    Effect.gen(function*() {
      const { inside, outside, push, read, write } = yield* setup({
        rules: [{ from: "outside.test/app", to: "inside.test/mirror/app", referrers: false, tags: { semver: ">=2" } }]
      })
      yield* push("1.0.0", "one")
      const image = yield* push("2.0.0", "two")
      yield* pushReferrer(outside, repository("app"), image, "signature")
      yield* write("bundle.tar")
      assert.deepStrictEqual(outcomes(yield* read("bundle.tar")), { "2.0.0": "set" })
      assert.deepStrictEqual(yield* Stream.runCollect(inside.referrers(mirrored, image.digest)), [])
    })
  )

  test(
    "carries the images of some platforms with an index that lists more",
    Effect.gen(function*() {
      const { inside, outside, path, read, write } = yield* setup({
        rules: [{
          from: "outside.test/app",
          to: "inside.test/mirror/app",
          platforms: ["linux/amd64"],
          index: "rewrite"
        }]
      })
      yield* pushSample(outside, repository("app"), [tag("1")])
      yield* write("bundle.tar")
      yield* read("bundle.tar")
      const { bytes } = yield* inside.getManifest(mirrored, tag("1"))
      assert.strictEqual(JSON.parse(new TextDecoder().decode(bytes)).manifests.length, 1)
      yield* pushSample(outside, repository("app"), [tag("2")])
      yield* write("second.tar", { since: [path("bundle.tar")] })
      assert.deepStrictEqual(outcomes(yield* read("second.tar")), { 1: "unchanged", 2: "set" })
    })
  )

  test(
    "is an image layout that other readers open by the full name of a tag",
    Effect.gen(function*() {
      const { path, push, write } = yield* setup()
      const { digest } = yield* push("1", "one")
      yield* write("bundle.tar")
      const archive = yield* OciArchive.make({ file: path("bundle.tar") })
      assert.strictEqual((yield* archive.resolveManifest(repository("any"), tag("1"))).digest, digest)
    })
  )

  test(
    "is not imported again, and its second import sends nothing",
    Effect.gen(function*() {
      const { outside, read, write } = yield* setup()
      yield* pushSample(outside, repository("app"), [tag("1"), tag("2")])
      yield* write("bundle.tar")
      assert.isAbove((yield* read("bundle.tar")).bytes, 0)
      const again = yield* read("bundle.tar")
      assert.deepStrictEqual([again.bytes, again.mounted, outcomes(again)], [0, 0, { 1: "unchanged", 2: "unchanged" }])
    })
  )

  test(
    "goes to another registry, with the names of its repositories",
    Effect.gen(function*() {
      const { inside, push, read, write } = yield* setup()
      const { digest } = yield* push("1", "one")
      yield* write("bundle.tar")
      yield* read("bundle.tar", { to: "inside.test/enclave" })
      assert.deepStrictEqual(yield* imagesOf(inside, "enclave/mirror/app"), { 1: digest })
    })
  )

  test(
    "mounts expected content from other repositories of the destination",
    Effect.gen(function*() {
      const { inside, outside, path, read, write } = yield* setup({
        rules: [
          { name: "a", from: "outside.test/a", to: "inside.test/a" },
          { name: "b", from: "outside.test/b", to: "inside.test/b" }
        ]
      })
      const base = new Uint8Array(50_000).fill(7)
      yield* pushImage(outside, repository("a"), [base], { tags: [tag("1")] })
      yield* pushImage(outside, repository("b"), ["another"], { tags: [tag("0")] })
      yield* write("first.tar")
      yield* read("first.tar")
      yield* pushImage(outside, repository("b"), [base, "more"], { tags: [tag("1")] })
      const second = yield* write("second.tar", { since: [path("first.tar")] })
      assert.isBelow(second.bytes, 10_000)
      const report = yield* read("second.tar")
      assert.strictEqual(report.mounted, 1)
      assert.isBelow(report.bytes, 1000)
      assert.deepStrictEqual(yield* imagesOf(inside, "b"), yield* imagesOf(outside, "b"))
      // a tag that moves to another repository needs no content at all
      yield* pushImage(outside, repository("b"), [base], { tags: [tag("2")] })
      const third = yield* write("third.tar", { since: [path("second.tar")] })
      assert.strictEqual(third.carried, 0)
      yield* read("third.tar")
      assert.deepStrictEqual(yield* imagesOf(inside, "b"), yield* imagesOf(outside, "b"))
    })
  )
})

describe("a bundle that goes to one registry instead of two", () => {
  const rules = ["one", "two"].map((name) => ({ name, from: `outside.test/${name}`, to: `${name}.test/app` }))

  test(
    "is refused before a tag is set if both have another image for it",
    Effect.gen(function*() {
      const { inside, outside, read, write } = yield* setup({ rules })
      for (const name of ["one", "two"]) {
        yield* pushImage(outside, repository(name), [name], { tags: [tag("1"), tag(name)] })
      }
      yield* write("bundle.tar")
      const error = yield* Effect.flip(read("bundle.tar", { to: "inside.test" }))
      assert.include(error.message, "its repositories have different images for the same tag: inside.test/app:1")
      assert.deepStrictEqual(yield* imagesOf(inside, "app"), {})
      const { tags } = yield* read("bundle.tar", { to: "inside.test", rules: ({ name }) => name === "one" })
      assert.deepStrictEqual(tags.map(({ outcome }) => outcome), ["set", "set"])
    })
  )

  test(
    "sets a tag once if both have the same image for it",
    Effect.gen(function*() {
      const { inside, outside, read, write } = yield* setup({ rules })
      yield* pushImage(outside, repository("one"), ["same"], { tags: [tag("1")] })
      const { digest } = yield* pushImage(outside, repository("two"), ["same"], { tags: [tag("1")] })
      yield* write("bundle.tar")
      const { tags } = yield* read("bundle.tar", { to: "inside.test" })
      assert.deepStrictEqual(tags.map(({ outcome }) => outcome), ["set", "set"])
      assert.deepStrictEqual(yield* imagesOf(inside, "app"), { 1: digest })
    })
  )
})

describe("a bundle whose base is missing", () => {
  test(
    "is refused with the names of all that is missing, and nothing is changed",
    Effect.gen(function*() {
      const { inside, path, push, read, write } = yield* setup()
      yield* push("1", "base", "one")
      yield* push("other", "base", "other")
      yield* write("first.tar")
      yield* push("2", "base", "two")
      yield* push("3", "other", "three")
      yield* write("second.tar", { since: [path("first.tar")] })
      const error = yield* Effect.flip(read("second.tar"))
      if (error._tag !== "BundleError") return assert.fail(error.message)
      assert.strictEqual(error.kind, "MissingBase")
      assert.match(error.message, /based on the bundle sha256:[0-9a-f]{64} of .*, but the destination lacks: /)
      // both images of the first bundle, and what the others share with them: a config and two layers
      assert.strictEqual(error.total, 5)
      assert.isTrue(error.missing.every((name) => name.startsWith("inside.test/mirror/app@sha256:")))
      assert.deepStrictEqual(yield* imagesOf(inside, "mirror/app"), {})
      assert.deepStrictEqual(yield* Stream.runCollect(inside.repositories()), [])
    })
  )
})

describe("tags of the destination that have moved", () => {
  const moved = Effect.fnUntraced(function*(onTagMoved: unknown) {
    const sides = yield* setup({
      rules: [{ name: "apps", from: "outside.test/app", to: "inside.test/mirror/app", onTagMoved }]
    })
    yield* sides.push("1", "one")
    yield* sides.write("first.tar")
    yield* sides.read("first.tar")
    const before = yield* sides.push("1", "one, newer")
    yield* sides.write("second.tar", { since: [sides.path("first.tar")] })
    // another bundle or client was faster
    const newest = yield* pushImage(sides.inside, mirrored, ["newest"], { tags: [tag("1")] })
    return { ...sides, expected: before.digest, newest: newest.digest }
  })

  test(
    "are set, with a warning, if the rule replaces tags",
    Effect.gen(function*() {
      const { expected, inside, newest, read } = yield* moved("replace")
      const { tags } = yield* read("second.tar")
      assert.include(tags[0]?.problem, `it pointed at ${newest}, which is not what the base of the bundle has`)
      assert.deepStrictEqual(yield* imagesOf(inside, "mirror/app"), { 1: expected })
    })
  )

  test(
    "are set without a warning if they are as the base says",
    Effect.gen(function*() {
      const { path, push, read, write } = yield* setup()
      yield* push("1", "one")
      yield* write("first.tar")
      yield* read("first.tar")
      yield* push("1", "one, newer")
      yield* write("second.tar", { since: [path("first.tar")] })
      const { tags } = yield* read("second.tar")
      assert.deepStrictEqual(tags, [{ name: "inside.test/mirror/app:1", outcome: "set" }])
    })
  )

  test(
    "stay if the rule keeps or fails, and fail counts as a failure",
    Effect.gen(function*() {
      const kept = yield* moved("keep")
      const report = yield* kept.read("second.tar")
      assert.deepStrictEqual([outcomes(report), report.hasFailures], [{ 1: "kept" }, false])
      assert.deepStrictEqual(yield* imagesOf(kept.inside, "mirror/app"), { 1: kept.newest })
      const failed = yield* moved("fail")
      const refused = yield* failed.read("second.tar")
      assert.deepStrictEqual([outcomes(refused), refused.hasFailures], [{ 1: "refused" }, true])
      assert.deepStrictEqual(yield* imagesOf(failed.inside, "mirror/app"), { 1: failed.newest })
      // the policy of the importing side has precedence
      const replaced = yield* failed.read("second.tar", { onTagMoved: () => "replace" })
      assert.deepStrictEqual(outcomes(replaced), { 1: "set" })
    })
  )

  test(
    "are kept under another tag if the rule makes backups",
    Effect.gen(function*() {
      const { expected, inside, newest, read } = yield* moved({ backup: "old-{tag}" })
      yield* read("second.tar")
      assert.deepStrictEqual(yield* imagesOf(inside, "mirror/app"), { 1: expected, "old-1": newest })
    })
  )

  test(
    "stay if another client moves them during the import",
    Effect.gen(function*() {
      const { inside, push, read, write } = yield* setup({
        destination: (registry) =>
          override(registry, {
            startUpload: (repository, options) =>
              Effect.andThen(
                Effect.orDie(pushImage(registry, mirrored, ["quick"], { tags: [tag("1")] })),
                registry.startUpload(repository, options)
              ),
            pushBlob: (repository, descriptor, source) =>
              Effect.andThen(
                Effect.orDie(pushImage(registry, mirrored, ["quick"], { tags: [tag("1")] })),
                registry.pushBlob(repository, descriptor, source)
              )
          })
      })
      yield* push("1", "one")
      yield* write("bundle.tar")
      const report = yield* read("bundle.tar")
      assert.deepStrictEqual(outcomes(report), { 1: "failed" })
      assert.include(report.tags[0]?.problem, "another client has changed it meanwhile")
      assert.isDefined((yield* imagesOf(inside, "mirror/app"))["1"])
    })
  )
})

describe("an export", () => {
  test(
    "that fails leaves no bundle, and another one continues with its blobs",
    Effect.gen(function*() {
      let isBroken = true
      const { folder, path, push, read, reads, write } = yield* setup({
        source: (registry) =>
          override(registry, {
            getManifest: (repository, reference) =>
              isBroken && reference === tag("3")
                ? registry.getManifest(repository, tag("none"))
                : registry.getManifest(repository, reference),
            resolveManifest: (repository, reference) =>
              isBroken && reference === tag("3")
                ? registry.resolveManifest(repository, tag("none"))
                : registry.resolveManifest(repository, reference)
          })
      })
      for (const name of ["1", "2", "3"]) yield* push(name, `layer ${name}`)
      for (const form of ["bundle.tar", "bundle"]) {
        isBroken = true
        const error = yield* Effect.flip(write(form))
        assert.strictEqual(error.kind, "Incomplete")
        assert.match(error.message, /outside\.test\/app:3 \(.*\)/)
        assert.isFalse(Fs.existsSync(path("bundle.tar")) && form === "bundle.tar")
        assert.strictEqual((yield* Effect.flip(read(form)))._tag, "BundleError")
        isBroken = false
        const before = reads()
        yield* write(form)
        // only the layer of the image that failed
        assert.strictEqual(reads() - before, 1)
      }
      assert.deepStrictEqual(Fs.readdirSync(folder).sort(), ["bundle", "bundle.tar"])
      assert.deepStrictEqual(outcomes(yield* read("bundle")), { 1: "set", 2: "set", 3: "set" })
    })
  )

  test(
    "lists the tags that it omits, if that is wanted",
    Effect.gen(function*() {
      const { push, read, write } = yield* setup({
        rules: [{ name: "apps", from: "outside.test/app", to: "inside.test/mirror/app", tags: ["1", "2"] }]
      })
      yield* push("1", "one")
      const { omitted } = yield* write("bundle.tar", { onFailure: "omit" })
      assert.deepStrictEqual(omitted.map(({ tag }) => tag), ["2"])
      const report = yield* read("bundle.tar")
      assert.deepStrictEqual([outcomes(report), report.omitted], [{ 1: "set" }, omitted])
    })
  )

  test(
    "continues without what an earlier attempt had and this one does not need",
    Effect.gen(function*() {
      const { path, push, read, write } = yield* setup()
      yield* push("1", "one")
      yield* write("done")
      // an interrupted attempt is a folder with blobs and the mark, and without a list of contents
      Fs.cpSync(path("done"), path("bundle"), { recursive: true })
      Fs.rmSync(path("bundle/bundle.json"))
      Fs.writeFileSync(path("bundle/.effect-oci-export"), "")
      Fs.writeFileSync(path(`bundle/blobs/sha256/${"0".repeat(64)}`), "left over")
      yield* write("bundle")
      assert.deepStrictEqual(Array.from(filesIn(path("bundle")).keys()), Array.from(filesIn(path("done")).keys()))
      assert.deepStrictEqual(outcomes(yield* read("bundle")), { 1: "set" })
    })
  )

  test(
    "touches neither a folder with other content nor a finished bundle",
    Effect.gen(function*() {
      const { path, push, write } = yield* setup()
      yield* push("1", "one")
      Fs.mkdirSync(path("mine"))
      Fs.writeFileSync(path("mine/file"), "mine")
      Fs.writeFileSync(path("mine.tar"), "mine")
      for (const name of ["mine", "mine.tar"]) assert.strictEqual((yield* Effect.flip(write(name))).kind, "Refused")
      for (const [name, maximumSize] of [["a", undefined], ["a.tar", undefined], ["b.tar", 4000]] as const) {
        yield* write(name, { maximumSize })
        assert.strictEqual((yield* Effect.flip(write(name, { maximumSize }))).kind, "Refused")
      }
      // an attempt that was killed at its very end
      Fs.mkdirSync(path(".a.tar.export"))
      Fs.writeFileSync(path(".a.tar.export/.effect-oci-export"), "")
      assert.strictEqual((yield* Effect.flip(write("a.tar"))).kind, "Refused")
      assert.isFalse(Fs.existsSync(path(".a.tar.export")))
      assert.deepStrictEqual(Fs.readdirSync(path("mine")), ["file"])
      assert.strictEqual(Fs.readFileSync(path("mine.tar"), "utf8"), "mine")
    })
  )

  test(
    "replaces the pieces of an interrupted attempt, and no other files of that name",
    Effect.gen(function*() {
      const { folder, path, push, read, write } = yield* setup()
      yield* push("1", "one")
      const names = () => Fs.readdirSync(folder).sort()
      Fs.writeFileSync(path("a.tar.001"), "mine")
      assert.strictEqual((yield* Effect.flip(write("a.tar", { maximumSize: 2000 }))).kind, "Refused")
      assert.deepStrictEqual(names(), ["a.tar.001"])
      // an attempt with smaller pieces that was killed before its list was written
      Fs.mkdirSync(path(".a.tar.export"))
      Fs.writeFileSync(path(".a.tar.export/.effect-oci-export"), "")
      for (const number of ["002", "003", "004", "005", "006", "007", "008"]) {
        Fs.writeFileSync(path(`a.tar.${number}`), "old")
      }
      const { pieces } = yield* write("a.tar", { maximumSize: 4000 })
      assert.isBelow(pieces.length, 5)
      assert.deepStrictEqual(names(), [...pieces, "a.tar.bundle.json"])
      assert.deepStrictEqual(outcomes(yield* read("a.tar")), { 1: "set" })
    })
  )

  test(
    "refuses a base that is about other registries only",
    Effect.gen(function*() {
      const { path, push, write } = yield* setup()
      yield* push("1", "one")
      yield* write("first.tar")
      const other = yield* setup({ rules: [{ from: "outside.test/app", to: "elsewhere.test/app" }] })
      const error = yield* Effect.flip(other.write("second.tar", { since: [path("first.tar")] }))
      assert.include(error.message, "elsewhere.test: the base has no content of this registry, but of inside.test")
    })
  )

  test(
    "refuses two rules that select different images for one tag",
    Effect.gen(function*() {
      const { outside, push, write } = yield* setup({
        rules: [
          { name: "one", from: "outside.test/app", to: "inside.test/mirror", tags: { match: "^1" } },
          { name: "two", from: "outside.test/other", to: "inside.test/mirror", tags: { match: "1$" } }
        ]
      })
      yield* push("1", "one")
      yield* pushImage(outside, repository("other"), ["two"], { tags: [tag("1")] })
      const error = yield* Effect.flip(write("bundle.tar"))
      assert.match(error.message, /inside\.test\/mirror:1 \(several rules select different images for it\)/)
    })
  )

  test(
    "omits a digest tag for which two sources have different images",
    Effect.gen(function*() {
      const { outside, push, read, write } = yield* setup({
        rules: [
          { name: "one", from: "outside.test/app", to: "inside.test/mirror", tags: ["1"], digestTags: true },
          { name: "two", from: "outside.test/other", to: "inside.test/mirror", tags: ["2"], digestTags: true }
        ]
      })
      const { digest } = yield* push("1", "one")
      yield* pushImage(outside, repository("other"), ["one"], { tags: [tag("2")] })
      const signature = `${digest.replace(":", "-")}.sig`
      yield* push(signature, "signature of app")
      yield* pushImage(outside, repository("other"), ["signature of other"], { tags: [tag(signature)] })
      const error = yield* Effect.flip(write("bundle.tar"))
      assert.include(error.message, `inside.test/mirror:${signature} (several rules select different images for it)`)
      const { omitted } = yield* write("bundle.tar", { onFailure: "omit" })
      assert.deepStrictEqual(omitted.map(({ tag }) => tag), [signature])
      assert.deepStrictEqual(outcomes(yield* read("bundle.tar")), { 1: "set", 2: "set", [signature]: "set" })
    })
  )

  test(
    "continues if an earlier one was killed while it wrote the archive",
    Effect.gen(function*() {
      const { folder, path, push, read, write } = yield* setup()
      yield* push("1", "one")
      Fs.mkdirSync(path(".a.tar.export"))
      Fs.writeFileSync(path(".a.tar.export/.effect-oci-export"), "")
      Fs.writeFileSync(path(".a.tar.draft"), "half of an archive")
      yield* write("a.tar")
      assert.deepStrictEqual(Fs.readdirSync(folder), ["a.tar"])
      assert.deepStrictEqual(outcomes(yield* read("a.tar")), { 1: "set" })
    })
  )

  test(
    "refuses pieces of a size that is not a whole number of bytes, before it writes anything",
    Effect.gen(function*() {
      const { folder, push, write } = yield* setup()
      yield* push("1", "one")
      for (const maximumSize of [0, -1, 0.5, NaN, Infinity]) {
        const error = yield* Effect.flip(write("bundle.tar", { maximumSize }))
        assert.include(error.message, "a piece cannot have")
      }
      assert.deepStrictEqual(Fs.readdirSync(folder), [])
    })
  )
})

describe("a round trip", () => {
  const count = process.env["EFFECT_OCI_LONG"] === undefined ? 40 : 300
  const changed = count / 20
  // distinct bytes, which do not compress
  const layer = (seed: number, size: number) => {
    const bytes = new Uint8Array(size)
    let state = seed + 1
    for (let index = 0; index < size; index++) {
      state = Math.imul(state ^ state >>> 15, 0x2c1b3c6d) + 0x9e3779b9 | 0
      bytes[index] = state >>> 24
    }
    return bytes
  }

  test(
    `of ${count} images and a change of 5 % of them carries at most 1.05 times what is new`,
    Effect.gen(function*() {
      const { inside, outside, path, push, read, write } = yield* setup()
      const base = layer(0, 150_000)
      for (let index = 0; index < count; index++) yield* push(`v${index}`, base, layer(1 + index, 150_000))
      const first = yield* write("first.tar")
      assert.isAtMost(first.bytes, 1.05 * (count + 1) * 150_000)
      yield* read("first.tar")
      let fresh = 0
      for (let index = 0; index < changed; index++) {
        const parts = [layer(1000 + index, 150_000), layer(2000 + index, 150_000)]
        const image = yield* push(`v${index * 20}`, base, ...parts)
        fresh += image.size + parts.reduce((sum, part) => sum + part.length, 0)
      }
      const second = yield* write("second.tar", { since: [path("first.tar")] })
      assert.isAtMost(second.bytes / fresh, 1.05)
      const report = yield* read("second.tar")
      assert.strictEqual(report.tags.filter(({ outcome }) => outcome === "set").length, changed)
      assert.isAtMost(report.bytes, fresh)
      assert.deepStrictEqual(yield* imagesOf(inside, "mirror/app"), yield* imagesOf(outside, "app"))
      yield* Effect.log(`${count} images, ${changed} changed: ${second.bytes} bytes for ${fresh} that are new`)
    }),
    300_000
  )
})
