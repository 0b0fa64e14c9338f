import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as Copy from "effect-oci/Copy"
import * as Digest from "effect-oci/Digest"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as OciArchive from "effect-oci/OciArchive"
import type { Tag } from "effect-oci/Reference"
import type { Registry } from "effect-oci/Registry"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as DockerRegistry from "../utils/DockerRegistry.ts"
import { pushBlob, pushManifest, pushReferrer, repository, tag } from "../utils/images.ts"
import { entriesOf, has, temporaryFolder } from "../utils/layouts.ts"
import { listReferrers } from "../utils/registries.ts"

const app = repository("app")

/** Runs a tool in a folder, and returns its output. */
const run = (cwd: string, command: string, ...args: ReadonlyArray<string>) =>
  Effect.callback<string>((resume) => {
    ChildProcess.execFile(command, args, { cwd }, (error, stdout, stderr) =>
      resume(
        error === null ? Effect.succeed(stdout) : Effect.die(new Error(`${command} ${args.join(" ")}: ${stderr}`))
      ))
  })

/** A layer that is a tar archive, because some tools unpack layers. */
const layer = (folder: string, content: string) =>
  Effect.gen(function*() {
    Fs.writeFileSync(Path.join(folder, "content.txt"), content)
    yield* run(folder, "tar", "--mtime=@0", "-cf", "layer.tar", "content.txt")
    return new Uint8Array(Fs.readFileSync(Path.join(folder, "layer.tar")))
  })

/** Pushes an image that tools can unpack. */
const pushImage = Effect.fnUntraced(
  function*(registry: Registry, folder: string, content: string, architecture = "amd64", tags = [tag("1")]) {
    const bytes = yield* layer(folder, content)
    const descriptor = yield* pushBlob(registry, app, bytes)
    const config = yield* pushBlob(
      registry,
      app,
      JSON.stringify({
        architecture,
        os: "linux",
        config: {},
        rootfs: { type: "layers", diff_ids: [descriptor.digest] }
      }),
      "application/vnd.oci.image.config.v1+json"
    )
    const mediaType = "application/vnd.oci.image.manifest.v1+json"
    const manifest = yield* pushManifest(registry, app, { mediaType, config, layers: [descriptor] }, tags)
    return { ...manifest, platform: { os: "linux", architecture } }
  }
)

const pushIndex = Effect.fnUntraced(function*(registry: Registry, folder: string) {
  const manifests = yield* Effect.forEach(
    ["amd64", "arm64"],
    (architecture) => pushImage(registry, folder, architecture, architecture, [])
  )
  return yield* pushManifest(
    registry,
    app,
    { mediaType: "application/vnd.oci.image.index.v1+json", manifests },
    [tag("multi")]
  )
})

/** Creates a layout in `ours`, with an image and an image index. */
const setUp = Effect.gen(function*() {
  const folder = yield* temporaryFolder
  const registry = yield* LayoutRegistry.make({ directory: Path.join(folder, "ours"), form: "layout" })
  const image = yield* pushImage(registry, folder, "hello")
  return { folder, registry, image }
})

const theirs = (folder: string, name = "theirs") =>
  LayoutRegistry.make({ directory: Path.join(folder, name), form: "layout" })

/** Checks that an image is complete, and verifies its content. */
const assertReadable = Effect.fnUntraced(function*(registry: Registry, reference: Tag | Digest.Digest) {
  const copy = yield* MemoryRegistry.make()
  const { root } = yield* Copy.copyManifest({
    source: {
      registry,
      repository: app,
      ...Digest.isDigest(reference) ? { digest: reference } : { tag: reference }
    },
    destination: { registry: copy, repository: app }
  })
  return root.digest
})

const withNode = Effect.provide(NodeServices.layer)

describe.skipIf(!has("skopeo"))("skopeo", () => {
  it.live("reads a layout of ours, by tag", () =>
    Effect.gen(function*() {
      const { folder, image, registry } = yield* setUp
      const index = yield* pushIndex(registry, folder)
      assert.strictEqual(JSON.parse(yield* run(folder, "skopeo", "inspect", "oci:ours:1")).Digest, image.digest)
      yield* run(folder, "skopeo", "copy", "--all", "oci:ours:multi", "dir:out")
      const bytes = Fs.readFileSync(Path.join(folder, "out", "manifest.json"))
      assert.deepStrictEqual(new Uint8Array(bytes), (yield* registry.getManifest(app, index.digest)).bytes)
    }).pipe(withNode))

  it.live("reads the only image in a layout of ours without a tag", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const registry = yield* LayoutRegistry.make({ directory: Path.join(folder, "ours"), form: "layout" })
      const { digest } = yield* pushIndex(registry, folder)
      const raw = yield* run(folder, "skopeo", "inspect", "--raw", "oci:ours")
      assert.strictEqual(raw, new TextDecoder().decode((yield* registry.getManifest(app, digest)).bytes))
    }).pipe(withNode))

  it.live("reads an archive of ours", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const { digest } = yield* OciArchive.update(
        { file: Path.join(folder, "ours.tar") },
        (registry) => pushImage(registry, folder, "hello")
      )
      assert.strictEqual(JSON.parse(yield* run(folder, "skopeo", "inspect", "oci-archive:ours.tar:1")).Digest, digest)
    }).pipe(withNode))

  for (const name of ["2", "docker.io/library/app:2"]) {
    it.live(`writes a layout that we read, under ${name}`, () =>
      Effect.gen(function*() {
        const { folder, image } = yield* setUp
        yield* run(folder, "skopeo", "copy", "--preserve-digests", "oci:ours:1", `oci:theirs:${name}`)
        const registry = yield* theirs(folder)
        assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(app)), [tag("2")])
        assert.strictEqual(yield* assertReadable(registry, tag("2")), image.digest)
      }).pipe(withNode))
  }

  it.live("writes into a layout of ours, and we continue in it", () =>
    Effect.gen(function*() {
      const { folder, image, registry } = yield* setUp
      yield* run(folder, "skopeo", "copy", "--preserve-digests", "oci:ours:1", "oci:ours:2")
      assert.strictEqual((yield* registry.resolveManifest(app, tag("2"))).digest, image.digest)
      yield* registry.deleteTag(app, tag("1"))
      assert.strictEqual(JSON.parse(yield* run(folder, "skopeo", "inspect", "oci:ours:2")).Digest, image.digest)
    }).pipe(withNode))

  it.live("writes an archive that we read", () =>
    Effect.gen(function*() {
      const { folder, image } = yield* setUp
      yield* run(folder, "skopeo", "copy", "--preserve-digests", "oci:ours:1", "oci-archive:theirs.tar:2")
      const registry = yield* OciArchive.make({ file: Path.join(folder, "theirs.tar") })
      assert.strictEqual(yield* assertReadable(registry, tag("2")), image.digest)
    }).pipe(withNode))
})

describe.skipIf(!has("crane") || !DockerRegistry.available)("crane", () => {
  it.live("pushes a layout of ours, and pulls into one that we read", () =>
    Effect.gen(function*() {
      const { host } = yield* DockerRegistry.make()
      const folder = yield* temporaryFolder
      const ours = yield* LayoutRegistry.make({ directory: Path.join(folder, "ours"), form: "layout" })
      const { digest } = yield* pushIndex(ours, folder)
      yield* run(folder, "crane", "push", "--insecure", "ours", `${host}/app:1`)
      assert.strictEqual((yield* run(folder, "crane", "digest", "--insecure", `${host}/app:1`)).trim(), digest)

      yield* run(folder, "crane", "pull", "--insecure", "--format=oci", `${host}/app:1`, "theirs")
      const untagged = yield* theirs(folder)
      assert.deepStrictEqual((yield* untagged.roots(app)).map(({ digest }) => digest), [digest])
      yield* run(folder, "crane", "pull", "--insecure", "--format=oci", "--annotate-ref", `${host}/app:1`, "named")
      assert.strictEqual(yield* assertReadable(yield* theirs(folder, "named"), tag("1")), digest)
    }).pipe(withNode))

  it.live("pulls into a layout of ours, and we continue in it", () =>
    Effect.gen(function*() {
      const { host } = yield* DockerRegistry.make()
      const { folder, image, registry } = yield* setUp
      yield* run(folder, "crane", "push", "--insecure", "ours", `${host}/app:2`)
      const other = yield* pushImage(registry, folder, "other", "amd64", [tag("other")])
      yield* run(folder, "crane", "pull", "--insecure", "--format=oci", "--annotate-ref", `${host}/app:2`, "ours")
      assert.strictEqual((yield* registry.resolveManifest(app, tag("2"))).digest, image.digest)
      const text = Fs.readFileSync(Path.join(folder, "ours", "index.json"), "utf8")
      yield* registry.deleteManifest(app, other.digest)
      const now = Fs.readFileSync(Path.join(folder, "ours", "index.json"), "utf8")
      // entries of crane are preserved to the byte
      assert.include(text, now.slice(now.indexOf("\n      {"), now.indexOf("\n      }")))
      assert.notInclude(now, other.digest)
    }).pipe(withNode))
})

describe.skipIf(!has("oras"))("oras", () => {
  it.live("reads a layout of ours, and the referrers in it", () =>
    Effect.gen(function*() {
      const { folder, image, registry } = yield* setUp
      const referrer = yield* pushReferrer(registry, app, image, "about it")
      const { bytes } = yield* registry.getManifest(app, tag("1"))
      assert.strictEqual(
        yield* run(folder, "oras", "manifest", "fetch", "--oci-layout", "ours:1"),
        new TextDecoder().decode(bytes)
      )
      const found = yield* run(folder, "oras", "discover", "--oci-layout", "--format", "json", "ours:1")
      assert.include(found, referrer.digest)
      assert.strictEqual((yield* run(folder, "oras", "repo", "tags", "--oci-layout", "ours")).trim(), "1")
    }).pipe(withNode))

  it.live("attaches to an image of ours, and we list it", () =>
    Effect.gen(function*() {
      const { folder, image, registry } = yield* setUp
      yield* run(
        folder,
        "oras",
        "attach",
        "--oci-layout",
        "--artifact-type",
        "text/x",
        "ours:1",
        "content.txt:text/plain"
      )
      const [digest = ""] = yield* listReferrers(registry, app, image.digest)
      const found = yield* run(folder, "oras", "discover", "--oci-layout", "--format", "json", "ours:1")
      assert.include(found, digest)
      yield* registry.deleteManifest(app, image.digest)
      assert.deepStrictEqual(yield* listReferrers(registry, app, image.digest), [digest])
    }).pipe(withNode))

  it.live("writes a layout that we read", () =>
    Effect.gen(function*() {
      const { folder, registry } = yield* setUp
      const index = yield* pushIndex(registry, folder)
      const referrer = yield* pushReferrer(registry, app, index, "about it")
      yield* run(folder, "oras", "copy", "-r", "--from-oci-layout", "ours:multi", "--to-oci-layout", "theirs:2")
      const copy = yield* theirs(folder)
      assert.strictEqual(yield* assertReadable(copy, tag("2")), index.digest)
      assert.deepStrictEqual(yield* listReferrers(copy, app, index.digest), [referrer.digest])
    }).pipe(withNode))
})

describe.skipIf(!has("umoci"))("umoci", () => {
  it.live("lists and unpacks an image of ours", () =>
    Effect.gen(function*() {
      const { folder } = yield* setUp
      assert.strictEqual((yield* run(folder, "umoci", "ls", "--layout", "ours")).trim(), "1")
      yield* run(folder, "umoci", "raw", "unpack", "--rootless", "--image", "ours:1", "out")
      assert.strictEqual(Fs.readFileSync(Path.join(folder, "out", "content.txt"), "utf8"), "hello")
    }).pipe(withNode))

  it.live("does not collect our content as garbage, with a tag or without", () =>
    Effect.gen(function*() {
      const { folder, image, registry } = yield* setUp
      const index = yield* pushIndex(registry, folder)
      const referrer = yield* pushReferrer(registry, app, image, "about it")
      const untagged = yield* pushImage(registry, folder, "untagged", "amd64", [])
      const garbage = yield* pushBlob(registry, app, "in no manifest")
      yield* run(folder, "umoci", "gc", "--layout", "ours")
      for (const { digest } of [image, index, referrer, untagged]) yield* assertReadable(registry, digest)
      assert.strictEqual((yield* Effect.flip(registry.resolveBlob(app, garbage.digest))).reason._tag, "BlobUnknown")
    }).pipe(withNode))

  it.live("creates and changes images that we read", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      yield* run(folder, "umoci", "init", "--layout", "theirs")
      yield* run(folder, "umoci", "new", "--image", "theirs:a")
      yield* run(folder, "umoci", "config", "--image", "theirs:a", "--tag", "b", "--author", "author")
      const registry = yield* theirs(folder)
      assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(app)), ["a", "b"].map(tag))
      const digest = yield* assertReadable(registry, tag("b"))
      assert.include(entriesOf(Path.join(folder, "theirs")).map((entry) => entry.digest), digest)
    }).pipe(withNode))
})
