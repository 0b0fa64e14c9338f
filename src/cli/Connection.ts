/**
 * How the registries are spoken to: the flags that every verb has which speaks to any, and what they come to.
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stdio from "effect/Stdio"
import * as Limiter from "../Limiter.ts"
import * as Namespace from "../Namespace.ts"
import type * as NodeNamespace from "../node/NodeNamespace.ts"
import { Observer, type RegistryEvent } from "../Observer.ts"
import type * as Registry from "../Registry.ts"
import * as Resolver from "../Resolver.ts"
import * as Capabilities from "./Capabilities.ts"
import * as Flags from "./Flags.ts"
import { misuse, readHost } from "./Names.ts"
import { Failure } from "./Output.ts"
import * as Words from "./Words.ts"

const readMirror = (text: string) =>
  Result.flatMap(Flags.readPair(text), ([host, mirror]) => Result.map(readHost(host), () => [host, mirror] as const))
    .pipe(
      Result.mapError(() => ({
        message: `${JSON.stringify(text)} is not HOST=MIRROR, such as docker.io=mirror.gcr.io`
      }))
    )

const file = (name: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar("FILE"), Flag.withDescription(description), Flag.optional)

/** The flags, for the definition of a verb. */
export const flags = {
  plainHttp: Flags.parsed(
    "plain-http",
    "HOST",
    "Speak plain HTTP to this host, named with its port; loopback always is. May be repeated",
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
  ).pipe(Flag.optional)
}

/** What the flags say. */
export interface Settings {
  readonly plainHttp: ReadonlyArray<string>
  readonly insecure: ReadonlyArray<string>
  readonly caFile: Option.Option<string>
  readonly certFile: Option.Option<string>
  readonly keyFile: Option.Option<string>
  readonly mirror: ReadonlyArray<readonly [host: string, mirror: string]>
  readonly capabilities: ReadonlyArray<readonly [host: string, capabilities: Registry.Capabilities]>
  readonly concurrency: Option.Option<number>
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
  function*({ caFile, capabilities, certFile, insecure, keyFile, mirror, plainHttp }: Settings) {
    if (Option.isSome(certFile) !== Option.isSome(keyFile)) {
      return yield* misuse("--cert-file and --key-file belong together")
    }
    const mirrors: Record<string, Array<string>> = {}
    for (const [host, name] of mirror) (mirrors[host] ??= []).push(name)
    const options: NonNullable<Parameters<typeof NodeNamespace.layerOptions>[0]> = {
      plainHttp,
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

/** A namespace that has nothing of HTTP in it until a reference leads there: files do without. */
const namespace = Effect.fnUntraced(function*(settings: Settings) {
  const settled = yield* options(settings)
  const scope = yield* Effect.scope
  const overHttp = yield* Effect.promise(() => import("../node/NodeNamespace.ts")).pipe(
    Effect.flatMap(({ layerOptions }) => Layer.buildWithScope(layerOptions(settled), scope)),
    Effect.map((context) => Context.get(context, Namespace.Namespace)),
    Effect.cached
  )
  const resolver = Resolver.Resolver.of({
    resolve: (host) => Effect.flatMap(overHttp, ({ registry }) => registry(host))
  })
  return Namespace.make({ resolver })
})

/** Says on stderr what registries warn of, and why it takes long; on a terminal also what is tried again. */
const observing = Effect.gen(function*() {
  const { stderrIsTerminal } = yield* Stdio.Stdio
  const isWatched = yield* stderrIsTerminal
  return (event: RegistryEvent): Effect.Effect<void> => {
    switch (event._tag) {
      case "Warning":
        return Console.error(Words.foreign(`warning from ${event.registry}: ${event.text}`))
      case "Paused":
        return Console.error(`${event.registry} asks for a pause: waiting ${Duration.format(event.duration)}`)
      case "Retried":
        return isWatched ? Console.error(Words.oneLine(`${event.error.message}: trying again`)) : Effect.void
      case "Requested":
        return Effect.void
    }
  }
})

const layerOf = (settings: Settings) =>
  Layer.merge(
    Layer.effect(Namespace.Namespace, namespace(settings)),
    Option.match(settings.concurrency, { onNone: () => Layer.empty, onSome: Limiter.layerFixed })
  )

interface Input {
  readonly connection: Settings
}

/** Provides the namespace of a verb that tells by itself what happens. */
export const provideUnwatched = <Name extends string, I extends Input, Context, E, R>(
  self: Command.Command<Name, I, Context, E, R>
) => Command.provide(self, ({ connection }) => layerOf(connection))

/** Provides the namespace of a verb. */
export const provide = <Name extends string, I extends Input, Context, E, R>(
  self: Command.Command<Name, I, Context, E, R>
) => Command.provide(self, ({ connection }) => Layer.merge(layerOf(connection), Layer.effect(Observer, observing)))
