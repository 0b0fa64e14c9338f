/**
 * `effect-oci mirror serve -c FILE`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { hostname } from "node:os"
import * as MirrorWeb from "../mirror-web/MirrorWeb.ts"
import * as Webhooks from "../mirror-web/Webhooks.ts"
import * as Mirror from "../mirror/Mirror.ts"
import type { MirrorConfig } from "../mirror/MirrorConfig.ts"
import type { MirrorNotification } from "../mirror/MirrorNotification.ts"
import type { MirrorService } from "../mirror/MirrorService.ts"
import { MirrorState } from "../mirror/MirrorState.ts"
import * as NodeHttp from "../node/NodeHttp.ts"
import { isLoopback } from "../web/SameSite.ts"
import * as Flags from "./Flags.ts"
import * as Format from "./Format.ts"
import * as Listener from "./Listener.ts"
import * as Messages from "./Messages.ts"
import * as MirrorFlags from "./MirrorFlags.ts"
import * as MirrorInput from "./MirrorInput.ts"
import * as MirrorServices from "./MirrorServices.ts"
import * as Output from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"
import * as Signals from "./Signals.ts"
import { version } from "./version.ts"

// time after SIGTERM in which copies are interrupted and uploads are cancelled
const endTime = Duration.seconds(9)

/** Schema of the result. */
export const ServedMirror = Schema.Struct({ address: Schema.String })

const readToken = Effect.fnUntraced(function*(file: Option.Option<string>) {
  if (Option.isNone(file)) {
    return yield* Effect.orElseSucceed(Config.Redacted("MIRROR_TOKEN"), () => undefined)
  }
  const fs = yield* FileSystem.FileSystem
  const text = yield* Effect.mapError(
    fs.readFileString(file.value),
    () => new Output.Failure({ message: `cannot read the token from ${file.value}` })
  )
  const token = text.split(/\r?\n/, 1)[0] ?? ""
  if (token !== "") return Redacted.make(token)
  return yield* new Output.Failure({ message: `cannot read the token: the first line of ${file.value} is empty` })
})

/** Name of this process, which tells people where it runs, and which no other one has. */
const processName = Effect.map(
  Random.nextIntBetween(0x1000, 0x1_0000),
  (number) => `${hostname()}:${process.pid}:${number.toString(16)}`
)

/** Connects to the registries and webhooks of a configuration. */
const connect = Effect.fnUntraced(function*(config: MirrorConfig, rates: MirrorServices.Store["rates"]) {
  return { ...yield* MirrorServices.connect(config, rates), notify: yield* Webhooks.make(config.notify) }
})

type ConnectServices = Exclude<Effect.Services<ReturnType<typeof connect>>, Scope.Scope | HttpClient.HttpClient>

/** Logs each run that has ended. */
const logged = ({ event, rule, run }: MirrorNotification): Effect.Effect<void> => {
  if (event !== "finished") return Effect.void
  const { copied, error, failed, pruned } = run
  const counts = `${copied} copied, ${failed} failed, ${pruned} deleted`
  return error === undefined && failed === 0
    ? Effect.logInfo(Format.oneLine(`${rule}: ${counts}`))
    : Effect.logWarning(Format.oneLine(`${rule}: ${counts}${error === undefined ? "" : `: ${error}`}`))
}

/** Reads the file again. If it cannot be used, the former configuration stays. `store` is the URL of the open store. */
const reload = Effect.fnUntraced(
  function*(
    service: MirrorService["Service"],
    load: ReturnType<typeof MirrorFlags.read>,
    store: string,
    storeOf: (config: MirrorConfig) => string
  ) {
    const loaded = yield* Effect.result(load)
    if (loaded._tag === "Failure") {
      const problem = loaded.failure.message
      yield* Effect.logError(`the former configuration stays: ${Format.oneLine(problem)}`)
      return yield* service.reportProblem(problem)
    }
    const { config } = loaded.success
    if (storeOf(config) !== store) {
      yield* Effect.logWarning(
        Format.oneLine(
          `the store stays ${MirrorServices.describeStore(store)} until the next start, which uses ` +
            MirrorServices.describeStore(storeOf(config))
        )
      )
    }
    const { added, changed, kept, removed } = yield* service.reload(config)
    yield* Effect.logInfo(
      `the configuration was read again: ${added.length} added, ${changed.length} changed, ${removed.length} removed, ` +
        `${Format.plural(kept.length, "rule")} unchanged`
    )
  }
)

export const MirrorServeCommand = Command.make(
  "serve",
  {
    config: MirrorFlags.config,
    ...MirrorFlags.foreign,
    store: MirrorInput.flags.store,
    host: Flag.String("host").pipe(
      Flag.withMetavar("ADDRESS"),
      Flag.withDescription("Listen on this address. Default: 127.0.0.1, which only this machine can reach"),
      Flag.withDefault("127.0.0.1")
    ),
    port: Flag.Int("port").pipe(
      Flag.withMetavar("N"),
      Flag.withDescription("Listen on this port; 0 selects a free one. Default: 8080"),
      Flag.withDefault(8080)
    ),
    tokenFile: Flag.String("token-file").pipe(
      Flag.withMetavar("FILE"),
      Flag.withDescription(
        "Require the token in the first line of this file for changes: as a bearer token, or as the password of the " +
          "page. Default: MIRROR_TOKEN of the environment, or else only the page can change something, and only if " +
          "--host is this machine"
      ),
      Flag.optional
    ),
    private: Flags.onOff("private", "Require the token for reading as well, except for /healthz and /readyz"),
    allowedHost: Flag.String("allowed-host").pipe(
      Flag.withMetavar("NAME"),
      Flag.withDescription(
        "Accept requests for this host name. Default: any name if other machines can reach --host, or else loopback " +
          "names. May be repeated"
      ),
      Flag.atLeast(0)
    ),
    rules: Flags.positive("rules", "Number of rules that run at the same time. Default: 4").pipe(Flag.withDefault(4)),
    copies: Flags.positive("copies", "Number of tags of a rule that are copied at the same time. Default: 16").pipe(
      Flag.withDefault(16)
    ),
    json: Flags.onOff("json", "Print the address as JSON, and the messages on stderr as one JSON object per line")
  },
  Effect.fnUntraced(function*(flags) {
    const { allowedHost, copies, host, json, port, rules, tokenFile } = flags
    if (port < 0 || port > 65_535) return yield* misuse("--port must be a number from 0 to 65535")
    const terminated = yield* Signals.handle("SIGTERM", endTime)
    const reloads = yield* Signals.handle("SIGHUP")
    const secret = yield* readToken(tokenFile)
    const isLocal = isLoopback(host)
    if (flags.private && secret === undefined) return yield* misuse("--private requires --token-file")
    if (!isLocal && secret === undefined) {
      yield* Messages.warn("without a token, nothing can be changed by the page or by requests: use --token-file")
    }
    const { config, file, jobs, rates, state } = yield* MirrorInput.open({ ...flags, rule: [] }, "write")
    const shared = jobs === undefined ? {} : { shared: { jobs: yield* jobs, name: yield* processName, version } }
    const http = yield* Layer.build(NodeHttp.layer())
    const services = Context.merge(yield* Effect.context<ConnectServices>(), http)
    const service = yield* Mirror.serveWith(
      config,
      (config) =>
        // the scope is that of the configuration, not that of the command
        Effect.flatMap(Effect.scope, (scope) =>
          Effect.provideContext(connect(config, rates), Context.add(services, Scope.Scope, scope))),
      { concurrency: rules, copies, notify: logged, ...jobs === undefined ? { by: `${process.pid}` } : {}, ...shared }
    ).pipe(Effect.provideService(MirrorState, state))
    const makeApp = (secret: Redacted.Redacted | undefined) =>
      MirrorWeb.make(service, {
        secret,
        isLocal,
        isPrivate: flags.private,
        ...isLocal || allowedHost.length > 0 ? { allowedHosts: [host, ...allowedHost] } : {}
      })
    let app = yield* makeApp(secret)
    const { address } = yield* Listener.listen(Effect.suspend(() => app), { host, port })
    yield* json ? Output.json(ServedMirror, { address }) : Output.line(`listening on ${address}`)
    const storeOf = (config: MirrorConfig) => MirrorServices.storeOf(flags.store, config, file)
    // forms of pages that are open work until the token has changed
    let current = secret
    const reloadToken = Effect.gen(function*() {
      const next = yield* readToken(tokenFile)
      if (next === undefined || current === undefined || Redacted.value(next) === Redacted.value(current)) return
      current = next
      app = yield* makeApp(next)
      yield* Effect.logInfo("the token was read again")
    }).pipe(Effect.catch(({ message }) => Effect.logError(`the former token stays: ${Format.oneLine(message)}`)))
    yield* Queue.take(reloads).pipe(
      Effect.andThen(reloadToken),
      Effect.andThen(reload(service, MirrorFlags.read(file, flags), storeOf(config), storeOf)),
      Effect.forever,
      Effect.forkScoped
    )
    const drained = Effect.andThen(service.drained, Effect.logInfo("drained"))
    yield* Effect.raceFirst(Queue.take(terminated), drained)
  }, Effect.scoped)
).pipe(
  Command.withShortDescription("Keeps a mirror, with a page that shows it"),
  Command.withDescription(
    "Runs the rules of a mirror when their schedules say so, until interrupted, and serves a page at its address with " +
      "the state of each rule. /status.json has the same for programs, /metrics is for Prometheus, /healthz and " +
      "/readyz are for probes, and POST /runs/RULE starts a run. SIGHUP reads the file and the token " +
      "again: rules that did not change go on, and a file that is not valid changes nothing. SIGTERM ends the command within ten seconds; the " +
      "next start continues. Any number of processes with the same database of PostgreSQL as their store are one mirror: " +
      "they share the work, and continue what one of them leaves undone. effect-oci mirror drain lets one of them end."
  ),
  Command.withExamples([
    {
      command: "effect-oci mirror serve -c mirror.yml",
      description: "Keep a mirror, with a page at http://127.0.0.1:8080"
    },
    {
      command: "effect-oci mirror serve -c mirror.yml --host 0.0.0.0 --token-file ./token",
      description: "Show the page to other machines, and require a token for changes"
    }
  ])
)
