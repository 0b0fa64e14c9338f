import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as DockerArchive from "effect-oci/DockerArchive"
import * as OciArchive from "effect-oci/OciArchive"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { run, runWith } from "../utils/Command.ts"
import { app as repository, layer, pushImageOf } from "../utils/image-layers.ts"
import { pushSample, tag } from "../utils/images.ts"
import { has, temporaryFolder } from "../utils/layouts.ts"
import { shellCommand } from "../utils/Program.ts"
import * as Served from "../utils/Served.ts"

const withNode = Effect.provide(NodeServices.layer)

/** Serves an image as `app:1`, and runs the command on it. */
const setUp = Effect.gen(function*() {
  const { host, registry } = yield* Served.memory()
  const { index } = yield* pushSample(registry, repository, [tag("1")])
  const folder = yield* temporaryFolder
  const at = (name: string) => Path.join(folder, name)
  const copy = (...args: ReadonlyArray<string>) =>
    Effect.map(run("copy", `${host}/app:1`, ...args), (ended) => ({
      ...ended,
      notes: ended.stderr.split("\n").filter((line) => !line.startsWith("copied"))
    }))
  return { host, registry, index, at, copy }
})

const namesIn = (file: string) =>
  Effect.scoped(
    Effect.map(DockerArchive.make({ file }), ({ images }) =>
      images.flatMap(({ names }) => names.map(({ name }) => name)).sort())
  )

describe("copy to docker-archive", () => {
  it.live("gives the image the name of the argument", () =>
    Effect.gen(function*() {
      const { at, copy, index } = yield* setUp
      const place = `docker-archive:${at("a.tar")}:ghcr.io/team/app:2`
      const { code, notes, stdout } = yield* copy(place)
      assert.deepStrictEqual([code, stdout], [0, `${place.slice(0, -2)}@${index.digest}\n`])
      assert.notInclude(notes.join("\n"), "means")
      assert.deepStrictEqual(yield* namesIn(at("a.tar")), ["ghcr.io/team/app:2"])
    }).pipe(withNode))

  it.live("gives the image the name of the source if the argument has none, and says so", () =>
    Effect.gen(function*() {
      const { at, copy, host } = yield* setUp
      const { code, stderr } = yield* copy(`docker-archive:${at("a.tar")}`)
      assert.strictEqual(code, 0)
      assert.include(stderr, `docker-archive:${at("a.tar")} means docker-archive:${at("a.tar")}:${host}/app:1\n`)
      assert.deepStrictEqual(yield* namesIn(at("a.tar")), [`${host}/app:1`])
    }).pipe(withNode))

  it.live("adds further tags and images to an archive", () =>
    Effect.gen(function*() {
      const { at, copy } = yield* setUp
      yield* copy(`docker-archive:${at("a.tar")}:app:1`, "--tag", "latest")
      yield* copy(`docker-archive:${at("a.tar")}:other`)
      assert.deepStrictEqual(yield* namesIn(at("a.tar")), [
        "docker.io/library/app:1",
        "docker.io/library/app:latest",
        "docker.io/library/other:latest"
      ])
    }).pipe(withNode))

  it.live("copies all tags", () =>
    Effect.gen(function*() {
      const { at, host, registry } = yield* setUp
      yield* pushImageOf(registry, [])
      const { code } = yield* run("copy", "--all-tags", `${host}/app`, `docker-archive:${at("a.tar")}:team/app`)
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(yield* namesIn(at("a.tar")), ["docker.io/team/app:1"])
    }).pipe(withNode))

  it.live("is planned without writing anything", () =>
    Effect.gen(function*() {
      const { at, copy, host } = yield* setUp
      assert.strictEqual((yield* copy("--dry-run", `docker-archive:${at("a.tar")}`)).code, 0)
      assert.isFalse(Fs.existsSync(at("a.tar")))
      const planned = yield* run("plan", `${host}/app:1`, "docker-archive:-")
      assert.strictEqual(planned.code, 0)
      assert.notInclude(planned.stdout, "oci-layout")
    }).pipe(withNode))

  it.live("verifies what it wrote", () =>
    Effect.gen(function*() {
      const { at, copy } = yield* setUp
      const { code, stderr } = yield* copy("--verify", "deep", `docker-archive:${at("a.tar")}`)
      assert.strictEqual(code, 0, stderr)
    }).pipe(withNode))

  it.live("tags an image in an archive, and deletes none", () =>
    Effect.gen(function*() {
      const { at, copy } = yield* setUp
      yield* copy(`docker-archive:${at("a.tar")}:app:1`)
      assert.strictEqual((yield* run("tag", `docker-archive:${at("a.tar")}:app:1`, "2")).code, 0)
      assert.deepStrictEqual(yield* namesIn(at("a.tar")), ["docker.io/library/app:1", "docker.io/library/app:2"])
      const { code, stderr } = yield* run("delete", `docker-archive:${at("a.tar")}:app:1`)
      assert.strictEqual(code, 1)
      assert.include(stderr, "copy what is to remain to another archive")
    }).pipe(withNode))
})

describe("copy to stdout", () => {
  it.live("writes nothing but the archive there", () =>
    Effect.gen(function*() {
      const { at, copy, index } = yield* setUp
      for (const place of ["docker-archive:-:app:1", "docker-archive:-", "oci-archive:-:1"]) {
        const { code, stderr, stdout } = yield* copy(place)
        assert.strictEqual(code, 0, stderr)
        Fs.writeFileSync(at("a.tar"), stdout, "latin1")
        const archive = yield* OciArchive.make({ file: at("a.tar") })
        assert.strictEqual((yield* archive.resolveManifest(repository, tag("1"))).digest, index.digest)
        assert.strictEqual(Fs.statSync(at("a.tar")).size % 512, 0)
      }
    }).pipe(Effect.scoped, withNode))

  it.live("refuses a terminal", () =>
    Effect.gen(function*() {
      const { host } = yield* setUp
      const { code, stderr } = yield* runWith({ columns: 80 }, "copy", `${host}/app:1`, "docker-archive:-")
      assert.strictEqual(code, 2)
      assert.include(stderr, "an archive is not written to a terminal")
    }).pipe(withNode))

  it.live.skipIf(!has("skopeo"))("goes through a pipe to a file that skopeo reads", () =>
    Effect.gen(function*() {
      const { host, registry } = yield* Served.memory()
      yield* pushImageOf(registry, [[layer({ name: "a", content: "x".repeat(300_000) })]])
      const file = Path.join(yield* temporaryFolder, "a.tar")
      yield* Effect.callback<void>((resume) => {
        ChildProcess.exec(`${shellCommand} copy ${host}/app:1 docker-archive:- | cat > ${file}`, () =>
          resume(Effect.void))
      })
      const printed = ChildProcess.execFileSync("skopeo", ["inspect", `docker-archive:${file}`], { encoding: "utf8" })
      assert.lengthOf(JSON.parse(printed).Layers, 1)
    }).pipe(withNode))
})
