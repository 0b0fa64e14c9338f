/**
 * Reads the files of image-syncer: a map of images, or a map with `auth` and `images`.
 */
import * as Effect from "effect/Effect"
import { isObject } from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as DockerHub from "../../DockerHub.ts"
import * as Reference from "../../Reference.ts"
import type { RegistryEntry, Rule } from "../MirrorFile.ts"
import type { FilePath } from "../Problem.ts"
import type { Spelled } from "../Spelling.ts"
import * as Foreign from "./Foreign.ts"
import * as GoRegex from "./GoRegex.ts"

const { lenient } = Foreign

const Auth = Schema.Record(
  Schema.String,
  Schema.Struct({
    username: lenient(Schema.String),
    password: lenient(Schema.String),
    insecure: lenient(Schema.Boolean)
  })
)

const Images = Schema.Record(Schema.String, Schema.Union([Schema.NonEmptyString, Schema.Array(Schema.NonEmptyString)]))

const File = Schema.Struct({ auth: lenient(Auth), images: Images })

/** Returns true if a file has its credentials and images in one map. */
const hasAuth = (value: unknown): boolean => isObject(value) && "images" in value

/** Replaces `$NAME` and `${NAME}`. */
const expand = Effect.fnUntraced(function*(text: string, { env }: Foreign.Lookups) {
  let expanded = ""
  let end = 0
  for (const found of text.matchAll(/\$(?:\{(\w+)\}|(\w+))/g)) {
    expanded += text.slice(end, found.index) + ((yield* env(found[1] ?? found[2] ?? "")) ?? "")
    end = found.index + found[0].length
  }
  return expanded + text.slice(end)
})

/** A repository, with its tags or the pattern of its tags. */
interface End {
  readonly repository: string
  readonly tags: ReadonlyArray<string>
  readonly match: string | undefined
  readonly digest: string | undefined
}

const repositoryOf = (text: string): Spelled<string> =>
  Result.flatMap(
    Foreign.readReference(text),
    ({ digest, registry, repository, tag }) =>
      tag === undefined && digest === undefined
        ? Result.succeed(Reference.format({ registry, repository }))
        : Result.fail(`${JSON.stringify(text)} is not a repository`)
  )

const endOf = (text: string): Spelled<End> => {
  const regex = /^(.*?):\/(.*)\/$/s.exec(text)
  const none = { tags: [], match: undefined, digest: undefined }
  if (regex !== null) {
    return Result.map(
      Result.all([repositoryOf(regex[1] ?? ""), GoRegex.translate(regex[2] ?? "")]),
      ([repository, match]) => ({ ...none, repository, match })
    )
  }
  const [first = "", ...others] = text.split(",")
  return Result.flatMap(Foreign.readReference(first), ({ digest, registry, repository, tag }): Spelled<End> => {
    const name = Reference.format({ registry, repository })
    if (digest !== undefined) return Result.succeed({ ...none, repository: name, digest })
    const tags = [...tag === undefined ? [] : [tag], ...others]
    return Result.mapBoth(Result.all(tags.map(Reference.parseTag)), {
      onSuccess: () => ({ ...none, repository: name, tags }),
      onFailure: ({ message }) => message
    })
  })
}

/** Makes the rules of a pair. */
const pair = (source: End, destination: End): Spelled<ReadonlyArray<Rule>> => {
  const rule = (tags: Rule["tags"], to: string): Rule => ({
    from: source.repository,
    to,
    ...tags === undefined ? {} : { tags },
    platforms: "all",
    referrers: false
  })
  if (destination.match !== undefined) return Result.fail("a pattern in a destination has no counterpart")
  if (destination.tags.length === 0) {
    const tags = source.match !== undefined
      ? { match: source.match, digestTags: true }
      : source.tags.length > 0
      ? source.tags
      : { digestTags: true }
    return Result.succeed([rule(tags, destination.repository)])
  }
  return destination.tags.length === source.tags.length
    ? Result.succeed(source.tags.map((tag, index) => {
      const own = destination.tags[index] ?? tag
      return rule([tag], `${destination.repository}${own === tag ? "" : `:${own}`}`)
    }))
    : Result.fail("source and destination must have the same number of tags")
}

const readImages = Effect.fnUntraced(function*(
  images: typeof Images.Type,
  base: FilePath,
  lookups: Foreign.Lookups,
  notes: Foreign.Notes
) {
  const rules: Array<Foreign.PlacedRule> = []
  for (const [key, written] of Object.entries(images)) {
    const place = [...base, key]
    const source = Foreign.accept(notes, place, endOf(key))
    const destinations = typeof written === "string" ? [written] : written
    if (destinations.length === 0) notes.problems.push({ path: place, message: "write at least one destination" })
    if (source === undefined) continue
    if (source.digest !== undefined) {
      Foreign.omit(notes, place, "a digest has no counterpart: the image is left out")
      continue
    }
    for (const text of destinations) {
      const made = Result.flatMap(endOf(yield* expand(text, lookups)), (end) => pair(source, end))
      for (const rule of Foreign.accept(notes, place, made) ?? []) rules.push({ rule, place })
    }
  }
  return rules
})

/** Joins the rules that differ in their destination only. */
const withDestinations = (rules: ReadonlyArray<Foreign.PlacedRule>): ReadonlyArray<Foreign.PlacedRule> => {
  const byKey = new Map<string, Foreign.PlacedRule>()
  for (const { place, rule } of rules) {
    const { to, ...rest } = rule
    const key = JSON.stringify(rest)
    const other = byKey.get(key)
    const all = Array.from(new Set([other?.rule.to ?? [], to ?? []].flat()))
    byKey.set(key, { rule: { ...rule, to: all.length === 1 ? all[0] ?? "" : all }, place: other?.place ?? place })
  }
  return Array.from(byKey.values())
}

/** Reads the files of image-syncer. */
export const read: Foreign.Reader = Effect.fnUntraced(function*(value, { auth: separate, lookups }, notes) {
  const registries = new Map<string, typeof RegistryEntry.Type>()
  const passwords = new Map<string, Foreign.Password>()
  const whole = hasAuth(value)
  const file = whole ? Foreign.decode(File, value, notes) : { images: Foreign.decode(Images, value, notes), auth: null }
  const own = separate === undefined ? file?.auth : Foreign.decode(Auth, separate, notes)
  if (file?.images === undefined) return { rules: [], registries, passwords }
  for (const [key, { insecure, password, username }] of Object.entries(own ?? {})) {
    const path: FilePath = separate === undefined ? ["auth", key] : [key]
    const [host = ""] = key.split("/")
    if (/\/./.test(key)) {
      Foreign.omit(notes, path, "credentials of a namespace have no counterpart: those of docker's files have one")
      continue
    }
    const registry = DockerHub.isHost(host) ? DockerHub.host : host
    // image-syncer means registries without HTTPS
    registries.set(registry, insecure === true ? { scheme: "plainHttp" } : {})
    const name = yield* expand(username ?? "", lookups)
    const secret = yield* expand(password ?? "", lookups)
    if (name !== "") passwords.set(registry, { username: name, password: Redacted.make(secret) })
  }
  const rules = yield* readImages(file.images, whole ? ["images"] : [], lookups, notes)
  return { rules: withDestinations(Foreign.joined(rules)), registries, passwords }
})
