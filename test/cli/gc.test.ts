import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { run } from "../utils/Command.ts"
import { pushBlob, pushImage, repository, tag } from "../utils/images.ts"
import { blobPath, temporaryFolder } from "../utils/layouts.ts"
import { start } from "../utils/Program.ts"
import { connect } from "../utils/ScriptedServer.ts"

const app = repository("team/app")

const withNode = Effect.provide(NodeServices.layer)

/** Makes a folder with an image and a blob that nothing needs. */
const setUp = Effect.fnUntraced(function*(form: "registry" | "layout" = "registry") {
  const directory = Path.join(yield* temporaryFolder, "here")
  const registry = yield* LayoutRegistry.make({ directory, form })
  const image = yield* pushImage(registry, app, ["layer"], { tags: [tag("1.0.0"), tag("2.0.0")] })
  const blob = yield* pushBlob(registry, app, "alone")
  const layout = form === "layout" ? directory : Path.join(directory, "team", "app")
  return { blob, directory, image, layout, registry }
})

describe("effect-oci gc", () => {
  for (const form of ["registry", "layout"] as const) {
    it.live(`removes blobs that nothing needs from a ${form}, and reports them`, () =>
      Effect.scoped(Effect.gen(function*() {
        const { blob, directory, layout } = yield* setUp(form)
        const place = form === "registry" ? `team/app@${blob.digest}` : blob.digest
        const dry = yield* run("gc", "--older-than", "0s", "--dry-run", directory)
        const end = "0 manifests, 1 blob, 5 bytes, in 1 repository\n"
        assert.deepStrictEqual(dry, {
          code: 0,
          stdout: `unreferenced blob ${place} 5\nwould remove ${end}`,
          stderr: ""
        })
        assert.isTrue(Fs.existsSync(blobPath(layout, blob.digest)))
        const { stdout } = yield* run("gc", "--older-than=0s", directory)
        assert.strictEqual(stdout, `unreferenced blob ${place} 5\nremoved ${end}`)
        assert.isFalse(Fs.existsSync(blobPath(layout, blob.digest)))
      })).pipe(withNode))
  }

  it.live("keeps recent content by default", () =>
    Effect.scoped(Effect.gen(function*() {
      const { directory } = yield* setUp()
      assert.match((yield* run("gc", directory)).stdout, /^removed 0 manifests, 0 blobs, 0 bytes, in 1 repository\n$/)
    })).pipe(withNode))

  it.live("deletes tags by version, and then what they pointed at", () =>
    Effect.scoped(Effect.gen(function*() {
      const { directory, registry } = yield* setUp()
      const old = yield* pushImage(registry, app, ["old"], { tags: [tag("0.1.0")] })
      const args = ["--older-than=0s", "--keep-newest=2", "--untagged=collect", "--json"]
      const { stdout } = yield* run("gc", ...args, directory)
      const { removed, tags } = JSON.parse(stdout)
      assert.deepStrictEqual(tags, [{ repository: app, tag: "0.1.0", digest: old.digest }])
      assert.isTrue(removed.some(({ digest }: { readonly digest: string }) => digest === old.digest))
    })).pipe(withNode))

  it.live("fails after it has skipped a repository with a broken manifest", () =>
    Effect.scoped(Effect.gen(function*() {
      const { directory, image, layout } = yield* setUp()
      Fs.writeFileSync(blobPath(layout, image.digest), "broken")
      const { code, stderr } = yield* run("gc", "--older-than=0s", directory)
      assert.strictEqual(code, 1)
      assert.match(stderr, /^effect-oci: skipped team\/app: .*does not match its digest.*manifest delete/)
    })).pipe(withNode))

  it.live("collects the others after it has skipped a repository whose tags cannot be ordered", () =>
    Effect.scoped(Effect.gen(function*() {
      const { directory, image, layout, registry } = yield* setUp()
      const other = yield* pushBlob(registry, repository("team/other"), "other")
      Fs.writeFileSync(blobPath(layout, image.digest), "broken")
      const { code, stderr, stdout } = yield* run(
        "gc",
        "--older-than=0s",
        "--keep-newest=1",
        "--keep-by=created",
        directory
      )
      assert.strictEqual(code, 1)
      assert.include(stderr, "skipped team/app: ")
      assert.include(stdout, `unreferenced blob team/other@${other.digest} 5\n`)
    })).pipe(withNode))

  it.live("fails if the folder is neither a layout nor a registry", () =>
    Effect.scoped(Effect.gen(function*() {
      const { code, stderr } = yield* run("gc", yield* temporaryFolder)
      assert.strictEqual(code, 1)
      assert.include(stderr, "is neither an image layout nor a registry of image layouts")
    })).pipe(withNode))

  it.live("works on a folder that another process serves", () =>
    Effect.scoped(Effect.gen(function*() {
      const { blob, directory } = yield* setUp()
      const server = yield* start("serve", "--port", "0", "--dir", directory)
      const host = (yield* server.firstLine).replace("listening on http://", "")
      const client = yield* connect({ host })
      yield* pushBlob(client, app, "another")
      yield* run("gc", "--older-than=0s", directory)
      assert.strictEqual((yield* Effect.flip(client.resolveBlob(app, blob.digest))).reason._tag, "BlobUnknown")
      yield* pushImage(client, app, ["another"], { tags: [tag("3.0.0")] })
    })).pipe(withNode))
})

describe("effect-oci serve --gc", () => {
  it.live("collects again and again, and reports it", () =>
    Effect.scoped(Effect.gen(function*() {
      const { blob, directory, layout } = yield* setUp()
      const server = yield* start("serve", "--port=0", "--dir", directory, "--gc=1s", "--gc-older-than=0s")
      yield* server.firstLine
      while (Fs.existsSync(blobPath(layout, blob.digest))) yield* Effect.sleep("50 millis")
      // the report follows the removal
      yield* Effect.sleep("200 millis")
      server.kill("SIGTERM")
      assert.include((yield* server.ended).stderr, "removed 0 manifests, 1 blob, 5 bytes, in 1 repository")
    })).pipe(withNode))

  it.live.each(["--gc=0s", "--gc=1h --read-only", "--gc=1h --read-only --check-config", "--gc=often"])(
    "refuses %s",
    (args) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* run("serve", "--port=0", ...args.split(" "))).code, 2)
      })
  )
})
