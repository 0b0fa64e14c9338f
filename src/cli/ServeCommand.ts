/**
 * `effect-oci serve`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as RegistryServer from "../server/RegistryServer.ts"
import { isLoopback } from "../web/SameSite.ts"
import * as AccessLog from "./AccessLog.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Listener from "./Listener.ts"
import * as Output from "./Output.ts"
import { misuse, readHost } from "./ReferenceInput.ts"
import * as ServeCollection from "./ServeCollection.ts"
import * as ServeLimits from "./ServeLimits.ts"
import * as ServeStore from "./ServeStore.ts"
import * as ServeUsers from "./ServeUsers.ts"
import * as Signals from "./Signals.ts"

/** Schema of the result. */
export const Listening = Schema.Struct({ address: Schema.String })

export const ServeCommand = Command.make(
  "serve",
  {
    host: Flag.String("host").pipe(
      Flag.withMetavar("ADDRESS"),
      Flag.withDescription("Listen on this address. Default: 127.0.0.1, which only this machine can reach"),
      Flag.withDefault("127.0.0.1")
    ),
    port: Flag.Int("port").pipe(
      Flag.withMetavar("N"),
      Flag.withDescription("Listen on this port; 0 selects a free one. Default: 5000"),
      Flag.withDefault(5000)
    ),
    dir: Flag.String("dir").pipe(
      Flag.withMetavar("DIR"),
      Flag.withDescription("Store the content in this folder, as OCI image layouts. Default: in memory"),
      Flag.optional
    ),
    delete: Flag.Boolean("delete").pipe(
      Flag.withDescription(
        "Allow clients to delete tags, manifests and blobs; --no-delete refuses it. Default: allowed"
      ),
      Flag.withDefault(true)
    ),
    readOnly: Flag.Boolean("read-only").pipe(
      Flag.withDescription("Refuse all changes"),
      Flag.withDefault(false)
    ),
    user: Flag.String("user").pipe(
      Flag.withMetavar("NAME:PASSWORD_FILE"),
      Flag.withDescription(
        "Require authentication as this user; the first line of the file is the password. May be repeated"
      ),
      Flag.atLeast(0)
    ),
    allowedHost: Flag.String("allowed-host").pipe(
      Flag.withMetavar("NAME"),
      Flag.withDescription(
        "Accept requests for this host name, and requests of its web pages. Default: any name with --user or a " +
          "--host that other machines can reach, or else loopback names. May be repeated"
      ),
      Flag.atLeast(0)
    ),
    gc: Flags.duration(
      "gc",
      "Remove blobs that no manifest needs at this interval, such as 12h. Default: never"
    ).pipe(Flag.optional),
    ...ServeCollection.flags,
    ...ServeLimits.flags,
    grace: Flags.positive(
      "grace",
      "Seconds to wait for requests in flight after SIGTERM. Default: 3"
    ).pipe(Flag.withDefault(3)),
    proxy: Flags.parsed(
      "proxy",
      "HOST",
      "Serve the content of the registry at this host, read-only, and cache it. Every upstream request uses the " +
        "stored docker login of this machine; restrict clients with --user",
      readHost
    ).pipe(Flag.optional),
    json: Flags.onOff("json", "Print the address as JSON, and the messages on stderr as one JSON object per line"),
    connection: Connection.flags
  },
  Effect.fnUntraced(function*(flags) {
    const { allowedHost, delete: mayDelete, dir, grace, host, json, port, proxy, readOnly, user } = flags
    if (readOnly && Option.isSome(flags.gc) && Option.isNone(proxy)) {
      return yield* misuse("--gc and --read-only contradict each other")
    }
    if (Option.isSome(flags.gc) && Duration.toMillis(flags.gc.value) === 0) {
      return yield* misuse("--gc must be at least 1s")
    }
    if (port < 0 || port > 65_535) return yield* misuse("--port must be a number from 0 to 65535")
    const terminated = yield* Signals.handle("SIGTERM", Duration.seconds(grace + 1))
    const authentication = yield* ServeUsers.authentication(user)
    // server and store use a piece before the next one; a cache keeps pieces for several readers
    const pieces = Option.isNone(proxy) ? "lent" : "owned"
    const use = readOnly && Option.isNone(proxy) ? "read" : "write"
    const store = yield* ServeStore.open(dir, use, { ...flags, pieces })
    const registry = yield* ServeStore.inFrontOf(proxy, store)
    if (Option.isSome(flags.gc)) yield* Effect.forkScoped(ServeCollection.repeat(store, flags.gc.value, flags))
    const isExposed = authentication !== undefined || !isLoopback(host)
    const app = yield* RegistryServer.make(registry, {
      pieces,
      changes: readOnly ? "none" : mayDelete ? "all" : "no-deletes",
      ...authentication === undefined ? {} : { authentication },
      ...isExposed && allowedHost.length === 0 ? {} : { allowedHosts: [host, ...allowedHost] },
      ...ServeLimits.optionsOf(flags)
    })
    const logged = yield* AccessLog.make
    const { address, drain } = yield* Listener.listen(logged(app), { host, port })
    yield* json ? Output.json(Listening, { address }) : Output.line(`listening on ${address}`)
    yield* Queue.take(terminated)
    yield* drain(Duration.seconds(grace))
  }, Effect.scoped)
).pipe(
  Connection.provide("proxy"),
  Command.withShortDescription("Serves a registry over HTTP"),
  Command.withDescription(
    "Serves a registry over HTTP until interrupted. Prints its address once it listens, and logs each request as " +
      "one line on stderr. SIGTERM ends it after the requests in flight, with exit code 0; SIGHUP reads the files of " +
      "--user again. A size is a number of bytes, with or without a unit, such as 500MB or 2GiB."
  ),
  Command.withExamples([
    {
      command: "effect-oci serve",
      description: "Serve a registry in memory to this machine, at 127.0.0.1:5000"
    },
    {
      command: "effect-oci serve --dir ./registry --host 0.0.0.0 --user ada:./password --no-delete",
      description: "Serve a folder to other machines, without deletes"
    },
    {
      command: "effect-oci serve --dir ./registry --gc 12h --gc-untagged collect --gc-older-than 1d",
      description: "Remove manifests without tags and blobs that nothing needs, twice a day"
    },
    {
      command: "effect-oci serve --dir ./cache --proxy docker.io",
      description: "Cache Docker Hub in a folder: docker pull 127.0.0.1:5000/library/alpine"
    }
  ])
)
