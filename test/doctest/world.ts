/**
 * The environment in which the examples of the documentation run. Every host that they name is a registry on this
 * machine with the image `team/app:1`. Their servers use a free port, until a client has received an answer there.
 */
import type * as PlatformNode from "@effect/platform-node"
import { assert } from "@effect/vitest"
import { Context, Effect, Exit, Layer, References, Schedule, Scope } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import { Images } from "effect-oci/testing"
import { HttpClient, HttpClientRequest, HttpServer } from "effect/http"
import { createHash } from "node:crypto"
import { vi } from "vitest"
import type * as NodeHttp from "../../src/node/NodeHttp.ts"
import { authority } from "../utils/certificates.ts"
import { serve } from "../utils/Served.ts"
import { tar } from "../utils/tars.ts"

const { NodeHttpServer } = await vi.importActual<typeof PlatformNode>("@effect/platform-node")

const scope = Scope.makeUnsafe()

/** Ends it. */
export const end = Scope.close(scope, Exit.void)

// ---------------------------------------------------------------------------------------------------------------------
// what is asked for
// ---------------------------------------------------------------------------------------------------------------------

const hosts = new Map<string, Promise<string>>()

const play = Effect.fnUntraced(function*() {
  const registry = yield* MemoryRegistry.make()
  yield* Images.pushSample(registry, Images.repository("team/app"), [Images.tag("1")])
  return (yield* serve(registry)).host
}, Effect.orDie)

const addressOf = (host: string): Effect.Effect<string> =>
  Effect.promise(() => {
    const address = hosts.get(host) ?? Effect.runPromise(Effect.provideService(play(), Scope.Scope, scope))
    hosts.set(host, address)
    return address
  })

const redirect = Effect.fnUntraced(function*(request: HttpClientRequest.HttpClientRequest) {
  const url = new URL(request.url)
  return HttpClientRequest.setUrl(request, `http://${yield* addressOf(url.host)}${url.pathname}${url.search}`)
})

const redirected = HttpClient.mapRequestInputEffect(redirect)

/** Returns the transport with every request sent to this machine. */
export const nodeHttp = (original: typeof NodeHttp): typeof NodeHttp => ({
  ...original,
  layer: (options) =>
    Layer.effect(HttpClient.HttpClient, Effect.map(HttpClient.HttpClient, redirected)).pipe(
      Layer.provide(original.layer(options))
    )
})

const systemFetch = globalThis.fetch

/** Stands in for `fetch`. */
export const fetch: typeof systemFetch = async (input, init) => {
  const url = new URL(input instanceof Request ? input.url : input)
  return systemFetch(`http://${await Effect.runPromise(addressOf(url.host))}${url.pathname}${url.search}`, init)
}

// ---------------------------------------------------------------------------------------------------------------------
// what is served
// ---------------------------------------------------------------------------------------------------------------------

let served: (address: string) => void = () => {}

const listen: typeof NodeHttpServer.layer = (evaluate) =>
  Layer.tap(
    NodeHttpServer.layer(evaluate, { host: "127.0.0.1", port: 0 }),
    (context) =>
      Effect.sync(() => served(HttpServer.formatAddress(Context.get(context, HttpServer.HttpServer).address)))
  )

export const httpServer: typeof NodeHttpServer = { ...NodeHttpServer, layer: listen }

// ---------------------------------------------------------------------------------------------------------------------
// what is run
// ---------------------------------------------------------------------------------------------------------------------

/** Asks a server for the base of a registry, or for its page. */
const answered = (address: string) =>
  Effect.forEach(
    ["/v2/", "/"],
    (path) =>
      Effect.tryPromise((signal) => systemFetch(`${address}${path}`, { signal })).pipe(
        Effect.timeout("200 millis"),
        Effect.retry(Schedule.spaced("10 millis"))
      )
  ).pipe(
    Effect.map((responses) => assert.isTrue(responses.some(({ status }) => status === 200 || status === 401)))
  )

const running: Array<Promise<unknown>> = []

/** Stands in for `NodeRuntime.runMain`. */
export const runMain = <A, E>(program: Effect.Effect<A, E>): void => {
  const listening = Effect.callback<string>((resume) => {
    served = (address) => resume(Effect.succeed(address))
  })
  const outcome = Effect.raceFirst(program, Effect.flatMap(listening, answered))
  running.push(Effect.runPromise(Effect.provideService(outcome, References.MinimumLogLevel, "None")))
}

/** Waits for the programs that were started. */
export const settled = (): Promise<unknown> => Promise.all(running.splice(0))

// ---------------------------------------------------------------------------------------------------------------------
// what is there
// ---------------------------------------------------------------------------------------------------------------------

const layer = tar({ name: "hello.txt", content: "hello" })
const config = JSON.stringify({
  architecture: "amd64",
  os: "linux",
  rootfs: { type: "layers", diff_ids: [`sha256:${createHash("sha256").update(layer).digest("hex")}`] }
})

/** The files in the folder in which they run. */
export const files: Readonly<Record<string, string | Uint8Array>> = {
  "ca.pem": authority,
  "saved.tar": tar(
    { name: "config.json", content: config },
    { name: "layer.tar", content: layer },
    {
      name: "manifest.json",
      content: JSON.stringify([{ Config: "config.json", RepoTags: ["team/app:1"], Layers: ["layer.tar"] }])
    }
  )
}
