import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import { isRegistryError } from "effect-oci/RegistryError"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { pushImage, repository, tag } from "../utils/images.ts"
import { assertValid, temporaryFolder } from "../utils/layouts.ts"

const app = repository("team/app")

const withNode = Effect.provide(NodeServices.layer)

describe("A new folder may be written", () => {
  const spellings: ReadonlyArray<readonly [spelling: string, write: (path: string) => string]> = [
    ["with a slash after it", (path) => `${path}/`],
    ["with two slashes in it", (path) => path.replace(/\/(?=[^/]*$)/, "//")],
    ["with a dot in it", (path) => path.replace(/\/(?=[^/]*$)/, "/./")],
    ["with two dots in it", (path) => `${path}/a/../`],
    ["from the current folder", (path) => `./${Path.relative(process.cwd(), path)}`],
    ["from the folder above", (path) => Path.relative(process.cwd(), path)]
  ]

  for (const form of ["layout", "registry"] as const) {
    it.effect.each(spellings)(`%s, as a ${form}`, ([, write]) =>
      Effect.gen(function*() {
        const folder = Path.join(yield* temporaryFolder, "a", "new")
        const registry = yield* LayoutRegistry.make({ directory: write(folder), form })
        const { digest } = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
        assertValid(form === "layout" ? folder : Path.join(folder, app))
        const again = yield* LayoutRegistry.make({ directory: folder, form })
        assert.strictEqual((yield* again.resolveManifest(app, tag("1"))).digest, digest)
      }).pipe(withNode))
  }

  it.effect("as a link to a folder, which stays a link", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      Fs.mkdirSync(Path.join(folder, "target"))
      Fs.symlinkSync("target", Path.join(folder, "link"))
      const registry = yield* LayoutRegistry.make({ directory: `${folder}/link/` })
      yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      assert.deepStrictEqual(yield* Stream.runCollect(registry.repositories()), [app])
      assert.isTrue(Fs.lstatSync(Path.join(folder, "link")).isSymbolicLink())
      assertValid(Path.join(folder, "target", app))
    }).pipe(withNode))

  it.effect("as a link to nothing, which is an error", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      Fs.symlinkSync("nothing", Path.join(folder, "link"))
      const registry = yield* LayoutRegistry.make({ directory: Path.join(folder, "link") })
      const error = yield* Effect.flip(pushImage(registry, app, ["layer"]))
      assert(isRegistryError(error))
      assert.strictEqual(error.reason._tag, "Storage")
    }).pipe(withNode))
})
