/**
 * The connections to registries: the flags of every verb that uses a registry, and the namespace that they configure.
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Path from "effect/Path"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as CredentialKeys from "../auth/CredentialKeys.ts"
import type * as Credentials from "../auth/Credentials.ts"
import * as ExternalBlobs from "../ExternalBlobs.ts"
import * as Limiter from "../Limiter.ts"
import * as Namespace from "../Namespace.ts"
import type * as NodeNamespace from "../node/NodeNamespace.ts"
import { Observer, type RegistryEvent } from "../Observer.ts"
import type { Host } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import * as Resolver from "../Resolver.ts"
import * as Capabilities from "./Capabilities.ts"
import { CredentialSearch } from "./CredentialSearch.ts"
import * as Flags from "./Flags.ts"
import * as GivenCredentials from "./GivenCredentials.ts"
import type * as Locations from "./Locations.ts"
import * as Messages from "./Messages.ts"
import { Failure } from "./Output.ts"
import * as Password from "./Password.ts"
import { misuse, readHost } from "./ReferenceInput.ts"

const readMirror = (text: string) =>
  Result.flatMap(Flags.readPair(text), ([host, mirror]) => Result.map(readHost(host), () => [host, mirror] as const))
    .pipe(
      Result.mapError(() => ({
        message: `${JSON.stringify(text)} is not HOST=MIRROR, such as docker.io=mirror.gcr.io`
      }))
    )

const file = (name: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar("FILE"), Flag.withDescription(description), Flag.optional)

/** Flags of every verb that uses a registry. */
export const commonFlags = {
  plainHttp: Flags.parsed(
    "plain-http",
    "HOST",
    "Use plain HTTP for this host, named with its port. Default: for loopback only. May be repeated",
    readHost
  ).pipe(Flag.atLeast(0)),
  tls: Flags.parsed(
    "tls",
    "HOST",
    "Use HTTPS for this host, named with its port, although it is loopback. May be repeated",
    readHost
  ).pipe(Flag.atLeast(0)),
  insecure: Flags.parsed(
    "insecure",
    "HOST",
    "Skip the check of the certificate of this host, named with its port. May be repeated",
    readHost
  ).pipe(Flag.atLeast(0)),
  caFile: file("ca-file", "Trust the certificate authorities in this PEM file, in addition to those of the system"),
  certFile: file("cert-file", "Client certificate in this PEM file, for registries that require one"),
  keyFile: file("key-file", "Private key of that certificate, as a PEM file"),
  mirror: Flags.parsed(
    "mirror",
    "HOST=MIRROR",
    "Read the content of HOST from MIRROR first, which may be host/path. May be repeated, in order of preference",
    readMirror
  ).pipe(Flag.atLeast(0)),
  capabilities: Capabilities.flag,
  concurrency: Flags.positive(
    "concurrency",
    "Maximum number of concurrent requests per registry. Default: adapts to the registry"
  ).pipe(Flag.optional),
  rate: Flags.rate(
    "rate",
    "Maximum rate of requests per registry, such as 20/s or 100/m. Default: unlimited"
  ).pipe(Flag.optional),
  budget: Flags.positive(
    "budget",
    "Pause requests while a registry says in its RateLimit headers that it accepts only N more. Default: no pause"
  ).pipe(Flag.optional),
  authfile: file(
    "authfile",
    "File of docker or podman with credentials, which login and logout write. Default: their usual files"
  )
}

/** Flags of a verb that names one registry. */
export const flags = { ...commonFlags, ...Password.flags("", "the registry") }

/** Flags of a verb that names a source and destinations. */
export const copyFlags = {
  ...commonFlags,
  from: Password.flags("from-", "the registry of the source"),
  to: Password.flags("to-", "the registry of the destination")
}

/** Values of these flags. */
export interface Settings {
  readonly plainHttp: ReadonlyArray<string>
  readonly tls: ReadonlyArray<string>
  readonly insecure: ReadonlyArray<string>
  readonly caFile: Option.Option<string>
  readonly certFile: Option.Option<string>
  readonly keyFile: Option.Option<string>
  readonly mirror: ReadonlyArray<readonly [host: string, mirror: string]>
  readonly capabilities: ReadonlyArray<readonly [host: string, capabilities: Registry.Capabilities]>
  readonly concurrency: Option.Option<number>
  readonly rate: Option.Option<number>
  readonly budget: Option.Option<number>
  readonly authfile: Option.Option<string>
}

const readPem = Effect.fnUntraced(function*(flag: string, path: string) {
  const fs = yield* FileSystem.FileSystem
  const text = yield* Effect.mapError(
    fs.readFileString(path),
    ({ reason }) => new Failure({ message: `--${flag}: cannot read ${path} (${reason._tag})` })
  )
  if (text.includes("-----BEGIN ")) return text
  return yield* new Failure({ message: `--${flag}: cannot read ${path}: it is not in PEM format` })
})

/** Returns the options of `NodeNamespace` that the flags set. */
export const options = Effect.fnUntraced(
  function*({ caFile, capabilities, certFile, insecure, keyFile, mirror, plainHttp, tls }: Settings) {
    const both = plainHttp.find((host) =>
      tls.some((other) => CredentialKeys.placeOf(other) === CredentialKeys.placeOf(host))
    )
    if (both !== undefined) return yield* misuse(`--plain-http and --tls contradict each other for ${both}`)
    if (Option.isSome(certFile) !== Option.isSome(keyFile)) {
      return yield* misuse("--cert-file and --key-file require each other")
    }
    const mirrors: Record<string, Array<string>> = {}
    for (const [host, name] of mirror) (mirrors[host] ??= []).push(name)
    const options: NonNullable<Parameters<typeof NodeNamespace.layerOptions>[0]> = {
      plainHttp,
      tls,
      insecure,
      mirrors,
      capabilities: Capabilities.byHost(capabilities),
      ...Option.isNone(caFile) ? {} : { ca: [yield* readPem("ca-file", caFile.value)] },
      ...Option.isNone(certFile) || Option.isNone(keyFile) ? {} : {
        certificate: {
          cert: yield* readPem("cert-file", certFile.value),
          key: yield* readPem("key-file", keyFile.value)
        }
      }
    }
    return options
  }
)

/** Returns the credentials of the environment, which are for one host. Incomplete ones are ignored, with a warning. */
const environmentCredentials = Effect.fnUntraced(function*({ anonymous, fromConfig }: typeof Credentials) {
  return yield* fromConfig.pipe(Effect.catch(({ message }) => {
    const [, variable = "a variable"] = /"(OCI_[A-Z_]+)"/.exec(message) ?? []
    return Effect.as(Messages.warn(`credentials of the environment are ignored: ${variable} is missing`), anonymous)
  }))
})

/** Searches credentials in the flags, then in the environment, then in the files of docker and podman. */
const makeCredentials = Effect.fnUntraced(function*(
  { authfile }: Settings,
  given: ReadonlyArray<GivenCredentials.GivenCredential>
) {
  const [Credentials, DockerConfig] = yield* Effect.promise(() =>
    Promise.all([import("../auth/Credentials.ts"), import("../auth/DockerConfig.ts")])
  )
  const environment = yield* environmentCredentials(Credentials)
  const file = Option.getOrUndefined(authfile)
  const flagFor = (place: Credentials.Place) => given.find(({ isFor }) => isFor(place))
  yield* Ref.set(yield* CredentialSearch, {
    file,
    origin: (place) => {
      const flag = flagFor(place)?.flag
      if (flag !== undefined) return Effect.succeed(flag)
      const fromEnvironment = Effect.orElseSucceed(environment.lookup(place), () => undefined)
      return Effect.map(fromEnvironment, (found) => found === undefined ? undefined : "OCI_REGISTRY")
    }
  })
  const fromFlags = Credentials.Credentials.of({
    lookup: (place) => Effect.succeed(flagFor(place)?.credential),
    refused: () => Effect.void
  })
  return Credentials.firstOf(fromFlags, environment, yield* DockerConfig.make({ file }))
})

/** Makes a namespace that loads HTTP when a reference first needs it, because files do without. */
const namespace = Effect.fnUntraced(function*(
  settings: Settings,
  ends: ReadonlyArray<GivenCredentials.End>,
  readsStdin: boolean
) {
  const settled = yield* options(settings)
  const given = yield* GivenCredentials.read(ends, readsStdin)
  const scope = yield* Effect.scope
  const overHttp = yield* Effect.gen(function*() {
    const { layerOptions } = yield* Effect.promise(() => import("../node/NodeNamespace.ts"))
    const credentials = yield* makeCredentials(settings, given)
    const context = yield* Layer.buildWithScope(layerOptions({ ...settled, credentials }), scope)
    return context
  }).pipe(Effect.provideContext(yield* Effect.context<HttpServices>()), Effect.cached)
  const resolver = Resolver.Resolver.of({
    resolve: (host) => Effect.flatMap(overHttp, (context) => Context.get(context, Namespace.Namespace).registry(host))
  })
  const externalBlobs: ExternalBlobs.Open = (descriptor, options) =>
    Stream.unwrap(
      Effect.map(overHttp, (context) =>
        Context.get(context, ExternalBlobs.ExternalBlobs)?.(descriptor, options) ??
          Stream.die("a namespace over HTTP provides it"))
    )
  return Namespace.make({ resolver, externalBlobs })
})

type HttpServices = FileSystem.FileSystem | Path.Path | ChildProcessSpawner

/** Reports the events of registries on stderr. */
export const observe = (event: RegistryEvent): Effect.Effect<void> => {
  switch (event._tag) {
    case "Warning":
      return Messages.send(Messages.warning(event.registry, event.text))
    case "Paused":
      return Messages.send(Messages.paused(event.registry, event.duration))
    case "Retried":
      return Messages.send(Messages.retried(event.registry, event.error.message, event.delay))
    // the cache warns once each time that upstream fails, instead of for each request
    case "ServedStale":
    case "Requested":
      return Effect.void
  }
}

const layerOf = (settings: Settings, ends: ReadonlyArray<GivenCredentials.End>, readsStdin = false) =>
  Layer.merge(
    Layer.effect(Namespace.Namespace, namespace(settings, ends, readsStdin)),
    Layer.succeed(Limiter.PerRegistry, (host) =>
      Limiter.make(host, {
        concurrency: Option.getOrUndefined(settings.concurrency),
        rate: Option.getOrUndefined(settings.rate),
        keep: Option.getOrUndefined(settings.budget)
      }))
  )

/** The value of an argument or a flag that names a place. */
type Naming =
  | Locations.Named
  | Host
  | Option.Option<Host>
  | ReadonlyArray<Locations.Named | { readonly part: unknown }>

const placeOf = (naming: Naming): ReadonlyArray<GivenCredentials.End["places"][number]> => {
  if (typeof naming === "string") return [{ input: naming, registry: { host: naming } }]
  if (isList(naming)) return naming.flatMap((each) => "part" in each ? [] : [each])
  if ("input" in naming) return [naming]
  return Option.match(naming, { onNone: () => [], onSome: (host) => placeOf(host) })
}

const isList = (naming: Exclude<Naming, string>): naming is Extract<Naming, ReadonlyArray<unknown>> =>
  Array.isArray(naming)

interface Input {
  readonly connection: Settings & Password.Given
  /** A file that the verb reads; `-` is stdin. */
  readonly file?: string | undefined
  /** Files that the verb reads; `-` is stdin. */
  readonly files?: ReadonlyArray<{ readonly path: string }> | undefined
}

const layerFor = ({ connection, file, files = [] }: Input, places: GivenCredentials.End["places"]) =>
  layerOf(
    connection,
    [{ prefix: "", given: connection, places }],
    file === "-" || files.some(({ path }) => path === "-")
  )

/** Makes the namespace of one registry, to which the credentials in the settings go. */
export const layerForHost = (settings: Settings & Password.Given, host: Host) =>
  layerFor({ connection: settings }, placeOf(host))

/** Provides what reports the events of registries on stderr. */
export const layerObserver: Layer.Layer<never> = Layer.succeed(Observer, observe)

/** Provides the namespace of a verb. The flags give credentials to the registry that these of its arguments name. */
export const provide =
  <K extends string>(...keys: ReadonlyArray<K>) =>
  <Name extends string, I extends Input & { readonly [Key in K]: Naming }, Context, E, R>(
    self: Command.Command<Name, I, Context, E, R>
  ) =>
    Command.provide(self, (input) => {
      const places = keys.flatMap((key) => placeOf(input[key]))
      return Layer.merge(layerFor(input, places), layerObserver)
    })

/** Provides the namespace of a verb that reports events itself, like {@link provide}. */
export const provideUnwatched =
  <K extends string>(...keys: ReadonlyArray<K>) =>
  <Name extends string, I extends Input & { readonly [Key in K]: Naming }, Context, E, R>(
    self: Command.Command<Name, I, Context, E, R>
  ) => Command.provide(self, (input) => layerFor(input, keys.flatMap((key) => placeOf(input[key]))))

interface CopyInput {
  readonly connection: Settings & { readonly from: Password.Given; readonly to: Password.Given }
  readonly source: Locations.Named
  readonly destinations: ReadonlyArray<Locations.Named>
}

const copyLayer = ({ connection, destinations, source }: CopyInput) =>
  layerOf(connection, [
    { prefix: "from-", given: connection.from, places: [source] },
    { prefix: "to-", given: connection.to, places: destinations }
  ])

/** Provides the namespace of a verb that copies and reports events itself. */
export const provideCopyUnwatched = <Name extends string, I extends CopyInput, Context, E, R>(
  self: Command.Command<Name, I, Context, E, R>
) => Command.provide(self, copyLayer)

/** Provides the namespace of a verb that plans copies. */
export const provideCopy = <Name extends string, I extends CopyInput, Context, E, R>(
  self: Command.Command<Name, I, Context, E, R>
) => Command.provide(self, (input) => Layer.merge(copyLayer(input), layerObserver))
