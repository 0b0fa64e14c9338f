/**
 * Parses the sources and destinations of rules, such as `docker.io/library/{alpine,debian}` and `ecr/base/$1`.
 */
import * as Result from "effect/Result"
import * as DockerHub from "../DockerHub.ts"
import * as Reference from "../Reference.ts"
import { tagTemplate } from "./MirrorFile.ts"
import type { Destination, Source } from "./MirrorRule.ts"
import * as Pattern from "./Pattern.ts"
import { meant } from "./Problem.ts"
import { fill } from "./RepositoryRule.ts"
import type { Spelled } from "./Spelling.ts"

/** Hosts of registries by alias. */
export type Aliases = ReadonlyMap<string, Reference.Host>

/** Maximum number of repositories that the alternatives of one source stand for. */
const maximumNames = 1000

/** Returns the host that a name stands for: an alias, or a host. */
export const readRegistry = (name: string, aliases: Aliases): Spelled<Reference.Host> => {
  const known = aliases.get(name)
  if (known !== undefined) return Result.succeed(known)
  return Result.mapError(Reference.parseHost(name), ({ problem }) => {
    const guess = meant(name, Array.from(aliases.keys()))
    const what = JSON.stringify(name.slice(0, 100))
    return guess === undefined
      ? `write HOST/REPOSITORY: ${what} is neither a host nor an alias of registries: ${problem}`
      : `unknown registry ${what}; did you mean ${guess}?`
  })
}

const split = (text: string): readonly [registry: string, rest: string] => {
  const slash = text.indexOf("/")
  return slash < 0 ? [text, ""] : [text.slice(0, slash), text.slice(slash + 1)]
}

// ---------------------------------------------------------------------------------------------------------------------
// sources
// ---------------------------------------------------------------------------------------------------------------------

type Token =
  | { readonly _tag: "Text"; readonly text: string }
  | { readonly _tag: "Alternatives"; readonly names: ReadonlyArray<string> }
  | { readonly _tag: "Star"; readonly pattern: string }

const tokensOf = (text: string): ReadonlyArray<Token> =>
  Array.from(text.matchAll(/\*+|\{[^{}]*\}|[^*{]+|\{/g), ([token]): Token =>
    token.startsWith("*")
      ? { _tag: "Star", pattern: token.length === 1 ? "([^/]*)" : "(.*)" }
      : /^\{.*\}$/.test(token)
      ? { _tag: "Alternatives", names: token.slice(1, -1).split(",").map((name) => name.trim()) }
      : { _tag: "Text", text: token })

interface Name {
  readonly name: string
  readonly captures: ReadonlyArray<string>
}

const namesOf = (tokens: ReadonlyArray<Token>): ReadonlyArray<Name> =>
  tokens.reduce<ReadonlyArray<Name>>(
    (names, token) => {
      if (token._tag === "Text") return names.map(({ captures, name }) => ({ name: name + token.text, captures }))
      if (token._tag === "Star" || names.length > maximumNames) return names
      return names.flatMap(({ captures, name }) =>
        token.names.map((alternative) => ({ name: name + alternative, captures: [...captures, alternative] }))
      )
    },
    [{ name: "", captures: [] }]
  )

const patternOf = (tokens: ReadonlyArray<Token>): string =>
  tokens.map((token) =>
    token._tag === "Text"
      ? Pattern.escape(token.text)
      : token._tag === "Star"
      ? token.pattern
      : `(${token.names.map(Pattern.escape).join("|")})`
  ).join("")

const problemOfText = (text: string): string | undefined => {
  if (/[@:]/.test(text)) return "write no tag and no digest here, but tags: { names: [TAG] }"
  if (/\*{3}/.test(text)) return "write * for a part of a name, or ** for several parts"
  const upper = /[A-Z]/.exec(text)?.[0]
  if (upper !== undefined) return `write lower-case letters: there is ${JSON.stringify(upper)}`
  const other = /[^a-z0-9._/{},* -]/.exec(text)?.[0]
  return other === undefined ? undefined : `character ${JSON.stringify(other)} is not allowed`
}

/** Parses a source. */
export const readSource = (text: string, aliases: Aliases): Spelled<Source> => {
  const [registry, rest] = split(text.trim())
  return Result.flatMap(readRegistry(registry, aliases), (host): Spelled<Source> => {
    if (rest === "") return Result.fail("write HOST/REPOSITORY, or HOST/** for all repositories of the catalog")
    const problem = problemOfText(rest)
    if (problem !== undefined) return Result.fail(problem)
    const tokens = tokensOf(rest)
    if (tokens.some((token) => token._tag === "Text" && /[{}]/.test(token.text))) {
      return Result.fail("close each { with a }, and do not nest them")
    }
    if (tokens.some(({ _tag }) => _tag === "Star")) {
      const pattern = new RegExp(`^${patternOf(tokens)}$`)
      return Result.succeed({ registry: host, repositories: { _tag: "Catalog", pattern } })
    }
    const names = namesOf(tokens)
    if (names.length > maximumNames) return Result.fail(`write at most ${maximumNames} repositories in one source`)
    return Result.all(names.map(({ captures, name }) =>
      Result.map(
        Reference.parseRepository(DockerHub.isHost(host) ? DockerHub.fullName(name) : name),
        (name) => ({ name, captures })
      )
    )).pipe(
      Result.mapBoth({
        onSuccess: (repositories) => ({ registry: host, repositories: { _tag: "Named", repositories } }),
        onFailure: ({ input, problem }) => `write a repository: ${JSON.stringify(input)}: ${problem}`
      })
    )
  })
}

// ---------------------------------------------------------------------------------------------------------------------
// destinations
// ---------------------------------------------------------------------------------------------------------------------

const withCaptures = (repository: string, isPrefix: boolean): string =>
  repository === ""
    ? "$0"
    : repository.endsWith("/")
    ? `${repository}$0`
    : isPrefix && !/\$/.test(repository)
    ? `${repository}/$0`
    : repository

/**
 * Parses a destination. If `isPrefix`, one without `$` is a prefix. `captures` is the number of captures that every
 * source has.
 */
export const readDestination = (
  text: string,
  aliases: Aliases,
  isPrefix: boolean,
  captures: number
): Spelled<Destination> => {
  const [registry, rest] = split(text.trim())
  return Result.flatMap(readRegistry(registry, aliases), (host): Spelled<Destination> => {
    if (rest.includes("@")) return Result.fail("write no digest in a destination")
    const colon = rest.indexOf(":")
    const repository = withCaptures(colon < 0 ? rest : rest.slice(0, colon), isPrefix)
    const tag = colon < 0 ? "{tag}" : rest.slice(colon + 1)
    const odd = Array.from(repository.matchAll(/\$(\d?)/g))
      .find(([, index = ""]) => index === "" || Number(index) > captures)
    if (odd !== undefined) {
      return Result.fail(
        odd[1] === ""
          ? "write $0 for the repository of the source, or $1, $2, … for its captures"
          : `${odd[0]} has no value: ${
            captures === 0 ? "the source has no captures" : `every source has ${captures} captures`
          }; $0 is the whole repository`
      )
    }
    return Reference.parseRepository(fill(repository, "x", Array.from({ length: 9 }, () => "x"))).pipe(
      Result.mapError(({ problem }) => `write a repository: ${JSON.stringify(repository)}: ${problem}`),
      Result.flatMap(() => tagTemplate(["tag"])(tag)),
      Result.map((tag) => ({ registry: host, repository, tag }))
    )
  })
}
