/**
 * `mirror bundle` between a registry of ours and others on the loopback interface.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import * as ChildProcess from "node:child_process"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { test } from "../utils/bundles.ts"
import * as Command from "../utils/Command.ts"
import * as DockerRegistry from "../utils/DockerRegistry.ts"
import { pushImage, pushReferrer, pushSample, repository, tag } from "../utils/images.ts"
import { validatorOf } from "../utils/JsonSchemas.ts"
import { has, temporaryFolder } from "../utils/layouts.ts"
import { imagesOf } from "../utils/mirrors.ts"
import * as Program from "../utils/Program.ts"
import { connect } from "../utils/ScriptedServer.ts"
import * as Served from "../utils/Served.ts"

const app = repository("app")
const rounds = process.env["EFFECT_OCI_LONG"] === undefined ? 3 : 30

/** Serves a source, and writes a file with a rule for a destination. */
const setUp = Effect.fnUntraced(function*(to: string) {
  const folder = yield* temporaryFolder
  const source = yield* MemoryRegistry.make()
  const { host } = yield* Served.serve(source)
  const file = Path.join(folder, "mirror.yml")
  Fs.writeFileSync(
    file,
    `version: 1\nrules:\n  - name: apps\n    from: ${host}/app\n    to: ${to}/mirror/app\n`
  )
  const env = { DOCKER_CONFIG: folder, HOME: folder }
  return {
    folder,
    source,
    file,
    env,
    path: (name: string) => Path.join(folder, name),
    bundle: (verb: string, ...args: ReadonlyArray<string>) =>
      Command.runWith({ env }, "mirror", "bundle", verb, ...args)
  }
})

/** Asserts that a destination has the tags and the signature of the source. */
const assertSame = Effect.fnUntraced(function*(source: Registry, destination: Registry, name = "mirror/app") {
  const images = yield* imagesOf(source, "app")
  const found = Object.entries(yield* imagesOf(destination, name))
  // a registry without a referrers API lists them behind tags
  assert.deepStrictEqual(Object.fromEntries(found.filter(([tag]) => !tag.startsWith("sha256-"))), images)
  for (const digest of new Set(Object.values(images))) {
    if (digest === undefined) continue
    const at = (registry: Registry, name: string) =>
      Effect.map(
        Stream.runCollect(registry.referrers(repository(name), digest)),
        (found) => found.map(({ digest }) => digest).sort()
      )
    assert.deepStrictEqual(yield* at(destination, name), yield* at(source, "app"))
  }
})

describe("mirror bundle", () => {
  test(
    "carries images to a registry of ours, and then what an inventory of it lacks",
    Effect.gen(function*() {
      const destination = yield* MemoryRegistry.make()
      const to = yield* Served.serve(destination)
      const { bundle, file, path, source } = yield* setUp(to.host)
      yield* pushSample(source, app, [tag("1")])
      const first = yield* bundle("export", "-c", file, path("first.tar"))
      assert.strictEqual(first.code, 0, first.stderr)
      assert.match(first.stdout, /^1 tags, \d+ blobs and manifests, 0 expected at the destination, \d+ bytes\n/)
      const imported = yield* bundle("import", path("first.tar"))
      assert.strictEqual(imported.code, 0, imported.stderr)
      assert.match(imported.stdout, /^1 set; [1-9]\d* bytes sent, 0 blobs mounted\n$/)
      assert.match(imported.stderr, /the destination has everything that the bundle expects there/)
      assert.match(
        (yield* bundle("import", path("first.tar"))).stdout,
        /^1 unchanged; 0 bytes sent, 0 blobs mounted\n$/
      )

      const inventory = yield* bundle("inventory", "-c", file, "-o", path("have.json"))
      assert.strictEqual(inventory.code, 0, inventory.stderr)
      const validateLine = yield* validatorOf("bundle-inventory")
      for (const line of Fs.readFileSync(path("have.json"), "utf8").trimEnd().split("\n")) {
        validateLine(JSON.parse(line))
      }
      const catalog = yield* bundle("inventory", "--from", `${to.host}/mirror`)
      const tagged = (text: string) => text.split("\n").filter((line) => line.includes("\"repository\""))
      assert.deepStrictEqual(tagged(catalog.stdout), tagged(Fs.readFileSync(path("have.json"), "utf8")))

      const image = yield* pushImage(source, app, ["another"], { tags: [tag("2")] })
      yield* pushReferrer(source, app, image, "signature")
      const args = ["-c", file, "--since", path("have.json"), "--max-size", "2KiB", "--json"] as const
      const second = yield* bundle("export", ...args, path("second"))
      assert.strictEqual(second.code, 0, second.stderr)
      ;(yield* validatorOf("bundle-export"))(JSON.parse(second.stdout))
      ;(yield* validatorOf("bundle"))(JSON.parse(Fs.readFileSync(path("second/bundle.json"), "utf8")))
      const { digest } = JSON.parse(second.stdout)
      assert.strictEqual(
        digest,
        `sha256:${createHash("sha256").update(Fs.readFileSync(path("second/bundle.json"))).digest("hex")}`
      )
      const report = yield* bundle("import", "--digest", digest, "--json", "-c", file, path("second"))
      assert.strictEqual(report.code, 0, report.stderr)
      ;(yield* validatorOf("bundle-import"))(JSON.parse(report.stdout))
      yield* assertSame(source, destination)
    })
  )

  test(
    "reports refused tags, missing pieces and a missing base, with exit code 1",
    Effect.gen(function*() {
      const destination = yield* MemoryRegistry.make()
      const to = yield* Served.serve(destination)
      const { bundle, file, path, source } = yield* setUp(to.host)
      yield* pushImage(source, app, ["one"], { tags: [tag("1")] })
      yield* bundle("export", "-c", file, path("first"))
      yield* pushImage(source, app, ["one", "two"], { tags: [tag("2")] })
      yield* bundle("export", "-c", file, "--since", path("first"), "--max-size", "1KiB", path("second.tar"))
      const base = yield* bundle("import", path("second.tar"))
      assert.strictEqual(base.code, 1)
      assert.match(
        base.stderr,
        /based on the bundle sha256:\w+ of .*, but the destination lacks: .*\/mirror\/app@sha256:/
      )
      Fs.rmSync(path("second.tar.002"))
      const missing = yield* bundle("import", path("second.tar"))
      assert.strictEqual(missing.code, 1)
      assert.match(missing.stderr, /pieces of the bundle are missing: second\.tar\.002\n/)
      yield* pushImage(destination, repository("mirror/app"), ["mine"], { tags: [tag("1")] })
      Fs.appendFileSync(file, "    onTagMoved: fail\n")
      const refused = yield* bundle("import", "-c", file, path("first"))
      assert.strictEqual(refused.code, 1)
      assert.match(refused.stderr, /mirror\/app:1: refused: it points at sha256:\w+; onTagMoved is fail/)
      assert.strictEqual(refused.stdout, "1 refused; 0 bytes sent, 0 blobs mounted\n")
    })
  )

  test(
    "names misuse",
    Effect.gen(function*() {
      const { bundle, file, path } = yield* setUp("127.0.0.1:1")
      const table: ReadonlyArray<readonly [args: ReadonlyArray<string>, code: number, says: RegExp]> = [
        [["export", path("a.tar")], 2, /missing file: use --config FILE/],
        [["export", "-c", file, "-"], 2, /a bundle is not written to stdout: name a file or a folder/],
        [["export", "-c", file], 2, /missing argument PATH/],
        [["export", "-c", file, "--max-size", "big", path("a.tar")], 2, /--max-size: "big" is not a size/],
        [["export", "-c", file, "--rule", "none", path("a.tar")], 2, /there is no rule "none"; the file has: apps/],
        [["export", "-c", file, "--since", path("none"), path("a.tar")], 1, /none: there is neither this file nor/],
        [["import", path("none")], 1, /none: there is neither this file nor none\.bundle\.json/],
        [["import", "--digest", "sha256:1", path("none")], 2, /--digest: /],
        [["import", file], 1, /mirror\.yml: /],
        [["inventory"], 2, /use --config FILE or --from HOST/],
        [["inventory", "--from", "a.test", "--rule", "apps"], 2, /--from contradicts --rule/]
      ]
      for (const [args, code, says] of table) {
        const ended = yield* bundle(args[0] ?? "", ...args.slice(1))
        assert.match(ended.stderr, says)
        assert.strictEqual(ended.code, code, ended.stderr)
      }
    })
  )
})

describe("mirror bundle and CNCF distribution", () => {
  it.live.skipIf(!DockerRegistry.available)(
    "carries images, deltas and signatures, and mounts from other repositories",
    () =>
      Effect.gen(function*() {
        const { host } = yield* DockerRegistry.make()
        const destination = yield* connect({ host })
        const { bundle, file, path, source } = yield* setUp(host)
        yield* pushSample(source, app, [tag("1")])
        yield* bundle("export", "-c", file, path("first.tar"))
        const first = yield* bundle("import", path("first.tar"))
        assert.strictEqual(first.code, 0, first.stderr)
        yield* assertSame(source, destination)
        yield* pushImage(source, app, [new Uint8Array(100_000), "more"], { tags: [tag("2")] })
        yield* bundle("export", "-c", file, "--since", path("first.tar"), path("second.tar"))
        const second = yield* bundle("import", path("second.tar"))
        assert.strictEqual(second.code, 0, second.stderr)
        yield* assertSame(source, destination)
        // the same mirror under another name takes its content from the first one
        const inventory = yield* bundle("inventory", "-c", file, "-o", path("have.json"))
        assert.strictEqual(inventory.code, 0, inventory.stderr)
        Fs.writeFileSync(file, Fs.readFileSync(file, "utf8").replace("/mirror/app", "/copy/app"))
        const third = yield* bundle("export", "-c", file, "--since", path("have.json"), "--json", path("third.tar"))
        assert.strictEqual(JSON.parse(third.stdout).carried, 0, third.stdout)
        const mounted = yield* bundle("import", "--json", path("third.tar"))
        assert.strictEqual(mounted.code, 0, mounted.stderr)
        assert.isAbove(JSON.parse(mounted.stdout).mounted, 0)
        yield* assertSame(source, destination, "copy/app")
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    120_000
  )

  it.live.skipIf(!DockerRegistry.available)(
    "survives SIGKILL of the export and of the import at any moment",
    () =>
      Effect.gen(function*() {
        const { host } = yield* DockerRegistry.make()
        const destination = yield* connect({ host })
        const { env, file, path, source } = yield* setUp(host)
        for (let index = 0; index < 20; index++) {
          yield* pushImage(source, app, [new Uint8Array(200_000).fill(index), `${index}`], { tags: [tag(`v${index}`)] })
        }
        const killed = Effect.fnUntraced(function*(round: number, ...args: ReadonlyArray<string>) {
          yield* Effect.scoped(Effect.gen(function*() {
            const running = yield* Program.startWith({ env }, "mirror", "bundle", ...args)
            // the command starts within 400 ms, and works for about a second
            yield* Effect.sleep(400 + ((round * 7919) % rounds) * 1200 / rounds)
            running.kill("SIGKILL")
            yield* running.ended
          }))
        })
        for (const [name, size] of [["bundle", undefined], ["bundle.tar", "1MB"]] as const) {
          const args = ["export", "-c", file, ...size === undefined ? [] : ["--max-size", size], path(name)]
          for (let round = 0; round < rounds; round++) yield* killed(round, ...args)
          const list = name === "bundle" ? path("bundle/bundle.json") : path("bundle.tar.bundle.json")
          if (!Fs.existsSync(list)) {
            const ended = yield* Program.runWith({ env }, "mirror", "bundle", ...args)
            assert.strictEqual(ended.code, 0, ended.stderr)
          }
        }
        for (let round = 0; round < rounds; round++) {
          yield* killed(round, "import", path("bundle"))
          // whatever is tagged is complete
          const images = yield* imagesOf(source, "app")
          for (const [name, digest] of Object.entries(yield* imagesOf(destination, "mirror/app"))) {
            assert.strictEqual(digest, images[name])
            if (digest === undefined) continue
            const { bytes } = yield* destination.getManifest(repository("mirror/app"), digest)
            for (const layer of JSON.parse(new TextDecoder().decode(bytes)).layers) {
              yield* destination.resolveBlob(repository("mirror/app"), layer.digest)
            }
          }
        }
        for (const name of ["bundle", "bundle.tar"]) {
          const ended = yield* Program.runWith({ env }, "mirror", "bundle", "import", path(name))
          assert.strictEqual(ended.code, 0, ended.stderr)
        }
        yield* assertSame(source, destination)
        assert.deepStrictEqual(
          Fs.readdirSync(path("")).filter((name) => name.includes("draft")),
          []
        )
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    1_200_000
  )
})

describe("a full bundle", () => {
  const tools: ReadonlyArray<readonly [tool: string, args: (layout: string, name: string) => ReadonlyArray<string>]> = [
    ["skopeo", (layout, name) => ["inspect", "--raw", `oci:${layout}:${name}`]],
    ["oras", (layout, name) => ["manifest", "fetch", "--oci-layout-path", layout, name]],
    ["regctl", (layout) => ["tag", "ls", `ocidir://${layout}`]]
  ]
  for (const [tool, args] of tools) {
    it.live.skipIf(!has(tool))(
      `is an image layout that ${tool} opens, also from joined pieces`,
      () =>
        Effect.gen(function*() {
          const { bundle, file, folder, path, source } = yield* setUp("inside.test")
          yield* pushImage(source, app, ["one"], { tags: [tag("1")] })
          yield* bundle("export", "-c", file, path("plain"))
          yield* bundle("export", "-c", file, "--max-size", "1KiB", path("pieces.tar"))
          ChildProcess.execFileSync("sh", ["-c", "mkdir joined && cat pieces.tar.0* | tar -xf - -C joined"], {
            cwd: folder
          })
          for (const layout of ["plain", "joined"]) {
            const ended = ChildProcess.spawnSync(tool, args(path(layout), "inside.test/mirror/app:1"), {
              encoding: "utf8"
            })
            assert.strictEqual(ended.status, 0, `${ended.stdout}${ended.stderr}`)
          }
        }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
    )
  }

  it.live.skipIf(!has("cosign"))(
    "is signed by signing its list of contents with cosign",
    () =>
      Effect.gen(function*() {
        const { bundle, file, folder, path, source } = yield* setUp("inside.test")
        yield* pushImage(source, app, ["one"], { tags: [tag("1")] })
        yield* bundle("export", "-c", file, path("plain"))
        const options = { cwd: folder, env: { ...process.env, COSIGN_PASSWORD: "" }, encoding: "utf8" } as const
        const cosign = (...args: ReadonlyArray<string>) => ChildProcess.spawnSync("cosign", args, options)
        cosign("generate-key-pair")
        const signed = cosign(
          "sign-blob",
          "--yes",
          "--use-signing-config=false",
          "--tlog-upload=false",
          "--key=cosign.key",
          "--bundle=bundle.sigstore.json",
          "plain/bundle.json"
        )
        assert.strictEqual(signed.status, 0, signed.stderr)
        const verified = cosign(
          "verify-blob",
          "--insecure-ignore-tlog=true",
          "--key=cosign.pub",
          "--bundle=bundle.sigstore.json",
          "plain/bundle.json"
        )
        assert.strictEqual(verified.status, 0, verified.stderr)
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )
})
