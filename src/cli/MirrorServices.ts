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
import { credentialOf } from "../auth/CredentialHelper.ts"
import * as CredentialKeys from "../auth/CredentialKeys.ts"
import * as Credentials from "../auth/Credentials.ts"
import * as DockerConfig from "../auth/DockerConfig.ts"
import * as ExternalBlobs from "../ExternalBlobs.ts"
import * as Limiter from "../Limiter.ts"
import * as HostLimits from "../mirror/HostLimits.ts"
import type * as MirrorConfig from "../mirror/MirrorConfig.ts"
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

const memory = Effect.map(Layer.build(MirrorState.layerMemory), Context.get(MirrorState.MirrorState))

/** Opens the store of the state. A file that does not exist is created only for a verb that writes. */
export const openState = Effect.fnUntraced(function*(url: string, use: "read" | "write") {
  if (url === "memory" || url === "memory:") return yield* memory
  const filename = /^sqlite:(?:\/\/)?(.+)$/.exec(url)?.[1]
  if (filename === undefined) {
    return yield* misuse(`--store: ${JSON.stringify(url)} is not sqlite:FILE or memory`)
  }
  const fs = yield* FileSystem.FileSystem
  // a file that cannot be looked at cannot be opened either, which is reported
  if (use === "read" && !(yield* Effect.orElseSucceed(fs.exists(filename), () => true))) return yield* memory
  const [MirrorSql, NodeSqlite] = yield* Effect.promise(() =>
    Promise.all([import("../mirror-sql/MirrorSql.ts"), import("../node/NodeSqlite.ts")])
  )
  const context = yield* Layer.build(Layer.provide(MirrorSql.layer, NodeSqlite.layer({ filename }))).pipe(
    withoutWarning,
    Effect.mapError(({ message }) => new Failure({ message: `cannot open the store ${filename}: ${message}` }))
  )
  return Context.get(context, MirrorState.MirrorState)
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
  config: Pick<MirrorConfig.MirrorConfig, "onRepositoryMissing" | "registries">
) {
  const { hosts, perRegistry } = HostLimits.make(config)
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
