/**
 * Rights of users and anonymous clients, in a file (`serve --access`). A client may do what a rule allows, and nothing
 * else.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Problem from "../mirror/Problem.ts"
import type { Authorize, Permission } from "../server/Authentication.ts"
import * as ConfigurationFile from "./ConfigurationFile.ts"

// ---------------------------------------------------------------------------------------------------------------------
// the file
// ---------------------------------------------------------------------------------------------------------------------

const maximumStars = 4

const patternProblem = (pattern: string): string | undefined =>
  !/^[a-z0-9*][a-z0-9*._/-]{0,254}$/.test(pattern)
    ? "write a repository, with * for any characters within a part and ** for any characters, such as team/*"
    : (pattern.match(/\*+/g) ?? []).length > maximumStars
    ? `write a pattern with at most ${maximumStars} stars`
    : undefined

const pattern = Schema.String.annotate({ expected: "a pattern of repositories" }).check(
  Schema.makeFilter<string>(patternProblem)
)

const oneOrMore = <S extends Schema.Constraint>(schema: S) => Schema.Union([schema, Schema.Array(schema)])

const described = <S extends Schema.Top>(schema: S, description: string) =>
  Schema.optionalKey(schema).annotateKey({ description })

const subjects = {
  users: described(oneOrMore(Schema.NonEmptyString), "Names of users. *: every user with a password"),
  groups: described(oneOrMore(Schema.NonEmptyString), "Names of groups"),
  anonymous: described(Schema.Boolean, "Whether it is for every client, also without a password. Default: false")
}

/** Schema of the file. */
export const AccessFile = Schema.Struct({
  groups: described(Schema.Record(Schema.String, Schema.Array(Schema.NonEmptyString)), "Names of users, by group"),
  rules: Schema.Array(Schema.Struct({
    repositories: oneOrMore(pattern).annotateKey({
      description: "Patterns of repositories: * is any characters except /, and ** any characters"
    }),
    ...subjects,
    allow: oneOrMore(Schema.Literals(["pull", "push", "delete"])).annotateKey({
      description: "Actions. push includes pull"
    })
  })).annotateKey({ description: "Rules. A client may do what one of them allows, and nothing else" }),
  metrics: described(Schema.Struct(subjects), "Clients that may read /metrics. Default: none")
})

type AccessFile = typeof AccessFile.Type

type Subjects = NonNullable<AccessFile["metrics"]>

const listOf = <A>(value: A | ReadonlyArray<A> | undefined): ReadonlyArray<A> =>
  value === undefined ? [] : Array.isArray(value) ? value : [value as A]

const problemsOf = (
  { anonymous, groups, users }: Subjects,
  path: Problem.FilePath,
  known: ReadonlyArray<string>
): ReadonlyArray<Problem.Problem> => {
  const unknown = listOf(groups).filter((group) => !known.includes(group))
  return users === undefined && groups === undefined && anonymous !== true
    ? [{ path, message: "is for no client: add users, groups, or anonymous: true" }]
    : unknown.map((group) => ({
      path: [...path, "groups"],
      message: known.length === 0
        ? `unknown group ${JSON.stringify(group)}: there are no groups`
        : Problem.unknown("group", group, known)
    }))
}

// ---------------------------------------------------------------------------------------------------------------------
// decisions
// ---------------------------------------------------------------------------------------------------------------------

/** Rights of clients. */
export interface Access {
  readonly authorize: Authorize
  /** Number of rules. */
  readonly rules: number
  /** Number of rules for anonymous clients. */
  readonly anonymousRules: number
  /** Names of users in the file. */
  readonly users: ReadonlySet<string>
}

const expressionOf = (pattern: string): RegExp =>
  new RegExp(
    `^${pattern.replace(/\*+|[.]/g, (token) => token === "." ? "\\." : token === "*" ? "[^/]*" : ".*")}$`
  )

/** Returns what decides whether a client is one of the subjects. */
const membership = (
  { anonymous, groups, users }: Subjects,
  members: Readonly<Record<string, ReadonlyArray<string>>>
) => {
  const names = new Set([...listOf(users), ...listOf(groups).flatMap((group) => members[group] ?? [])])
  return (username: string | undefined): boolean =>
    anonymous === true || username !== undefined && (names.has(username) || names.has("*"))
}

const make = ({ groups = {}, metrics, rules }: AccessFile): Access => {
  const made = rules.map((rule) => {
    const allowed = new Set<Permission["action"]>(listOf(rule.allow))
    if (allowed.has("push")) allowed.add("pull")
    if (allowed.size === 3) allowed.add("*")
    return { isFor: membership(rule, groups), allowed, expressions: listOf(rule.repositories).map(expressionOf) }
  })
  const readsMetrics = metrics === undefined ? () => false : membership(metrics, groups)
  return {
    rules: rules.length,
    anonymousRules: rules.filter(({ anonymous }) => anonymous === true).length,
    users: new Set([
      ...[...rules, ...metrics === undefined ? [] : [metrics]].flatMap(({ users }) => listOf(users)),
      ...Object.values(groups).flat()
    ].filter((name) => name !== "*")),
    authorize: (username, { action, name, type }) =>
      Effect.sync(() => {
        if (type === "registry" && name === "metrics") return readsMetrics(username)
        // the catalog contains only repositories from which the client may pull
        if (type === "registry") return made.some(({ allowed, isFor }) => allowed.has("pull") && isFor(username))
        return made.some(({ allowed, expressions, isFor }) =>
          allowed.has(action) && isFor(username) && expressions.some((expression) => expression.test(name))
        )
      })
  }
}

/** Reads the rights in the text of a file. Finds all its problems. */
export const parse = (file: string, text: string): Result.Result<Access, ConfigurationFile.FileProblems> =>
  Result.flatMap(ConfigurationFile.decode(file, text, AccessFile), (decoded) => {
    const known = Object.keys(decoded.groups ?? {})
    const problems = [
      ...decoded.rules.flatMap((rule, index) => problemsOf(rule, ["rules", index], known)),
      ...decoded.metrics === undefined ? [] : problemsOf(decoded.metrics, ["metrics"], known)
    ]
    return problems.length > 0 ? Result.fail(ConfigurationFile.failing(file, problems)) : Result.succeed(make(decoded))
  })
