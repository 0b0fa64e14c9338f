/**
 * A registry of ours behind HTTP, on the loopback interface, and requests to it that are sent as they are written.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Effect, Layer, type Scope } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import * as RegistryServer from "effect-oci/RegistryServer"
import { Quirks } from "effect-oci/testing"
import { HttpServer } from "effect/http"
import * as Http from "node:http"
import * as Net from "node:net"
import { bytesOf } from "./images.ts"

/** Serves an app until the scope closes, and returns its address. Connections are closed at that point. */
export const serveApp = Effect.fnUntraced(function*(app: RegistryServer.App) {
  const server = Http.createServer({ requestTimeout: 0 })
  const listener = NodeHttpServer.layerServer(() => server, { host: "127.0.0.1", port: 0 })
  const context = yield* Layer.build(Layer.provideMerge(HttpServer.serve(app), listener))
  yield* Effect.addFinalizer(() => Effect.sync(() => server.closeAllConnections()))
  const { address } = yield* Effect.provide(HttpServer.HttpServer, context)
  return { host: address._tag === "UnixPathAddress" ? "" : `127.0.0.1:${address.port}` }
})

/** Options of a server, and quirks of its registry. */
export interface Options extends RegistryServer.Options {
  readonly quirks?: ReadonlyArray<Quirks.Quirk>
}

/** Serves a registry while the scope is open. */
export const serve = (registry: Registry, { quirks = [], ...options }: Options = {}) =>
  Effect.flatMap(RegistryServer.make(registry, options), (app) => serveApp(Quirks.apply(app, quirks)))

export interface Sent {
  /** Sent as it is; with a `content-length`, unless `headers` has a `transfer-encoding`. */
  readonly body?: string | object | Uint8Array
  readonly headers?: Readonly<Record<string, string | ReadonlyArray<string>>>
}

export interface Response {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
  readonly bytes: Uint8Array
  readonly text: string
  /** The code of the error document of a response; empty if there is no such document. */
  readonly code: string
}

const codeIn = (text: string): string => {
  try {
    const { errors } = JSON.parse(text) as { readonly errors?: ReadonlyArray<{ readonly code: string }> }
    return errors?.[0]?.code ?? ""
  } catch {
    return ""
  }
}

/** Sends `"METHOD /path"`, on a connection of its own, and reads the answer. */
export const send = (host: string, line: string, { body, headers = {} }: Sent = {}): Effect.Effect<Response> =>
  Effect.callback((resume) => {
    const [, method = "", path = ""] = /^(\S+) (.*)$/s.exec(line) ?? []
    const bytes = body instanceof Uint8Array ? body : bytesOf(body ?? "")
    const length = "transfer-encoding" in headers ? {} : { "content-length": `${bytes.length}` }
    const request = Http.request(`http://${host}`, {
      method,
      path,
      agent: false,
      headers: { ...method === "GET" || method === "HEAD" ? {} : length, ...headers as Http.OutgoingHttpHeaders }
    })
    request.on("error", (error) => resume(Effect.die(error)))
    request.on("response", (response) => {
      const chunks: Array<Uint8Array> = []
      response.on("data", (chunk: Uint8Array) => chunks.push(chunk))
      response.on("error", (error) => resume(Effect.die(error)))
      response.on("end", () => {
        const bytes = new Uint8Array(Buffer.concat(chunks))
        const text = new TextDecoder().decode(bytes)
        resume(Effect.succeed({
          status: response.statusCode ?? 0,
          headers: response.headers,
          bytes,
          text,
          code: codeIn(text)
        }))
      })
    })
    request.end(bytes)
    return Effect.sync(() => request.destroy())
  })

/** A registry in memory, served. */
export const memory = Effect.fnUntraced(function*(options?: Options) {
  const registry = yield* MemoryRegistry.make()
  const { host } = yield* serve(registry, options)
  return { host, registry, ask: (line: string, sent?: Sent) => send(host, line, sent) }
})

export interface Connection {
  readonly write: (text: string | Uint8Array) => Effect.Effect<void>
  /** Waits for bytes that match, and tells all that came by then. */
  readonly read: (pattern: RegExp) => Effect.Effect<string>
  /** Waits for the other side to close the connection, and tells all that came by then. */
  readonly closed: Effect.Effect<string>
  readonly close: Effect.Effect<void>
}

/** A connection on which bytes are written and read, as they are. It is closed with the scope. */
export const connect = (host: string): Effect.Effect<Connection, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<Net.Socket>((resume) => {
        const [address = "", port = ""] = host.split(":")
        const socket = Net.connect(Number(port), address, () => resume(Effect.succeed(socket)))
      }),
      (socket) => Effect.sync(() => socket.destroy())
    ),
    (socket) => {
      let received = ""
      let ended = false
      const waiting = new Set<() => void>()
      const wake = () => {
        for (const check of waiting) check()
      }
      socket.setEncoding("latin1")
      socket.on("data", (text: string) => {
        received += text
        wake()
      })
      socket.on("error", () => {})
      socket.on("close", () => {
        ended = true
        wake()
      })
      const until = (isEnough: () => boolean) =>
        Effect.callback<string>((resume) => {
          const check = () => {
            if (!isEnough()) return
            waiting.delete(check)
            resume(Effect.succeed(received))
          }
          waiting.add(check)
          check()
          return Effect.sync(() => waiting.delete(check))
        })
      return {
        write: (text) =>
          Effect.callback<void>((resume) => {
            socket.write(text, () => resume(Effect.void))
          }),
        read: (pattern) => until(() => pattern.test(received) || ended),
        closed: until(() => ended),
        close: Effect.sync(() => void socket.destroy())
      }
    }
  )
