/**
 * The package as users get it: its files, and a program that installs it in an empty folder. No network is needed,
 * because the dependencies are those that this repository has installed.
 */
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Images } from "effect-oci/testing"
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import { isBuiltin, SourceMap } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { rolldown } from "rolldown"
import { examples } from "../doctest/examples.ts"
import { has } from "../utils/layouts.ts"
import * as Served from "../utils/Served.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const bin = join(root, "node_modules/.bin")

/** Runs something to its end; what it says is its output, also where it fails. */
const run = (folder: string, command: string, ...args: ReadonlyArray<string>) =>
  Effect.callback<{ readonly code: unknown; readonly output: string }>((resume) => {
    const child = execFile(
      command,
      args,
      { cwd: folder, env: { ...process.env, PATH: `${bin}:${process.env["PATH"]}` }, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => resume(Effect.succeed({ code: error?.code ?? 0, output: stdout + stderr }))
    )
    return Effect.sync(() => child.kill())
  })

const succeed = Effect.fnUntraced(function*(...command: Parameters<typeof run>) {
  const { code, output } = yield* run(...command)
  assert.strictEqual(code, 0, output)
  return output
})

/** For processes that take a while where much else goes on, in milliseconds. */
const patience = 120_000

/** The package, in a tarball, and installed. */
class Package extends Context.Service<Package, {
  /** The paths of the files in it. */
  readonly files: ReadonlyArray<string>
  /** A project that has nothing but this package, and what it asks for. */
  readonly consumer: string
  /** The folder in which it is installed. */
  readonly installed: string
}>()("effect-oci/test/Package") {}

const peers = ["effect", "@effect/platform-node", "@effect/vitest", "@noble/hashes", "@types/node"]

const make = Effect.gen(function*() {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.realpathSync(Fs.mkdtempSync(join(tmpdir(), "effect-oci-package-")))),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
  )
  const [stage, consumer] = [join(folder, "effect-oci"), join(folder, "consumer")]

  // built apart, so that what is in dist by chance is of no matter
  for (const name of ["package.json", "README.md", "LICENSE", ".build", "examples", "src", "tsconfig.json"]) {
    Fs.cpSync(join(root, name), join(stage, name), { recursive: true })
  }
  Fs.symlinkSync(join(root, "node_modules"), join(stage, "node_modules"))
  const packed = JSON.parse(yield* succeed(stage, "npm", "pack", "--json", "--offline", "--silent"))
  const [{ filename, files }] = (Array.isArray(packed) ? packed : Object.values(packed)) as [
    { readonly filename: string; readonly files: ReadonlyArray<{ readonly path: string }> }
  ]

  Fs.mkdirSync(consumer)
  Fs.writeFileSync(join(consumer, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }))
  // the peers come from here, not from a registry
  yield* succeed(
    consumer,
    "npm",
    "install",
    "--offline",
    "--legacy-peer-deps",
    "--no-audit",
    "--no-fund",
    join(stage, filename)
  )
  for (const name of peers) {
    const place = join(consumer, "node_modules", name)
    Fs.mkdirSync(dirname(place), { recursive: true })
    Fs.symlinkSync(join(root, "node_modules", name), place)
  }
  return Package.of({
    files: files.map(({ path }) => path).sort(),
    consumer,
    installed: join(consumer, "node_modules/effect-oci")
  })
})

/** Checks the types of some files of the consumer. */
const typeCheck = Effect.fnUntraced(function*(
  options: { readonly module: string; readonly moduleResolution?: string; readonly skipLibCheck?: boolean },
  files: Readonly<Record<string, string>>
) {
  const folder = join((yield* Package).consumer, options.module)
  Fs.mkdirSync(folder)
  for (const [name, code] of Object.entries(files)) Fs.writeFileSync(join(folder, name), code)
  const compilerOptions = {
    target: "ES2022",
    lib: ["ES2024", "DOM"], // effect's own types need those of the DOM
    types: ["node"],
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: true,
    noEmit: true,
    ...options
  }
  Fs.writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions }))
  const { code, output } = yield* run(folder, "tsc", "-p", ".")
  assert.strictEqual(code, 0, output.slice(0, 5000))
})

/** `.`, `./Copy`, …: what can be imported. */
const entryPoints = Object.keys(
  (JSON.parse(Fs.readFileSync(join(root, "package.json"), "utf8")) as { readonly exports: object }).exports
).filter((name) => name !== "./package.json")

/**
 * Bundles a program of the consumer, and tells how large it is, in bytes: all of it, and what it has of this package.
 */
const bundle = Effect.fnUntraced(function*(name: string, program: string) {
  const { consumer, installed } = yield* Package
  const input = join(consumer, `${name}.js`)
  Fs.writeFileSync(input, program)
  const { output } = yield* Effect.promise(async () => {
    await using build = await rolldown({ input, platform: "node" })
    return await build.generate({ minify: true })
  })
  const chunks = output.flatMap((file) => file.type === "chunk" ? [file] : [])
  const modules = chunks.flatMap((chunk) => Object.entries(chunk.modules))
  return {
    all: chunks.reduce((size, { code }) => size + code.length, 0),
    own: modules.reduce((size, [id, { renderedLength }]) => id.startsWith(installed) ? size + renderedLength : size, 0)
  }
})

/** Other runtimes than Node, and what speaks HTTP there. */
const runtimes = [
  { command: ["bun"], http: "NodeHttp.layer()" },
  { command: ["bun"], http: "FetchHttp.layer()" },
  { command: ["deno", "run", "--allow-all"], http: "NodeHttp.layer()" }
] as const

/** Copies an image, into a registry that it serves too, and asks there for the image. */
const programOver = (http: string) => `
  import { NodeHttpServer } from "@effect/platform-node"
  import { Effect, Layer } from "effect"
  import { HttpServer } from "effect/http"
  import { FetchHttp, HttpResolver, MemoryRegistry, Namespace, RegistryServer } from "effect-oci"
  import * as NodeHttp from "effect-oci/NodeHttp"
  import { createServer } from "node:http"

  const [source, destination] = process.argv.slice(2)

  const program = Effect.gen(function*() {
    const namespace = yield* Namespace.Namespace
    const { destination: copied } = yield* namespace.copyManifest({ source, destination })
    console.log(copied)

    const app = yield* RegistryServer.make(yield* MemoryRegistry.make())
    const listener = NodeHttpServer.layerServer(() => createServer(), { host: "127.0.0.1", port: 0 })
    const context = yield* Layer.build(Layer.provideMerge(HttpServer.serve(app), listener))
    const { address } = yield* Effect.provide(HttpServer.HttpServer, context)
    const served = HttpServer.formatAddress(address)
    yield* namespace.copyManifest({ source, destination: served.replace("http://", "") + "/app:1" })
    const { headers, status } = yield* Effect.promise(() => fetch(served + "/v2/app/manifests/1"))
    console.log("127.0.0.1 answers", status, "for", headers.get("docker-content-digest"))
  })

  const layer = Namespace.layer.pipe(Layer.provide(HttpResolver.layer()), Layer.provide(${http}))
  await Effect.runPromise(Effect.scoped(Effect.provide(program, layer)))
`

/** A program with descriptors, platforms and manifests. Its misspelled fields must not compile. */
const strictProgram = `
  import { Effect, Schema } from "effect"
  import { Descriptor, Digest, Manifest, MediaType, Platform } from "effect-oci"

  export const digest = Digest.Digest.make("sha256:${"0".repeat(64)}")
  export const platform: Platform.Platform = { os: "linux", architecture: "amd64", variant: undefined }
  export const descriptor: Descriptor.Descriptor = {
    mediaType: MediaType.imageManifest,
    digest,
    size: 1,
    annotations: undefined,
    platform
  }
  export const index: Manifest.ImageIndex = { manifests: [descriptor] }
  export const image: Manifest.ImageManifest = { config: descriptor, layers: [], subject: descriptor }
  export const artifact: Manifest.ArtifactManifest = { blobs: [descriptor] }
  export const decoded: Effect.Effect<Manifest.ImageIndex, Schema.SchemaError> =
    Schema.decodeUnknownEffect(Manifest.ImageIndex)({})
  export const others: Readonly<Record<string, Schema.Json>> = Descriptor.otherFields(descriptor)

  // @ts-expect-error the field does not exist
  export const mediatype = descriptor.mediatype
  // @ts-expect-error the field does not exist
  export const misspelled: Descriptor.Descriptor = { ...descriptor, anotations: {} }
  // @ts-expect-error the field does not exist
  export const versioned: Platform.Platform = { ...platform, osVersion: "10" }
  // @ts-expect-error an index has no layers
  export const layers = index.layers
  // @ts-expect-error the field does not exist
  export const listed: Manifest.ImageManifest = { ...image, layer: [] }
  // @ts-expect-error the field does not exist
  export const blob = artifact.blob
`

const kindOf = (path: string) => path.replace(/^(examples|src|dist)\/.*?((?:\.d)?\.[a-z]+(?:\.map)?)$/, "$1/*$2")

layer(Layer.effect(Package, make), { timeout: patience, excludeTestServices: true })("the package", (it) => {
  it.effect("has modules, their types, their sources, and what belongs to them", () =>
    Effect.gen(function*() {
      const all = (yield* Package).files
      const files = all.filter((path) => !path.startsWith("dist/cli/"))
      assert.deepStrictEqual([...new Set(files.map(kindOf))].sort(), [
        "LICENSE",
        "README.md",
        "dist/*.d.ts",
        "dist/*.d.ts.map",
        "dist/*.js",
        "dist/*.js.map",
        "examples/*.service",
        "examples/*.ts",
        "examples/*.yml",
        "package.json",
        "src/*.ts"
      ])
      const modules = (pattern: RegExp) => files.flatMap((path) => pattern.exec(path)?.[1] ?? [])
      for (
        const kind of [/^dist\/(.*)\.d\.ts$/, /^dist\/(.*)\.js\.map$/, /^dist\/(.*)\.d\.ts\.map$/, /^src\/(.*)\.ts$/]
      ) {
        assert.deepStrictEqual(modules(kind), modules(/^dist\/(.*)\.js$/), String(kind))
      }
    }), patience)

  it.effect(
    "has the command in two files, with all that it uses, and the licenses of that",
    () =>
      Effect.gen(function*() {
        const { files, installed } = yield* Package
        const command = files.filter((path) => path.startsWith("dist/cli/"))
        assert.deepStrictEqual(
          command.sort(),
          ["LICENSES.txt", "effect-oci.1", "main.js", "run.cjs"].map((name) => `dist/cli/${name}`)
        )
        const imported = command.flatMap((path) =>
          Array.from(
            Fs.readFileSync(join(installed, path), "utf8").matchAll(
              /(?:(?:^|;)import(?:[^"';]*from)?|\b(?:require|import)\()["'`]([^."'`][^"'`]*)["'`]/g
            ),
            ([, name]) => name ?? ""
          )
        )
        assert.include(imported, "node:module")
        assert.include(imported, "node:http")
        // what `ws` uses if it is installed
        const optional = ["bufferutil", "utf-8-validate"]
        assert.deepStrictEqual(imported.filter((name) => !isBuiltin(name) && !optional.includes(name)), [])
        const licenses = Fs.readFileSync(join(installed, "dist/cli/LICENSES.txt"), "utf8")
        for (const name of ["effect", "@effect/platform-node"]) {
          assert.match(licenses, new RegExp(`^${name} \\d`, "m"))
        }
        assert.notMatch(licenses, /^undici \d/m)
      }),
    patience
  )

  it.effect("has the examples and the sources that its README links to", () =>
    Effect.gen(function*() {
      const { files, installed } = yield* Package
      const readme = Fs.readFileSync(join(installed, "README.md"), "utf8")
      const linked = Array.from(readme.matchAll(/\]\(((?:examples|src)\/[^)#]+)/g), ([, path = ""]) => path)
      assert.isAbove(linked.length, 10)
      assert.deepStrictEqual(linked.filter((path) => !files.includes(path)), [])
    }), patience)

  it.effect("has nothing that is of this machine, or of its tests", () =>
    Effect.gen(function*() {
      const { files, installed } = yield* Package
      const odd = files.filter((path) =>
        !path.startsWith("examples/") && /\.(?:test|bench)\.|(?:^|\/)(?:test|bench)\//.test(path) ||
        Fs.readFileSync(join(installed, path), "utf8").includes(root)
      )
      assert.deepStrictEqual(odd, [])
    }), patience)

  it.effect("has the sources that its source maps name", () =>
    Effect.gen(function*() {
      const { files, installed } = yield* Package
      for (const path of files.filter((path) => path.endsWith(".map"))) {
        const { sources } = JSON.parse(Fs.readFileSync(join(installed, path), "utf8")) as {
          readonly sources: ReadonlyArray<string>
        }
        for (const source of sources) {
          assert.include(files, relative(installed, resolve(installed, dirname(path), source)), path)
        }
      }
    }), patience)

  it.effect(
    "says of what its modules call when they are loaded that it has no effect, and where that was written",
    () =>
      Effect.gen(function*() {
        const { files, installed } = yield* Package
        const read = (path: string) => Fs.readFileSync(join(installed, path), "utf8").split("\n")
        let count = 0
        for (const path of files.filter((path) => /^dist\/(?!cli\/).*\.js$/.test(path))) {
          const map = new SourceMap(JSON.parse(Fs.readFileSync(join(installed, `${path}.map`), "utf8")))
          const source = read(path.replace(/^dist/, "src").replace(/js$/, "ts"))
          for (const [index, line] of read(path).entries()) {
            assert.notMatch(line, /^(?:export )?(?:const \w+ = |class \w+ extends )[A-Z]\w*\.\w+\(/, path)
            for (
              const { 0: annotation, 1: name = "", index: column } of line.matchAll(/\/\*#__PURE__\*\/ (?:new )?(\w+)/g)
            ) {
              const entry = map.findEntry(index, column + annotation.length - name.length)
              assert.isTrue("originalLine" in entry)
              if (!("originalLine" in entry)) continue
              assert.isTrue(source[entry.originalLine]?.startsWith(name, entry.originalColumn), `${path}: ${line}`)
              count++
            }
          }
        }
        assert.isAbove(count, 500)
      }),
    patience
  )

  it.effect("has types for every example of its documentation", () =>
    typeCheck(
      { module: "NodeNext", skipLibCheck: false },
      Object.fromEntries(
        examples().map(({ code, file, line }) => [`${file.replaceAll(/[/.]/g, "-")}-${line}.ts`, code])
      )
    ), patience)

  it.effect("has types for a strict program, in which misspelled fields do not compile", () =>
    typeCheck(
      { module: "Node20", skipLibCheck: false },
      { "strict.ts": strictProgram }
    ), patience)

  it.effect(
    "has types for every module where a bundler resolves them",
    () =>
      typeCheck({ module: "ESNext", moduleResolution: "Bundler" }, {
        "all.ts": entryPoints.map((name, index) =>
          `import * as _${index} from "effect-oci${name.slice(1)}"\nexport const x${index} = _${index}`
        ).join("\n")
      }),
    patience
  )

  it.effect("is bundled as far as it is used", () =>
    Effect.gen(function*() {
      const whole = yield* bundle("whole", `import * as Oci from "effect-oci"\nconsole.log(Oci)`)
      const parse = "console.log(Reference.parse(process.argv[2]))"
      const direct = yield* bundle("direct", `import * as Reference from "effect-oci/Reference"\n${parse}`)
      const barrel = yield* bundle("barrel", `import { Reference } from "effect-oci"\n${parse}`)
      const nothing = yield* bundle(
        "nothing",
        `import { Copy, HttpRegistry } from "effect-oci"\nimport "effect-oci/Namespace"`
      )
      assert.isAbove(whole.own, 300_000)
      assert.isBelow(direct.own, whole.own / 20)
      // the rest is Schema, of effect
      assert.isBelow(direct.all, whole.all / 4)
      assert.strictEqual(barrel.own, direct.own)
      // the order of the modules decides which names are short
      assert.approximately(barrel.all, direct.all, direct.all / 1000)
      assert.strictEqual(nothing.own, 0)
      // and of a module no more than that, either
      const one = yield* bundle("one", `import { isDigest } from "effect-oci/Digest"\nconsole.log(isDigest(""))`)
      const digest = yield* bundle("digest", `import * as Digest from "effect-oci/Digest"\nconsole.log(Digest)`)
      assert.isBelow(one.own, digest.own / 1.5)
    }), patience)

  it.effect("runs", () =>
    Effect.gen(function*() {
      const { consumer } = yield* Package
      const example = examples().find(({ code }) => code.includes("Effect.runSync(program).size // => 39"))
      Fs.writeFileSync(join(consumer, "program.ts"), `${example?.code}\nconsole.log(Effect.runSync(program).size)`)
      assert.strictEqual(yield* succeed(consumer, "node", "program.ts"), "39\n")
    }), patience)

  it.effect("brings a command", () =>
    Effect.gen(function*() {
      const { consumer } = yield* Package
      const [from, to] = [yield* Served.memory(), yield* Served.memory()]
      const { index } = yield* Images.pushSample(from.registry, Images.repository("app"), [Images.tag("1")])
      const command = join(consumer, "node_modules/.bin/effect-oci")
      assert.include(yield* succeed(consumer, command, "--version"), "0.1.0")
      const output = yield* succeed(consumer, command, "copy", `${from.host}/app:1`, `${to.host}/app:1`)
      assert.include(output, `${to.host}/app@${index.digest}`)
      const copied = yield* to.registry.resolveManifest(Images.repository("app"), Images.tag("1"))
      assert.strictEqual(copied.digest, index.digest)
    }), patience)

  for (const { command, http } of runtimes) {
    it.effect.skipIf(!has(command[0]))(
      `copies over HTTP, and serves, on ${command[0]} by ${http}`,
      () =>
        Effect.gen(function*() {
          const { consumer } = yield* Package
          const [from, to] = [yield* Served.memory(), yield* Served.memory()]
          const { index } = yield* Images.pushSample(from.registry, Images.repository("app"), [Images.tag("1")])
          Fs.writeFileSync(join(consumer, `${command[0]}.mjs`), programOver(http))
          const [file, ...args] = command
          const output = yield* succeed(
            consumer,
            file,
            ...args,
            `${file}.mjs`,
            `${from.host}/app:1`,
            `${to.host}/app:1`
          )
          assert.include(output, `${to.host}/app:1@${index.digest}`)
          assert.include(output, `127.0.0.1 answers 200 for ${index.digest}`)
        }),
      patience
    )
  }
})
