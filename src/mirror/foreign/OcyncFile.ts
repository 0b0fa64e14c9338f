/**
 * Reads the file of ocync.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as DockerHub from "../../DockerHub.ts"
import * as Reference from "../../Reference.ts"
import type { RegistryEntry, Rule, Selection } from "../MirrorFile.ts"
import * as Problem from "../Problem.ts"
import * as Spelling from "../Spelling.ts"
import * as Foreign from "./Foreign.ts"
import * as Glob from "./Glob.ts"
import * as VersionRange from "./VersionRange.ts"

const { lenient } = Foreign

// ---------------------------------------------------------------------------------------------------------------------
// the file
// ---------------------------------------------------------------------------------------------------------------------

const Globs = Schema.Union([Schema.String, Schema.Array(Schema.String)])

const Tags = Schema.Struct({
  glob: lenient(Globs),
  semver: lenient(Schema.String),
  include: lenient(Globs),
  exclude: lenient(Globs),
  sort: lenient(Schema.Literals(["semver", "alpha"])),
  latest: lenient(Schema.Int),
  min_tags: lenient(Schema.Int),
  immutable_tags: lenient(Schema.String)
})

const Artifacts = Schema.Struct({
  enabled: lenient(Schema.Boolean),
  include: lenient(Schema.Array(Schema.String)),
  exclude: lenient(Schema.Array(Schema.String)),
  require_artifacts: lenient(Schema.Boolean)
})

const settings = {
  source: lenient(Schema.String),
  targets: lenient(Globs),
  tags: lenient(Tags),
  platforms: lenient(Schema.Array(Schema.String)),
  artifacts: lenient(Artifacts)
}

const Mapping = Schema.Struct({ from: Schema.String, to: lenient(Schema.String), ...settings })

const Registry = Schema.Struct({
  url: Schema.String,
  auth_type: lenient(Schema.Literals([
    "ecr",
    "gar",
    "gcr",
    "acr",
    "ghcr",
    "anonymous",
    "basic",
    "static_token",
    "token",
    "docker_config"
  ])),
  max_concurrent: lenient(Schema.Int),
  credentials: lenient(Schema.Struct({ username: Schema.String, password: Schema.String })),
  token: lenient(Schema.String),
  head_first: lenient(Schema.Boolean),
  aws_profile: lenient(Schema.String)
})

const File = Schema.Struct({
  global: lenient(Schema.Struct({
    max_concurrent_transfers: lenient(Schema.Int),
    cache_dir: lenient(Schema.String),
    cache_ttl: lenient(Schema.Union([Schema.String, Schema.Int])),
    staging_size_limit: lenient(Schema.Union([Schema.String, Schema.Int]))
  })),
  registries: lenient(Schema.Record(Schema.String, Registry)),
  target_groups: lenient(Schema.Record(Schema.String, Schema.Array(Schema.String))),
  defaults: lenient(Schema.Struct(settings)),
  mappings: Schema.Array(Mapping)
})

type File = typeof File.Type
type Mapping = typeof Mapping.Type
type Tags = typeof Tags.Type

// ---------------------------------------------------------------------------------------------------------------------
// environment
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Replaces `${NAME}`, `${NAME:-DEFAULT}` and `${NAME:?MESSAGE}` in the text of a file. Fails with the message about a
 * variable that is required and not set.
 */
export const expand = Effect.fnUntraced(function*(text: string, { env }: Foreign.Lookups) {
  let expanded = ""
  let end = 0
  for (const found of text.matchAll(/\$\{([^}]*)\}/g)) {
    const [, name = "", sign, rest = ""] = /^(.*?)(?:(:-|:\?)(.*))?$/s.exec(found[1] ?? "") ?? []
    const value = yield* env(name)
    if (sign === ":?" && (value ?? "") === "") {
      return yield* Effect.fail(rest === "" ? `the environment variable ${name} is not set` : `${name}: ${rest}`)
    }
    expanded += text.slice(end, found.index) + (sign === ":-" && (value ?? "") === "" ? rest : value ?? "")
    end = found.index + found[0].length
  }
  return expanded + text.slice(end)
})

// ---------------------------------------------------------------------------------------------------------------------
// registries
// ---------------------------------------------------------------------------------------------------------------------

type Entry = typeof RegistryEntry.Type

const credentialOmissions: Readonly<Record<string, string>> = {
  ecr: "use docker-credential-ecr-login, in credHelpers of docker's config.json",
  gar: "use docker-credential-gcloud, in credHelpers of docker's config.json",
  gcr: "use docker-credential-gcloud, in credHelpers of docker's config.json",
  acr: "use docker-credential-acr, in credHelpers of docker's config.json",
  ghcr: "log in with effect-oci login, or name the variables: credentials: env:PREFIX",
  anonymous: "docker's files are searched for credentials",
  static_token: "a token is not supported: log in with effect-oci login",
  token: "a token is not supported: log in with effect-oci login"
}

const readRegistry = (
  key: string,
  registry: typeof Registry.Type,
  notes: Foreign.Notes
): { readonly host: string; readonly entry: Entry; readonly password: Foreign.Password | undefined } | undefined => {
  const path: Problem.FilePath = ["registries", key]
  const [, scheme = "", written = ""] = /^(?:(https?):\/\/)?([^/]*)\/*$/.exec(registry.url) ?? []
  const host = Foreign.accept(
    notes,
    [...path, "url"],
    Result.mapError(Reference.parseHost(written), ({ message }) => message)
  )
  if (host === undefined) return undefined
  const name = DockerHub.isHost(host) ? DockerHub.host : host
  const kind = registry.auth_type ?? "docker_config"
  const why = credentialOmissions[kind]
  if (why !== undefined) Foreign.omit(notes, [...path, "auth_type"], why)
  if ((registry.aws_profile ?? "") !== "") {
    Foreign.omit(notes, [...path, "aws_profile"], "set AWS_PROFILE for the helper")
  }
  return {
    host: name,
    entry: {
      ...key === name ? {} : { host: name },
      ...typeof registry.max_concurrent === "number" ? { concurrency: registry.max_concurrent } : {},
      ...scheme === "http" ? { scheme: "plainHttp" } : {}
    },
    password: kind === "basic" && registry.credentials !== undefined && registry.credentials !== null
      ? { username: registry.credentials.username, password: Redacted.make(registry.credentials.password) }
      : undefined
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// tags
// ---------------------------------------------------------------------------------------------------------------------

const listOf = (globs: string | ReadonlyArray<string> | null | undefined): ReadonlyArray<string> =>
  globs === null || globs === undefined ? [] : typeof globs === "string" ? [globs] : globs

// tags that ocync drops unless they are included
const usuallyDropped = ["*-rc*", "*-alpha*", "*-beta*", "*-pre*", "*-snapshot*", "*-nightly*"]

const anyOf = (sources: ReadonlyArray<string>): string =>
  sources.length === 1 ? sources[0] ?? "" : `(?:${sources.join("|")})`

/** Returns the exact tags of a selection that has nothing but them. */
const exactTags = (
  { exclude, glob, include, latest, min_tags, semver, sort }: Tags
): ReadonlyArray<string> | undefined =>
  [exclude, include, latest, min_tags, semver, sort].every((value) => value === undefined || value === null) &&
    listOf(glob).length > 0 && listOf(glob).every(Glob.isLiteral)
    ? listOf(glob)
    : undefined

/** Makes the selection of tags. `soft` are the patterns of the defaults to exclude. */
const selectionOf = (
  { exclude, glob, include, latest, min_tags, semver, sort }: Tags,
  soft: ReadonlyArray<string>
): Spelled<Selection> => {
  const literals = listOf(include).filter(Glob.isLiteral)
  const globs = listOf(include).filter((glob) => !Glob.isLiteral(glob))
  const sources = (globs: ReadonlyArray<string>) => Result.all(globs.map(Glob.translate))
  return Result.map(
    Result.all([
      sources(listOf(glob)),
      sources(listOf(exclude)),
      sources(soft),
      sources(usuallyDropped),
      sources(globs),
      semver === undefined || semver === null ? Result.succeed(undefined) : VersionRange.ofOcync(semver)
    ]),
    ([wanted, hard, soft, usual, rescued, range]) => {
      const dropped = anyOf([...usual.map(Glob.anyCase), ...soft])
      const excluded = (tag: string) => hard.some((source) => new RegExp(`^(?:${source})$`).test(tag))
      const included = literals.filter((tag) => !excluded(tag)).map(Foreign.exactly)
      return {
        match: [
          ...rescued.map((source) => `^(?:${source})$`),
          `^(?!${dropped}$)${wanted.length === 0 ? "" : `${anyOf(wanted)}$`}`
        ],
        ...hard.length === 0 ? {} : { exclude: hard.map((source) => `^(?:${source})$`) },
        ...included.length === 0 ? {} : { include: included },
        ...range === undefined ? {} : { semver: range, preReleases: "all" },
        ...range === undefined && sort !== "semver" ? {} : { versions: "partial" },
        ...typeof latest === "number" && sort === "semver" ? { newest: Math.max(1, latest) } : {},
        ...typeof min_tags === "number" ? { atLeast: min_tags } : {},
        digestTags: true
      }
    }
  )
}

type Spelled<A> = Spelling.Spelled<A>

const merged = (own: Tags, defaults: Tags): Tags => {
  const { exclude: _, ...inherited } = defaults
  return { ...inherited, ...Object.fromEntries(Object.entries(own).filter(([, value]) => value !== null)) }
}

// ---------------------------------------------------------------------------------------------------------------------
// rules
// ---------------------------------------------------------------------------------------------------------------------

const targetsOf = (targets: Mapping["targets"], { registries, target_groups }: File): ReadonlyArray<string> =>
  typeof targets !== "string"
    ? targets ?? []
    : target_groups?.[targets] ?? (Object.hasOwn(registries ?? {}, targets) ? [targets] : [])

const readMapping = (
  mapping: Mapping,
  index: number,
  file: File,
  notes: Foreign.Notes
): Foreign.PlacedRule | undefined => {
  const path: Problem.FilePath = ["mappings", index]
  const defaults = file.defaults ?? {}
  const source = mapping.source ?? defaults.source
  const targets = targetsOf(mapping.targets ?? defaults.targets, file)
  const known = Object.keys(file.registries ?? {})
  const problem = (key: string, message: string) => notes.problems.push({ path: [...path, key], message })
  for (const name of [...source === undefined || source === null ? [] : [source], ...targets]) {
    if (!known.includes(name)) problem(name === source ? "source" : "targets", Problem.unknown("registry", name, known))
  }
  if (source === undefined || source === null) problem("source", "is missing")
  if (targets.length === 0) problem("targets", "are missing, or name no group")
  if ((mapping.tags ?? defaults.tags ?? undefined) === undefined) problem("tags", "is missing")
  const tags = merged(mapping.tags ?? {}, defaults.tags ?? {})
  if (typeof tags.latest === "number" && tags.sort !== "semver") {
    if (tags.sort === "alpha") problem("tags", "latest with sort: alpha has no counterpart: use sort: semver")
    else problem("tags", "latest requires sort")
  }
  const exact = exactTags(tags)
  const selection = Foreign.accept(
    notes,
    [...path, "tags"],
    exact === undefined ? selectionOf(tags, listOf(defaults.tags?.exclude)) : Result.succeed(undefined)
  )
  const immutable = Foreign.accept(
    notes,
    [...path, "tags", "immutable_tags"],
    Result.all(listOf(tags.immutable_tags).map(Glob.translate))
  ) ?? []
  const platforms = mapping.platforms ?? defaults.platforms ?? []
  const artifacts = mapping.artifacts ?? defaults.artifacts ?? {}
  if ((artifacts.exclude ?? []).length > 0) {
    Foreign.omit(notes, [...path, "artifacts", "exclude"], "only types to include can be named: these are copied too")
  }
  if (artifacts.require_artifacts === true) {
    Foreign.omit(
      notes,
      [...path, "artifacts", "require_artifacts"],
      "required: the source must be able to list referrers, " +
        "of which there may be none"
    )
  }
  const types = artifacts.include ?? []
  const ttl = file.global?.cache_ttl
  const trust = ttl === undefined || ttl === null
    ? undefined
    : Foreign.accept(notes, ["global", "cache_ttl"], trustOf(String(ttl)))
  const to = mapping.to ?? mapping.from
  return {
    place: path,
    rule: {
      from: `${source ?? ""}/${mapping.from}`,
      to: targets.length === 1 ? `${targets[0] ?? ""}/${to}` : targets.map((target) => `${target}/${to}`),
      tags: selection ?? exact ?? [],
      ...platforms.length === 0 ? { platforms: "all" } : { platforms, index: "rewrite" },
      referrers: artifacts.enabled === false
        ? false
        : types.length === 0 && artifacts.require_artifacts !== true
        ? true
        : {
          ...types.length === 0 ? {} : { types },
          ...artifacts.require_artifacts === true ? { required: true } : {}
        },
      ...immutable.length === 0 ? {} : { immutable: immutable.map((source) => `^(?:${source})$`) },
      ...trust === undefined ? {} : { trust }
    } satisfies Rule
  }
}

/** Translates a duration; without a unit, it is in seconds. 0 means without an end. */
const trustOf = (text: string): Spelled<string> =>
  text === "0"
    ? Result.succeed("36500d")
    : /^\d+$/.test(text)
    ? Result.succeed(`${text}s`)
    : Result.map(Spelling.duration(text), () => text)

const globalOmissions: Readonly<Record<string, string>> = {
  max_concurrent_transfers: "concurrency adapts to each registry",
  cache_dir: "the state is in the store of the mirror: see store",
  staging_size_limit: "nothing is staged on disk"
}

/** Reads the file of ocync. */
export const read: Foreign.Reader = Effect.fnUntraced(function*(value, _, notes) {
  const registries = new Map<string, Entry>()
  const passwords = new Map<string, Foreign.Password>()
  const rules: Array<Foreign.PlacedRule> = []
  const file = Foreign.decode(File, value, notes)
  if (file === undefined) return { rules, registries, passwords }
  for (const [key, why] of Object.entries(globalOmissions)) {
    const written: unknown = Reflect.get(file.global ?? {}, key)
    if (written !== undefined && written !== null) Foreign.omit(notes, ["global", key], why)
  }
  for (const [key, registry] of Object.entries(file.registries ?? {})) {
    const found = readRegistry(key, registry, notes)
    if (found === undefined) continue
    registries.set(key, found.entry)
    if (found.password !== undefined) passwords.set(key, found.password)
  }
  for (const [index, mapping] of file.mappings.entries()) {
    const rule = readMapping(mapping, index, file, notes)
    if (rule !== undefined) rules.push(rule)
  }
  return { rules: Foreign.joined(rules), registries, passwords }
})
