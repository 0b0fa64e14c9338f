/**
 * Settings of `serve`: each is a flag, a variable of the environment, and a key of the configuration file.
 *
 * The flag `--max-blob`, the variable `EFFECT_OCI_SERVE_MAX_BLOB` and the key `maxBlob` are the same setting. The
 * environment overrides the file, and flags override both.
 */
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as CollectionFlags from "./CollectionFlags.ts"
import * as ConfigurationFile from "./ConfigurationFile.ts"
import * as Flags from "./Flags.ts"
import { misuse } from "./ReferenceInput.ts"
import * as TagFlags from "./TagFlags.ts"
import * as Upstream from "./Upstream.ts"

// ---------------------------------------------------------------------------------------------------------------------
// kinds of settings
// ---------------------------------------------------------------------------------------------------------------------

/** A value in a file. */
type FileValue = string | number | boolean | ReadonlyArray<string | typeof Upstream.Fields.Type>

interface Setting<A> {
  readonly flag: (name: string) => Flag.Flag<Option.Option<A>>
  /** Schema of the value in the file, which accepts only what `fromFile` or `parse` accepts. */
  readonly schema: Schema.Codec<FileValue, unknown>
  /** Parses the texts of the value: one, unless it is a list. */
  readonly parse: (texts: ReadonlyArray<string>) => Result.Result<A, string>
  /** Reads the value in a file. Default: parses its texts. */
  readonly fromFile?: ((value: FileValue) => Result.Result<A, string>) | undefined
  readonly isList: boolean
  /** Returns a value of the file with its paths, which are relative to the folder of the file. */
  readonly resolved: (value: A, resolve: (path: string) => string) => A
}

type Read<A> = (text: string) => Result.Result<A, { readonly message: string }>

const textsOf = (value: FileValue): ReadonlyArray<string> =>
  typeof value === "object" ? value.filter((item) => typeof item === "string") : [String(value)]

/** Makes a schema of the values whose text can be parsed. */
const parsedBy = <S extends Schema.Codec<FileValue>>(
  schema: S,
  parse: (texts: ReadonlyArray<string>) => Result.Result<unknown, string>
) =>
  schema.check(
    Schema.makeFilter<S["Type"]>((value) =>
      Result.match(parse(textsOf(value)), { onSuccess: () => undefined, onFailure: (message) => message })
    )
  )

const scalar = <A, S extends Schema.Codec<string | number>>(
  schema: S,
  metavar: string,
  description: string,
  read: Read<A>,
  resolved: Setting<A>["resolved"] = (value) => value
): Setting<A> => {
  const parse: Setting<A>["parse"] = ([text = ""]) => Result.mapError(read(text), ({ message }) => message)
  return {
    flag: (name) => Flags.parsed(name, metavar, description, read).pipe(Flag.optional),
    schema: parsedBy(schema.annotate({ description }), parse),
    parse,
    isList: false,
    resolved
  }
}

const nonEmpty: Read<string> = (text) => text === "" ? Result.fail({ message: "it is empty" }) : Result.succeed(text)

const text = (metavar: string, description: string) => scalar(Schema.String, metavar, description, nonEmpty)

const path = (metavar: string, description: string) =>
  scalar(Schema.String, metavar, description, nonEmpty, (path, resolve) => resolve(path))

const number = (description: string, minimum: number, maximum: number) =>
  scalar(
    Schema.Int,
    "N",
    description,
    (text) =>
      /^[0-9]{1,9}$/.test(text) && Number(text) >= minimum && Number(text) <= maximum
        ? Result.succeed(Number(text))
        : Result.fail({ message: `${JSON.stringify(text)} is not a number from ${minimum} to ${maximum}` })
  )

const count = (description: string) => number(description, 1, 999_999_999)

const size = (description: string) =>
  scalar(Schema.Union([Schema.Int, Schema.String]), "SIZE", description, Flags.readSize)

const duration = (description: string) => scalar(Schema.String, "TIME", description, Flags.readDuration)

const interval = (description: string) =>
  scalar(
    Schema.String,
    "TIME",
    description,
    (text) =>
      Result.filterOrFail(
        Flags.readDuration(text),
        (time) => !Duration.isZero(Duration.fromInputUnsafe(time)),
        () => ({ message: "it must be at least 1s" })
      )
  )

const choice = <const Names extends ReadonlyArray<string>>(names: Names, description: string): Setting<Names[number]> =>
  scalar(Schema.String, names.join("|"), description, (text) => {
    const found = names.find((name) => name === text)
    return found === undefined
      ? Result.fail({ message: `${JSON.stringify(text)} is not ${names.slice(0, -1).join(", ")} or ${names.at(-1)}` })
      : Result.succeed(found)
  })

const boolean = (description: string): Setting<boolean> => ({
  flag: (name) => Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.optional),
  schema: Schema.Boolean.annotate({ description }),
  parse: ([text = ""]) =>
    text === "true" || text === "false"
      ? Result.succeed(text === "true")
      : Result.fail(`${JSON.stringify(text)} is not true or false`),
  isList: false,
  resolved: (value) => value
})

const list = (
  metavar: string,
  description: string,
  resolved: (text: string, resolve: (path: string) => string) => string = (text) => text
): Setting<ReadonlyArray<string>> => ({
  flag: (name) =>
    Flag.String(name).pipe(
      Flag.withMetavar(metavar),
      Flag.withDescription(`${description}. May be repeated`),
      Flag.atLeast(0),
      Flag.map((texts) => texts.length === 0 ? Option.none() : Option.some(texts))
    ),
  schema: Schema.Array(Schema.String).annotate({ description }),
  parse: (texts) => Result.succeed(texts.filter((text) => text !== "")),
  isList: true,
  resolved: (texts, resolve) => texts.map((text) => resolved(text, resolve))
})

const patterns = (description: string): Setting<ReadonlyArray<string>> => {
  const read: Read<string> = (text) => Result.map(TagFlags.readPattern(text), () => text)
  const parse: Setting<ReadonlyArray<string>>["parse"] = (texts) =>
    Result.mapError(Result.all(texts.map(read)), ({ message }) => message)
  return {
    flag: (name) =>
      Flags.parsed(name, "REGEX", `${description}. May be repeated`, read).pipe(
        Flag.atLeast(0),
        Flag.map((texts) => texts.length === 0 ? Option.none() : Option.some(texts))
      ),
    schema: parsedBy(Schema.Array(Schema.String).annotate({ description }), parse),
    parse,
    isList: true,
    resolved: (texts) => texts
  }
}

const upstreams = (description: string): Setting<ReadonlyArray<Upstream.Upstream>> => {
  const fromFile = (value: FileValue) => Upstream.read(typeof value === "object" ? value : [String(value)])
  const read = (text: string) =>
    Result.mapBoth(Upstream.read([text]), {
      onSuccess: () => text,
      onFailure: (message) => ({ message })
    })
  return {
    flag: (name) =>
      Flags.parsed(name, "[PREFIX=]HOST", `${description}. May be repeated`, read).pipe(
        Flag.atLeast(0),
        Flag.mapEffect((texts) =>
          Effect.mapBoth(Effect.fromResult(Upstream.read(texts)), {
            onSuccess: (all) => all.length === 0 ? Option.none() : Option.some(all),
            onFailure: (message) => misuse(`--${name}: ${message}`)
          })
        )
      ),
    schema: Schema.Union([Schema.String, Schema.Array(Upstream.Item)]).annotate({ description }).check(
      Schema.makeFilter((value) =>
        Result.match(fromFile(value), { onSuccess: () => undefined, onFailure: (message) => message })
      )
    ),
    parse: Upstream.read,
    fromFile,
    isList: true,
    resolved: (all, resolve) => all.map((upstream) => Upstream.resolved(upstream, resolve))
  }
}

/** Reads for how long a tag may be served although its upstream is away. */
const readStale: Read<"serve" | "fail" | { readonly maximumAge: Duration.Input }> = (text) => {
  if (text === "always") return Result.succeed("serve")
  if (text === "never") return Result.succeed("fail")
  return Result.mapBoth(Flags.readDuration(text), {
    onSuccess: (maximumAge) => ({ maximumAge }),
    onFailure: () => ({ message: `${JSON.stringify(text)} is not always, never, or a time such as 30m, 12h or 7d` })
  })
}

// ---------------------------------------------------------------------------------------------------------------------
// the settings
// ---------------------------------------------------------------------------------------------------------------------

const collection = CollectionFlags.descriptions("gc-")

const settings = {
  host: text("ADDRESS", "Listen on this address. Default: 127.0.0.1, which only this machine can reach"),
  port: number("Listen on this port; 0 selects a free one. Default: 5000", 0, 65_535),
  dir: path("DIR", "Store the content in this folder, as OCI image layouts. Default: in memory"),
  deletableBlobs: choice(
    ["unneeded", "all"],
    "Blobs that clients may delete: those that no manifest needs, or all. Default: unneeded"
  ),
  verification: choice(
    ["changed", "always"],
    "Blobs in --dir to hash at each read: those whose files changed since this process hashed them, or all. " +
      "Default: changed"
  ),
  delete: boolean("Allow clients to delete tags, manifests and blobs; --no-delete refuses it. Default: allowed"),
  readOnly: boolean("Refuse all changes"),
  user: list(
    "NAME:PASSWORD_FILE",
    "Require authentication as this user; the first line of the file is the password",
    (text, resolve) => text.replace(/:(.+)$/s, (_, file: string) => `:${resolve(file)}`)
  ),
  htpasswd: path(
    "FILE",
    "Require authentication as one of the users in this file, as htpasswd -B writes it (bcrypt only)"
  ),
  access: path(
    "FILE",
    "Allow users and anonymous clients what the rules in this file say (YAML, JSON or TOML; see effect-oci schema " +
      "serve-access). Default: users may do everything, and anonymous clients nothing"
  ),
  auth: choice(
    ["basic", "token"],
    "Ask users for their password with each request, or for a token of /token, which clients get for their password. " +
      "The password is accepted in both cases. Default: basic"
  ),
  tokenRealm: text(
    "URL",
    "URL of /token for clients, if they reach this server by another than the one in their requests"
  ),
  tlsCert: path(
    "FILE",
    "Serve HTTPS with the certificate in this file (PEM, with intermediate certificates). It is read again when it " +
      "changes"
  ),
  tlsKey: path("FILE", "File with the private key of --tls-cert (PEM, without a passphrase)"),
  allowedHost: list(
    "NAME",
    "Accept requests for this host name, and requests of its web pages. Default: any name with users or a --host " +
      "that other machines can reach, or else loopback names"
  ),
  maxBlob: size("Maximum size of a blob. Default: 100GiB"),
  maxRepository: size("Maximum size of all content of one repository. Default: unlimited"),
  maxTotal: size(
    "Maximum size of all content. Default: unlimited in a folder, or else half of the memory of the machine"
  ),
  maxUploads: count("Maximum number of open upload sessions. Default: 10000"),
  maxClientUploads: count(
    "Maximum number of open upload sessions per client, which is a user, or without users an address. Default: 1000"
  ),
  maxRequests: count("Maximum number of requests in flight. Default: 10000"),
  maxClientRequests: count("Maximum number of requests in flight per client. Default: 2000"),
  maxClientRate: count("Maximum number of requests per client and minute. Default: 100000"),
  maxMemory: size("Maximum total size of the manifests and lists in transfer. Default: 128MiB"),
  maxClientMemory: size("Maximum total size of the manifests and lists in transfer per client. Default: 64MiB"),
  minBodyRate: size("Minimum rate of request and response bodies, per second. Default: 1KiB"),
  gc: interval("Remove blobs that no manifest needs at this interval, such as 12h. Default: never"),
  gcOlderThan: duration(collection.olderThan),
  gcUntagged: choice(CollectionFlags.policies, collection.untagged),
  gcDangling: choice(CollectionFlags.policies, collection.dangling),
  gcBroken: choice(CollectionFlags.policies, collection.broken),
  gcKeepNewest: count(collection.keepNewest),
  gcKeepBy: choice(CollectionFlags.orders, collection.keepBy),
  gcInclude: patterns(collection.include),
  gcExclude: patterns(collection.exclude),
  scrub: interval(
    "Read all content at this interval, such as 7d, and report what is missing or does not match its digest. Default: " +
      "never"
  ),
  scrubRate: size("Maximum number of bytes that --scrub reads per second. Default: 16MiB"),
  scrubBroken: choice(
    ["report", "quarantine"],
    "Content that does not match its digest: leave it, or move it to .effect-oci/broken, so that it can be pushed or " +
      "fetched again. Default: report"
  ),
  grace: count("Seconds to wait for requests in flight after SIGTERM. Default: 3"),
  proxy: upstreams(
    "Serve the content of the registry at this host, read-only, and cache it; with a prefix, its repositories are " +
      "below it, such as hub=docker.io. A client that uses this server as a mirror selects it by ?ns=HOST. Every " +
      "upstream request uses the stored docker login of this machine; restrict clients with users"
  ),
  cacheSize: size(
    "Maximum size of the content that --proxy caches; what was used longest ago goes first. Default: nine tenths of " +
      "--max-total, or else unlimited in a folder, and half of the memory of the machine otherwise"
  ),
  cacheTagTtl: duration("Ask the registry of --proxy again for a tag after this time. Default: 5m"),
  cacheAbsentTtl: duration("Ask the registry of --proxy again for absent content after this time. Default: 10s"),
  cacheStale: scalar(
    Schema.String,
    "always|never|TIME",
    "Serve tags, and lists of them, as last known while the registry of --proxy is away: always, never, or if it " +
      "confirmed them within this time. Default: always",
    readStale
  ),
  ui: boolean(
    "Show browsers a page of the repositories, images and their sizes, at /; --no-ui does not. Viewers see what they may " +
      "pull. Default: only if --host is a loopback address"
  ),
  uiChanges: boolean("Let viewers of the page add, move and delete tags and manifests if they have the rights"),
  metricsPort: number(
    "Serve /metrics on this port instead, without authentication, beside /healthz and /readyz; 0 selects a free one",
    0,
    65_535
  ),
  log: choice(
    ["text", "json", "off"],
    "Log each request on stderr as a line of text, as a JSON object, or not at all. Default: text, or json with --json"
  )
}

type Settings = typeof settings

type Name = keyof Settings

/** Values of the settings. `undefined` stands for the default. */
export type Values = {
  readonly [Key in Name]: Settings[Key] extends Setting<infer A> ? A | undefined : never
}

// the keys of an object literal are exactly those of its type
const names = Object.keys(settings) as ReadonlyArray<Name>

const flagName = (name: Name): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

const variable = (name: string): string =>
  `EFFECT_OCI_SERVE_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`

type FlagOf<A> = A extends Setting<infer Value> ? Flag.Flag<Option.Option<Value>> : never

/** The flags. */
// each key has the flag of its setting
export const flags = Object.fromEntries(names.map((name) => [name, settings[name].flag(flagName(name))])) as {
  readonly [Key in Name]: FlagOf<Settings[Key]>
}

/** Values of the flags. */
export type Given = { readonly [Key in Name]: Option.Option<NonNullable<Values[Key]>> }

/** Schema of the configuration file. */
export const ServeConfig = Schema.Struct(
  Object.fromEntries(names.map((name) => [name, Schema.optionalKey<Setting<unknown>["schema"]>(settings[name].schema)]))
)

// ---------------------------------------------------------------------------------------------------------------------
// reading
// ---------------------------------------------------------------------------------------------------------------------

type Found = Partial<Record<Name, unknown>>

const isName = (key: string): key is Name => Object.hasOwn(settings, key)

/** Reads the values in a file. */
const readFile = Effect.fnUntraced(function*(file: string) {
  const { dirname, resolve } = yield* Path.Path
  const text = yield* ConfigurationFile.readText(file)
  const decoded = yield* Effect.fromResult(ConfigurationFile.decode(file, text, ServeConfig))
  const folder = dirname(resolve(file))
  const found: Found = {}
  for (const [key, value] of Object.entries(decoded)) {
    if (!isName(key) || value === undefined) continue
    // the value has the type of its setting, which the compiler cannot relate to the key
    const setting = settings[key] as Setting<unknown>
    // the schema accepts only values that can be parsed
    const parsed = Result.getOrThrow(setting.fromFile?.(value) ?? setting.parse(textsOf(value)))
    found[key] = setting.resolved(parsed, (path) => resolve(folder, path))
  }
  return found
})

const ofEnvironment = (name: string): Effect.Effect<string | undefined> =>
  Effect.orElseSucceed(Config.String(variable(name)), () => undefined)

/** Splits the text of a list at its commas, except those in a repetition of a pattern, such as `{1,3}`. */
const split = (text: string): ReadonlyArray<string> => text.split(/,(?![^{}]*\})/).map((part) => part.trim())

/** Reads the values in the environment. An empty variable is like none. */
const readEnvironment = Effect.gen(function*() {
  const found: Found = {}
  const problems: Array<string> = []
  for (const name of names) {
    const text = yield* ofEnvironment(name)
    if (text === undefined || text === "") continue
    const { isList, parse } = settings[name]
    const parsed: Result.Result<unknown, string> = parse(isList ? split(text) : [text])
    if (Result.isSuccess(parsed)) found[name] = parsed.success
    else problems.push(`${variable(name)}: ${parsed.failure}`)
  }
  return problems.length === 0 ? found : yield* new ConfigurationFile.FileProblems({ lines: problems })
})

/** Returns the configuration file that the flag or the environment names. */
export const fileOf = (flag: Option.Option<string>): Effect.Effect<string | undefined> =>
  Option.isSome(flag) ? Effect.succeed(flag.value) : ofEnvironment("config")

/** Reads the settings: flags override the environment, which overrides the file. */
export const read = Effect.fnUntraced(function*(given: Given, file: string | undefined): Effect.fn.Return<
  Values,
  ConfigurationFile.FileProblems,
  FileSystem.FileSystem | Path.Path
> {
  const ofFlags = Object.fromEntries(
    names.flatMap((name) => {
      const value = Option.getOrUndefined<unknown>(given[name])
      return value === undefined ? [] : [[name, value]]
    })
  )
  const nothing = Object.fromEntries(names.map((name) => [name, undefined]))
  const found = { ...file === undefined ? {} : yield* readFile(file), ...yield* readEnvironment, ...ofFlags }
  // each value was parsed by the setting of its key
  return { ...nothing, ...found } as Values
})

/** Settings that a running server takes over when it reads its configuration again. */
const changeable: ReadonlySet<Name> = new Set(["user", "htpasswd", "access", "tlsCert", "tlsKey"])

/** Returns the flags of the settings that have changed, but only count after a restart. */
export const needRestart = (former: Values, current: Values): ReadonlyArray<string> =>
  names.filter((name) => !changeable.has(name) && JSON.stringify(former[name]) !== JSON.stringify(current[name]))
    .map((name) => `--${flagName(name)}`)
