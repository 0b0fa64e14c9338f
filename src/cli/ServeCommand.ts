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
import * as Limits from "../server/Limits.ts"
import * as RegistryServer from "../server/RegistryServer.ts"
import { isLoopback } from "../web/SameSite.ts"
import * as AccessLog from "./AccessLog.ts"
import * as Certificate from "./Certificate.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Listener from "./Listener.ts"
import * as Messages from "./Messages.ts"
import * as Output from "./Output.ts"
import * as ServeCheck from "./ServeCheck.ts"
import * as ServeCollection from "./ServeCollection.ts"
import * as ServeFiles from "./ServeFiles.ts"
import * as ServeLimits from "./ServeLimits.ts"
import * as ServePage from "./ServePage.ts"
import * as ServeProbes from "./ServeProbes.ts"
import * as ServeScrub from "./ServeScrub.ts"
import * as ServeSettings from "./ServeSettings.ts"
import * as ServeStore from "./ServeStore.ts"
import * as ServeUpstreams from "./ServeUpstreams.ts"
import * as ServeUsers from "./ServeUsers.ts"
import * as Signals from "./Signals.ts"

/** Schema of the result. */
export const Listening = Schema.Struct({ address: Schema.String })

export const ServeCommand = Command.make(
  "serve",
  {
    config: Flag.String("config").pipe(
      Flag.withAlias("c"),
      Flag.withMetavar("FILE"),
      Flag.withDescription(
        "Read the settings from this file (YAML, JSON or TOML; see effect-oci schema serve-config). Its keys are the " +
          "flags in camel case, such as maxBlob; its paths are relative to its folder"
      ),
      Flag.optional
    ),
    checkConfig: Flags.onOff("check-config", "Check the settings, users, rights and certificate, and print them"),
    ...ServeSettings.flags,
    json: Flags.onOff("json", "Print the result as JSON, and the messages on stderr as one JSON object per line"),
    connection: Connection.flags
  },
  Effect.fnUntraced(
    function*({ checkConfig, config, json, ...given }) {
      const file = yield* ServeSettings.fileOf(config)
      const load = ServeSettings.read(given, file)
      const settings = yield* load
      const { proxy: upstreams = [] } = settings
      yield* ServeCollection.check(settings)
      yield* ServeScrub.check(settings)
      yield* ServePage.check(settings)
      yield* ServeUpstreams.check(given.connection, upstreams)
      if (checkConfig) return yield* ServeCheck.run(settings, json)
      const { dir, grace = 3, host = "127.0.0.1", metricsPort, port = 5000, readOnly } = settings
      const terminated = yield* Signals.handle("SIGTERM", Duration.seconds(grace + 1))
      const files = ServeFiles.usersOf(settings)
      const loaded = files === undefined ? undefined : yield* ServeUsers.load(files)
      for (const remark of loaded === undefined ? [] : ServeUsers.remarks(loaded)) yield* Messages.warn(remark)
      const users = loaded === undefined ? undefined : ServeUsers.make(loaded, {
        auth: settings.auth,
        tokenRealm: settings.tokenRealm
      })
      const pair = yield* ServeFiles.certificateOf(settings)
      const certificate = pair === undefined ? undefined : yield* Certificate.read(pair)
      // server and store use a piece before the next one; a cache keeps pieces for several readers
      const isCache = upstreams.length > 0
      const pieces = isCache ? "owned" : "lent"
      const use = readOnly === true && !isCache ? "read" : "write"
      const store = yield* ServeStore.open(Option.fromUndefinedOr(dir), use, {
        maxRepository: Option.fromUndefinedOr(settings.maxRepository),
        maxTotal: Option.fromUndefinedOr(isCache ? ServeUpstreams.sizesOf(settings).store : settings.maxTotal),
        pieces,
        // a cache deletes what is broken, and fetches it again
        deletableBlobs: isCache ? "all" : settings.deletableBlobs ?? "unneeded",
        verification: settings.verification
      })
      const registry = isCache ? yield* ServeUpstreams.cached(given.connection, settings, upstreams, store) : store
      if (settings.gc !== undefined) yield* Effect.forkScoped(ServeCollection.repeat(store, settings.gc, settings))
      const scrubs = settings.scrub === undefined ? undefined : ServeScrub.make(store, settings)
      if (scrubs !== undefined && settings.scrub !== undefined) yield* Effect.forkScoped(scrubs.repeat(settings.scrub))
      const { allowedHost = [] } = settings
      const isExposed = users !== undefined || !isLoopback(host)
      const allowedHosts = isExposed && allowedHost.length === 0 ? undefined : [host, ...allowedHost]
      const options: RegistryServer.Options = {
        pieces,
        changes: readOnly === true ? "none" : settings.delete ?? true ? "all" : "no-deletes",
        authentication: users?.authentication,
        allowedHosts,
        mirroredHosts: isCache ? upstreams : undefined,
        ...ServeLimits.optionsOf(settings)
      }
      const app = yield* RegistryServer.make(registry, options)
      const withPage = yield* ServePage.make(store, settings, options, { isSecure: pair !== undefined, scrubs })
      const readers = users === undefined
        ? "open"
        : { users, limits: yield* Limits.make(Limits.valuesOf(options)) }
      const logged = yield* AccessLog.make(settings.log)
      const { address, drain, replace } = yield* Listener.listen(
        ServeProbes.added(logged(ServeProbes.counted(withPage(app))), {
          // a cache serves what it has while its upstreams are away
          registry: store,
          metrics: metricsPort === undefined ? readers : "none",
          allowedHosts
        }),
        { host, port, certificate }
      )
      const metrics = metricsPort === undefined ? undefined : yield* Listener.listen(
        ServeProbes.added(ServeProbes.nothingElse, { registry: store, metrics: "open", allowedHosts }),
        { host, port: metricsPort }
      )
      if (certificate !== undefined) yield* Certificate.warnIfExpired(certificate)
      if (users !== undefined || pair !== undefined || file !== undefined) {
        const tls = pair === undefined ? undefined : { files: pair, replace }
        yield* ServeFiles.follow({ settings, users, tls }, load)
      }
      if (metrics !== undefined) yield* Messages.note(`metrics are at ${metrics.address}/metrics`)
      yield* json ? Output.json(Listening, { address }) : Output.line(`listening on ${address}`)
      yield* Queue.take(terminated)
      yield* drain(Duration.seconds(grace))
    },
    Effect.scoped,
    (effect) => Effect.catchTag(effect, "FileProblems", ServeCheck.reported)
  )
).pipe(
  Command.provide(Connection.layerObserver),
  Command.withShortDescription("Serves a registry over HTTP"),
  Command.withDescription(
    "Serves a registry over HTTP until interrupted. Prints its address once it listens, and logs each request as " +
      "one line on stderr. SIGTERM ends it after the requests in flight, with exit code 0. SIGHUP reads the " +
      "configuration file, users, rights and the certificate again; what cannot be used changes nothing. Each flag " +
      "has a variable in the environment, such as EFFECT_OCI_SERVE_MAX_BLOB, which overrides the configuration " +
      "file; flags override both. /healthz and /readyz are for probes, and /metrics is for Prometheus. Browsers find a " +
      "page at /. A size is a number of bytes, with or without a unit, such as 500MB or 2GiB."
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
      command: "effect-oci serve --dir ./registry --host 0.0.0.0 --tls-cert ./tls.crt --tls-key ./tls.key",
      description: "Serve a folder over HTTPS"
    },
    {
      command: "effect-oci serve --config serve.yml --check-config",
      description: "Check a configuration file and the files that it names"
    },
    {
      command: "effect-oci serve --dir ./registry --gc 12h --gc-untagged collect --gc-older-than 1d",
      description: "Remove manifests without tags and blobs that nothing needs, twice a day"
    },
    {
      command: "effect-oci serve --dir ./registry --scrub 7d --scrub-broken quarantine",
      description: "Read all content once a week, and move what is broken aside, so that it can be pushed again"
    },
    {
      command: "effect-oci serve --dir ./cache --proxy docker.io",
      description: "Cache Docker Hub in a folder: docker pull 127.0.0.1:5000/library/alpine"
    },
    {
      command: "effect-oci serve --dir ./cache --proxy hub=docker.io --proxy ghcr=ghcr.io --cache-size 100GiB",
      description: "Cache two registries below prefixes, such as hub/library/alpine"
    }
  ])
)
