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
import { isObject } from "effect/Predicate"
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Host } from "../Reference.ts"
import * as Reference from "../Reference.ts"
import { printable } from "../Text.ts"
import * as FieldDecoder from "./FieldDecoder.ts"
import * as FileSyntax from "./FileSyntax.ts"
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

const withoutDoubles = (problems: Problems): Problems => {
  const seen = new Set<string>()
  return problems.filter((problem) => {
    const line = Problem.format(problem)
    return seen.has(line) ? false : (seen.add(line), true)
  })
}

const errorOf = (problems: Problems, file: string | undefined): MirrorConfigError => {
  const all = withoutDoubles(problems)
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
 * @category constructors
 * @since 0.1.0
 */
export const parse = (file: string, text: string): Result.Result<MirrorConfig, MirrorConfigError> =>
  FileSyntax.parse(file, text).pipe(
    Result.mapError((problem) => syntaxError(file, problem)),
    Result.flatMap((value) => decode(value, { file }))
  )
