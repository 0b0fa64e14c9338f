/**
 * The services of the verbs below `mirror`: the store of the state, and the connections to registries.
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { credentialOf } from "../auth/CredentialHelper.ts"
import * as CredentialKeys from "../auth/CredentialKeys.ts"
import * as Credentials from "../auth/Credentials.ts"
import * as DockerConfig from "../auth/DockerConfig.ts"
import * as ExternalBlobs from "../ExternalBlobs.ts"
import * as Limiter from "../Limiter.ts"
import * as HostLimits from "../mirror/HostLimits.ts"
import type * as MirrorConfig from "../mirror/MirrorConfig.ts"
import { MirrorJobs } from "../mirror/MirrorJobs.ts"
import { MirrorRates } from "../mirror/MirrorRates.ts"
import * as MirrorState from "../mirror/MirrorState.ts"
import * as Namespace from "../Namespace.ts"
import * as NodeNamespace from "../node/NodeNamespace.ts"
import * as RegistryError from "../RegistryError.ts"
import * as Resolver from "../Resolver.ts"
import { Failure } from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"
import * as RepositoryCommand from "./RepositoryCommand.ts"
import { withoutWarning } from "./SqliteWarning.ts"

// ---------------------------------------------------------------------------------------------------------------------
// state
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the URL of the store: the given one, that of the file, or a SQLite file beside the file. */
export const storeOf = (given: Option.Option<string>, { store }: MirrorConfig.MirrorConfig, file: string): string =>
  Option.getOrElse(given, () => store ?? (file === "-" ? "sqlite:mirror.db" : `sqlite:${withoutExtension(file)}.db`))

const withoutExtension = (file: string): string => file.replace(/\.(?:ya?ml|json|toml)$/i, "")

/** Returns the URL of a store for messages, without its password. */
export const describeStore = (store: string): string => {
  if (/^(?:sqlite|env):/.test(store)) return store
  // after a character that was not encoded, the rest of a password is part of the path, the query or the fragment
  const url = /^postgres(?:ql)?:\/\/[^/?#]*(?:[/?#][^@]*)?$/.test(store) ? URL.parse(store) : null
  if (url === null) return hidden(store)
  if (url.password !== "") url.password = "***"
  for (const name of url.searchParams.keys()) {
    if (name.endsWith("password")) url.searchParams.set(name, "***")
  }
  return url.href
}

/** Returns the beginning of a URL, or of another text that may contain a password. */
const hidden = (store: string): string => store.replace(/(:\/\/|[:=]).+/s, "$1…")

const isPostgres = (store: string): boolean => /^postgres(?:ql)?:/.test(store)

/** Returns the URL of a store that an environment variable may have. */
const resolved = Effect.fnUntraced(function*(store: string) {
  const name = /^env:(.+)$/.exec(store)?.[1]
  if (name === undefined) return store
  const value = yield* Effect.option(Config.NonEmptyString(name))
  return Option.isSome(value)
    ? value.value
    : yield* misuse(`--store: the environment variable ${JSON.stringify(name)} is not set`)
})

/** Store of a mirror. */
export interface Store {
  readonly state: MirrorState.MirrorState["Service"]
  /** Rates and budgets that all processes with the same store share. */
  readonly rates: MirrorRates["Service"] | undefined
  /** Opens the jobs that several processes share. Absent if the store is that of one process. */
  readonly jobs: Effect.Effect<MirrorJobs["Service"], Failure, Scope.Scope> | undefined
}

const memory = Effect.map(
  Layer.build(MirrorState.layerMemory),
  (context): Store => ({ state: Context.get(context, MirrorState.MirrorState), rates: undefined, jobs: undefined })
)

const advice: ReadonlyArray<readonly [problem: RegExp, advice: string]> = [
  [/unsupported startup parameter/, "; for PgBouncer, add pgbouncer=true to the URL"],
  [/self-signed certificate|unable to verify/, "; sslrootcert=FILE in the URL names the certificates to trust"]
]

const cannotOpen = (store: string) => ({ message }: { readonly message: string }) => {
  const [, tip = ""] = advice.find(([problem]) => problem.test(message)) ?? []
  const shown = filenameOf(store) ?? describeStore(store)
  return new Failure({ message: `cannot open the store ${shown}: ${message}${tip}` })
}

const filenameOf = (url: string): string | undefined => /^sqlite:(?:\/\/)?(.+)$/.exec(url)?.[1]

/** Returns the client of a database, or `undefined` if the URL is not that of a database. */
const clientOf = Effect.fnUntraced(function*(url: string) {
  if (isPostgres(url)) {
    const NodePostgres = yield* Effect.promise(() => import("../node/NodePostgres.ts"))
    return NodePostgres.layer({ url: Redacted.make(url) })
  }
  const filename = filenameOf(url)
  if (filename === undefined) return undefined
  const NodeSqlite = yield* Effect.promise(() => import("../node/NodeSqlite.ts"))
  return NodeSqlite.layer({ filename })
})

const unknownStore = (store: string, kinds: string) =>
  misuse(`the store ${JSON.stringify(describeStore(store))} is not ${kinds}`)

/** Returns true if a store is a file that does not exist. One that cannot be looked at cannot be opened either. */
const isAbsent = Effect.fnUntraced(function*(url: string) {
  const filename = filenameOf(url)
  const fs = yield* FileSystem.FileSystem
  return filename !== undefined && !(yield* Effect.orElseSucceed(fs.exists(filename), () => true))
})

/** Opens a store. A file that does not exist is created only for a verb that writes. */
export const openStore = Effect.fnUntraced(function*(given: string, use: "read" | "write") {
  const url = yield* resolved(given)
  if (url === "memory" || url === "memory:") return yield* memory
  const client = yield* clientOf(url)
  if (client === undefined) return yield* unknownStore(given, "sqlite:FILE, postgres://…, env:NAME or memory")
  if (use === "read" && (yield* isAbsent(url))) return yield* memory
  const MirrorSql = yield* Effect.promise(() => import("../mirror-sql/MirrorSql.ts"))
  const isShared = use === "write" && isPostgres(url)
  const layer = isShared ? Layer.merge(MirrorSql.layer, MirrorSql.layerRates) : MirrorSql.layer
  const build = <A, E extends { readonly message: string }>(layer: Layer.Layer<A, E>) =>
    Effect.mapError(withoutWarning(Layer.build(layer)), cannotOpen(url))
  const database = Layer.succeedContext(yield* build(client))
  const context = yield* build(Layer.provide(layer, database))
  const jobs = Effect.map(build(Layer.provide(MirrorSql.layerJobs, database)), Context.get(MirrorJobs))
  const store: Store = {
    state: Context.get(context, MirrorState.MirrorState),
    rates: Option.getOrUndefined(Context.getOption(context, MirrorRates)),
    jobs: isPostgres(url) ? jobs : undefined
  }
  return store
})

/** Copies the state of one store to another. */
export const copyState = Effect.fnUntraced(function*(from: string, to: string) {
  const kinds = "sqlite:FILE, postgres://… or env:NAME"
  const [source, destination] = [yield* resolved(from), yield* resolved(to)]
  const [fromClient, toClient] = [yield* clientOf(source), yield* clientOf(destination)]
  if (fromClient === undefined) return yield* unknownStore(from, kinds)
  if (toClient === undefined) return yield* unknownStore(to, kinds)
  if (yield* isAbsent(source)) {
    return yield* new Failure({ message: `cannot open the store ${filenameOf(source)}: there is no such file` })
  }
  const MirrorSql = yield* Effect.promise(() => import("../mirror-sql/MirrorSql.ts"))
  return yield* MirrorSql.copyState({ from: fromClient, to: toClient }).pipe(
    withoutWarning,
    Effect.mapError(({ message }) => new Failure({ message: `cannot copy the state: ${message}` }))
  )
})

// ---------------------------------------------------------------------------------------------------------------------
// registries
// ---------------------------------------------------------------------------------------------------------------------

const unavailable = (source: string, problem: string) => new RegistryError.CredentialsUnavailable({ source, problem })

/** Reads the credentials of a registry when they are needed. Those of docker are read by `docker`. */
const lookup = Effect.fnUntraced(function*(
  { credentials }: MirrorConfig.RegistrySettings,
  docker: Credentials.Credentials["Service"],
  place: Credentials.Place
) {
  switch (credentials._tag) {
    case "Docker":
      return yield* docker.lookup(place)
    case "Environment": {
      const variables = Config.all({
        username: Config.String(`${credentials.prefix}_USERNAME`),
        password: Config.Redacted(`${credentials.prefix}_PASSWORD`)
      })
      const { password, username } = yield* Effect.mapError(
        variables,
        () =>
          unavailable("the environment", `${credentials.prefix}_USERNAME or ${credentials.prefix}_PASSWORD is missing`)
      )
      return credentialOf(username, password)
    }
    case "File": {
      const { path } = credentials
      const fs = yield* FileSystem.FileSystem
      const text = yield* Effect.mapError(fs.readFileString(path), ({ reason }) => unavailable(path, reason._tag))
      const [, username, password] = /^([^:\r\n]+):([^\r\n]+)/.exec(text) ?? []
      if (username === undefined || password === undefined) {
        return yield* unavailable(path, "its first line is not username:password")
      }
      return credentialOf(username, Redacted.make(password))
    }
    case "Password":
      return credentialOf(credentials.username, credentials.password)
  }
})

const isSame = (one: string, other: string): boolean => CredentialKeys.placeOf(one) === CredentialKeys.placeOf(other)

/** Makes the credentials of the registries of a configuration. All others are those of docker. */
const credentialsOf = Effect.fnUntraced(function*({ registries }: Pick<MirrorConfig.MirrorConfig, "registries">) {
  const docker = yield* DockerConfig.make()
  const context = yield* Effect.context<FileSystem.FileSystem>()
  return Credentials.Credentials.of({
    lookup: (place) => {
      const settings = registries.find(({ host }) => isSame(host, place.host))
      return settings === undefined
        ? docker.lookup(place)
        : Effect.provideContext(lookup(settings, docker, place), context)
    },
    refused: docker.refused
  })
})

/** Makes the namespace of a configuration, with the limits of its registries, and its hooks. */
export const connect = Effect.fnUntraced(function*(
  config: Pick<MirrorConfig.MirrorConfig, "onRepositoryMissing" | "registries">,
  rates: Store["rates"]
) {
  const { hosts, perRegistry } = HostLimits.make(config, rates)
  const withScheme = (scheme: MirrorConfig.RegistrySettings["scheme"]) =>
    config.registries.filter((settings) => settings.scheme === scheme).map(({ host }) => host)
  const context = yield* Layer.build(NodeNamespace.layerOptions({
    credentials: yield* credentialsOf(config),
    plainHttp: withScheme("plainHttp"),
    tls: withScheme("tls"),
    insecure: withScheme("insecure")
  }))
  const inner = Context.get(context, Namespace.Namespace)
  const resolver = Resolver.Resolver.of({
    resolve: (host) => Effect.provideService(inner.registry(host), Limiter.PerRegistry, perRegistry)
  })
  return {
    namespace: Namespace.make({ resolver, externalBlobs: Context.get(context, ExternalBlobs.ExternalBlobs) }),
    hosts,
    hooks: yield* RepositoryCommand.hooks(config.onRepositoryMissing)
  }
})
