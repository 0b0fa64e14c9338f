/**
 * Runs a pull-through cache: content comes from the upstream registry once, and afterwards from a folder.
 *
 *     node examples/cache.ts ghcr.io cache 5000
 */
import { NodeHttpServer, NodeRuntime, NodeServices } from "@effect/platform-node"
import { Layer } from "effect"
import * as CacheRegistry from "effect-oci/CacheRegistry"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as HttpResolver from "effect-oci/HttpResolver"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as NodeHttp from "effect-oci/NodeHttp"
import * as RegistryServer from "effect-oci/RegistryServer"
import { HttpRouter } from "effect/http"
import { createServer } from "node:http"

const [host = "", directory = "", port = ""] = process.argv.slice(2)

const Server = HttpRouter.serve(RegistryServer.layer({ changes: "none" })).pipe(
  Layer.provide(CacheRegistry.layer({
    store: LayoutRegistry.layer({ directory, deletableBlobs: "all" }),
    tagTimeToLive: "10 minutes"
  })),
  Layer.provide(HttpRegistry.layer({ host, plainHttp: HttpResolver.isLoopback(host) })),
  Layer.provide([NodeHttp.layer(), NodeServices.layer]),
  Layer.provide(
    NodeHttpServer.layer(() => createServer({ requestTimeout: 0 }), { host: "127.0.0.1", port: Number(port) })
  )
)

NodeRuntime.runMain(Layer.launch(Server))
