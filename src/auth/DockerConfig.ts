/**
 * Credentials that docker and podman store, by `docker login` and `podman login`.
 *
 * These places are searched in this order, and the first that has credentials is used:
 *
 * 1. the variable `DOCKER_AUTH_CONFIG`, which contains a config as JSON
 * 2. the file that `REGISTRY_AUTH_FILE` names; if it is set, no other file is read
 * 3. docker's: `config.json` in `DOCKER_CONFIG`, or else in `~/.docker`
 * 4. podman's: `containers/auth.json` in `XDG_RUNTIME_DIR`, or else `/run/containers/UID/auth.json` on Linux
 * 5. podman's: `containers/auth.json` in `XDG_CONFIG_HOME`, or else in `~/.config`
 *
 * Within a place, the entry with the longest key that is a prefix of `host/repository` takes precedence. For the same
 * key, a helper in `credHelpers` precedes `credsStore`, which is used for hosts only, and that precedes `auths`. In an
 * entry of `auths`, a `registrytoken` precedes an `identitytoken`, and that precedes user name and password. Keys may
 * have docker's form (`https://index.docker.io/v1/`).
 *
 * Files are read at each lookup. As in Go, names of fields are case-insensitive. A file that is missing, empty, `null`
 * or a folder has no credentials. A file that is not a JSON object fails the lookup with its name. An entry that docker
 * and podman would not write, and a helper that is missing or fails, are skipped: the `Observer` receives one `Warning`
 * that names them.
 *
 * The credentials of a helper are cached for {@link HelperTimeToLive}, or until a registry refuses them.
 *
 * @since 0.1.0
 */
import * as Cache from "effect/Cache"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Path from "effect/Path"
import * as Predicate from "effect/Predicate"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Metrics from "../Metrics.ts"
import type { CredentialsUnavailable } from "../RegistryError.ts"
import * as CredentialHelper from "./CredentialHelper.ts"
import * as CredentialKeys from "./CredentialKeys.ts"
import * as Credentials from "./Credentials.ts"
import * as DockerFiles from "./DockerFiles.ts"
import * as GoJson from "./GoJson.ts"

export {
  /** @since 0.1.0 */
  HelperTimeout
} from "./CredentialHelper.ts"

/**
 * Time for which the credentials of a helper are cached, because helpers do not say when they expire. If a registry
 * refuses them earlier, the helper is called again. Missing credentials and failures are cached for at most one minute.
 *
 * @default 1 hour
 * @category references
 * @since 0.1.0
 */
export const HelperTimeToLive: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/DockerConfig/HelperTimeToLive",
  { defaultValue: () => Duration.hours(1) }
)

/**
 * Options of the lookup.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Path of the only file to read, in the format of docker or podman. Default: the places listed above. */
  readonly file?: string | undefined
}

/** Decodes Base64 with line breaks, which Go ignores, and without padding, as crane and Kubernetes accept it. */
const decodeAuth = (auth: string): string => {
  const digits = auth.replaceAll(/[\r\n]/g, "")
  const text = digits.endsWith("=") ? digits : digits.padEnd(Math.ceil(digits.length / 4) * 4, "=")
  return Result.getOrElse(Base64.decodeString(text), () => "")
}

const passwordOf = (auth: string): Credentials.Credential | undefined => {
  const [, username, password] = /^([^:]*):(.*)$/s.exec(decodeAuth(auth)) ?? []
  return username === undefined || password === undefined
    ? undefined
    // some are padded with NUL, which docker removes as well
    : { _tag: "Basic", username, password: Redacted.make(password.replace(/^\0+|\0+$/g, "")) }
}

const fieldNames = ["auth", "username", "password", "identitytoken", "registrytoken"] as const

const readLogin = Effect.fnUntraced(function*(name: string, place: string, entry: unknown) {
  const fields = entry ?? {}
  const malformed = DockerFiles.broken(name, `the entry for ${place} is not as docker and podman write it`)
  if (!GoJson.isFields(fields)) return yield* malformed
  const [auth, username, password, identitytoken, registrytoken] = fieldNames.map((field) =>
    GoJson.field(fields, field) ?? ""
  )
  if (
    !Predicate.isString(auth) || !Predicate.isString(username) || !Predicate.isString(password) ||
    !Predicate.isString(identitytoken) || !Predicate.isString(registrytoken)
  ) return yield* malformed
  if (registrytoken !== "") return { _tag: "RegistryToken", token: Redacted.make(registrytoken) } as const
  if (identitytoken !== "") return { _tag: "IdentityToken", token: Redacted.make(identitytoken) } as const
  if (auth !== "") {
    return passwordOf(auth) ??
      (yield* DockerFiles.broken(name, `auth in the entry for ${place} is not a name and a password in Base64`))
  }
  return username === "" ? undefined : { _tag: "Basic", username, password: Redacted.make(password) } as const
})

/** Returns the time for which missing credentials of a helper are cached. */
const shorter = (timeToLive: Duration.Duration) => Duration.min(timeToLive, Duration.minutes(1))

// number of distinct warnings to remember, so that each is reported once
const warningLimit = 1000

/** Lists the keys to look up in a config, each with the helper to ask first, unless its name is empty. */
const asking = ({ credHelpers, credsStore }: DockerFiles.Source, place: Credentials.Place) => {
  const around = CredentialKeys.enclosing(place)
  return around.map((key, index) => ({
    key,
    // an empty name excludes a host from the store of docker
    helper: credHelpers.get(key) ?? (index === around.length - 1 ? credsStore : "")
  }))
}

/**
 * Creates credentials from those that docker and podman store. Nothing is read yet.
 *
 * **Example** (An entry that precedes those of docker)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, Redacted } from "effect"
 * import * as Credentials from "effect-oci/Credentials"
 * import * as DockerConfig from "effect-oci/DockerConfig"
 *
 * const program = Effect.gen(function*() {
 *   const own = Credentials.static({ "ghcr.io": { _tag: "RegistryToken", token: Redacted.make("secret") } })
 *   const credentials = Credentials.firstOf(own, yield* DockerConfig.make())
 *   return yield* credentials.lookup({ host: "ghcr.io", repository: "team/app" })
 * })
 *
 * const found = await Effect.runPromise(Effect.provide(program, NodeServices.layer))
 * found?._tag // => "RegistryToken"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<
  Credentials.Credentials["Service"],
  never,
  FileSystem.FileSystem | Path.Path | ChildProcessSpawner.ChildProcessSpawner
> {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const context = yield* Effect.context<FileSystem.FileSystem | Path.Path>()
  const candidates = Effect.provideContext(DockerFiles.candidates(options.file), context)

  const asked = yield* Cache.makeWith(
    Effect.fnUntraced(function*({ helper, place }: { readonly helper: string; readonly place: string }) {
      const timeToLive = yield* HelperTimeToLive
      const given = yield* Effect.result(CredentialHelper.get(spawner, helper, CredentialKeys.address(place)))
      return { given, timeToLive: Result.getOrUndefined(given) === undefined ? shorter(timeToLive) : timeToLive }
    }),
    {
      capacity: 1000,
      timeToLive: Exit.match({ onFailure: () => Duration.zero, onSuccess: ({ timeToLive }) => timeToLive })
    }
  )

  const warned = new Set<string>()
  /** Reports why credentials were skipped, once for each reason. */
  const passOver = Effect.fnUntraced(function*({ host }: Credentials.Place, { message }: CredentialsUnavailable) {
    if (warned.has(message)) return undefined
    if (warned.size === warningLimit) warned.clear()
    warned.add(message)
    yield* Metrics.tell({ _tag: "Warning", registry: host, text: message })
    return undefined
  })

  const ask = Effect.fnUntraced(function*(source: DockerFiles.Source, helper: string, place: string) {
    if (!CredentialHelper.isName(helper)) {
      return yield* DockerFiles.broken(
        source.name,
        "it names a credential helper by other characters than letters, digits and ._+-"
      )
    }
    return yield* Effect.fromResult((yield* Cache.get(asked, { helper, place })).given)
  })

  const lookupIn = Effect.fnUntraced(function*(source: DockerFiles.Source, place: Credentials.Place) {
    const lenient = Effect.catch((error: CredentialsUnavailable) => passOver(place, error))
    for (const problem of source.problems) yield* passOver(place, DockerFiles.broken(source.name, problem))
    for (const { helper, key } of asking(source, place)) {
      const given = helper === "" ? undefined : yield* lenient(ask(source, helper, key))
      if (given !== undefined) return given
      const login = source.auths.has(key)
        ? yield* lenient(readLogin(source.name, key, source.auths.get(key)))
        : undefined
      if (login !== undefined) return login
    }
    return undefined
  })

  return Credentials.Credentials.of({
    lookup: Effect.fnUntraced(function*(
      place: Credentials.Place
    ): Effect.fn.Return<Credentials.Credential | undefined, Credentials.CredentialsError> {
      for (const candidate of yield* candidates) {
        const source = yield* candidate.source
        const found = source === undefined ? undefined : yield* lookupIn(source, place)
        if (found !== undefined) return found
      }
      return undefined
    }),
    refused: Effect.fnUntraced(function*(place: Credentials.Place) {
      const places = new Set(CredentialKeys.enclosing(place))
      // only complete entries are listed: a call of a helper that is still running goes on
      for (const [key] of yield* Cache.entries(asked)) {
        if (places.has(key.place)) yield* Cache.invalidate(asked, key)
      }
    })
  })
})

/**
 * A place where credentials are searched, and what it has for a host or repository: `absent`, there is no such file;
 * `none`, it has no entry; `entry`, it has an entry under `key`; `helper`, it names a program that is called with
 * `key`; `broken`, it cannot be read.
 *
 * @category models
 * @since 0.1.0
 */
export interface Looked {
  /** File or variable. */
  readonly source: string
  readonly found: "absent" | "none" | "entry" | "helper" | "broken"
  readonly key?: string | undefined
  readonly program?: string | undefined
}

const lookInto = Effect.fnUntraced(function*({ name, source }: DockerFiles.Candidate, place: Credentials.Place) {
  const config = yield* Effect.option(source)
  if (Option.isNone(config)) return { source: name, found: "broken" } satisfies Looked
  if (config.value === undefined) return { source: name, found: "absent" } satisfies Looked
  for (const { helper, key } of asking(config.value, place)) {
    if (helper !== "") {
      return { source: name, found: "helper", key, program: CredentialHelper.programOf(helper) } satisfies Looked
    }
    const entry = config.value.auths.get(key)
    if (Predicate.isObject(entry) && Object.keys(entry).length > 0) {
      return { source: name, found: "entry", key } satisfies Looked
    }
  }
  return { source: name, found: "none" } satisfies Looked
})

/**
 * Lists the places where credentials for a host or repository are searched, in their order, with what each has. It
 * shows why a registry gets no credentials, or which ones. It calls no helper, and returns no secret.
 *
 * @category accessors
 * @since 0.1.0
 */
export const explain = Effect.fnUntraced(function*(
  place: Credentials.Place,
  options: Options = {}
): Effect.fn.Return<ReadonlyArray<Looked>, Credentials.CredentialsError, FileSystem.FileSystem | Path.Path> {
  return yield* Effect.forEach(yield* DockerFiles.candidates(options.file), (candidate) => lookInto(candidate, place))
})

/**
 * Provides the credentials that docker and podman store.
 *
 * **Example** (One file and no other)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, FileSystem, Layer } from "effect"
 * import * as Credentials from "effect-oci/Credentials"
 * import * as DockerConfig from "effect-oci/DockerConfig"
 *
 * const layer = DockerConfig.layer({ file: "auth.json" }).pipe(Layer.provideMerge(NodeServices.layer))
 *
 * const program = Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   yield* fs.writeFileString("auth.json", `{ "auths": { "ghcr.io": { "username": "ada", "password": "secret" } } }`)
 *   const credentials = yield* Credentials.Credentials
 *   return yield* credentials.lookup({ host: "ghcr.io" })
 * })
 *
 * const found = await Effect.runPromise(Effect.provide(program, layer))
 * found?._tag // => "Basic"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options?: Options
): Layer.Layer<
  Credentials.Credentials,
  never,
  FileSystem.FileSystem | Path.Path | ChildProcessSpawner.ChildProcessSpawner
> => Layer.effect(Credentials.Credentials, make(options))
