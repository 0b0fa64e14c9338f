/**
 * Configuration of a mirror: registries, rules, notifications.
 *
 * **Details**
 *
 * A configuration is a file in YAML, JSON or TOML, or the same as a value. `effect-oci schema mirror` prints its JSON
 * Schema, and `examples/mirror.yml` shows every field. {@link load} also reads the files of regsync, skopeo sync,
 * image-syncer and ocync as they are.
 *
 * The file contains no passwords. It names where credentials are: `credentials: docker`, `env:PREFIX` or `file:PATH`.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import { isObject } from "effect/Predicate"
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Host } from "../Reference.ts"
import * as Reference from "../Reference.ts"
import { printable } from "../Text.ts"
import * as FieldDecoder from "./FieldDecoder.ts"
import * as FileSyntax from "./FileSyntax.ts"
import type * as Foreign from "./foreign/Foreign.ts"
import * as ForeignFile from "./foreign/ForeignFile.ts"
import * as Encoded from "./MirrorFile.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import * as Overlap from "./Overlap.ts"
import * as Problem from "./Problem.ts"
import * as RuleDecoder from "./RuleDecoder.ts"
import * as Spelling from "./Spelling.ts"

// ---------------------------------------------------------------------------------------------------------------------
// models
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Credentials of a registry: those of docker's files, of the environment variables `PREFIX_USERNAME` and
 * `PREFIX_PASSWORD`, of a file with `username:password`, or given ones.
 *
 * @category models
 * @since 0.1.0
 */
export type RegistryCredentials =
  | { readonly _tag: "Docker" }
  | { readonly _tag: "Environment"; readonly prefix: string }
  | { readonly _tag: "File"; readonly path: string }
  | { readonly _tag: "Password"; readonly username: string; readonly password: Redacted.Redacted }

/**
 * Settings of one registry.
 *
 * @category models
 * @since 0.1.0
 */
export interface RegistrySettings {
  readonly host: Host
  readonly credentials: RegistryCredentials
  /** Largest number of requests in each second. */
  readonly rate: number | undefined
  /** Requests are paused if the registry says in its RateLimit headers that only so many are left. */
  readonly budget: { readonly keep: number } | undefined
  /** Largest number of requests at the same time. */
  readonly concurrency: number | undefined
  readonly scheme: "default" | "plainHttp" | "tls" | "insecure"
}

/**
 * Events of which a webhook is notified.
 *
 * @category models
 * @since 0.1.0
 */
export interface Notification {
  readonly webhook: string
  readonly on: ReadonlyArray<"failed" | "recovered" | "pruned" | "finished">
}

/**
 * A complete configuration.
 *
 * @category models
 * @since 0.1.0
 */
export interface MirrorConfig {
  readonly registries: ReadonlyArray<RegistrySettings>
  readonly rules: ReadonlyArray<MirrorRule>
  /** URL of the store of the state, if the file names one. */
  readonly store: string | undefined
  readonly notify: ReadonlyArray<Notification>
  /** Command and arguments that run before the first push to a repository that the destination lacks. */
  readonly onRepositoryMissing: ReadonlyArray<string> | undefined
}

/**
 * A configuration as it is written: the value of a file.
 *
 * @category models
 * @since 0.1.0
 */
export type MirrorFile = Encoded.MirrorFile

/**
 * Schema of a configuration as it is written.
 *
 * @category schemas
 * @since 0.1.0
 */
export const MirrorFile: Schema.Codec<MirrorFile> = Encoded.MirrorFile

/**
 * A configuration is not valid. Contains all problems that were found.
 *
 * @category errors
 * @since 0.1.0
 */
export class MirrorConfigError extends Schema.TaggedError<MirrorConfigError>(
  "effect-oci/MirrorConfig/MirrorConfigError"
)("MirrorConfigError", {
  /** Name of the file, if the configuration is one. */
  file: Schema.optionalKey(Schema.String),
  problems: Schema.Array(Schema.Struct({
    /** Line of an error of syntax, from 1. */
    line: Schema.optionalKey(Schema.Natural),
    /** Place of the value, such as `rules[2].tags.semver`. */
    path: Schema.String,
    message: Schema.String
  }))
}) {
  /** One line for each problem. */
  get lines(): ReadonlyArray<string> {
    return this.problems.map(({ line, message, path }) => {
      const place = [...this.file === undefined ? [] : [this.file], ...line === undefined ? [] : [`${line}`]].join(":")
      return printable([...place === "" ? [] : [place], ...path === "" ? [] : [path], message].join(": "))
    })
  }
  override get message(): string {
    return this.lines.join("\n")
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// decoding
// ---------------------------------------------------------------------------------------------------------------------

/** Maximum number of rules. */
const maximumRules = 10_000

/** Maximum number of problems that an error contains. */
const maximumProblems = 100

type Problems = ReadonlyArray<Problem.Problem>

const credentialsOf = (text = "docker"): RegistryCredentials => {
  const { kind, name } = Result.getOrThrow(Encoded.credentials(text))
  return kind === "env"
    ? { _tag: "Environment", prefix: name }
    : kind === "file"
    ? { _tag: "File", path: name }
    : { _tag: "Docker" }
}

const unknownHost = Reference.Host.make("unknown.invalid")

/** Registries by alias or host, as far as they could be decoded. */
interface Registries {
  readonly settings: ReadonlyArray<RegistrySettings>
  readonly aliases: ReadonlyMap<string, Host>
  readonly problems: Problems
}

const decodeRegistries = (value: unknown): Registries => {
  const settings: Array<RegistrySettings> = []
  const aliases = new Map<string, Host>()
  const problems: Array<Problem.Problem> = []
  if (value === undefined) return { settings, aliases, problems }
  if (!isObject(value)) {
    problems.push({ path: ["registries"], message: `expected a mapping, found ${Problem.found(value)}` })
    return { settings, aliases, problems }
  }
  for (const [key, entry] of Object.entries(value)) {
    const path = ["registries", key]
    const { problems: own, value } = FieldDecoder.decodeFields<typeof Encoded.RegistryEntry.Type>(
      Encoded.RegistryEntry,
      entry,
      path
    )
    problems.push(...own)
    const host = Reference.parseHost(value.host ?? key)
    if (Result.isFailure(host)) {
      if (own.length === 0) problems.push({ path, message: `is not a host: write ${key}: { host: HOST }` })
      // rules that name the alias have no problem of their own
      aliases.set(key, unknownHost)
      continue
    }
    if (settings.some(({ host: other }) => other === host.success)) {
      problems.push({ path, message: `${host.success} has settings already` })
    }
    aliases.set(key, host.success)
    settings.push({
      host: host.success,
      credentials: credentialsOf(value.credentials),
      rate: value.rate === undefined ? undefined : Result.getOrThrow(Spelling.rate(value.rate)),
      budget: value.budget,
      concurrency: value.concurrency,
      scheme: value.scheme ?? "default"
    })
  }
  return { settings, aliases, problems }
}

/** Rules, as far as they could be decoded. */
interface Rules {
  readonly rules: ReadonlyArray<MirrorRule>
  readonly problems: Problems
}

const decodeRules = (
  value: unknown,
  defaults: RuleDecoder.Written["defaults"],
  aliases: ReadonlyMap<string, Host>
): Rules => {
  const one = (message: string): Rules => ({ rules: [], problems: [{ path: ["rules"], message }] })
  if (!Array.isArray(value)) {
    return value === undefined
      ? one("is missing")
      : one(`expected a list, found ${Problem.found(value)}`)
  }
  if (value.length > maximumRules) return one(`has ${value.length} rules: ${maximumRules} are allowed`)
  if (value.length === 0) return one("write at least one rule")
  const rules: Array<MirrorRule> = []
  const problems: Array<Problem.Problem> = []
  const names = new Map<string, number>()
  for (const [index, entry] of value.entries()) {
    const path = ["rules", index]
    const { problems: own, value: rule } = FieldDecoder.decodeFields<Encoded.Rule>(Encoded.Rule, entry, path)
    problems.push(...own)
    const base = rule.name ?? RuleDecoder.nameOf(rule, index)
    let name = base
    for (let count = 2; rule.name === undefined && names.has(name); count++) name = `${base}-${count}`
    const other = names.get(name)
    if (other !== undefined) {
      problems.push({
        path: [...path, "name"],
        message: `rules[${other}] has the name ${JSON.stringify(name)} already`
      })
    }
    names.set(name, index)
    const decoded = RuleDecoder.decode({ rule, defaults, aliases, path }, name)
    if (Result.isFailure(decoded)) problems.push(...decoded.failure)
    // a rule with a problem may select other tags than it is meant to
    else if (own.length === 0) rules.push(decoded.success)
  }
  for (const overlap of Overlap.certain(rules)) {
    const index = names.get(overlap.rules[1]) ?? 0
    problems.push({ path: ["rules", index, "to"], message: Overlap.format(overlap) })
  }
  return { rules, problems }
}

const errorOf = (problems: Problems, file: string | undefined): MirrorConfigError => {
  const all = Problem.withoutDoubles(problems)
  const shown = all.slice(0, maximumProblems).map(({ message, path }) => ({ path: Problem.formatPath(path), message }))
  const more = all.length - shown.length
  return new MirrorConfigError({
    ...file === undefined ? {} : { file },
    problems: more === 0 ? shown : [...shown, { path: "", message: `there are ${more} more problems` }]
  })
}

/**
 * Decodes a configuration. Fails with all problems at once.
 *
 * **Example** (All problems of a configuration)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import * as MirrorConfig from "effect-oci/MirrorConfig"
 *
 * const config = MirrorConfig.decode({
 *   version: 1,
 *   rules: [{ from: "docker.io/library/alpine", to: "mirror.test/alpine", tags: { semvr: "^3" }, trust: "soon" }]
 * })
 *
 * Result.getOrThrow(Result.flip(config)).lines.length // => 2
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const decode = (
  value: unknown,
  options: { readonly file?: string | undefined } = {}
): Result.Result<MirrorConfig, MirrorConfigError> => {
  const whole = FieldDecoder.decodeFields<MirrorFile>(Encoded.MirrorFile, value, [], [
    "registries",
    "defaults",
    "rules"
  ])
  if (!isObject(value)) return Result.fail(errorOf(whole.problems, options.file))
  const registries = decodeRegistries(value["registries"])
  const defaults = value["defaults"] === undefined
    ? { value: {}, problems: [] }
    : FieldDecoder.decodeFields<Encoded.Defaults>(Encoded.Defaults, value["defaults"], ["defaults"])
  const { problems, rules } = decodeRules(value["rules"], defaults.value, registries.aliases)
  const found = [...whole.problems, ...registries.problems, ...defaults.problems, ...problems]
  if (found.length > 0) return Result.fail(errorOf(found, options.file))
  const { notify = [], onRepositoryMissing, store } = whole.value
  return Result.succeed({
    registries: registries.settings,
    rules,
    store,
    notify: notify.map(({ on = ["failed", "recovered"], webhook }) => ({ webhook, on })),
    onRepositoryMissing: onRepositoryMissing?.exec
  })
}

const syntaxError = (file: string, { line, message }: FileSyntax.SyntaxProblem): MirrorConfigError =>
  new MirrorConfigError({ file, problems: [{ ...line === undefined ? {} : { line }, path: "", message }] })

/**
 * Parses and decodes the text of a file in YAML, JSON or TOML. The extension of its name says which, or else its
 * content.
 *
 * **Example** (The line of an error of syntax)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import * as MirrorConfig from "effect-oci/MirrorConfig"
 *
 * const config = MirrorConfig.parse("mirror.yml", "version: 1\nrules: *all\n")
 *
 * Result.getOrThrow(Result.flip(config)).message // => "mirror.yml:2: invalid YAML: Unknown YAML alias '*all'"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const parse = (file: string, text: string): Result.Result<MirrorConfig, MirrorConfigError> =>
  FileSyntax.parse(file, text).pipe(
    Result.mapError((problem) => syntaxError(file, problem)),
    Result.flatMap((value) => decode(value, { file }))
  )

// ---------------------------------------------------------------------------------------------------------------------
// files
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Options for the files of other tools, which do not contain everything.
 *
 * @category models
 * @since 0.1.0
 */
export interface LoadOptions {
  /** Destination of a file of skopeo sync: `HOST` or `HOST/PREFIX`. */
  readonly to?: string | undefined
  /**
   * Repositories of the destination for a file of skopeo sync. Default: `base`.
   *
   * - `base`: the last part of the repository of the source.
   * - `scoped`: the host and the repository of the source.
   */
  readonly names?: "base" | "scoped" | undefined
  /** File with the credentials for a file of image-syncer. */
  readonly auth?: string | undefined
}

/**
 * A configuration, and the file that it is made of.
 *
 * @category models
 * @since 0.1.0
 */
export interface Loaded {
  readonly config: MirrorConfig
  readonly format: "native" | "regsync" | "skopeo" | "image-syncer" | "ocync"
  /** The file of a mirror that stands for the file of another tool. It contains no passwords. */
  readonly file: MirrorFile
  /** Parts of the file of another tool without a counterpart. */
  readonly omissions: ReadonlyArray<{ readonly path: string; readonly message: string }>
}

const variable = (name: string) => Effect.orElseSucceed(Config.option(Config.String(name)), Option.none)

const unreadable = (file: string, { reason }: PlatformError): MirrorConfigError =>
  new MirrorConfigError({
    file,
    problems: [{
      path: "",
      message: `cannot be read: ${reason._tag === "NotFound" ? "there is no such file" : reason._tag}`
    }]
  })

const readText = Effect.fnUntraced(function*(file: string) {
  const fs = yield* FileSystem.FileSystem
  const { size } = yield* fs.stat(file)
  // a character has at most four bytes
  if (Number(size) > 4 * FileSyntax.maximumSize) return " ".repeat(FileSyntax.maximumSize + 1)
  return yield* fs.readFileString(file)
})

const readFile = (file: string) => Effect.mapError(readText(file), (error) => unreadable(file, error))

const parseValue = (file: string, text: string) =>
  Effect.mapError(Effect.fromResult(FileSyntax.parse(file, text)), (problem) => syntaxError(file, problem))

/** Replaces the place of a rule in the file of a mirror by its place in the file of another tool. */
const moved = (error: MirrorConfigError, places: ReadonlyArray<Problem.FilePath>): MirrorConfigError =>
  new MirrorConfigError({
    ...error.file === undefined ? {} : { file: error.file },
    problems: error.problems.map((problem) => {
      const index = /^rules\[(\d+)\]/.exec(problem.path)?.[1]
      const place = index === undefined ? undefined : places[Number(index)]
      return place === undefined ? problem : { ...problem, path: Problem.formatPath(place) }
    })
  })

const withPasswords = (
  config: MirrorConfig,
  file: MirrorFile,
  passwords: ReadonlyMap<string, Foreign.Password>
): MirrorConfig => {
  const byHost = new Map(Array.from(passwords, ([key, password]) => [file.registries?.[key]?.host ?? key, password]))
  return {
    ...config,
    registries: config.registries.map((settings) => {
      const password = byHost.get(settings.host)
      return password === undefined ? settings : { ...settings, credentials: { _tag: "Password", ...password } }
    })
  }
}

const readForeign = Effect.fnUntraced(function*(
  format: Foreign.Format,
  name: string,
  text: string,
  value: unknown,
  { auth, names = "base", to }: LoadOptions
) {
  const fs = yield* FileSystem.FileSystem
  const separate = auth === undefined ? undefined : yield* parseValue(auth, yield* readFile(auth))
  const context: Foreign.Context = {
    lookups: {
      env: (name) => Effect.map(variable(name), Option.getOrUndefined),
      file: (path) =>
        readText(path).pipe(
          Effect.provideService(FileSystem.FileSystem, fs),
          Effect.match({ onSuccess: (text) => text, onFailure: () => undefined })
        )
    },
    to,
    names,
    auth: separate
  }
  const { file, omissions, passwords, places } = yield* Effect.mapError(
    ForeignFile.read(format, name, text, value, context),
    (problem) => "message" in problem ? syntaxError(name, problem) : errorOf(problem, name)
  )
  const config = yield* Effect.mapError(
    Effect.fromResult(decode(file, { file: name })),
    (error) => moved(error, places)
  )
  return {
    config: withPasswords(config, file, passwords),
    format,
    file: ForeignFile.withDefaults(file),
    omissions: omissions.map(({ message, path }) => ({ path: Problem.formatPath(path), message }))
  } satisfies Loaded
})

/** Resolves the paths of a file against its folder. */
const resolved = Effect.fnUntraced(function*(config: MirrorConfig, file: string) {
  const path = yield* Path.Path
  const at = (name: string): string => path.resolve(path.dirname(file), name)
  return {
    ...config,
    store: config.store?.replace(/^sqlite:(.+)$/, (_, name: string) => `sqlite:${at(name)}`),
    registries: config.registries.map((settings) =>
      settings.credentials._tag === "File"
        ? { ...settings, credentials: { ...settings.credentials, path: at(settings.credentials.path) } }
        : settings
    )
  } satisfies MirrorConfig
})

/**
 * Makes a configuration of the text of a file: one of a mirror, or one of regsync, skopeo sync, image-syncer or ocync,
 * which are recognised by their shape. Environment variables and files that such a file refers to are read.
 *
 * @category constructors
 * @since 0.1.0
 */
export const read: (
  file: string,
  text: string,
  options?: LoadOptions
) => Effect.Effect<Loaded, MirrorConfigError, FileSystem.FileSystem | Path.Path> = Effect.fn("MirrorConfig.read")(
  function*(file, text, options = {}) {
    const value = yield* parseValue(file, text)
    const format = ForeignFile.formatOf(value)
    if (format !== undefined) return yield* readForeign(format, file, text, value, options)
    const config = yield* Effect.fromResult(decode(value, { file }))
    return {
      config: yield* resolved(config, file),
      format: "native",
      // decode has checked the value
      file: value as MirrorFile,
      omissions: []
    } satisfies Loaded
  }
)

/**
 * Loads a configuration from a file. Relative paths in the file of a mirror are relative to its folder.
 *
 * @category constructors
 * @since 0.1.0
 */
export const load: (
  file: string,
  options?: LoadOptions
) => Effect.Effect<Loaded, MirrorConfigError, FileSystem.FileSystem | Path.Path> = Effect.fn("MirrorConfig.load")(
  function*(file, options) {
    return yield* read(file, yield* readFile(file), options)
  }
)
