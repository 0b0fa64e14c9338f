/**
 * The registries of `serve --proxy`, and the cache of their content.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Os from "node:os"
import * as Namespace from "../Namespace.ts"
import type { Registry } from "../Registry.ts"
import * as Connection from "./Connection.ts"
import type * as Password from "./Password.ts"
import { misuse } from "./ReferenceInput.ts"
import type * as ServeSettings from "./ServeSettings.ts"
import type * as ServeStore from "./ServeStore.ts"
import type * as Upstream from "./Upstream.ts"

/** Connection settings of the flags, which are for all upstreams. */
export type Flags = Connection.Settings & Password.Given

/** Returns the settings for one upstream: its own, and those of the flags for the others. */
const settingsOf = (flags: Flags, { connection, host }: Upstream.Upstream): Flags => {
  const own = <A>(value: A | undefined, given: Option.Option<A>) =>
    Option.orElse(Option.fromUndefinedOr(value), () => given)
  const hosts = (isOwn: boolean | undefined, given: ReadonlyArray<string>) => isOwn === true ? [...given, host] : given
  const { passwordFile, username } = connection
  return {
    ...flags,
    plainHttp: hosts(connection.plainHttp, flags.plainHttp),
    tls: hosts(connection.tls, flags.tls),
    insecure: hosts(connection.insecure, flags.insecure),
    caFile: own(connection.caFile, flags.caFile),
    certFile: own(connection.certFile, flags.certFile),
    keyFile: own(connection.keyFile, flags.keyFile),
    concurrency: own(connection.concurrency, flags.concurrency),
    rate: own(connection.rate, flags.rate),
    budget: own(connection.budget, flags.budget),
    ...username === undefined || passwordFile === undefined
      ? {}
      : { username: Option.some(username), passwordFile: Option.some(passwordFile), passwordStdin: false }
  }
}

const hasCredentials = (flags: Flags): boolean =>
  Option.isSome(flags.username) || flags.passwordStdin || Option.isSome(flags.passwordFile)

/** Fails if the settings of connections cannot be used. */
export const check = Effect.fnUntraced(
  function*(flags: Flags, upstreams: ReadonlyArray<Upstream.Upstream>) {
    if (hasCredentials(flags) && upstreams.length !== 1) {
      return yield* misuse(
        upstreams.length === 0
          ? "--username requires a registry: name it with --proxy"
          : "--username is for one registry, but --proxy names several: write credentials into the configuration file, " +
            "or use effect-oci login"
      )
    }
    yield* Effect.forEach(upstreams, (upstream) => Connection.options(settingsOf(flags, upstream)), { discard: true })
  }
)

const open = Effect.fnUntraced(function*(flags: Flags, upstream: Upstream.Upstream) {
  const context = yield* Layer.build(Connection.layerForHost(settingsOf(flags, upstream), upstream.host))
  const resolved = Context.get(context, Namespace.Namespace).registry(upstream.host)
  return yield* Effect.provideContext(resolved, context)
})

/** Opens the upstreams as one registry. */
const openAll = Effect.fnUntraced(function*(flags: Flags, upstreams: ReadonlyArray<Upstream.Upstream>) {
  const opened = yield* Effect.forEach(
    upstreams,
    (upstream) => Effect.map(open(flags, upstream), (registry) => ({ prefix: upstream.prefix, registry }))
  )
  const rest = opened.find(({ prefix }) => prefix === "")?.registry
  const others = opened.filter(({ prefix }) => prefix !== "")
  if (rest !== undefined && others.length === 0) return rest
  const PrefixRegistry = yield* Effect.promise(() => import("../views/PrefixRegistry.ts"))
  return PrefixRegistry.make({
    name: "proxy",
    registries: Object.fromEntries(others.map(({ prefix, registry }) => [prefix, registry])),
    rest
  })
})

/**
 * Returns the maximum sizes of the content of the cache and of its store, in bytes. That of the store is larger,
 * because it counts uploads, and in memory some bytes for each piece of content.
 */
export const sizesOf = ({ cacheSize, dir, maxTotal }: ServeSettings.Values) => {
  // half, because other processes need memory as well
  const usual = dir === undefined ? Math.floor(Os.totalmem() / 2) : undefined
  const cache = cacheSize ?? (maxTotal === undefined ? usual : Math.floor(maxTotal * 0.9))
  const store = maxTotal ?? (dir === undefined && cache !== undefined ? Math.floor(cache * 1.25) : undefined)
  return { cache, store }
}

/** Returns the registry to serve: a read-only cache of the upstreams, which keeps their content in the store. */
export const cached = Effect.fnUntraced(function*(
  flags: Flags,
  settings: ServeSettings.Values,
  upstreams: ReadonlyArray<Upstream.Upstream>,
  store: ServeStore.Store
) {
  const upstream = yield* openAll(flags, upstreams)
  const [CacheRegistry, View] = yield* Effect.promise(() =>
    Promise.all([import("../views/CacheRegistry.ts"), import("../views/View.ts")])
  )
  const { dir } = settings
  const { join } = yield* Path.Path
  const cache: Registry = yield* CacheRegistry.make(upstream, {
    store,
    tagTimeToLive: settings.cacheTagTtl,
    absentTimeToLive: settings.cacheAbsentTtl,
    stale: settings.cacheStale,
    maximumSize: sizesOf(settings).cache,
    ...dir === undefined
      ? {}
      : { journal: yield* CacheRegistry.fileJournal(join(dir, ".effect-oci", "cache.json")), inventory: store.contents }
  })
  // upstream requests use the credentials of this machine, so clients must not write through the cache
  return View.readOnly(cache)
})
