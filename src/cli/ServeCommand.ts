/**
 * `effect-oci serve`
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpServer from "effect/http/HttpServer"
import type * as HttpServerError from "effect/http/HttpServerError"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Http from "node:http"
import { isLoopback } from "../server/BrowserSafety.ts"
import * as RegistryServer from "../server/RegistryServer.ts"
import * as AccessLog from "./AccessLog.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import { Failure } from "./Output.ts"
import { misuse, readHost } from "./ReferenceInput.ts"
import * as ServeLimits from "./ServeLimits.ts"
import * as ServeStore from "./ServeStore.ts"
import * as ServeUsers from "./ServeUsers.ts"
import * as Signals from "./Signals.ts"

// interrupting the command takes no longer than 1.5 seconds: what is under way by then gets most of that
const gracePeriod = Duration.seconds(1)

// bodies may take as long as they flow; and clients that keep connections shall not find them closed under their hands
const nodeServer = () => Http.createServer({ requestTimeout: 0, headersTimeout: 60_000, keepAliveTimeout: 75_000 })

const problems: Readonly<Record<string, string>> = {
  EADDRINUSE: "something else listens there already",
  EACCES: "this port is for the administrator",
  EADDRNOTAVAIL: "this machine has no such address",
  ENOTFOUND: "the host name does not resolve",
  EAI_AGAIN: "the host name does not resolve at the moment"
}

const notServed = (where: string) => ({ cause }: HttpServerError.ServeError) => {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : ""
  return new Failure({
    message: `cannot listen on ${where}: ${problems[code] ?? (cause instanceof Error ? cause.message : String(cause))}`
  })
}

/** Stops listening, and waits for the requests in flight, for so long; connections that are left then are closed. */
const drain = (server: Http.Server, limit: Duration.Duration) =>
  Effect.callback<void>((resume) => void server.close(() => resume(Effect.void))).pipe(
    // a connection becomes idle when its last response was sent
    Effect.raceFirst(
      Effect.repeat(Effect.sync(() => server.closeIdleConnections()), Schedule.spaced(Duration.millis(50)))
    ),
    Effect.timeoutOption(limit),
    Effect.andThen(Effect.sync(() => server.closeAllConnections()))
  )

export const ServeCommand = Command.make(
  "serve",
  {
    host: Flag.String("host").pipe(
      Flag.withMetavar("ADDRESS"),
      Flag.withDescription("Listen on this address; without it, only this machine can reach the registry"),
      Flag.withDefault("127.0.0.1")
    ),
    port: Flag.Int("port").pipe(
      Flag.withMetavar("N"),
      Flag.withDescription("Listen on this port; 0 takes any that is free"),
      Flag.withDefault(5000)
    ),
    dir: Flag.String("dir").pipe(
      Flag.withMetavar("DIR"),
      Flag.withDescription("Keep the content in this folder, as OCI image layouts; in memory without"),
      Flag.optional
    ),
    delete: Flag.Boolean("delete").pipe(
      Flag.withDescription("Let clients delete tags, manifests and blobs; --no-delete does not"),
      Flag.withDefault(true)
    ),
    readOnly: Flag.Boolean("read-only").pipe(
      Flag.withDescription("Let clients change nothing"),
      Flag.withDefault(false)
    ),
    user: Flag.String("user").pipe(
      Flag.withMetavar("NAME:PASSWORD_FILE"),
      Flag.withDescription(
        "Let nobody in but this user, whose password is the first line of the file; may be given more than once"
      ),
      Flag.atLeast(0)
    ),
    allowedHost: Flag.String("allowed-host").pipe(
      Flag.withMetavar("NAME"),
      Flag.withDescription(
        "Accept requests for this name as well, and requests of its web pages. A registry without --user that only this " +
          "machine can reach accepts no others than loopback names. May be repeated"
      ),
      Flag.atLeast(0)
    ),
    ...ServeLimits.flags,
    grace: Flags.positive(
      "grace",
      "Seconds that requests in flight may take to end after SIGTERM. Default: 3"
    ).pipe(Flag.withDefault(3)),
    proxy: Flags.parsed(
      "proxy",
      "HOST",
      "Serve what the registry at this host has, to read, and keep what was asked for once. It is asked as who docker has " +
        "logged in as there, whoever asks here: see --user",
      readHost
    ).pipe(Flag.optional),
    connection: Connection.flags
  },
  Effect.fnUntraced(function*(flags) {
    const { allowedHost, delete: mayDelete, dir, grace, host, port, proxy, readOnly, user } = flags
    if (port < 0 || port > 65_535) return yield* misuse("--port is a number from 0 to 65535")
    const terminated = yield* Signals.handle("SIGTERM", Duration.seconds(grace + 1))
    const authentication = yield* ServeUsers.authentication(user)
    const store = yield* ServeStore.open(dir, readOnly && Option.isNone(proxy) ? "read" : "write", flags)
    const registry = yield* ServeStore.inFrontOf(proxy, store)
    const isExposed = authentication !== undefined || !isLoopback(host)
    const app = yield* RegistryServer.make(registry, {
      changes: readOnly ? "none" : mayDelete ? "all" : "no-deletes",
      ...authentication === undefined ? {} : { authentication },
      ...isExposed && allowedHost.length === 0 ? {} : { allowedHosts: [host, ...allowedHost] },
      ...ServeLimits.optionsOf(flags)
    })
    const logged = yield* AccessLog.make
    const server = nodeServer()
    const listener = NodeHttpServer.layerServer(() => server, { host, port, gracefulShutdownTimeout: gracePeriod })
    const { address } = yield* Layer.build(Layer.provideMerge(HttpServer.serve(logged(app)), listener)).pipe(
      Effect.mapError(notServed(`${host}:${port}`)),
      Effect.flatMap((context) => Effect.provide(HttpServer.HttpServer, context))
    )
    yield* Console.log(`listening on ${HttpServer.formatAddress(address)}`)
    yield* Queue.take(terminated)
    yield* drain(server, Duration.seconds(grace))
  }, Effect.scoped)
).pipe(
  Connection.provide("proxy"),
  Command.withShortDescription("Serve a registry over HTTP"),
  Command.withDescription(
    "Serves a registry over HTTP until interrupted. Prints its address once it listens, and logs each request as one line " +
      "on stderr. SIGTERM ends it after the requests in flight, with exit code 0; SIGHUP reads the files of --user again. " +
      "Sizes are numbers of bytes, or such as 500MB or 2GiB."
  ),
  Command.withExamples([
    {
      command: "effect-oci serve",
      description: "A registry in memory, for this machine, at 127.0.0.1:5000"
    },
    {
      command: "effect-oci serve --dir ./registry --host 0.0.0.0 --user ada:./password --no-delete",
      description: "A registry in a folder, for others too, of which nothing can be deleted"
    },
    {
      command: "effect-oci serve --dir ./cache --proxy docker.io",
      description: "What Docker Hub has, kept in a folder: docker pull 127.0.0.1:5000/library/alpine"
    }
  ])
)
