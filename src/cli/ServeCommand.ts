/**
 * `effect-oci serve`
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as HttpServer from "effect/http/HttpServer"
import type * as HttpServerError from "effect/http/HttpServerError"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Http from "node:http"
import * as Namespace from "../Namespace.ts"
import type { Host } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import * as Authentication from "../server/Authentication.ts"
import * as RegistryServer from "../server/RegistryServer.ts"
import * as LayoutRegistry from "../stores/LayoutRegistry.ts"
import * as MemoryRegistry from "../stores/MemoryRegistry.ts"
import * as AccessLog from "./AccessLog.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import { misuse, readHost } from "./Names.ts"
import { Failure } from "./Output.ts"

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

/** Where the content is kept. */
const storeOf = (directory: Option.Option<string>) =>
  Option.match(directory, {
    onNone: () => MemoryRegistry.make(),
    onSome: (directory) => LayoutRegistry.make({ directory })
  })

/** What is served: the store; or what a registry elsewhere has, with the store as its cache. */
const registryOf = Effect.fnUntraced(function*(proxied: Option.Option<Host>, store: Registry) {
  if (Option.isNone(proxied)) return store
  const namespace = yield* Namespace.Namespace
  const [CacheRegistry, View] = yield* Effect.promise(() =>
    Promise.all([import("../views/CacheRegistry.ts"), import("../views/View.ts")])
  )
  // what is asked for there is asked for as who we are: nobody shall write by it
  return View.readOnly(yield* CacheRegistry.make(yield* namespace.registry(proxied.value), { store }))
})

/** Reads `NAME:PASSWORD_FILE`. The password is the first line of the file. */
const readUser = Effect.fnUntraced(function*(input: string) {
  const [, name, file] = /^([^:]+):(.+)$/s.exec(input) ?? []
  if (name === undefined || file === undefined) {
    return yield* misuse(`--user is NAME:PASSWORD_FILE, not ${JSON.stringify(input)}`)
  }
  const fs = yield* FileSystem.FileSystem
  const content = yield* Effect.mapError(
    fs.readFileString(file),
    () => new Failure({ message: `the password of ${name} cannot be read from ${file}` })
  )
  const password = content.split(/\r?\n/, 1)[0] ?? ""
  if (password === "") return yield* new Failure({ message: `there is no password for ${name} in ${file}` })
  return [name, Redacted.make(password)] as const
})

const authenticationOf = (users: ReadonlyArray<readonly [name: string, password: Redacted.Redacted]>) =>
  users.length === 0
    ? {}
    : { authentication: Authentication.basic({ check: Authentication.passwords(Object.fromEntries(users)) }) }

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
    proxy: Flags.parsed(
      "proxy",
      "HOST",
      "Serve what the registry at this host has, to read, and keep what was asked for once. It is asked as who docker has " +
        "logged in as there, whoever asks here: see --user",
      readHost
    ).pipe(Flag.optional),
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ delete: mayDelete, dir, host, port, proxy, readOnly, user }) {
    if (port < 0 || port > 65_535) return yield* misuse("--port is a number from 0 to 65535")
    const users = yield* Effect.forEach(user, readUser)
    const registry = yield* registryOf(proxy, yield* storeOf(dir))
    const app = yield* RegistryServer.make(registry, {
      changes: readOnly ? "none" : mayDelete ? "all" : "no-deletes",
      ...authenticationOf(users)
    })
    const logged = yield* AccessLog.make
    const listener = NodeHttpServer.layerServer(nodeServer, { host, port, gracefulShutdownTimeout: gracePeriod })
    const server = yield* Layer.build(Layer.provideMerge(HttpServer.serve(logged(app)), listener)).pipe(
      Effect.mapError(notServed(`${host}:${port}`)),
      Effect.flatMap((context) => Effect.provide(HttpServer.HttpServer, context))
    )
    yield* Console.log(`listening on ${HttpServer.formatAddress(server.address)}`)
    return yield* Effect.never
  }, Effect.scoped)
).pipe(
  Connection.provide("proxy"),
  Command.withShortDescription("Serve a registry over HTTP"),
  Command.withDescription(
    "Serves a registry over HTTP until it is interrupted, and prints where it listens when it does. What clients ask for is told on " +
      "stderr, a line for each request."
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
