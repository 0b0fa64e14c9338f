import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import type * as Descriptor from "effect-oci/Descriptor"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Command from "../utils/Command.ts"
import {
  bytesOf,
  pushBlob,
  pushImage,
  pushManifest,
  pushReferrer,
  pushSample,
  repository,
  tag
} from "../utils/images.ts"
import { blobPath, temporaryFolder } from "../utils/layouts.ts"
import { digestOf, listen } from "../utils/ScriptedServer.ts"

const app = repository("app")

const withNode = Effect.provide(NodeServices.layer)

/**
 * Makes a layout in the folder `images`, with an image of two platforms and its referrers under the tag 1, and
 * functions that run the command.
 */
const setUp = Effect.gen(function*() {
  const folder = yield* temporaryFolder
  const at = (name: string) => Path.join(folder, name)
  const layout = yield* LayoutRegistry.make({ directory: at("images"), form: "layout" })
  const sample = yield* pushSample(layout, app, [tag("1")])
  const runWith = (options: Command.Options, ...args: ReadonlyArray<string>) =>
    Effect.map(
      Command.runWith(
        options,
        ...args.map((arg) => arg.replace(/(?<=^oci:|^oci-archive:|^file:)/, `${folder}/`).replace(/^file:/, ""))
      ),
      // makes the expected output independent of the folder
      ({ code, stderr, stdout }) => ({
        code,
        stdout: stdout.replaceAll(`${folder}/`, ""),
        stderr: stderr.replaceAll(`${folder}/`, "")
      })
    )
  const run = (...args: ReadonlyArray<string>) => runWith({}, ...args)
  /** Returns the output of a command that succeeds and writes nothing to stderr. */
  const result = (...args: ReadonlyArray<string>) =>
    Effect.map(run(...args), ({ code, stderr, stdout }) => {
      assert.deepStrictEqual([code, stderr], [0, ""])
      return stdout
    })
  return { ...sample, at, layout, result, run, runWith }
})

const json = <E, R>(printed: Effect.Effect<string, E, R>) => Effect.map(printed, (text) => JSON.parse(text))

const plain = ({ digest, mediaType, size }: Descriptor.Descriptor) => ({ mediaType, digest, size })

describe("resolve", () => {
  it.effect("prints the digest of a tag, the whole reference, or a descriptor", () =>
    Effect.gen(function*() {
      const { index, result } = yield* setUp
      assert.strictEqual(yield* result("resolve", "oci:images:1"), `${index.digest}\n`)
      assert.strictEqual(yield* result("digest", "--full-ref", "oci:images:1"), `oci:images@${index.digest}\n`)
      assert.deepStrictEqual(yield* json(result("resolve", "oci:images:1", "--json")), plain(index))
    }).pipe(withNode))

  it.effect("finds the image for a platform, or lists the available platforms", () =>
    Effect.gen(function*() {
      const { arm64, result, run } = yield* setUp
      assert.strictEqual(yield* result("resolve", "--platform=linux/arm64", "oci:images:1"), `${arm64.digest}\n`)
      const { code, stderr } = yield* run("resolve", "--platform=linux/s390x", "oci:images:1")
      assert.deepStrictEqual([code, stderr], [
        1,
        "effect-oci: oci:images:1: there is no image for linux/s390x; available: linux/amd64, linux/arm64; name one of these with --platform\n"
      ])
    }).pipe(withNode))
})

describe("tags", () => {
  const tagged = Effect.gen(function*() {
    const all = yield* setUp
    const names = ["latest", "v1.4.0", "1.4.2", "1.5.0-rc.1", "1.10.0", "2.0.0_build.7", `sha256-${"a".repeat(64)}.sig`]
    yield* pushImage(all.layout, app, ["x"], { tags: names.map(tag) })
    return {
      ...all,
      tags: (...args: ReadonlyArray<string>) =>
        Effect.map(all.result("tags", "oci:images", ...args), (text) => text.split("\n").slice(0, -1))
    }
  })

  it.effect("lists them one per line, or as JSON", () =>
    Effect.gen(function*() {
      const { layout, result, tags } = yield* tagged
      const expected = yield* Stream.runCollect(layout.tags(app))
      assert.deepStrictEqual<ReadonlyArray<string>>(yield* tags(), expected)
      assert.deepStrictEqual(yield* json(result("ls", "oci:images", "--json")), {
        repository: "oci:images",
        tags: expected
      })
    }).pipe(withNode))

  it.effect.each<readonly [args: ReadonlyArray<string>, expected: ReadonlyArray<string>]>([
    [["--include", "^1\\.", "--include", "^l"], ["1.10.0", "1.4.2", "1.5.0-rc.1", "latest"]],
    [["--include", "^1\\.", "--exclude", "rc"], ["1.10.0", "1.4.2"]],
    [["--no-digest-tags", "--include", "^[sl]"], ["latest"]],
    [["--semver", "^1.4"], ["1.10.0", "1.4.2", "v1.4.0"]],
    [["--semver", ">=1.5.0-rc.1 <1.6"], ["1.5.0-rc.1"]],
    [["--semver", "2.x"], ["2.0.0_build.7"]],
    [["--latest", "3"], ["2.0.0_build.7", "1.10.0", "1.5.0-rc.1"]],
    [["--latest", "2", "--semver", "*", "--exclude", "^1.10"], ["2.0.0_build.7", "1.4.2"]],
    [["--semver", ">9"], []]
  ])("selects some of them: %j", ([args, expected]) =>
    Effect.gen(function*() {
      const { tags } = yield* tagged
      assert.deepStrictEqual(yield* tags(...args), expected)
    }).pipe(withNode))
})

describe("manifest", () => {
  it.effect("get prints its exact bytes, also to a file, and for a platform", () =>
    Effect.gen(function*() {
      const { arm64, at, index, result } = yield* setUp
      const printed = yield* result("manifest", "get", "oci:images:1")
      assert.strictEqual(digestOf(Buffer.from(printed, "latin1")), index.digest)
      assert.strictEqual(
        yield* result("manifest", "get", "oci:images:1", "-o", at("m.json"), "--platform=linux/arm64"),
        ""
      )
      assert.strictEqual(digestOf(new Uint8Array(Fs.readFileSync(at("m.json")))), arm64.digest)
      assert.strictEqual(yield* result("manifest", "get", "oci:images:1", "-o", "-"), printed)
      assert.deepStrictEqual(yield* json(result("manifest", "get", "oci:images:1", "--json")), {
        descriptor: plain(index),
        manifest: JSON.parse(printed)
      })
    }).pipe(withNode))

  it.effect("put pushes its exact bytes, with its tags, from a file or stdin", () =>
    Effect.gen(function*() {
      const { at, layout, result, runWith } = yield* setUp
      const text = `{ "schemaVersion": 2,  "manifests": [] }`
      Fs.writeFileSync(at("index.json"), text)
      const digest = digestOf(text)
      const printed = yield* result(
        "manifest",
        "put",
        "oci:images:new",
        at("index.json"),
        "--tag",
        "newer",
        "--tag=new"
      )
      assert.strictEqual(printed, `oci:images@${digest}\n`)
      for (const name of ["new", "newer"]) {
        const { bytes, descriptor } = yield* layout.getManifest(app, tag(name))
        assert.strictEqual(descriptor.mediaType, MediaType.imageIndex)
        assert.deepStrictEqual(bytes, bytesOf(text))
      }
      const other = `{"manifests":[],"mediaType":"${MediaType.imageIndex}","annotations":{"a":"b"}}`
      const fromStdin = yield* runWith({ stdin: other }, "manifest", "push", "oci:images", "-", "--json")
      assert.deepStrictEqual([fromStdin.code, fromStdin.stderr], [0, ""])
      assert.deepStrictEqual(JSON.parse(fromStdin.stdout), {
        mediaType: MediaType.imageIndex,
        digest: digestOf(other),
        size: other.length
      })
    }).pipe(withNode))

  it.effect.each<readonly [problem: string, text: string, args: ReadonlyArray<string>, says: string]>([
    ["a manifest without a media type", "{}", [], "cannot push m.json: it contains no media type: use --media-type"],
    ["a file that is not JSON", "{ nope", [], "cannot push m.json: it contains no media type"],
    [
      "a manifest that its type does not allow",
      `{"manifests": 7}`,
      [],
      "cannot push m.json: not a manifest of type \"application/vnd.oci.image.index.v1+json\""
    ],
    [
      "a manifest that the type of the flag does not allow",
      "{}",
      ["--media-type", MediaType.imageManifest],
      "m.json: not a manifest of type"
    ],
    ["a manifest that is too large", " ".repeat(9_000_000), [], "cannot read m.json: it is larger than 8388608 bytes"]
  ])("put refuses %s", ([, text, args, says]) =>
    Effect.gen(function*() {
      const { at, run } = yield* setUp
      Fs.writeFileSync(at("m.json"), text)
      const { code, stderr, stdout } = yield* run("manifest", "put", "oci:images:new", at("m.json"), ...args)
      assert.deepStrictEqual([code, stdout], [1, ""])
      assert.include(stderr, says)
    }).pipe(withNode))

  it.effect("put refuses an absent file, and a reference with another digest", () =>
    Effect.gen(function*() {
      const { at, run } = yield* setUp
      const missing = yield* run("manifest", "put", "oci:images:new", at("none.json"))
      assert.deepStrictEqual([missing.code, missing.stderr], [
        1,
        "effect-oci: cannot read none.json: there is no such file\n"
      ])
      Fs.writeFileSync(at("index.json"), `{"manifests":[]}`)
      const other = yield* run("manifest", "put", `oci:images@${digestOf("other")}`, at("index.json"))
      assert.strictEqual(other.code, 1)
      assert.include(other.stderr, "the content does not match its digest")
    }).pipe(withNode))

  it.effect("inspect shows an index", () =>
    Effect.gen(function*() {
      const { amd64, arm64, index, result } = yield* setUp
      assert.strictEqual(
        yield* result("manifest", "inspect", "oci:images:1"),
        `reference     oci:images:1
digest        ${index.digest}  491 B  application/vnd.oci.image.index.v1+json
manifests
  ${amd64.digest}  689 B  linux/amd64
  ${arm64.digest}  542 B  linux/arm64
`
      )
    }).pipe(withNode))

  it.effect("inspect shows an image and its config, with control characters as spaces", () =>
    Effect.gen(function*() {
      const { layout, result } = yield* setUp
      const config = yield* pushBlob(
        layout,
        app,
        JSON.stringify({
          os: "linux",
          architecture: "arm",
          variant: "v7",
          created: "2024-01-02T03:04:05Z",
          config: {
            User: "ada",
            Entrypoint: ["/bin/app"],
            Cmd: ["--port", "80 80"],
            WorkingDir: "/srv",
            Env: ["A=1", "B=2"],
            ExposedPorts: { "80/tcp": {} },
            Labels: { "org.example": "\u001b[2Jlabel" }
          }
        }),
        MediaType.imageConfig
      )
      const layer = yield* pushBlob(layout, app, "layer")
      const image = yield* pushManifest(layout, app, {
        mediaType: MediaType.imageManifest,
        config,
        layers: [layer, layer],
        annotations: { key: "value" }
      }, [tag("image")])
      assert.strictEqual(
        yield* result("manifest", "show", "oci:images:image"),
        `reference     oci:images:image
digest        ${image.digest}  ${image.size} B  application/vnd.oci.image.manifest.v1+json
annotations
  key: value
config        ${config.digest}  ${config.size} B  application/vnd.oci.image.config.v1+json
platform      linux/arm/v7
created       2024-01-02T03:04:05Z
user          ada
entrypoint    "/bin/app"
command       "--port"  "80 80"
directory     /srv
environment
  A=1
  B=2
ports
  80/tcp
labels
  org.example:  [2Jlabel
layers, 10 B in all
  ${layer.digest}  5 B  application/vnd.oci.image.layer.v1.tar
  ${layer.digest}  5 B  application/vnd.oci.image.layer.v1.tar
`
      )
      const document = yield* json(result("manifest", "inspect", "oci:images:image", "--json"))
      assert.strictEqual(document.config.config.User, "ada")
      assert.deepStrictEqual(document.manifest.annotations, { key: "value" })
      assert.deepStrictEqual(document.descriptor, plain(image))
    }).pipe(withNode))

  it.effect("delete deletes it with all its tags, by its digest", () =>
    Effect.gen(function*() {
      const { index, layout, result, run } = yield* setUp
      yield* result("tag", "oci:images:1", "2")
      assert.strictEqual(
        yield* result("manifest", "delete", `oci:images@${index.digest}`),
        `oci:images@${index.digest}\n`
      )
      assert.deepStrictEqual(yield* Stream.runCollect(layout.tags(app)), [])
      const { code, stderr } = yield* run("manifest", "delete", `oci:images@${index.digest}`)
      assert.strictEqual(code, 1)
      assert.include(stderr, "there is no such manifest or tag")
    }).pipe(withNode))
})

describe("blob", () => {
  it.effect("put pushes a file or stdin, get prints or writes it, head prints its size, delete deletes it", () =>
    Effect.gen(function*() {
      const { at, result, run, runWith } = yield* setUp
      const bytes = Uint8Array.from({ length: 3_000_000 }, (_, index) => index * index)
      Fs.writeFileSync(at("in"), bytes)
      const digest = digestOf(bytes)
      assert.strictEqual(yield* result("blob", "put", "oci:images", at("in")), `oci:images@${digest}\n`)
      assert.strictEqual(yield* result("blob", "head", `oci:images@${digest}`), "3000000\n")
      const descriptor = { mediaType: "application/octet-stream", digest, size: bytes.length }
      assert.deepStrictEqual(yield* json(result("blob", "head", "--json", `oci:images@${digest}`)), descriptor)
      const get = yield* result("blob", "get", `oci:images@${digest}`)
      assert.strictEqual(digestOf(Buffer.from(get, "latin1")), digest)
      const written = yield* json(result("blob", "fetch", `oci:images@${digest}`, "--json", "-o", at("out")))
      assert.deepStrictEqual(written, descriptor)
      assert.isTrue(Fs.readFileSync(at("out")).equals(bytes))
      assert.strictEqual(yield* result("blob", "delete", `oci:images@${digest}`), `oci:images@${digest}\n`)
      assert.include((yield* run("blob", "get", `oci:images@${digest}`)).stderr, "there is no such blob")
      const again = yield* runWith({ stdin: bytes }, "blob", "push", `oci:images@${digest}`, "-", "--json")
      assert.deepStrictEqual([again.code, again.stderr, JSON.parse(again.stdout)], [0, "", descriptor])
    }).pipe(withNode))

  it.effect("put refuses a file with another digest than the reference, before it pushes anything", () =>
    Effect.gen(function*() {
      const { run, runWith } = yield* setUp
      const digest = digestOf("other")
      const { code, stderr } = yield* runWith({ stdin: "this" }, "blob", "put", `oci:images@${digest}`, "-")
      assert.strictEqual(code, 1)
      assert.include(stderr, `the destination names ${digest}, but the source has ${digestOf("this")}`)
      assert.include((yield* run("blob", "head", `oci:images@${digestOf("this")}`)).stderr, "there is no such blob")
    }).pipe(withNode))

  it.effect("get leaves no file if the content does not match its digest", () =>
    Effect.gen(function*() {
      const { at, run } = yield* setUp
      const host = yield* listen((_, response) => void response.writeHead(200, { "content-length": 4 }).end("evil"))
      const { code, stderr, stdout } = yield* run("blob", "get", `${host}/app@${digestOf("good")}`, "-o", at("out"))
      assert.deepStrictEqual([code, stdout], [1, ""])
      assert.include(stderr, "the content does not match its digest")
      assert.deepStrictEqual(Fs.readdirSync(at(".")), ["images"])
    }).pipe(withNode))

  it.effect("get reports a file that cannot be written", () =>
    Effect.gen(function*() {
      const { at, index, run } = yield* setUp
      const { code, stderr } = yield* run("manifest", "get", `oci:images@${index.digest}`, "-o", at("none/out"))
      assert.deepStrictEqual([code, stderr], [
        1,
        "effect-oci: cannot write none/out: there is no such file or folder\n"
      ])
    }).pipe(withNode))
})

describe("tag", () => {
  it.effect("points additional tags at an image, and moves existing tags", () =>
    Effect.gen(function*() {
      const { arm64, index, layout, result } = yield* setUp
      yield* result("tag", `oci:images@${arm64.digest}`, "2")
      const printed = yield* result("tag", "oci:images:1", "2", "3")
      assert.strictEqual(printed, `oci:images:2@${index.digest}\noci:images:3@${index.digest}\n`)
      assert.strictEqual((yield* layout.resolveManifest(app, tag("2"))).digest, index.digest)
      assert.deepStrictEqual(yield* json(result("tag", "oci:images:1", "4", "--json")), {
        digest: index.digest,
        references: ["oci:images:4"]
      })
    }).pipe(withNode))

  it.effect("keeps an existing tag, or fails, as --if-tag-exists says", () =>
    Effect.gen(function*() {
      const { arm64, layout, result, run } = yield* setUp
      yield* result("tag", `oci:images@${arm64.digest}`, "2")
      const { code, stderr } = yield* run("tag", "--if-tag-exists", "fail", "oci:images:1", "2")
      assert.strictEqual(code, 1)
      assert.include(stderr, `the tag 2 exists and points at ${arm64.digest}`)
      assert.include(stderr, "move the tag with --if-tag-exists replace, or leave it with keep")
      yield* result("tag", "--if-tag-exists", "keep", "oci:images:1", "2")
      assert.strictEqual((yield* layout.resolveManifest(app, tag("2"))).digest, arm64.digest)
    }).pipe(withNode))
})

describe("a flag of a connection", () => {
  it.live("--capabilities sets the capabilities of a host", () =>
    Effect.gen(function*() {
      const { run } = yield* setUp
      const asked: Array<string> = []
      const digest = `sha256:${"a".repeat(64)}`
      const host = yield* listen((request, response) => {
        asked.push(`${request.method} ${request.url}`)
        response.writeHead(404).end()
      })
      yield* run("referrers", `${host}/app@${digest}`, "--capabilities", `${host},referrers=false,maximumChunk=5m`)
      assert.isFalse(asked.some((line) => line.includes("/referrers/")))
      assert.include(asked, `GET /v2/app/manifests/${digest.replace(":", "-")}`)
    }).pipe(withNode))
})

describe("delete", () => {
  it.effect("deletes a tag but not the manifest, or the manifest by its digest", () =>
    Effect.gen(function*() {
      const { index, layout, result, run } = yield* setUp
      yield* result("tag", "oci:images:1", "2", "3")
      assert.strictEqual(yield* result("delete", "oci:images:1"), "oci:images:1\n")
      assert.deepStrictEqual(yield* Stream.runCollect(layout.tags(app)), [tag("2"), tag("3")])
      assert.include((yield* run("rm", `oci:images:2@${digestOf("other")}`)).stderr, "the tag 2 points at")
      assert.deepStrictEqual(yield* json(result("rm", `oci:images:2@${index.digest}`, "--json")), {
        removed: `oci:images:2@${index.digest}`
      })
      yield* result("delete", `oci:images@${index.digest}`)
      assert.deepStrictEqual(yield* Stream.runCollect(layout.tags(app)), [])
    }).pipe(withNode))

  it.effect("deletes from an archive", () =>
    Effect.gen(function*() {
      const { result, run } = yield* setUp
      yield* run("copy", "oci:images:1", "oci-archive:a.tar:1", "--tag=2")
      yield* result("delete", "oci-archive:a.tar:1")
      assert.strictEqual(yield* result("tags", "oci-archive:a.tar"), "2\n")
    }).pipe(withNode))
})

describe("referrers", () => {
  it.effect("lists the referrers of an image, of one type, or of the image for a platform", () =>
    Effect.gen(function*() {
      const { onChild, onIndex, result } = yield* setUp
      const type = "application/vnd.example.sbom"
      assert.strictEqual(yield* result("referrers", "oci:images:1"), `${onIndex.digest}  ${type}  620 B\n`)
      assert.strictEqual(yield* result("discover", "oci:images:1", "--type", "other"), "")
      const [found, ...others] = yield* json(result("referrers", "oci:images:1", "--platform=linux/arm64", "--json"))
      assert.deepStrictEqual(others, [])
      assert.deepInclude(found, { digest: onChild.digest, artifactType: type })
    }).pipe(withNode))
})

describe("tree", () => {
  it.effect("shows platforms, layers with sizes, and referrers", () =>
    Effect.gen(function*() {
      const { amd64, arm64, index, onChild, onIndex, result } = yield* setUp
      const short = (text: string) =>
        text.replaceAll(/sha256:[0-9a-f]{64}/g, (digest) => {
          const names = { amd64, arm64, index, onChild, onIndex }
          return Object.entries(names).find(([, content]) => content.digest === digest)?.[0] ?? "…"
        })
      assert.strictEqual(
        short(yield* result("tree", "oci:images:1")),
        `oci:images:1  index  index  491 B
├─ linux/amd64  amd64  image  689 B
│  ├─ config  …  37 B
│  ├─ layer  …  12 B  tar
│  ├─ layer  …  11 B  tar
│  └─ layer  …  0 B  tar
├─ linux/arm64  arm64  image  542 B
│  ├─ config  …  37 B
│  ├─ layer  …  12 B  tar
│  ├─ layer  …  11 B  tar
│  └─ referrer  application/vnd.example.sbom  onChild  619 B
│     ├─ config  …  2 B
│     └─ layer  …  11 B  text/plain
└─ referrer  application/vnd.example.sbom  onIndex  620 B
   ├─ config  …  2 B
   └─ layer  …  15 B  text/plain
total: 9 blobs, 136 B
`
      )
      assert.strictEqual(
        short(yield* result("tree", "oci:images:1", "--platform=linux/amd64", "--no-referrers")),
        `oci:images:1  image  amd64  689 B
├─ config  …  37 B
├─ layer  …  12 B  tar
├─ layer  …  11 B  tar
└─ layer  …  0 B  tar
total: 4 blobs, 60 B
`
      )
    }).pipe(withNode))

  it.effect("prints a Mermaid flowchart with one node per digest, and escapes names", () =>
    Effect.gen(function*() {
      const { arm64, layout, result } = yield* setUp
      yield* pushManifest(layout, app, {
        mediaType: MediaType.imageManifest,
        artifactType: `a"]<b>`,
        config: yield* pushBlob(layout, app, "{}", MediaType.empty),
        layers: [],
        subject: plain(arm64)
      })
      const lines = (yield* result("tree", "--mermaid", "oci:images:1")).split("\n")
      assert.strictEqual(lines[0], "flowchart TD")
      const nodes = lines.flatMap((line) => /^ {2}n[0-9]+[[(]+"(.*)"[\])]+$/.exec(line)?.[1] ?? [])
      assert.strictEqual(new Set(nodes).size, nodes.length)
      assert.isTrue(nodes.every((label) => !/["<>](?!br>)/.test(label.replaceAll("<br>", ""))))
      assert.isTrue(nodes.some((label) => label.startsWith("a#34;]#60;b#62;")))
      const edges = lines.filter((line) => /^ {2}n[0-9]+ (?:-->|-\. refers to \.->) n[0-9]+$/.test(line))
      assert.strictEqual(lines.length, 1 + nodes.length + edges.length + 1)
      assert.strictEqual(edges.filter((edge) => edge.includes("refers to")).length, 3)
    }).pipe(withNode))

  it.effect("marks content that is missing, repeated or of an unknown type", () =>
    Effect.gen(function*() {
      const { amd64, arm64, at, layout, result, run } = yield* setUp
      yield* pushManifest(layout, app, {
        mediaType: MediaType.imageIndex,
        manifests: [amd64, amd64, arm64].map(plain)
      }, [tag("odd")])
      Fs.rmSync(blobPath(at("images"), arm64.digest))
      const { manifests } = yield* json(result("tree", "--json", "--no-referrers", "oci:images:odd"))
      assert.deepStrictEqual(manifests.map(({ ends }: { ends?: string }) => ends), [undefined, "repeated", "missing"])
      const text = yield* result("tree", "--no-referrers", "oci:images:odd")
      assert.include(text, `image  ${amd64.digest}  689 B  shown above\n`)
      assert.include(text, `image  ${arm64.digest}  542 B  missing\n`)
      const host = yield* listen((_, response) =>
        void response.writeHead(200, { "content-type": "application/vnd.example+json", "content-length": 2 }).end("{}")
      )
      const unknown = yield* run("tree", "--no-referrers", `${host}/app:1`)
      assert.include(unknown.stdout, "application/vnd.example+json", unknown.stderr)
      assert.include(unknown.stdout, "unknown type")
    }).pipe(withNode))

  it.effect("follows referrers of referrers", () =>
    Effect.gen(function*() {
      const { layout, onIndex, result } = yield* setUp
      const signature = yield* pushReferrer(layout, app, onIndex, "signature")
      const tree = yield* json(result("tree", "--json", "oci:images:1"))
      assert.strictEqual(tree.referrers[0].referrers[0].digest, signature.digest)
    }).pipe(withNode))
})

describe("diff", () => {
  /** Makes two indexes under the tags 1 and 2, whose images for one platform differ. */
  const twoVersions = Effect.gen(function*() {
    const all = yield* setUp
    const { layout } = all
    const layers = yield* Effect.forEach(["base", "old", "shared", "new"], (text) => pushBlob(layout, app, text))
    const [base, old, shared, fresh] = layers
    const image = Effect.fnUntraced(function*(config: object, layers: ReadonlyArray<unknown>, annotations: object) {
      const descriptor = yield* pushBlob(layout, app, JSON.stringify(config), MediaType.imageConfig)
      return yield* pushManifest(layout, app, {
        mediaType: MediaType.imageManifest,
        config: descriptor,
        layers,
        annotations
      })
    })
    const platform = (architecture: string) => ({ os: "linux", architecture })
    const left = yield* image(
      { ...platform("amd64"), config: { Env: ["A=1", "B=1"], User: "ada" }, rootfs: { diff_ids: [1] } },
      [base, old, shared],
      { kept: "yes", version: "1" }
    )
    const right = yield* image(
      { ...platform("amd64"), config: { Env: ["A=1", "B=2"] }, rootfs: { diff_ids: [2] } },
      [base, shared, fresh],
      { kept: "yes", version: "2" }
    )
    const other = yield* image(platform("arm64"), [base], {})
    const mediaType = MediaType.imageIndex
    const of = (manifest: Descriptor.Descriptor, architecture: string) => ({
      ...plain(manifest),
      platform: platform(architecture)
    })
    const one = yield* pushManifest(layout, app, {
      mediaType,
      manifests: [of(left, "amd64"), of(other, "arm64"), of(other, "s390x")]
    }, [tag("1")])
    const two = yield* pushManifest(layout, app, {
      mediaType,
      manifests: [of(right, "amd64"), of(other, "arm64"), of(other, "riscv64")],
      annotations: { added: "now" }
    }, [tag("2")])
    return { ...all, left, right, other, one, two, layers: { base, old, shared, fresh } }
  })

  it.effect("reports that two references have the same digest", () =>
    Effect.gen(function*() {
      const { index, result } = yield* setUp
      yield* result("tag", "oci:images:1", "2")
      assert.strictEqual(
        yield* result("diff", "--exit-code", "oci:images:1", "oci:images:2"),
        `the same: ${index.digest}\n`
      )
      assert.isTrue((yield* json(result("diff", "--json", "oci:images:1", "oci:images:2"))).isSame)
    }).pipe(withNode))

  it.effect("shows the differences in platforms, annotations, config and layers", () =>
    Effect.gen(function*() {
      const { layers: { base, fresh, old, shared }, left, one, other, result, right, two } = yield* twoVersions
      assert.strictEqual(
        yield* result("diff", "oci:images:1", "oci:images:2"),
        `- ${one.digest}
+ ${two.digest}
annotations
  + added: "now"
manifests
  ~ linux/amd64
      - ${left.digest}
      + ${right.digest}
      annotations
        - version: "1"
        + version: "2"
      config
        - config.Env: "B=1"
        + config.Env: "B=2"
        - config.User: "ada"
      layers
          ${base?.digest}  4 B
        - ${old?.digest}  3 B
          ${shared?.digest}  6 B
        + ${fresh?.digest}  3 B
    linux/arm64: the same
  - linux/s390x  ${other.digest}
  + linux/riscv64  ${other.digest}
`
      )
    }).pipe(withNode))

  it.effect("compares the images for one platform, also as JSON, and fails with --exit-code if they differ", () =>
    Effect.gen(function*() {
      const { left, other, result, right, run } = yield* twoVersions
      const { code, stderr, stdout } = yield* run(
        "diff",
        "--exit-code",
        "--json",
        "--platform=linux/amd64",
        "oci:images:1",
        "oci:images:2"
      )
      assert.deepStrictEqual([code, stderr], [1, ""])
      const difference = JSON.parse(stdout)
      assert.deepInclude(difference, { isSame: false, left: left.digest, right: right.digest })
      assert.deepStrictEqual(difference.layers.map((layer: { in: string }) => layer.in), [
        "both",
        "left",
        "both",
        "right"
      ])
      assert.deepStrictEqual(difference.config[2], { path: "config.User", left: "ada" })
      const same = yield* result("diff", "--platform=linux/arm64", "--exit-code", "oci:images:1", "oci:images:2")
      assert.strictEqual(same, `the same: ${other.digest}\n`)
    }).pipe(withNode))

  it.effect("suggests --platform for an index and an image", () =>
    Effect.gen(function*() {
      const { left, result } = yield* twoVersions
      const text = yield* result("diff", "oci:images:1", `oci:images@${left.digest}`)
      assert.include(text, `- type: "${MediaType.imageIndex}"\n+ type: "${MediaType.imageManifest}"`)
      assert.include(text, "use --platform to compare an image of an index")
    }).pipe(withNode))

  it.effect("names the side that fails", () =>
    Effect.gen(function*() {
      const { run } = yield* setUp
      for (const [left, right] of [["oci:images:none", "oci:images:1"], ["oci:images:1", "oci:images:none"]] as const) {
        assert.include(
          (yield* run("diff", left, right)).stderr,
          "effect-oci: oci:images:none: there is no such manifest"
        )
      }
    }).pipe(withNode))
})

describe("plan", () => {
  it.effect("shows what copy would do, and changes nothing", () =>
    Effect.gen(function*() {
      const { at, index, result } = yield* setUp
      const text = yield* result("plan", "oci:images:1", "oci:copy:1")
      assert.match(text, /^oci:images:1 to oci:copy:1@sha256:[0-9a-f]{64}: 3\.02 KiB\n/)
      assert.include(text, `push root ${index.digest}`)
      assert.strictEqual(yield* result("copy", "--dry-run", "oci:images:1", "oci:copy:1"), text)
      const plan = yield* json(result("plan", "--json", "--referrers=skip", "oci:images:1", "oci:copy:1"))
      assert.strictEqual(plan.root.digest, index.digest)
      const plans = yield* json(result("plan", "--json", "--all-tags", "oci:images", "oci:copy"))
      assert.deepStrictEqual(plans.map(({ root }: { root: { digest: string } }) => root.digest), [index.digest])
      assert.isFalse(Fs.existsSync(at("copy")))
    }).pipe(withNode))
})

describe("catalog", () => {
  for (const status of [401, 403, 404, 405]) {
    it.effect(`reports that a registry does not offer it, if the response is ${status}`, () =>
      Effect.gen(function*() {
        const { run } = yield* setUp
        const host = yield* listen((_, response) => void response.writeHead(status).end("none"))
        const { code, stderr } = yield* run("catalog", host)
        assert.strictEqual(code, 1)
        assert.match(stderr, /^[^\n]+\n$/)
        assert.include(stderr, `${host} does not list its repositories, like most public registries`)
      }).pipe(withNode))
  }

  it.effect("lists the repositories of a registry", () =>
    Effect.gen(function*() {
      const { result, run } = yield* setUp
      const host = yield* listen((request, response) => {
        if (request.url?.split("?")[0] !== "/v2/_catalog") return void response.writeHead(404).end()
        response.writeHead(200, { "content-type": "application/json" }).end(`{"repositories":["a","b/c"]}`)
      })
      assert.strictEqual(yield* result("catalog", host), "a\nb/c\n")
      assert.strictEqual(yield* result("catalog", "--full-ref", host), `${host}/a\n${host}/b/c\n`)
      assert.deepStrictEqual(yield* json(result("catalog", "--json", host)), { host, repositories: ["a", "b/c"] })
      const none = yield* run("catalog", yield* listen((_, response) => void response.writeHead(404).end()))
      assert.strictEqual(none.code, 1)
    }).pipe(withNode))
})

describe("completions", () => {
  it.effect.each(["bash", "zsh", "fish", "powershell"])(
    "completes verbs and flags in %s",
    (shell) =>
      Effect.gen(function*() {
        const { result } = yield* setUp
        const script = yield* result("completions", shell)
        for (const word of ["effect-oci", "referrers", "if-tag-exists", "inspect"]) assert.include(script, word)
      }).pipe(withNode)
  )
})
