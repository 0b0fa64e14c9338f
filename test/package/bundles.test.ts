/**
 * Bundles of the package for runtimes other than Node: all entries except those that need Node, and a program that
 * reads, pushes and copies over fetch.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Images } from "effect-oci/testing"
import { build, type Platform } from "esbuild"
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"
import { has } from "../utils/layouts.ts"
import * as Served from "../utils/Served.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** For processes that take a while where much else goes on, in milliseconds. */
const patience = 120_000

const { exports } = JSON.parse(Fs.readFileSync(join(root, "package.json"), "utf8")) as { readonly exports: object }
const entries = Object.keys(exports).filter((name) => !/^\.\/(?:package\.json$|Node)/.test(name))
const all = entries.map((name, index) => `export * as _${index} from "effect-oci${name.slice(1)}"`).join("\n")

/** Copies an image, pushes a blob and a manifest beside it, reads them, and prints what it read. */
const program = `
  import { Effect, Layer } from "effect"
  import * as BlobSource from "effect-oci/BlobSource"
  import * as Descriptor from "effect-oci/Descriptor"
  import * as FetchNamespace from "effect-oci/FetchNamespace"
  import * as MediaType from "effect-oci/MediaType"
  import * as Namespace from "effect-oci/Namespace"
  import * as NobleHasher from "effect-oci/NobleHasher"
  import * as Stream from "effect/Stream"

  const [source, repository] = globalThis.process.argv.slice(2)

  const push = Effect.gen(function*() {
    const namespace = yield* Namespace.Namespace
    const content = new Uint8Array(1_000_000).fill(7)
    const layer = yield* Descriptor.fromBytes(content, { mediaType: MediaType.imageLayer })
    yield* namespace.pushBlob(repository + "@" + layer.digest, BlobSource.fromBytes(content))
    const { config } = JSON.parse(new TextDecoder().decode((yield* namespace.getManifest(repository + ":copied", {
      platform: { os: "linux", architecture: "amd64" }
    })).bytes))
    const bytes = new TextEncoder().encode(JSON.stringify({ schemaVersion: 2, config, layers: [layer] }))
    yield* namespace.pushManifest(repository + ":pushed", { mediaType: MediaType.imageManifest, bytes })
    return layer
  })

  const read = Effect.fnUntraced(function*(layer) {
    const namespace = yield* Namespace.Namespace
    const { stream } = yield* namespace.getBlob(repository + "@" + layer.digest)
    return (yield* Stream.mkUint8Array(stream)).length
  }, Effect.scoped)

  const run = Effect.gen(function*() {
    const namespace = yield* Namespace.Namespace
    const { root } = yield* namespace.copyManifest({ source, destination: repository + ":copied" })
    const layer = yield* push
    return { copied: root.digest, read: yield* read(layer) }
  })

  const live = Layer.merge(FetchNamespace.layer, NobleHasher.layer)
  console.log(JSON.stringify(await Effect.runPromise(Effect.provide(run, live))))
`

const bundle = Effect.fnUntraced(function*(platform: Platform, contents: string) {
  const { metafile, outputFiles } = yield* Effect.promise(() =>
    build({
      stdin: { contents, resolveDir: root },
      bundle: true,
      platform,
      format: "esm",
      minify: true,
      write: false,
      metafile: true,
      conditions: ["effect-oci:source"],
      logLevel: "silent"
    })
  )
  const [file] = outputFiles
  assert.isDefined(file)
  return {
    code: file.text,
    size: file.contents.length,
    compressed: gzipSync(file.contents).length,
    inputs: Object.keys(metafile.inputs),
    imports: Object.values(metafile.outputs).flatMap(({ imports }) => imports.map(({ path }) => path))
  }
})

const programFor = {
  browser: Effect.runSync(Effect.cached(bundle("browser", program))),
  neutral: Effect.runSync(Effect.cached(bundle("neutral", program)))
}

const run = (command: string, args: ReadonlyArray<string>) =>
  Effect.callback<string>((resume) => {
    const child = execFile(command, args, (error, stdout, stderr) =>
      resume(error === null ? Effect.succeed(stdout) : Effect.die(stderr)))
    return Effect.sync(() =>
      child.kill()
    )
  })

const runtimes = [
  ["node"],
  ["deno", "run", "--allow-net", "--no-prompt"],
  ["bun"]
] as const

describe.each(["browser", "neutral"] as const)("a bundle for %s", (platform) => {
  it.effect("has all modules but those for Node, and imports nothing", () =>
    Effect.gen(function*() {
      const { compressed, imports, inputs, size } = yield* bundle(platform, all)
      assert.deepStrictEqual(imports, [])
      assert.deepStrictEqual(inputs.filter((path) => /src\/(?:node|cli)\/|platform-node/.test(path)), [])
      // 1.06 MB, and 370 kB with gzip
      assert.isBelow(size, 1_100_000)
      assert.isBelow(compressed, 385_000)
    }), patience)

  it.effect("has what a program over fetch uses", () =>
    Effect.gen(function*() {
      const { compressed, size } = yield* programFor[platform]
      // 368 kB, and 130 kB with gzip
      assert.isBelow(size, 500_000)
      assert.isBelow(compressed, 180_000)
    }), patience)

  for (const [command, ...args] of runtimes) {
    it.live.skipIf(command !== "node" && !has(command))(
      `copies, pushes and reads over fetch on ${command}`,
      () =>
        Effect.gen(function*() {
          const [from, to] = [yield* Served.memory(), yield* Served.memory()]
          const { index } = yield* Images.pushSample(from.registry, Images.repository("app"), [Images.tag("1")])
          const { code } = yield* programFor[platform]
          const folder = yield* Effect.acquireRelease(
            Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "effect-oci-bundle-"))),
            (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
          )
          const file = join(folder, "program.mjs")
          Fs.writeFileSync(file, code)
          const output = yield* run(command, [...args, file, `${from.host}/app:1`, `${to.host}/team/app`])
          assert.deepStrictEqual(JSON.parse(output), { copied: index.digest, read: 1_000_000 })
          yield* to.registry.resolveManifest(Images.repository("team/app"), Images.tag("pushed"))
        }),
      patience
    )
  }
})
