/**
 * Parts that the readers of other tools' files share.
 *
 * A reader makes the file of a mirror from the file of a tool, and a list of what has no counterpart.
 */
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as DockerHub from "../../DockerHub.ts"
import * as Reference from "../../Reference.ts"
import type { MirrorFile, RegistryEntry, Rule, Selection } from "../MirrorFile.ts"
import * as Pattern from "../Pattern.ts"
import * as Problem from "../Problem.ts"
import type { Spelled } from "../Spelling.ts"

/** Tools whose files can be read. */
export type Format = "regsync" | "skopeo" | "image-syncer" | "ocync"

/** Environment variables and files that a file refers to. */
export interface Lookups {
  readonly env: (name: string) => Effect.Effect<string | undefined>
  /** Returns the text of a file, or `undefined` if it cannot be read. */
  readonly file: (path: string) => Effect.Effect<string | undefined>
}

/** Knowledge that a file of a tool does not contain. */
export interface Context {
  readonly lookups: Lookups
  /** Destination of a file of skopeo: HOST or HOST/PREFIX. */
  readonly to: string | undefined
  /** Destination repositories of skopeo contain the host and the whole name of the source. */
  readonly names: "base" | "scoped"
  /** Value of the file with the credentials of image-syncer. */
  readonly auth: unknown
}

/** Credentials that a file contains. */
export interface Password {
  readonly username: string
  readonly password: Redacted.Redacted
}

/** A rule, and its place in the file of the tool. */
export interface PlacedRule {
  readonly rule: Rule
  readonly place: Problem.FilePath
}

/** Rules, registries and passwords that a file contains. */
export interface Read {
  readonly rules: ReadonlyArray<PlacedRule>
  readonly registries: ReadonlyMap<string, typeof RegistryEntry.Type>
  readonly passwords: ReadonlyMap<string, Password>
}

/** Collects problems and omissions. */
export interface Notes {
  readonly problems: Array<Problem.Problem>
  readonly omissions: Array<Problem.Problem>
}

/** A reader of the file of a tool. */
export type Reader = (value: unknown, context: Context, notes: Notes) => Effect.Effect<Read>

/** Returns the value of a step, or `undefined` after noting its problem. */
export const accept = <A>(notes: Notes, path: Problem.FilePath, result: Spelled<A>): A | undefined => {
  if (Result.isSuccess(result)) return result.success
  notes.problems.push({ path, message: result.failure })
  return undefined
}

/** Notes what has no counterpart. */
export const omit = (notes: Notes, path: Problem.FilePath, message: string): void => {
  notes.omissions.push({ path, message })
}

/** Decodes the value of a file. Keys that the tool does not know are omissions, because the tool ignores them. */
export const decode = <A>(schema: Schema.Decoder<A>, value: unknown, notes: Notes): A | undefined => {
  const decoded = Schema.decodeUnknownResult(schema, { errors: "all" })(value)
  if (Result.isFailure(decoded)) {
    notes.problems.push(...Problem.fromIssue(decoded.failure.issue, value, [], {}))
    return undefined
  }
  const strict = Schema.decodeUnknownResult(schema, { errors: "all", onExcessProperty: "error" })(value)
  if (Result.isFailure(strict)) {
    const unknown = Problem.fromIssue(strict.failure.issue, value, [], {})
    // x-… is where such files keep anchors
    notes.omissions.push(...unknown.filter(({ path }) => !String(path[0]).startsWith("x-")))
  }
  return decoded.success
}

/** Makes a schema that accepts the absence of a value in each of the ways of YAML. */
export const lenient = <S extends Schema.Constraint>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

/** Parses a reference as the tools do: without a host, it is on Docker Hub. */
export const readReference = (text: string): Spelled<Reference.Reference> =>
  Reference.parseRelative(text).pipe(
    Result.flatMap(({ registry = DockerHub.host, repository, ...part }) => {
      const host = DockerHub.isHost(registry) ? DockerHub.host : registry
      const name = host === DockerHub.host ? DockerHub.fullName(repository) : repository
      return Reference.parse(Reference.format({ registry: host, repository: name, ...part }))
    }),
    Result.mapError(({ message }) => message)
  )

/** Returns the pattern of exactly one text. */
export const exactly = (text: string): string => `^${Pattern.escape(text)}$`

// ---------------------------------------------------------------------------------------------------------------------
// rules
// ---------------------------------------------------------------------------------------------------------------------

const isAll = (tags: Rule["tags"]): boolean =>
  tags === undefined || !Array.isArray(tags) && Object.keys(tags).every((key) => key === "digestTags")

const itemsOf = (tags: Rule["tags"]): ReadonlyArray<string | Selection> => {
  if (tags === undefined) return []
  if ("map" in tags) return tags
  const { names, ...rest } = tags
  return names !== undefined && Object.keys(rest).length === 0 ? typeof names === "string" ? [names] : names : [tags]
}

const together = (one: Rule["tags"], other: Rule["tags"]): NonNullable<Rule["tags"]> => {
  if (isAll(one)) return one ?? {}
  if (isAll(other)) return other ?? {}
  const items = [...itemsOf(one), ...itemsOf(other)]
  const texts = items.map((item) => JSON.stringify(item))
  return items.filter((_, index) => texts.indexOf(texts[index] ?? "") === index)
}

/** Joins the rules that differ in their tags only. */
export const joined = (rules: ReadonlyArray<PlacedRule>): ReadonlyArray<PlacedRule> => {
  const byKey = new Map<string, PlacedRule>()
  for (const { place, rule } of rules) {
    const { tags, ...rest } = rule
    const key = JSON.stringify(rest)
    const other = byKey.get(key)
    byKey.set(
      key,
      other === undefined
        ? { rule, place }
        : { rule: { ...other.rule, tags: together(other.rule.tags, tags) }, place: other.place }
    )
  }
  return Array.from(byKey.values())
}

/** Returns the beginning of the names of the variables for the credentials of a registry. */
const prefixOf = (registry: string): string =>
  registry.toUpperCase().replace(/[^A-Z0-9]+/g, "_").replace(/^(?=\d)/, "_").replace(/_+$/, "")

/** Returns the file of a mirror. It names variables instead of passwords. */
export const fileOf = ({ passwords, registries, rules }: Read): MirrorFile => ({
  version: 1,
  ...registries.size === 0 ? {} : {
    registries: Object.fromEntries(Array.from(registries, ([key, entry]) => [
      key,
      passwords.has(key) ? { ...entry, credentials: `env:${prefixOf(key)}` } : entry
    ]))
  },
  rules: rules.map(({ rule }) => rule)
})

/** Moves the settings that all rules share to the defaults. */
export const withDefaults = (file: MirrorFile): MirrorFile => {
  const { rules, ...rest } = file
  const [first, ...others] = rules
  const shared = Object.entries(first ?? {}).filter(([key, value]) =>
    others.length > 0 && !["name", "from", "to", "tags"].includes(key) &&
    others.every((rule) => JSON.stringify(Reflect.get(rule, key)) === JSON.stringify(value))
  )
  if (shared.length === 0) return file
  const keys = new Set(shared.map(([key]) => key))
  return {
    ...rest,
    defaults: Object.fromEntries(shared),
    // a rule without the settings that it shares is a rule
    rules: rules.map((rule) =>
      Object.fromEntries(Object.entries(rule).filter(([key]) => !keys.has(key))) as unknown as Rule
    )
  }
}
