import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { pushImage, repository, tag } from "../utils/images.ts"
import { blobPath } from "../utils/layouts.ts"
import { run } from "../utils/Program.ts"
import { browser } from "../utils/registry-page.ts"
import { memory, send } from "../utils/Served.ts"
import { eventually, pullFrom, serve, temporary } from "../utils/serving.ts"

const app = repository("team/app")

const withNode = Effect.provide(NodeServices.layer)

// the tests start processes, which takes seconds on a busy machine
const timeout = 60_000

/** Makes a folder with an image whose layer is damaged. */
const damaged = Effect.gen(function*() {
  const { folder } = yield* temporary
  const registry = yield* LayoutRegistry.make({ directory: folder })
  const image = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
  const [layer = ""] = JSON.parse(new TextDecoder().decode((yield* registry.getManifest(app, tag("1"))).bytes)).layers
    .map(({ digest }: { readonly digest: string }) => digest)
  const path = blobPath(Path.join(folder, app), layer)
  Fs.writeFileSync(path, "rotten")
  return { folder, image, layer, path, push: pushImage(registry, app, ["layer"], { tags: [tag("1")] }) }
})

const scrubbed = (host: string) =>
  eventually(
    Effect.map(send(host, "GET /metrics"), ({ text }) => text),
    (text) => /registry_scrubs_total\{result="complete"\} [1-9]/.test(text)
  )

describe("effect-oci serve --scrub", { timeout }, () => {
  it.live("reports damaged content in the log, the metrics and the page, and leaves it", () =>
    Effect.gen(function*() {
      const { folder, layer, path } = yield* damaged
      const { ended, host, kill } = yield* serve("--dir", folder, "--scrub", "1s", "--log", "off")
      const metrics = yield* scrubbed(host)
      // the config describes no layer either
      assert.match(metrics, /registry_scrub_problems 2\n/)
      assert.match(metrics, /registry_scrub_last_end_timestamp_seconds \d{10}\n/)
      const { text } = yield* send(host, "GET /", { headers: browser })
      assert.include(text, "<span class=\"bad\">2 problems</span>")
      kill("SIGTERM")
      const { stderr } = yield* ended
      assert.include(stderr, `the scrub found a problem in team/app:1@${layer}`)
      assert.match(stderr, /scrubbed 1 manifest and 2 blobs, \d+ bytes, in 1 repository: 2 problems\n/)
      assert.isTrue(Fs.existsSync(path))
    }).pipe(withNode))

  it.live("moves damaged content aside on request, and a client can push it again", () =>
    Effect.gen(function*() {
      const { folder, image, layer, path, push } = yield* damaged
      const { host } = yield* serve("--dir", folder, "--scrub", "1s", "--scrub-broken", "quarantine")
      yield* eventually(Effect.sync(() => Fs.existsSync(path)), (exists) => !exists)
      yield* scrubbed(host)
      const blob = `/v2/team/app/blobs/${layer}`
      assert.strictEqual((yield* send(host, `HEAD ${blob}`)).status, 404)
      const { headers } = yield* send(host, "HEAD /v2/team/app/manifests/1")
      assert.strictEqual(headers["docker-content-digest"], image.digest)
      yield* push
      assert.strictEqual((yield* send(host, `GET ${blob}`)).text, "layer")
    }).pipe(withNode))

  it.live("lets a cache fetch damaged content again, and does not miss what no client has asked for", () =>
    Effect.gen(function*() {
      const upstream = yield* memory()
      const image = yield* pushImage(upstream.registry, app, ["layer"], { tags: [tag("1")] })
      const { folder } = yield* temporary
      const cache = ["--dir", folder, "--proxy", upstream.host]
      const first = yield* serve(...cache)
      const path = blobPath(Path.join(folder, app), image.digest)
      yield* pullFrom(first.host, app, "1")
      yield* eventually(Effect.sync(() => Fs.existsSync(path)), (exists) => exists)
      // it may still store the tag
      first.kill("SIGTERM")
      yield* first.ended
      Fs.writeFileSync(path, "rotten")
      const { ended, host, kill } = yield* serve(...cache, "--scrub", "1s", "--scrub-broken", "quarantine")
      yield* eventually(Effect.sync(() => Fs.existsSync(path)), (exists) => !exists)
      const { bytes } = yield* send(host, `GET /v2/team/app/manifests/${image.digest}`)
      assert.strictEqual(bytes.length, image.size)
      kill("SIGTERM")
      assert.notInclude((yield* ended).stderr, "unknown to the registry")
    }).pipe(withNode))

  it.live.each([
    "--scrub=0s",
    "--scrub-broken=quarantine",
    "--scrub=1h --scrub-broken=quarantine --read-only",
    "--scrub=1h --scrub-broken=delete"
  ])("refuses %s", (args) =>
    Effect.gen(function*() {
      assert.strictEqual((yield* run("serve", "--port=0", ...args.split(" "))).code, 2)
    }))
})
