/**
 * Reads the file of regsync.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as DockerHub from "../../DockerHub.ts"
import * as Reference from "../../Reference.ts"
import type { RegistryEntry, Rule, Selection } from "../MirrorFile.ts"
import type { FilePath } from "../Problem.ts"
import type { Spelled } from "../Spelling.ts"
import * as Foreign from "./Foreign.ts"
import * as GoDuration from "./GoDuration.ts"
import * as GoRegex from "./GoRegex.ts"
import * as GoTemplate from "./GoTemplate.ts"
import { type Defaults, File, type Host, shared, type Sync, type TagAllowDeny } from "./RegsyncSchema.ts"
import * as VersionRange from "./VersionRange.ts"

// ---------------------------------------------------------------------------------------------------------------------
// registries
// ---------------------------------------------------------------------------------------------------------------------

/** Fields of a registry without a counterpart, with the reason. */
const hostOmissions: { readonly [Key in keyof Host]?: string } = {
  regcert: "name the authority with --ca-file",
  clientCert: "name the certificate with --cert-file",
  clientKey: "name the key with --key-file",
  token: "a token is not supported: log in with effect-oci login",
  credHelper: "set the helper in docker's config.json: credHelpers",
  credExpire: "a helper of docker is called as often as needed",
  credHost: "set the name in docker's config.json: credHelpers",
  pathPrefix: "mirrors of a source are not supported",
  mirrors: "mirrors of a source are not supported here: use --mirror",
  priority: "mirrors of a source are not supported",
  repoAuth: "each repository gets a token of its own",
  api: "regsync does not use it any more",
  apiOpts: "there are no options for APIs",
  blobChunk: "the size of chunks is chosen for each registry",
  blobMax: "the size of chunks is chosen for each registry"
}

const isSet = (value: unknown): boolean =>
  value !== undefined && value !== null && value !== "" && value !== 0 && value !== false &&
  !(Array.isArray(value) && value.length === 0)

const schemeOf = (
  { scheme, tls }: Host,
  path: FilePath,
  notes: Foreign.Notes
): (typeof RegistryEntry.Type)["scheme"] => {
  switch (tls?.toLowerCase() ?? "") {
    case "":
      return scheme === "http" ? "plainHttp" : undefined
    case "enabled":
      return "tls"
    case "disabled":
      return "plainHttp"
    case "insecure":
      return "insecure"
    default:
      notes.problems.push({ path: [...path, "tls"], message: "write enabled, disabled or insecure" })
      return undefined
  }
}

const rateOf = (perSecond: number): string =>
  Number.isInteger(perSecond) ? `${perSecond}/s` : `${Math.max(1, Math.round(perSecond * 3600))}/h`

const readHost = Effect.fnUntraced(function*(
  host: Host,
  index: number,
  { lookups }: Foreign.Context,
  notes: Foreign.Notes
) {
  const path: FilePath = ["creds", index]
  for (const [key, why] of Object.entries(hostOmissions)) {
    if (isSet(Reflect.get(host, key))) Foreign.omit(notes, [...path, key], why)
  }
  const render = Effect.fnUntraced(function*(key: "registry" | "user" | "pass") {
    const rendered = yield* Effect.result(GoTemplate.render(host[key] ?? "", {}, lookups))
    return Foreign.accept(notes, [...path, key], rendered) ?? ""
  })
  const name = (yield* render("registry")).replace(/^https?:\/\//, "").replace(/\/.*$/, "")
  const isHub = DockerHub.isHost(name)
  const hostname = host.hostname ?? ""
  const username = yield* render("user")
  const password = yield* render("pass")
  const scheme = schemeOf(host, path, notes)
  const entry: typeof RegistryEntry.Type = {
    ...hostname === "" || hostname === name || isHub ? {} : { host: hostname },
    ...isSet(host.reqPerSec) ? { rate: rateOf(host.reqPerSec ?? 1) } : {},
    ...isSet(host.reqConcurrent) ? { concurrency: Math.max(1, Math.floor(host.reqConcurrent ?? 1)) } : {},
    ...scheme === undefined ? {} : { scheme }
  }
  return {
    name: isHub ? DockerHub.host : name,
    entry,
    password: username === "" && password === "" ? undefined : { username, password: Redacted.make(password) }
  }
})

// ---------------------------------------------------------------------------------------------------------------------
// tags
// ---------------------------------------------------------------------------------------------------------------------

// a version of regsync contains no underscore before its pre-release
const notVersions = "^v?[0-9.]+_"

const selectionOf = ({ allow, deny, semverRange }: TagAllowDeny): Spelled<Selection> => {
  const ranges = (semverRange ?? []).filter((range) => range !== "")
  const pattern = (text: string) => GoRegex.translate(text, "^", "$")
  return Result.map(
    Result.all([
      Result.all((allow ?? []).map(pattern)),
      Result.all((deny ?? []).map(pattern)),
      Result.all(ranges.map(VersionRange.ofRegsync))
    ]),
    ([match, exclude, semver]) => ({
      ...match.length === 0 ? {} : { match },
      ...semver.length + exclude.length === 0
        ? {}
        : { exclude: [...exclude, ...semver.length === 0 ? [] : [notVersions]] },
      ...semver.length === 0 ? {} : { semver: semver.join(" || "), versions: "partial", preReleases: "all" },
      digestTags: true
    })
  )
}

const isFilter = ({ allow, deny, semverRange }: TagAllowDeny): boolean =>
  [allow, deny, semverRange].some((list) => (list?.length ?? 0) > 0)

const tagsOf = ({ tagSets, tags }: Sync): Spelled<Rule["tags"]> => {
  const sets = [...tagSets ?? [], ...tags !== undefined && tags !== null && isFilter(tags) ? [tags] : []]
  // one set without a filter stands for all tags
  const filters = sets.every(isFilter) ? sets : []
  return Result.map(
    Result.all(filters.map(selectionOf)),
    ([first = { digestTags: true }, ...others]) => others.length === 0 ? first : [first, ...others]
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// settings
// ---------------------------------------------------------------------------------------------------------------------

const descriptors: Readonly<Record<string, string>> = {
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
  "@monthly": "0 0 1 * *",
  "@weekly": "0 0 * * 0",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@hourly": "0 * * * *"
}

const scheduleOf = (
  { interval, schedule }: Pick<Sync, "interval" | "schedule">,
  path: FilePath,
  notes: Foreign.Notes
): Rule["schedule"] => {
  const text = schedule ?? ""
  const every = text.startsWith("@every ") ? text.slice(7) : text === "" ? interval : undefined
  if (every !== undefined && every !== null) {
    const spelled = Foreign.accept(notes, [...path, text === "" ? "interval" : "schedule"], GoDuration.spell(every))
    return spelled === undefined || spelled === "0" ? undefined : { every: spelled }
  }
  if (text === "") return undefined
  if (!/^(?:CRON_)?TZ=/.test(text)) {
    Foreign.omit(notes, [...path, "schedule"], "regsync uses the local time zone: this schedule is in UTC")
  }
  return { cron: descriptors[text] ?? text }
}

const defaultMediaTypes = new Set([
  "application/vnd.docker.distribution.manifest.v2+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.oci.image.index.v1+json"
])

/** Fields without a counterpart, with the reason. */
const omissions: Readonly<Record<string, string>> = {
  referrerSource: "referrers are read from the source of the image only",
  referrerTarget: "referrers are copied to the destination of the image only",
  referrerSlow: "referrers are not searched for in the tags of a repository",
  fastCheck: "the state of the mirror says what is unchanged: see trust and referrers.every",
  forceRecursive: "a destination that has a manifest is trusted to have its content",
  includeExternal: "layers that may not be distributed stay at their addresses",
  hooks: "regsync does not run them either"
}

const generalOmissions: Readonly<Record<string, string>> = {
  parallel: "concurrency adapts to each registry: see registries.concurrency",
  blobLimit: "blobs of any size are copied",
  cacheCount: "the state of the mirror is kept instead",
  cacheTime: "the state of the mirror is kept instead",
  skipDockerConfig: "name the credentials of each registry",
  userAgent: "the user agent cannot be changed"
}

const noteOmissions = (settings: Partial<Sync> | Defaults, path: FilePath, notes: Foreign.Notes): void => {
  for (const [key, why] of Object.entries({ ...omissions, ...generalOmissions })) {
    if (isSet(Reflect.get(settings, key))) Foreign.omit(notes, [...path, key], why)
  }
  const { mediaTypes, ratelimit } = settings
  const types = mediaTypes ?? []
  if (
    types.length > 0 && (types.length !== defaultMediaTypes.size || types.some((type) => !defaultMediaTypes.has(type)))
  ) {
    Foreign.omit(notes, [...path, "mediaTypes"], "manifests of every type are copied")
  }
  if (isSet(ratelimit?.retry)) {
    Foreign.omit(notes, [...path, "ratelimit", "retry"], "the registry says how long to wait")
  }
}

const referrersOf = (
  { referrerFilters, referrers }: Pick<Sync, "referrers" | "referrerFilters">,
  path: FilePath,
  notes: Foreign.Notes
): NonNullable<Rule["referrers"]> => {
  if (referrers !== true) return false
  const filters = referrerFilters ?? []
  const annotations = Array.from(new Set(filters.map(({ annotations }) => JSON.stringify(annotations ?? {}))))
  const types = filters.flatMap(({ artifactType }) => isSet(artifactType) ? [artifactType ?? ""] : [])
  if (filters.length === 0) return true
  if (annotations.length > 1 || types.length > 0 && types.length < filters.length) {
    Foreign.omit(notes, [...path, "referrerFilters"], "filters with different annotations: all referrers are copied")
    return true
  }
  const wanted = filters[0]?.annotations ?? {}
  return {
    ...types.length === 0 ? {} : { types },
    ...Object.keys(wanted).length === 0 ? {} : { annotations: wanted }
  }
}

const platformsOf = (
  { platform, platforms }: Sync,
  path: FilePath,
  notes: Foreign.Notes
): Pick<Rule, "platforms" | "index"> => {
  if (isSet(platform)) {
    if (isSet(platforms)) Foreign.omit(notes, [...path, "platforms"], "platform decides")
    return { platforms: platform ?? "all" }
  }
  return isSet(platforms) ? { platforms: platforms ?? [], index: "keep" } : { platforms: "all" }
}

const backupOf = Effect.fnUntraced(function*(
  sync: Sync,
  target: Reference.Reference,
  fields: GoTemplate.Fields,
  path: FilePath,
  { lookups }: Foreign.Context,
  notes: Foreign.Notes
) {
  const place = [...path, "backup"]
  const rendered = yield* Effect.result(GoTemplate.render(
    // the only use of a date that has a counterpart
    (sync.backup ?? "").replace(/\{\{-?\s*time\.Now\.(?:UTC\.)?Format\s+(?:"[^"]*"|`[^`]*`)\s*-?\}\}/g, "{date}"),
    {
      ...fields,
      ".Ref.Tag": "{tag}",
      ".Ref.Registry": target.registry,
      ".Ref.Repository": target.repository,
      ".Ref.Scheme": "reg"
    },
    lookups
  ))
  const text = Foreign.accept(notes, place, rendered)?.trim()
  if (text === undefined || text === "") return undefined
  const whole = `${target.registry}/${target.repository}:`
  if (!/[:/]/.test(text)) return { backup: text }
  if (text.startsWith(whole)) return { backup: text.slice(whole.length) }
  Foreign.omit(notes, place, "a backup in another repository has no counterpart: the previous image is not kept")
  return undefined
})

// ---------------------------------------------------------------------------------------------------------------------
// rules
// ---------------------------------------------------------------------------------------------------------------------

/** Source, destination and tags of an entry. */
interface Ends {
  readonly repositories: Pick<Rule, "from" | "to" | "tags">
  readonly target: Reference.Reference
}

const readEnds = (
  sync: Sync,
  source: string,
  target: string,
  path: FilePath,
  notes: Foreign.Notes
): Ends | undefined => {
  const folder = [["source", source], ["target", target]].find(([, text = ""]) => /^oci(?:dir|file):/.test(text))
  if (folder !== undefined) {
    Foreign.omit(notes, [...path, folder[0] ?? ""], "a folder has no counterpart: the entry is left out")
    return undefined
  }
  if (sync.type === "registry") {
    const repos = GoRegex.allowed(sync.repos?.allow ?? [], sync.repos?.deny ?? [])
    const match = Foreign.accept(notes, [...path, "repos"], repos)
    const tags = Foreign.accept(notes, [...path, "tags"], tagsOf(sync))
    const prefix = Foreign.accept(notes, [...path, "target"], Foreign.readReference(`${target}/x`))
    if (match === undefined || prefix === undefined) return undefined
    return {
      repositories: { from: { registry: source, match }, to: `${target}/$0`, ...tags === undefined ? {} : { tags } },
      target: prefix
    }
  }
  const from = Foreign.accept(notes, [...path, "source"], Foreign.readReference(source))
  const to = Foreign.accept(notes, [...path, "target"], Foreign.readReference(target))
  if (from === undefined || to === undefined) return undefined
  if (from.digest !== undefined || to.digest !== undefined) {
    Foreign.omit(notes, path, "a digest has no counterpart: the entry is left out")
    return undefined
  }
  const nameOf = ({ registry, repository }: Reference.Reference) => Reference.format({ registry, repository })
  if (sync.type === "repository") {
    const tags = Foreign.accept(notes, [...path, "tags"], tagsOf(sync))
    return {
      repositories: { from: nameOf(from), to: nameOf(to), ...tags === undefined ? {} : { tags } },
      target: to
    }
  }
  const [tag, own] = [from.tag ?? "latest", to.tag ?? "latest"]
  return {
    repositories: { from: nameOf(from), to: `${nameOf(to)}${tag === own ? "" : `:${own}`}`, tags: [tag] },
    target: to
  }
}

const withDefaults = (sync: Sync, defaults: Defaults): Sync => {
  const own = Object.fromEntries(Object.entries(sync).filter(([, value]) => value !== null && value !== ""))
  const { interval: _, schedule: __, ...rest } = defaults
  const isScheduled = isSet(sync.schedule) || isSet(sync.interval)
  const inherited = Object.entries(isScheduled ? rest : defaults).filter(([key]) => key in shared)
  // fields of the defaults have the types of those of an entry
  return { ...Object.fromEntries(inherited), ...own } as Sync
}

const readSync = Effect.fnUntraced(function*(
  written: Sync,
  index: number,
  defaults: Defaults,
  context: Foreign.Context,
  notes: Foreign.Notes
) {
  const path: FilePath = ["sync", index]
  const sync = withDefaults(written, defaults)
  noteOmissions(written, path, notes)
  const fields: Record<string, string> = {
    ".Sync.Source": sync.source,
    ".Sync.Target": sync.target,
    ".Sync.Type": sync.type,
    ".Sync.Platform": sync.platform ?? "",
    ".Sync.ReferrerSrc": sync.referrerSource ?? "",
    ".Sync.ReferrerTgt": sync.referrerTarget ?? "",
    ".Sync.Schedule": sync.schedule ?? ""
  }
  const render = Effect.fnUntraced(function*(key: "source" | "target", name: string) {
    const rendered = yield* Effect.result(GoTemplate.render(sync[key], fields, context.lookups))
    const text = Foreign.accept(notes, [...path, key], rendered) ?? ""
    fields[name] = text
    return text
  })
  const source = yield* render("source", ".Sync.Source")
  const target = yield* render("target", ".Sync.Target")
  if (source === "" || target === "") return undefined
  const ends = readEnds(sync, source, target, path, notes)
  if (ends === undefined) return undefined
  const steps = Object.fromEntries(
    Object.entries(fields).map(([key, value]) => [key.replace(".Sync.", ".Step."), value])
  )
  const backup = yield* backupOf(sync, ends.target, { ...fields, ...steps }, path, context, notes)
  const isInherited = !isSet(written.schedule) && !isSet(written.interval)
  const schedule = scheduleOf(sync, isInherited ? ["defaults"] : path, notes)
  const rule: Rule = {
    ...ends.repositories,
    ...platformsOf(sync, path, notes),
    referrers: referrersOf(sync, path, notes),
    digestTags: sync.digestTags === true,
    ...backup === undefined ? {} : { onTagMoved: backup },
    ...schedule === undefined ? {} : { schedule }
  }
  const registry = sync.type === "registry" ? source : source.replace(/\/.*$/, "")
  return { rule, place: path, keep: sync.ratelimit?.min ?? 0, registry }
})

/** Returns the host of the source, for its budget. */
const hostOf = (registry: string): string => Result.isSuccess(Reference.parseHost(registry)) ? registry : DockerHub.host

/** Reads the file of regsync. */
export const read: Foreign.Reader = Effect.fnUntraced(function*(value, context, notes) {
  const file = Foreign.decode(File, value, notes)
  const registries = new Map<string, typeof RegistryEntry.Type>()
  const passwords = new Map<string, Foreign.Password>()
  if (file === undefined) return { rules: [], registries, passwords }
  for (const [index, host] of (file.creds ?? []).entries()) {
    const { entry, name, password } = yield* readHost(host, index, context, notes)
    registries.set(name, { ...registries.get(name), ...entry })
    if (password !== undefined) passwords.set(name, password)
  }
  const defaults = file.defaults ?? {}
  noteOmissions(defaults, ["defaults"], notes)
  const rules: Array<Foreign.PlacedRule> = []
  for (const [index, sync] of (file.sync ?? []).entries()) {
    const found = yield* readSync(sync, index, defaults, context, notes)
    if (found === undefined) continue
    rules.push({ rule: found.rule, place: found.place })
    if (found.keep > 0) {
      const host = hostOf(found.registry)
      const entry = registries.get(host) ?? {}
      registries.set(host, { ...entry, budget: { keep: Math.max(found.keep, entry.budget?.keep ?? 0) } })
    }
  }
  return { rules: Foreign.joined(rules), registries, passwords }
})
