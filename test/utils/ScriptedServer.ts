/**
 * Registries of a test's own making: one that answers from a script, without any network, and servers on the loopback
 * interface for what shows only on the wire.
 */
import { Effect, Fiber, Layer, Stream } from "effect"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as NodeHttp from "effect-oci/NodeHttp"
import type { RegistryError } from "effect-oci/RegistryError"
import { type Headers, HttpClient, HttpClientError, type HttpClientRequest, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import * as Http from "node:http"
import type * as Net from "node:net"
import { bytesOf } from "./images.ts"

export { digestOf } from "./digests.ts"

/** The host that plays the registry. Its URLs stand in scripts and records as their path and query only. */
export const host = "registry.test"

/** A request that the script was asked. */
export interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: Headers.Headers
  /** The part of its body that was read. */
  body: Uint8Array
  /** Reads its body. Answers that are not functions do so before they answer. */
  readonly receive: Effect.Effect<Uint8Array, HttpClientError.HttpClientError>
}

export interface Answer {
  /** 200 unless given. */
  readonly status?: number
  /** `null` leaves out the `content-length` that would be there. */
  readonly headers?: Readonly<Record<string, string | null>>
  readonly body?: string | object | Uint8Array | Stream.Stream<Uint8Array, HttpClientError.HttpClientError>
}

type Step = Answer | ((request: Seen) => Effect.Effect<Answer, HttpClientError.HttpClientError>)

/**
 * Answers to `"METHOD /path?query"`, or to `"METHOD /path"` with any query. Each of several steps answers once, and the
 * last one answers all later requests.
 */
export type Script = Readonly<Record<string, Step | ReadonlyArray<Step>>>

export const transportError = (request: HttpClientRequest.HttpClientRequest, cause: unknown) =>
  new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })

const respond = (
  request: HttpClientRequest.HttpClientRequest,
  { body, headers = {}, status = 200 }: Answer
): HttpClientResponse.HttpClientResponse => {
  const bytes = Stream.isStream(body) ? undefined : body instanceof Uint8Array ? body : bytesOf(body ?? "")
  const all = { ...bytes === undefined ? {} : { "content-length": `${bytes.length}` }, ...headers }
  const present = Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== null)
  const stream = Stream.isStream(body)
    ? body
    : bytes === undefined || bytes.length === 0 || request.method === "HEAD"
    ? Stream.empty
    : Stream.succeed(bytes)
  const response = HttpClientResponse.fromWeb(request, new Response(null, { status, headers: present }))
  return Object.defineProperty(response, "stream", { value: stream })
}

/**
 * A client that gets its answers from a script, and a record of what it was asked. What no line answers is a defect.
 */
export const client = (script: Script) => {
  const requests: Array<Seen> = []
  const turns = new Map<string, number>()

  const next = (key: string): Step | undefined => {
    const steps = script[key]
    if (!Array.isArray(steps)) return steps as Step | undefined
    const turn = turns.get(key) ?? 0
    turns.set(key, turn + 1)
    return steps[Math.min(turn, steps.length - 1)]
  }
  const http = HttpClient.make((request, url) =>
    Effect.gen(function*() {
      const place = (url.host === host ? "" : url.origin) + url.pathname
      const { body } = request
      const seen: Seen = {
        method: request.method,
        url: place + url.search,
        headers: request.headers,
        body: new Uint8Array(),
        receive: Effect.tap(
          body._tag === "Stream"
            ? Effect.mapError(Stream.mkUint8Array(body.stream), (cause) => transportError(request, cause))
            : Effect.succeed(body._tag === "Uint8Array" ? body.body : new Uint8Array()),
          (bytes) =>
            Effect.sync(() => {
              seen.body = bytes
            })
        )
      }
      requests.push(seen)
      const step = next(`${seen.method} ${seen.url}`) ?? next(`${seen.method} ${place}`)
      if (step === undefined) return yield* Effect.die(`not in the script: ${seen.method} ${seen.url}`)
      if (typeof step === "function") return respond(request, yield* step(seen))
      yield* seen.receive
      return respond(request, step)
    })
  )
  return { http, requests, sent: () => requests.map(({ method, url }) => `${method} ${url}`) }
}

/**
 * Creates the answers of a registry that stores what is put at a path. Before that, it has nothing there, unless
 * content is given. Between two requests it yields to all other fibers. With `etag` it sends an entity tag and obeys
 * conditions.
 */
export const keeping = (path: string, first?: Answer, options?: {
  readonly etag?: boolean
  /** The answer to a body that is refused. */
  readonly refuse?: (body: string) => Answer | undefined
}): Script => {
  let kept = first
  let version = 0
  const etag = () => `"${version}"`
  return {
    [`GET ${path}`]: () =>
      Effect.as(
        Effect.yieldNow,
        kept === undefined
          ? { status: 404 }
          : { ...kept, headers: { ...kept.headers, ...options?.etag === true ? { etag: etag() } : {} } }
      ),
    [`PUT ${path}`]: ({ headers, receive }) =>
      Effect.map(receive, (body) => {
        const isWanted = headers["if-none-match"] === "*" ? kept === undefined : headers["if-match"] === etag()
        if (options?.etag === true && !isWanted) return { status: 412 }
        const refused = options?.refuse?.(new TextDecoder().decode(body))
        if (refused !== undefined) return refused
        version++
        kept = { headers: { "content-type": headers["content-type"] ?? "" }, body }
        return { status: 201 }
      })
  }
}

/** A registry over HTTPS that follows a script, seen through the client that is under test. */
export const make = Effect.fnUntraced(function*(script: Script, options?: Partial<HttpRegistry.Options>) {
  const scripted = client(script)
  const registry = yield* HttpRegistry.make({ host, ...options }).pipe(
    Effect.provideService(HttpClient.HttpClient, scripted.http),
    Effect.orDie
  )
  return { ...scripted, registry }
})

/** The host of a server on the loopback interface, which is there as long as the scope is open. */
export const listening = Effect.fnUntraced(function*(make: () => Net.Server) {
  const server = yield* Effect.acquireRelease(
    Effect.callback<Net.Server>((resume) => {
      const server = make()
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        if (server instanceof Http.Server) server.closeAllConnections()
      })
  )
  const address = server.address()
  return `127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`
})

/** One that answers in plain HTTP. */
export const listen = (handler: Http.RequestListener) => listening(() => Http.createServer(handler))

/** A client of a registry in plain HTTP, over real connections, which are closed with the scope. */
export const connect = Effect.fnUntraced(function*(
  options: Omit<HttpRegistry.Options, "plainHttp">,
  http?: NodeHttp.Options
) {
  const context = yield* Layer.build(NodeHttp.layer(http))
  return yield* Effect.provide(HttpRegistry.make({ plainHttp: true, ...options }), context)
})

/** Why an operation failed. */
export const reasonOf = <A, R>(effect: Effect.Effect<A, RegistryError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)

/** Runs an effect while time flies. */
export const whileTimeFlies = Effect.fnUntraced(function*<A, E, R>(effect: Effect.Effect<A, E, R>) {
  const fiber = yield* Effect.forkChild(effect)
  while (fiber.pollUnsafe() === undefined) yield* TestClock.adjust("1 second")
  return yield* Fiber.join(fiber)
})
