/**
 * Artifacts between this package and oras, and signatures of cosign and notation. Skipped if a program is absent.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import * as Artifact from "effect-oci/Artifact"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as Namespace from "effect-oci/Namespace"
import * as NodeNamespace from "effect-oci/NodeNamespace"
import { Images } from "effect-oci/testing"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Artifacts from "../utils/artifacts.ts"
import * as DockerRegistry from "../utils/DockerRegistry.ts"
import { has, temporaryFolder } from "../utils/layouts.ts"
import { runOther } from "../utils/Program.ts"
import * as Served from "../utils/Served.ts"

const { read, write } = Artifacts

/** A registry of ours, and that of CNCF distribution, which has no referrers API. */
const registries = [
  { name: "our registry", start: Effect.map(Served.memory(), ({ host }) => host), isPresent: true },
  {
    name: "distribution",
    start: Effect.map(DockerRegistry.make(), ({ host }) => host),
    isPresent: DockerRegistry.available
  }
]

const services = Layer.mergeAll(NodeNamespace.layer, NodeServices.layer)

/** A folder with files and a folder with nested ones, links and permissions. */
const setUp = Effect.gen(function*() {
  const folder = yield* temporaryFolder
  write(folder, {
    "in/hi.txt": "hi",
    "in/site/index.html": "<p>",
    "in/site/sub/run.sh": "run",
    "in/site/日本.txt": "unicode"
  })
  Fs.chmodSync(Path.join(folder, "in/site/sub/run.sh"), 0o755)
  Fs.symlinkSync("sub/run.sh", Path.join(folder, "in/site/link"))
  Fs.mkdirSync(Path.join(folder, "in/site/empty"))
  const at = (...names: ReadonlyArray<string>) => Path.join(folder, ...names)
  /** Runs a program to its end, which has to be a good one. The programs have no home but the folder. */
  const run = Effect.fnUntraced(function*(program: string, cwd: string, ...args: ReadonlyArray<string>) {
    Fs.mkdirSync(cwd, { recursive: true })
    const env = { HOME: folder, XDG_CONFIG_HOME: Path.join(folder, ".config"), COSIGN_PASSWORD: "" }
    const { code, stderr, stdout } = yield* runOther(program, { cwd, env }, ...args)
    assert.strictEqual(code, 0, `${program} ${args.join(" ")}: ${stdout}${stderr}`)
    return stdout
  })
  const modes = (name: string) =>
    ["hi.txt", "site/sub/run.sh", "site/index.html"].map((file) => Fs.statSync(at(name, file)).mode & 0o111)
  return { at, folder, modes, run }
})

const files = (folder: string) => [
  { path: Path.join(folder, "in/hi.txt"), mediaType: "text/plain" },
  { path: Path.join(folder, "in/site") }
]

for (const { isPresent, name, start } of registries) {
  describe.skipIf(!has("oras") || !isPresent)(`oras, over ${name}`, () => {
    it.live("pulls what we push, byte for byte, folders included", () =>
      Effect.gen(function*() {
        const host = yield* start
        const { at, folder, modes, run } = yield* setUp
        yield* Artifact.push({ destination: `${host}/app:1`, files: files(folder) })
        yield* run("oras", at("out"), "pull", "--plain-http", `${host}/app:1`)
        assert.deepStrictEqual(read(at("out")), read(at("in")))
        assert.deepStrictEqual(modes("out"), modes("in"))
      }).pipe(Effect.scoped, Effect.provide(services)))

    it.live("pushes what we pull, byte for byte, folders included", () =>
      Effect.gen(function*() {
        const host = yield* start
        const { at, modes, run } = yield* setUp
        yield* run("oras", at("in"), "push", "--plain-http", `${host}/app:1`, "hi.txt:text/plain", "site")
        yield* Artifact.pull({ source: `${host}/app:1`, directory: at("out") })
        assert.deepStrictEqual(read(at("out")), read(at("in")))
        assert.deepStrictEqual(modes("out"), modes("in"))
        // the folder itself, which oras calls `.`
        yield* run("oras", at("in"), "push", "--plain-http", `${host}/app:2`, ".")
        yield* Artifact.pull({ source: `${host}/app:2`, directory: at("whole") })
        assert.deepStrictEqual(read(at("whole")), read(at("in")))
      }).pipe(Effect.scoped, Effect.provide(services)))

    it.live("discovers what we attach, and the reverse", () =>
      Effect.gen(function*() {
        const host = yield* start
        const { at, folder, run } = yield* setUp
        const subject = `${host}/app:1`
        const { descriptor } = yield* Artifact.push({ destination: subject, files: files(folder) })
        const ours = yield* Artifact.attach({
          subject,
          artifactType: "application/vnd.example.ours",
          files: files(folder).slice(0, 1)
        })
        yield* run(
          "oras",
          at("in"),
          "attach",
          "--plain-http",
          "--artifact-type=application/vnd.example.theirs",
          subject,
          "hi.txt:text/plain"
        )
        const discovered = yield* run("oras", folder, "discover", "--plain-http", "--format=json", subject)
        assert.include(discovered, ours.descriptor.digest)
        const namespace = yield* Namespace.Namespace
        const listed = yield* Stream.runCollect(namespace.referrers(`${host}/app@${descriptor.digest}`))
        assert.deepStrictEqual(listed.map(({ artifactType }) => artifactType).sort(), [
          "application/vnd.example.ours",
          "application/vnd.example.theirs"
        ])
        yield* run("oras", at("theirs"), "pull", "--plain-http", `${host}/app@${ours.descriptor.digest}`)
        assert.deepStrictEqual(read(at("theirs")), { "hi.txt": "hi" })
        const theirs = listed.find(({ digest }) => digest !== ours.descriptor.digest)
        yield* Artifact.pull({ source: `${host}/app@${theirs?.digest}`, directory: at("ours") })
        assert.deepStrictEqual(read(at("ours")), { "hi.txt": "hi" })
      }).pipe(Effect.scoped, Effect.provide(services)))
  })
}

describe.skipIf(!has("oras"))("oras, in an image layout", () => {
  it.live("pulls what we push", () =>
    Effect.gen(function*() {
      const { at, folder, run } = yield* setUp
      const registry = yield* LayoutRegistry.make({ directory: at("layout"), form: "layout" })
      const destination = { registry, repository: Images.repository("app"), tag: Images.tag("1") }
      yield* Artifact.push({ destination, files: files(folder) })
      yield* run("oras", at("out"), "pull", "--oci-layout", `${at("layout")}:1`)
      assert.deepStrictEqual(read(at("out")), read(at("in")))
    }).pipe(Effect.scoped, Effect.provide(services)))

  it.live("gives the same manifest to the same content, except for its time", () =>
    Effect.gen(function*() {
      const { at, run } = yield* setUp
      const registry = yield* LayoutRegistry.make({ directory: at("layout"), form: "layout" })
      const destination = { registry, repository: Images.repository("app"), tag: Images.tag("1") }
      const created = "2026-01-02T03:04:05Z"
      const annotations = { "org.opencontainers.image.created": created }
      const file = { path: at("in/hi.txt"), mediaType: "text/plain" }
      const { descriptor } = yield* Artifact.push({ destination, files: [file], annotations, artifactType: "text/x" })
      yield* run(
        "oras",
        at("in"),
        "push",
        `--annotation=org.opencontainers.image.created=${created}`,
        "--artifact-type=text/x",
        "--export-manifest=../manifest.json",
        "--oci-layout",
        `${at("theirs")}:1`,
        "hi.txt:text/plain"
      )
      const theirs = createHash("sha256").update(Fs.readFileSync(at("manifest.json"))).digest("hex")
      assert.strictEqual(descriptor.digest, `sha256:${theirs}`)
    }).pipe(Effect.scoped, Effect.provide(services)))
})

for (const { isPresent, name, start } of registries) {
  describe.skipIf(!isPresent)(`signatures, over ${name}`, () => {
    it.live.skipIf(!has("cosign"))("cosign verifies its signature of what we pushed", () =>
      Effect.gen(function*() {
        const host = yield* start
        const { folder, run } = yield* setUp
        const { reference } = yield* Artifact.push({ destination: `${host}/app:1`, files: files(folder) })
        const insecure = ["--allow-http-registry", "--allow-insecure-registry"]
        yield* run("cosign", folder, "generate-key-pair")
        const offline = ["--tlog-upload=false", "--use-signing-config=false", "--yes"]
        yield* run("cosign", folder, "sign", "--key=cosign.key", ...offline, ...insecure, reference)
        yield* run("cosign", folder, "verify", "--key=cosign.pub", "--insecure-ignore-tlog", ...insecure, reference)
      }).pipe(Effect.scoped, Effect.provide(services)), 60_000)

    it.live.skipIf(!has("notation"))("notation verifies its signature of what we pushed", () =>
      Effect.gen(function*() {
        const host = yield* start
        const { folder, run } = yield* setUp
        const { reference } = yield* Artifact.push({ destination: `${host}/app:1`, files: files(folder) })
        yield* run("notation", folder, "cert", "generate-test", "--default", "test.example")
        const policy = {
          name: "all",
          registryScopes: ["*"],
          signatureVerification: { level: "strict" },
          trustStores: ["ca:test.example"],
          trustedIdentities: ["*"]
        }
        write(folder, {
          ".config/notation/trustpolicy.json": JSON.stringify({ version: "1.0", trustPolicies: [policy] })
        })
        yield* run("notation", folder, "sign", "--insecure-registry", reference)
        yield* run("notation", folder, "verify", "--insecure-registry", reference)
      }).pipe(Effect.scoped, Effect.provide(services)), 60_000)
  })
}
