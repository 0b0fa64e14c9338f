/**
 * A served registry with something to see in every view of its page.
 */
import { Effect } from "effect"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import * as RegistryPage from "effect-oci/RegistryPage"
import * as RegistryServer from "effect-oci/RegistryServer"
import { noise } from "./BadNetwork.ts"
import { pushBlob, pushIndex, pushManifest, pushReferrer, repository, tag } from "./images.ts"
import { hostile } from "./mirror-page.ts"
import { send, type Sent, serveApp } from "./Served.ts"

export const [shop, docs, secret] = [repository("team/shop"), repository("public/docs"), repository("secret/plans")]

/** Headers of a browser. */
export const browser = { accept: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8" }

const history = [
  { created: "2026-11-01T10:00:00Z", created_by: "/bin/sh -c #(nop) ADD file:1234 in / " },
  { created: "2026-11-01T10:00:00Z", created_by: "/bin/sh -c #(nop)  CMD [\"sh\"]", empty_layer: true },
  { created: "not a time", created_by: hostile, comment: hostile }
]

const configOf = (architecture: string) => ({
  os: "linux",
  architecture,
  created: "2026-11-01T10:00:00Z",
  config: {
    Env: ["PATH=/usr/bin", `HOSTILE=${hostile}`],
    Entrypoint: ["/bin/app"],
    Labels: { [hostile]: hostile, long: "x".repeat(100_000) },
    ExposedPorts: { "8080/tcp": {} }
  },
  history
})

const pushPlatform = Effect.fnUntraced(function*(registry: Registry, architecture: string, own: Uint8Array) {
  const config = yield* pushBlob(registry, shop, JSON.stringify(configOf(architecture)), MediaType.imageConfig)
  const shared = yield* pushBlob(registry, shop, noise(40_000), MediaType.imageLayerGzip)
  const layer = yield* pushBlob(registry, shop, own, MediaType.imageLayerGzip)
  const content = { mediaType: MediaType.imageManifest, config, layers: [shared, layer] }
  return { ...yield* pushManifest(registry, shop, content), platform: { os: "linux", architecture } }
})

/** Pushes an index of two platforms with a referrer, an artifact with hostile texts, and other repositories. */
const fill = Effect.fnUntraced(function*(registry: Registry) {
  const amd64 = yield* pushPlatform(registry, "amd64", noise(60_000))
  const arm64 = yield* pushPlatform(registry, "arm64", noise(70_000))
  const extra = { annotations: { "org.opencontainers.image.source": "javascript:alert(3)", [hostile]: hostile } }
  const index = yield* pushIndex(registry, shop, [amd64, arm64], { tags: [tag("1.0"), tag("latest")], extra })
  const referrer = yield* pushReferrer(registry, shop, index, hostile)
  const config = yield* pushBlob(registry, docs, "{}", "application/vnd.example.config")
  const file = yield* pushBlob(registry, docs, "a file", "text/plain")
  yield* pushManifest(registry, docs, {
    mediaType: MediaType.imageManifest,
    artifactType: hostile,
    config,
    layers: [{ ...file, annotations: { "org.opencontainers.image.title": hostile } }]
  }, [tag("odd")])
  yield* pushManifest(registry, secret, {
    mediaType: MediaType.imageManifest,
    config: yield* pushBlob(registry, secret, "{}", MediaType.empty),
    layers: [yield* pushBlob(registry, secret, "plans", "text/plain")]
  }, [tag("1")])
  return { amd64, arm64, index, referrer }
})

/** Serves a registry with its page. */
export const serve = Effect.fnUntraced(function*(
  registry: Registry,
  options: RegistryPage.Options & Pick<RegistryServer.Options, "authentication"> = {}
) {
  const withPage = yield* RegistryPage.make(registry, options)
  const app = yield* RegistryServer.make(registry, { authentication: options.authentication })
  const { host } = yield* serveApp(withPage(app))
  const ask = (line: string, sent: Sent = {}) => send(host, line, { ...sent, headers: { ...browser, ...sent.headers } })
  /** Returns the token in the forms of a view. */
  const formToken = (address: string, headers: Readonly<Record<string, string>> = {}) =>
    Effect.map(ask(`GET ${address}`, { headers }), ({ text }) => /name="token" value="([^"]+)"/.exec(text)?.[1] ?? "")
  /** Sends a form. */
  const submit = (change: string, fields: Readonly<Record<string, string>>, headers: Sent["headers"] = {}) =>
    ask(`POST /ui/-/${change}`, {
      body: new URLSearchParams(fields).toString(),
      headers: { "content-type": "application/x-www-form-urlencoded", origin: `http://${host}`, ...headers }
    })
  return { ask, formToken, host, submit }
})

/** Serves a registry in memory that has content, with its page. */
export const served = Effect.fnUntraced(function*(options: Parameters<typeof serve>[1] = {}) {
  const registry = yield* MemoryRegistry.make()
  const content = yield* fill(registry)
  return { ...content, ...yield* serve(registry, options), registry }
})
