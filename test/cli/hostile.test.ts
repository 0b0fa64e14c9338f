/**
 * Text of another party in the output of all verbs: a terminal must not obey it, and each line must stay one line.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Descriptor from "effect-oci/Descriptor"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import type { Registry } from "effect-oci/Registry"
import * as Tree from "../../src/cli/Tree.ts"
import * as Command from "../utils/Command.ts"
import { pushBlob, pushImage, pushManifest, repository, tag } from "../utils/images.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import { listen } from "../utils/ScriptedServer.ts"

const app = repository("app")

// escape sequences, C1, bidirectional overrides and isolates, line separators, zero-width characters, half a pair, tags
const hostile = "<\u001b[31m\u0007\r\nroot ok\u0085\u009b1m\u202eevil\u2066\u2028\u2029\u200b\ufeff\ud83d \u{e0041}>"

const isObeyed = /[\p{Cf}\p{Zl}\p{Zp}\p{Cs}]|(?!\n)\p{Cc}/u

/** Pushes manifests and configs with hostile text in every place that allows text. */
const pushHostile = Effect.fnUntraced(function*(registry: Registry, name: string, text: string) {
  const config = yield* pushBlob(
    registry,
    app,
    JSON.stringify({
      os: text,
      architecture: text,
      variant: text,
      "os.version": text,
      created: text,
      config: {
        User: text,
        Env: [text],
        Entrypoint: [text],
        Cmd: [text],
        WorkingDir: text,
        ExposedPorts: { [text]: {} },
        Labels: { [text]: text }
      }
    }),
    MediaType.imageConfig
  )
  const layer = { ...yield* pushBlob(registry, app, `layer ${name}`), mediaType: text }
  const annotations = { [text]: text, "org.opencontainers.image.title": text }
  const image = yield* pushManifest(registry, app, {
    mediaType: MediaType.imageManifest,
    artifactType: text,
    config,
    layers: [{ ...layer, annotations }],
    annotations
  })
  const subject = { ...image, mediaType: text }
  const sbom = { mediaType: MediaType.imageManifest, artifactType: text, config, layers: [layer], annotations, subject }
  yield* pushManifest(registry, app, sbom)
  const plain = yield* pushImage(registry, app, ["plain"])
  const odd = { ...yield* pushBlob(registry, app, `odd ${name}`), mediaType: text }
  return yield* pushManifest(registry, app, {
    mediaType: MediaType.imageIndex,
    artifactType: text,
    manifests: [
      {
        ...image,
        platform: { os: text, architecture: text, variant: text, "os.version": text, "os.features": [text] }
      },
      { ...plain, annotations: { "vnd.docker.reference.digest": image.digest, "vnd.docker.reference.type": text } },
      odd
    ],
    annotations
  }, [tag(name)])
})

const setUp = Effect.gen(function*() {
  const folder = yield* temporaryFolder
  const layout = yield* LayoutRegistry.make({ directory: `${folder}/images`, form: "layout" })
  yield* pushHostile(layout, "1", hostile)
  yield* pushHostile(layout, "2", `${hostile} too`)
  const config = yield* pushBlob(layout, app, "{}", MediaType.imageConfig)
  yield* pushManifest(layout, app, { mediaType: MediaType.imageManifest, config, artifactType: hostile }, [tag("3")])
  yield* layout.pushManifest(app, { mediaType: hostile, bytes: new TextEncoder().encode(`{"a":1}`) }, [tag("4")])
  return (args: ReadonlyArray<string>) => Command.run(...args.map((arg) => arg.replace(/(?<=^oci:)/, `${folder}/`)))
})

const image = "oci:images:1"

const verbs: ReadonlyArray<readonly [code: number, args: ReadonlyArray<string>]> = [
  [0, ["copy", image, "oci:other:1"]],
  [0, ["copy", image, "oci:other:1", "oci:another:1"]],
  [0, ["copy", "oci:images:4", "oci:other:1"]],
  [0, ["copy", "--all-tags", "oci:images", "oci:other"]],
  [0, ["copy", "--platform", "linux/amd64", image, "oci:other:1"]],
  [1, ["copy", "--platform", "linux/arm64", "--index", "fail", image, "oci:other:1"]],
  [0, ["plan", image, "oci:other:1"]],
  [0, ["resolve", image]],
  [1, ["resolve", "--platform", "linux/arm64", image]],
  [0, ["tags", "oci:images"]],
  [0, ["tree", image]],
  [0, ["tree", "oci:images:3"]],
  [0, ["tree", "oci:images:4"]],
  [0, ["tree", "--mermaid", image]],
  [0, ["referrers", image]],
  [0, ["diff", image, "oci:images:2"]],
  [0, ["diff", image, "oci:images:4"]],
  [0, ["diff", "oci:images:3", "oci:images:2"]],
  [0, ["manifest", "inspect", image]],
  [0, ["manifest", "inspect", "oci:images:3"]],
  [0, ["manifest", "inspect", "oci:images:4"]],
  [0, ["tag", image, "5"]],
  [0, ["delete", image]],
  [2, ["resolve", "--platform", hostile, image]],
  [2, ["resolve", `registry.test/${hostile}`]],
  [2, ["copy", "--trust", hostile, image, "oci:other:1"]],
  [2, [hostile]]
]

/** Verbs that print JSON, and whether their output contains the text. */
const inJson: ReadonlyArray<readonly [hasText: boolean, args: ReadonlyArray<string>]> = [
  [true, ["copy", "--json", image, "oci:other:1"]],
  [true, ["copy", "--json", "--all-tags", "oci:images", "oci:other"]],
  [true, ["plan", "--json", image, "oci:other:1"]],
  [true, ["resolve", "--json", "oci:images:4"]],
  [false, ["tags", "--json", "oci:images"]],
  [true, ["tree", "--json", image]],
  [true, ["diff", "--json", image, "oci:images:2"]],
  [true, ["manifest", "inspect", "--json", image]],
  [true, ["manifest", "inspect", "--json", "oci:images:4"]]
]

describe("text of another party", () => {
  it.live.each(verbs)(
    "does not reach a terminal unescaped: exit code %s of %j",
    ([code, args]) =>
      Effect.gen(function*() {
        const run = yield* setUp
        const ended = yield* run(args)
        assert.strictEqual(ended.code, code, ended.stderr)
        assert.notMatch(ended.stdout + ended.stderr, isObeyed)
        assert.notMatch(ended.stdout + ended.stderr, /^root ok/m)
      }).pipe(Effect.provide(NodeServices.layer))
  )

  it.live.each(inJson)(
    "is escaped in JSON without a change of meaning (%s): %j",
    ([hasText, args]) =>
      Effect.gen(function*() {
        const run = yield* setUp
        const { code, stderr, stdout } = yield* run(args)
        assert.strictEqual(code, 0, stderr)
        assert.notMatch(stdout + stderr, isObeyed)
        assert.strictEqual(JSON.stringify(JSON.parse(stdout)).includes(JSON.stringify(hostile).slice(1, -1)), hasText)
      }).pipe(Effect.provide(NodeServices.layer))
  )

  it.live.each<readonly [verb: string, path: string]>([["tags", "/app"], ["catalog", ""], ["resolve", "/app:1"], [
    "tree",
    "/app:1"
  ], ["referrers", "/app:1"]])(
    "in an error document does not reach a terminal: %s",
    ([verb, path]) =>
      Effect.gen(function*() {
        const host = yield* listen((_, response) => {
          response.writeHead(403, { "content-type": "application/json", warning: `299 - "a\u009b\u00adb"` })
          response.end(JSON.stringify({ errors: [{ code: "DENIED", message: hostile, detail: hostile }] }))
        })
        const { code, stderr, stdout } = yield* Command.run(verb, `${host}${path}`)
        assert.strictEqual(code, 1)
        assert.notMatch(stdout + stderr, isObeyed)
        assert.notMatch(stdout + stderr, /^root ok/m)
      })
  )
})

describe("a media type that is very long", () => {
  it.effect("is printed in less than a second", () =>
    Effect.gen(function*() {
      const descriptor = yield* Descriptor.fromBytes(new TextEncoder().encode("layer"))
      const mediaType = `application/vnd.oci.image.layer.${"tar".repeat(300_000)}\n`
      const start = performance.now()
      const lines = Tree.text("image", { ...descriptor, layers: [{ ...descriptor, mediaType }] })
      assert.isBelow(performance.now() - start, 1000)
      assert.strictEqual(lines.length, 3)
    }))
})
