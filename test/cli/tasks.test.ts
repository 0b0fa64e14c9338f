import { NodeServices } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Registry } from "effect-oci/Registry"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Command from "../utils/Command.ts"
import { app, layer, pushImageOf } from "../utils/image-layers.ts"
import { pushIndex, tag } from "../utils/images.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import * as Served from "../utils/Served.ts"

const readme = Fs.readFileSync(new URL("../../README.md", import.meta.url), "utf8")

/** Our command of each row in the table of tasks. */
const tasks = Array.from(
  (/^### Daily tasks\n(.*?)^### /ms.exec(readme)?.[1] ?? "").matchAll(/^\| ([^|`]+) \| `([^`]+)` \|/gm),
  ([, task = "", command = ""]) => ({ task, command })
)

/** Pushes two versions of an index of one image, and returns the digest of an image that nothing refers to. */
const pushSamples = Effect.fnUntraced(function*(registry: Registry) {
  const image = yield* pushImageOf(registry, [[layer({ name: "etc/os-release", content: "NAME=test\n" })]])
  const platform = { os: "linux", architecture: "amd64" }
  yield* pushIndex(registry, app, [{ ...image, platform }], { tags: [tag("1.0.0"), tag("1.1.0")] })
  return (yield* pushImageOf(registry, [[layer({ name: "other", content: "" })]])).digest
})

it.live("the commands in the table of daily tasks succeed, one after another", () =>
  Effect.gen(function*() {
    const [source, mirror, other] = [yield* Served.memory(), yield* Served.memory(), yield* Served.memory()]
    const digest = yield* pushSamples(source.registry)
    const folder = yield* temporaryFolder
    const at = (name: string) => Path.join(folder, name)
    Fs.mkdirSync(at("site"))
    Fs.writeFileSync(at("site/index.html"), "hello")
    Fs.writeFileSync(
      at("mirror.yml"),
      `version: 1\nrules:\n  - from: ${source.host}/app\n    to: ${other.host}/app\n    tags: [1.0.0]\n`
    )
    const values: Readonly<Record<string, string>> = {
      IMAGE: `${source.host}/app:1.0.0`,
      REPO: `${source.host}/app`,
      HOST: source.host,
      COPY: `${mirror.host}/app:1`,
      OTHER: `${other.host}/app:1`,
      MIRROR: `${mirror.host}/mirror`,
      DIGEST: digest,
      FILE: at("mirror.yml"),
      TAR: at("image.tar"),
      FOLDER: at("site")
    }
    assert.isAtLeast(tasks.length, 25)
    for (const { command, task } of tasks.filter(({ command }) => command !== "serve")) {
      const args = command.split(" ").map((arg) => arg.replace(/[A-Z]{3,}(?!\.md)/g, (name) => values[name] ?? name))
      const { code, stderr, stdout } = yield* Command.run(...args)
      assert.strictEqual(code, 0, `${task}: ${stderr}`)
      assert.notStrictEqual(stdout + stderr, "", task)
    }
    const copied = yield* other.registry.resolveManifest(app, tag("1.0.0"))
    const original = yield* source.registry.resolveManifest(app, tag("1.0.0"))
    assert.strictEqual(copied.digest, original.digest)
  }).pipe(Effect.provide(NodeServices.layer)), 120_000)
