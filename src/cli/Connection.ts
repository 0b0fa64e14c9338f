/**
 * How the registries are spoken to: the flags that every verb has which speaks to any, and what they come to.
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Path from "effect/Path"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as Stdio from "effect/Stdio"
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
import * as Output from "./Output.ts"
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

/** The flags of every verb, and of `login`. */
export const commonFlags = {
  plainHttp: Flags.parsed(
    "plain-http",
    "HOST",
    "Speak plain HTTP to this host, named with its port. Default: only to loopback. May be repeated",
    readHost
  ).pipe(Flag.atLeast(0)),
  tls: Flags.parsed(
    "tls",
    "HOST",
    "Speak HTTPS to this host, named with its port, although it is loopback. May be repeated",
    readHost
  ).pipe(Flag.atLeast(0)),
  insecure: Flags.parsed(
    "insecure",
    "HOST",
    "Do not check the certificate of this host, named with its port. May be repeated",
    readHost
  ).pipe(Flag.atLeast(0)),
  caFile: file("ca-file", "Trust the authorities in this PEM file, besides those of the system"),
  certFile: file("cert-file", "Show the certificate in this PEM file to registries that ask for one"),
  keyFile: file("key-file", "The key of that certificate, in PEM"),
  mirror: Flags.parsed(
    "mirror",
    "HOST=MIRROR",
    "Read what HOST has from MIRROR first, which may be host/path. May be repeated; the first comes first",
    readMirror
  ).pipe(Flag.atLeast(0)),
  capabilities: Capabilities.flag,
  concurrency: Flags.positive(
    "concurrency",
    "How many requests are under way at each registry at a time; found out on the way unless given"
  ).pipe(Flag.optional),
  authfile: file(
    "authfile",
    "Read credentials from this file of docker or podman, and login and logout write it. Default: their usual files"
  )
}

/** The flags, for the definition of a verb that names one registry. */
export const flags = { ...commonFlags, ...Password.flags("", "the registry") }

/** The flags, for the definition of a verb that names a source and destinations. */
export const copyFlags = {
  ...commonFlags,
  from: Password.flags("from-", "the registry of the source"),
  to: Password.flags("to-", "the registry of the destination")
}

/** What the flags say. */
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
  readonly authfile: Option.Option<string>
}

const readPem = Effect.fnUntraced(function*(flag: string, path: string) {
  const fs = yield* FileSystem.FileSystem
  const text = yield* Effect.mapError(
    fs.readFileString(path),
    ({ reason }) => new Failure({ message: `--${flag}: ${path} cannot be read (${reason._tag})` })
  )
  if (text.includes("-----BEGIN ")) return text
  return yield* new Failure({ message: `--${flag}: ${path} is not in PEM` })
})

/** How `NodeNamespace` is to be made. */
export const options = Effect.fnUntraced(
  function*({ caFile, capabilities, certFile, insecure, keyFile, mirror, plainHttp, tls }: Settings) {
    const both = plainHttp.find((host) =>
      tls.some((other) => CredentialKeys.placeOf(other) === CredentialKeys.placeOf(host))
    )
    if (both !== undefined) return yield* misuse(`--plain-http and --tls contradict each other for ${both}`)
    if (Option.isSome(certFile) !== Option.isSome(keyFile)) {
      return yield* misuse("--cert-file and --key-file belong together")
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
    const warning = `warning: credentials of the environment are ignored: ${variable} is missing`
    return Effect.as(Output.note(warning), anonymous)
  }))
})

/** Looks for credentials in the flags, then in the environment, then where docker and podman keep them. */
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

/** A namespace that has nothing of HTTP in it until a reference leads there: files do without. */
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
          Stream.die("it comes with the namespace"))
    )
  return Namespace.make({ resolver, externalBlobs })
})

type HttpServices = FileSystem.FileSystem | Path.Path | ChildProcessSpawner

/** Says on stderr what registries warn of, and why it takes long; on a terminal also what is tried again. */
const observing = Effect.gen(function*() {
  const { stderrIsTerminal } = yield* Stdio.Stdio
  const isWatched = yield* stderrIsTerminal
  return (event: RegistryEvent): Effect.Effect<void> => {
    switch (event._tag) {
      case "Warning":
        return Output.note(`warning: ${event.registry}: ${event.text}`)
      case "Paused":
        return Output.note(`${event.registry} asks for a pause: waiting ${Duration.format(event.duration)}`)
      case "Retried":
        return isWatched ? Output.note(`${event.error.message}: trying again`) : Effect.void
      case "Requested":
        return Effect.void
    }
  }
})

const layerOf = (settings: Settings, ends: ReadonlyArray<GivenCredentials.End>, readsStdin = false) =>
  Layer.merge(
    Layer.effect(Namespace.Namespace, namespace(settings, ends, readsStdin)),
    Option.match(settings.concurrency, { onNone: () => Layer.empty, onSome: Limiter.layerFixed })
  )

/** What an argument or a flag names. */
type Naming = Locations.Named | Host | Option.Option<Host>

const placeOf = (naming: Naming): ReadonlyArray<GivenCredentials.End["places"][number]> => {
  if (typeof naming === "string") return [{ input: naming, registry: { host: naming } }]
  if ("input" in naming) return [naming]
  return Option.match(naming, { onNone: () => [], onSome: (host) => placeOf(host) })
}

interface Input {
  readonly connection: Settings & Password.Given
  /** A file that is read, which is stdin if it is `-`. */
  readonly file?: string
}

/** Provides the namespace of a verb, to whose registry, in these of its arguments, the flags give credentials. */
export const provide =
  <K extends string>(...keys: ReadonlyArray<K>) =>
  <Name extends string, I extends Input & { readonly [Key in K]: Naming }, Context, E, R>(
    self: Command.Command<Name, I, Context, E, R>
  ) =>
    Command.provide(self, (input) => {
      const places = keys.flatMap((key) => placeOf(input[key]))
      const layer = layerOf(input.connection, [{ prefix: "", given: input.connection, places }], input.file === "-")
      return Layer.merge(layer, Layer.effect(Observer, observing))
    })

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

/** Provides the namespace of a verb that copies, and reports events itself. */
export const provideCopyUnwatched = <Name extends string, I extends CopyInput, Context, E, R>(
  self: Command.Command<Name, I, Context, E, R>
) => Command.provide(self, copyLayer)

/** Provides the namespace of a verb that plans copies. */
export const provideCopy = <Name extends string, I extends CopyInput, Context, E, R>(
  self: Command.Command<Name, I, Context, E, R>
) => Command.provide(self, (input) => Layer.merge(copyLayer(input), Layer.effect(Observer, observing)))
