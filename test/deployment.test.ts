/**
 * The examples of a unit of systemd and of manifests of Kubernetes.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as MirrorConfig from "effect-oci/MirrorConfig"
import * as Yaml from "effect/encoding/Yaml"
import { hasProperty } from "effect/Predicate"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Command from "./utils/Command.ts"
import { temporaryFolder } from "./utils/layouts.ts"

const read = (name: string) => Fs.readFileSync(fileURLToPath(new URL(`../examples/${name}`, import.meta.url)), "utf8")

/** Returns the value at a path in a document. */
const at = (document: unknown, path: string): unknown =>
  path.split(".").reduce((value, key) => hasProperty(value, key) ? value[key] : undefined, document)

/** Returns the values at a path in each item of a list. */
const each = (list: unknown, path: string): ReadonlyArray<unknown> =>
  Array.isArray(list) ? list.map((item: unknown) => at(item, path)) : []

const documents = read("kubernetes.yml").split(/^---$/m).map((text) => Yaml.parse(text))

const manifest = (kind: string): unknown => documents.find((document) => at(document, "kind") === kind)

describe("the manifests of Kubernetes", () => {
  const deployment = at(manifest("Deployment"), "spec")
  const pod = at(deployment, "template.spec")
  const container = at(pod, "containers.0")
  const list = at(container, "args")
  const args = Array.isArray(list) ? list.map(String) : []
  const labels = { "app.kubernetes.io/name": "mirror" }

  it("are a deployment with what it needs", () => {
    assert.deepStrictEqual(each(documents, "kind"), [
      "Secret",
      "ConfigMap",
      "Deployment",
      "PodDisruptionBudget",
      "Service"
    ])
    assert.deepStrictEqual(each(documents, "apiVersion"), ["v1", "v1", "apps/v1", "policy/v1", "v1"])
    assert.deepStrictEqual(at(deployment, "template.metadata.labels"), labels)
    assert.deepStrictEqual(at(deployment, "selector.matchLabels"), labels)
    assert.deepStrictEqual(at(manifest("PodDisruptionBudget"), "spec"), {
      maxUnavailable: 1,
      selector: { matchLabels: labels }
    })
    assert.deepStrictEqual(at(manifest("Service"), "spec.selector"), labels)
    assert.isAbove(Number(at(deployment, "replicas")), 1)
  })

  it("probe the paths of the server, at its port", () => {
    assert.deepStrictEqual(at(container, "ports"), [{ name: "http", containerPort: 8080 }])
    assert.deepStrictEqual(at(container, "livenessProbe.httpGet"), { path: "/healthz", port: "http" })
    assert.deepStrictEqual(at(container, "readinessProbe.httpGet"), { path: "/readyz", port: "http" })
    assert.include(args.join(" "), "--host 0.0.0.0 --port 8080")
  })

  it("leave the command the time that it needs to end", () => {
    assert.isAbove(Number(at(pod, "terminationGracePeriodSeconds")), 10)
  })

  it("mount every volume that they declare, and only those", () => {
    assert.sameMembers([...each(at(container, "volumeMounts"), "name")], [...each(at(pod, "volumes"), "name")])
    assert.strictEqual(at(pod, "volumes.0.configMap.name"), at(manifest("ConfigMap"), "metadata.name"))
    assert.strictEqual(at(container, "envFrom.0.secretRef.name"), at(manifest("Secret"), "metadata.name"))
  })

  it.effect("contain a file whose store is in the secret", () =>
    Effect.gen(function*() {
      const file = String(Object.values(Object(at(manifest("ConfigMap"), "data")))[0])
      const { config } = yield* MirrorConfig.read("mirror.yml", file)
      assert.strictEqual(config.store, "env:DATABASE_URL")
      assert.match(String(at(manifest("Secret"), "stringData.DATABASE_URL")), /^postgres:/)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("start the command as it understands it", () =>
    Effect.gen(function*() {
      const { stderr } = yield* Command.run(...args, "--bogus")
      assert.match(stderr, /unknown flag --bogus/)
    }))
})

describe("the unit of systemd", () => {
  const unit = read("mirror.service")
  const valuesOf = (name: string) => Array.from(unit.matchAll(new RegExp(`^${name}=(.*)$`, "gm")), ([, value]) => value)

  it("has the sections and the settings that matter", () => {
    assert.deepStrictEqual(Array.from(unit.matchAll(/^\[(\w+)\]$/gm), ([, name]) => name), [
      "Unit",
      "Service",
      "Install"
    ])
    assert.deepStrictEqual(valuesOf("ExecReload"), ["/bin/kill -HUP $MAINPID"])
    assert.isAbove(Number(valuesOf("TimeoutStopSec")[0]), 10)
    assert.deepStrictEqual(valuesOf("WantedBy"), ["multi-user.target"])
  })

  it.live("starts the command as it understands it", () =>
    Effect.gen(function*() {
      const [, ...args] = valuesOf("ExecStart")[0]?.split(" ") ?? []
      const { stderr } = yield* Command.run(...args, "--bogus")
      assert.match(stderr, /unknown flag --bogus/)
    }))

  const isInstalled = (process.env["PATH"] ?? "").split(Path.delimiter)
    .some((folder) => Fs.existsSync(Path.join(folder, "systemd-analyze")))

  it.live.skipIf(!isInstalled)("is valid for systemd-analyze", () =>
    Effect.gen(function*() {
      const file = Path.join(yield* temporaryFolder, "effect-oci-mirror.service")
      // systemd looks for the command
      Fs.writeFileSync(file, unit.replace("/usr/bin/effect-oci", process.execPath))
      const { status, stderr, stdout } = ChildProcess.spawnSync("systemd-analyze", ["verify", file], {
        encoding: "utf8"
      })
      assert.deepStrictEqual([status, stdout, stderr], [0, "", ""])
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
})
