/**
 * The HTTP server of the verbs that serve.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpServer from "effect/http/HttpServer"
import type * as HttpServerError from "effect/http/HttpServerError"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import { Failure } from "./Output.ts"

// an interruption takes at most 1.5 seconds; requests in flight get one second of that
const gracePeriod = Duration.seconds(1)

// requests have no total limit, because bodies may take long; idle connections stay open for 75 seconds, longer than
// clients keep them
const nodeServer = () =>
  Http.createServer({
    requestTimeout: 0,
    headersTimeout: 60_000,
    keepAliveTimeout: 75_000,
    // the server waits until a connection has sent a piece of this size or more, as stores that lend pieces need
    highWaterMark: 64 * 1024
  })

const problems: Readonly<Record<string, string>> = {
  EADDRINUSE: "the address is in use",
  EACCES: "binding to this port requires administrator rights",
  EADDRNOTAVAIL: "this machine has no such address",
  ENOTFOUND: "the host name does not resolve",
  EAI_AGAIN: "the host name cannot be resolved at the moment"
}

const notServed = (where: string) => ({ cause }: HttpServerError.ServeError) => {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : ""
  return new Failure({
    message: `cannot listen on ${where}: ${problems[code] ?? (cause instanceof Error ? cause.message : String(cause))}`
  })
}

/** Stops listening, waits for the requests in flight, and closes the connections that are left after `limit`. */
const drain = (server: Http.Server, limit: Duration.Duration) =>
  Effect.callback<void>((resume) => void server.close(() => resume(Effect.void))).pipe(
    // a connection is idle after its last response
    Effect.raceFirst(
      Effect.repeat(Effect.sync(() => server.closeIdleConnections()), Schedule.spaced(Duration.millis(50)))
    ),
    Effect.timeoutOption(limit),
    Effect.andThen(Effect.sync(() => server.closeAllConnections()))
  )

/** Serves an app while the scope is open. */
export const listen = Effect.fnUntraced(function*<E>(
  app: Effect.Effect<
    HttpServerResponse.HttpServerResponse,
    E,
    HttpServerRequest.HttpServerRequest | Scope.Scope
  >,
  { host, port }: { readonly host: string; readonly port: number }
) {
  const server = nodeServer()
  const listener = NodeHttpServer.layerServer(() => server, { host, port, gracefulShutdownTimeout: gracePeriod })
  const { address } = yield* Layer.build(Layer.provideMerge(HttpServer.serve(app), listener)).pipe(
    Effect.mapError(notServed(`${host}:${port}`)),
    Effect.flatMap((context) => Effect.provide(HttpServer.HttpServer, context))
  )
  return {
    address: HttpServer.formatAddress(address),
    /** Stops listening, and gives the requests in flight at most this time. */
    drain: (limit: Duration.Duration) => drain(server, limit)
  }
})
