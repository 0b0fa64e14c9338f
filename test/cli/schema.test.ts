/**
 * The JSON Schemas that `schema` prints, compared with the output of the verbs.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Command from "../utils/Command.ts"
import { layer, pushImageOf } from "../utils/image-layers.ts"
import { pushBlob, pushImage, pushManifest, pushSample, repository, tag } from "../utils/images.ts"
import { validatorOf } from "../utils/JsonSchemas.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import * as Program from "../utils/Program.ts"
import { digestOf, listen } from "../utils/ScriptedServer.ts"

const withNode = Effect.provide(NodeServices.layer)

const app = repository("app")
const blob = digestOf("a blob")

/** Makes the layout `images`: an index with referrers under the tag 1, an image under 2, an odd index under 3. */
const setUp = Effect.gen(function*() {
  const folder = yield* temporaryFolder
  const layout = yield* LayoutRegistry.make({ directory: Path.join(folder, "images"), form: "layout" })
  const { amd64, arm64 } = yield* pushSample(layout, app, [tag("1")])
  yield* pushImage(layout, app, ["another layer"], { tags: [tag("2")] })
  yield* pushManifest(layout, app, {
    mediaType: MediaType.imageIndex,
    // unknown fields of a descriptor are preserved
    manifests: [
      { ...amd64, platform: { os: "linux", architecture: "amd64", "os.features": ["x"] }, other: [1] },
      arm64
    ],
    annotations: { key: "value" }
  }, [tag("3")])
  yield* layout.pushManifest(app, { mediaType: "application/x", bytes: new TextEncoder().encode("[]") }, [tag("4")])
  yield* pushBlob(layout, app, "a blob")
  Fs.writeFileSync(Path.join(folder, "blob"), "a blob")
  Fs.writeFileSync(Path.join(folder, "manifest"), `{"manifests":[]}`)
  const files = layer({ name: "a", content: "a" }, { name: "b", type: "2", link: "a" })
  const real = yield* LayoutRegistry.make({ directory: Path.join(folder, "real"), form: "layout" })
  yield* pushImageOf(real, [[files]])
  Fs.writeFileSync(Path.join(folder, "layer"), files)
  Fs.writeFileSync(Path.join(folder, "mirror.yml"), "version: 1\nrules: [{ from: a.test/app, to: b.test/app }]\n")
  Fs.writeFileSync(Path.join(folder, "sync.yml"), "a.test:\n  images: { app: [] }\n  cert-dir: certificates\n")
  const place = (arg: string) => arg.replace(/^(oci|oci-archive):/, `$1:${folder}/`).replace(/^file:/, `${folder}/`)
  const env = { DOCKER_CONFIG: folder, HOME: folder }
  return {
    run: (...args: ReadonlyArray<string>) => Command.runWith({ env, stdin: "password" }, ...args.map(place), "--json")
  }
})

/** The arguments of verbs by the name of the schema of their output. */
const verbs: ReadonlyArray<readonly [name: string, ...args: ReadonlyArray<string>]> = [
  ["copy", "copy", "oci:images:1", "oci:copy:1"],
  ["copy", "copy", "--platform=linux/amd64", "--index=rewrite", "--verify=deep", "oci:images:1", "oci:copy:1"],
  ["copy", "copy", "oci:images:4", "oci:copy:4"],
  ["copy-many", "copy", "oci:images:1", "oci:one:1", "oci:two:1"],
  ["copy-many", "copy", "--all-tags", "--exclude=4", "oci:images", "oci:copy"],
  ["copy-many", "copy", "--all-tags", "--platform=linux/s390x", "--exclude=4", "oci:images", "oci:copy"],
  ["plan", "plan", "oci:images:1", "oci:copy:1"],
  ["plan", "copy", "--dry-run", "oci:images:3", "oci:copy:1"],
  ["plan-many", "plan", "--all-tags", "oci:images", "oci:copy"],
  ["gc", "gc", "--dry-run", "file:images"],
  ["gc", "gc", "--keep-newest=1", "--keep-by=created", "--dry-run", "file:images"],
  ["resolve", "resolve", "oci:images:1"],
  ["resolve-many", "resolve", "oci:images:1", "oci:images:2"],
  ["push", "push", "oci:images:7", "file:blob"],
  ["attach", "attach", "oci:images:1", "file:blob", "--artifact-type=a/b", "--platform=linux/amd64"],
  ["pull", "pull", "oci:images:1", "-o", "file:pulled"],
  ["index-create", "index", "create", "oci:images:8", ":1", "oci:images:2"],
  ["index-add", "index", "add", "oci:images:1", ":2"],
  ["index-remove", "index", "remove", "oci:images:1", "linux/amd64"],
  ["index-annotate", "index", "annotate", "oci:images:1", "-a", "b=c"],
  ["tags", "tags", "oci:images"],
  ["tree", "tree", "oci:images:1"],
  ["tree", "tree", "oci:images:3"],
  ["tree", "tree", "oci:images:4"],
  ["referrers", "referrers", "oci:images:1"],
  ["diff", "diff", "oci:images:1", "oci:images:1"],
  ["diff", "diff", "oci:images:1", "oci:images:3"],
  ["diff", "diff", "oci:images:1", "oci:images:2"],
  ["diff", "diff", "--platform=linux/amd64", "oci:images:1", "oci:images:2"],
  ["manifest-get", "manifest", "get", "oci:images:1"],
  ["manifest-get", "manifest", "get", "oci:images:4"],
  ["manifest-inspect", "manifest", "inspect", "oci:images:2"],
  ["manifest-inspect", "manifest", "inspect", "oci:images:3"],
  ["manifest-inspect", "manifest", "inspect", "oci:images:4"],
  ["manifest-put", "manifest", "put", "oci:images:5", "file:manifest"],
  ["manifest-delete", "manifest", "delete", `oci:images@${digestOf("[]")}`],
  ["blob-get", "blob", "get", `oci:images@${blob}`, "-o", "file:out"],
  ["blob-head", "blob", "head", `oci:images@${blob}`],
  ["blob-put", "blob", "put", "oci:images", "file:blob"],
  ["blob-delete", "blob", "delete", `oci:images@${blob}`],
  ["config", "config", "oci:real:1"],
  ["files-ls", "files", "ls", "oci:real:1"],
  ["files-cat", "files", "cat", "oci:real:1", "b", "-o", "file:cat"],
  ["files-export", "files", "export", "oci:real:1", "--directory", "file:exported"],
  ["validate", "validate", "oci:real:1"],
  ["append", "append", "oci:real:1", "oci:made:1", "file:layer"],
  ["mutate", "mutate", "oci:real:1", "--user=me"],
  ["tag", "tag", "oci:images:1", "6", "7"],
  ["delete", "delete", "oci:images:1"],
  ["catalog", "catalog", "HOST"],
  ["login", "login", "HOST", "-u", "ada", "--password-stdin"],
  ["logout", "logout", "HOST"],
  ["schema", "schema"],
  ["serve-check", "serve", "--check-config"],
  ["mirror-check", "mirror", "check", "-c", "file:mirror.yml"],
  ["mirror-check", "mirror", "check", "file:sync.yml", "--to", "m.test/x"],
  ["mirror-convert", "mirror", "convert", "file:sync.yml", "--to", "m.test/x"]
]

/** Fields of the documents, with values of the wrong type. */
const wrong = {
  address: 0,
  changed: 0,
  descriptor: 0,
  digest: 0,
  entries: "",
  format: 0,
  host: 0,
  isSame: 0,
  names: 0,
  problems: 0,
  reference: 0,
  removed: 0,
  repository: 0,
  root: 0,
  size: ""
}

/**
 * The names whose documents other tests validate, or that are the same as those of `append` (`rebase`): `message` is in
 * messages.test.ts, `mirror` in mirror.test.ts, and those of the runs, of the state and of the service of a mirror are
 * in mirror-run.test.ts, mirror-state.test.ts and mirror-serve.test.ts. The files of `serve` are in
 * serve-settings.test.ts, and those of bundles in bundle.test.ts.
 */
const elsewhere = [
  "bundle",
  "bundle-export",
  "bundle-import",
  "bundle-inventory",
  "message",
  "mirror",
  "mirror-changes",
  "mirror-drain",
  "mirror-notification",
  "mirror-plan",
  "mirror-report",
  "mirror-retry",
  "mirror-serve",
  "mirror-service",
  "mirror-state-copy",
  "mirror-status",
  "rebase",
  "serve",
  "serve-access",
  "serve-config"
]

describe("schema", () => {
  it.live("lists a name for the output of every verb", () =>
    Effect.gen(function*() {
      const { stdout } = yield* Command.run("schema")
      assert.deepStrictEqual(
        new Set(stdout.trim().split("\n")),
        new Set([...elsewhere, ...verbs.map(([name]) => name)])
      )
    }).pipe(withNode))

  it.live("prints draft 2020-12 with the version of the command", () =>
    Effect.gen(function*() {
      const { version } = JSON.parse(Fs.readFileSync(new URL("../../package.json", import.meta.url), "utf8"))
      const schema = JSON.parse((yield* Command.run("schema", "tags")).stdout)
      assert.deepInclude(schema, {
        $schema: "https://json-schema.org/draft/2020-12/schema",
        $id: `urn:effect-oci:${version}:tags`
      })
    }).pipe(withNode))

  it.live.each(verbs)("describes the output, as %s: %s %s %s %s", ([name, ...args]) =>
    Effect.gen(function*() {
      const { run } = yield* setUp
      const host = yield* listen((_, response) => {
        response.writeHead(200, { "content-type": "application/json" }).end(`{"repositories":["a"]}`)
      })
      const { stderr, stdout } = yield* run(...args.map((arg) => arg.replace("HOST", host)))
      assert.notStrictEqual(stdout, "", stderr)
      const document = JSON.parse(stdout)
      const check = yield* validatorOf(name)
      check(document)
      // a schema that accepts anything would be useless
      assert.throws(() => check(Array.isArray(document) ? [1] : { ...document, ...wrong }))
    }).pipe(withNode))

  it.live("describes the output, as serve", () =>
    Effect.gen(function*() {
      const running = yield* Program.start("serve", "--port", "0", "--json")
      const check = yield* validatorOf("serve")
      check(JSON.parse(yield* running.firstLine))
    }).pipe(withNode))
})
