/**
 * Scopes of tokens: sets of resources with the actions that a token permits on each, in the notation of the token
 * specification of CNCF distribution: `repository:team/app:pull,push registry:catalog:*`.
 *
 * The action `*` does not include others, because no registry says which. A word that is not of the form
 * `type:name:actions` is kept as a resource without actions.
 */
import * as Context from "effect/Context"

/** A set of permissions. */
export interface TokenScope {
  /** Actions by resource, which is `type:name`. */
  readonly resources: ReadonlyMap<string, ReadonlySet<string>>
}

/** Scope without any permission. */
export const empty: TokenScope = { resources: new Map() }

/** Creates the scope of some actions on one resource. */
export const make = (resource: string, ...actions: ReadonlyArray<string>): TokenScope => ({
  resources: new Map([[resource, new Set(actions)]])
})

/** Creates the scope of some actions on one repository. */
export const repository = (name: string, ...actions: ReadonlyArray<"pull" | "push" | "delete">): TokenScope =>
  make(`repository:${name}`, ...actions)

/** Scope to list the repositories of a registry. */
export const catalog: TokenScope = make("registry:catalog", "*")

/** Parses any text. The name of a resource may contain colons, such as that of a host with a port. */
export const parse = (text: string): TokenScope =>
  text.split(/\s+/).filter((word) => word !== "").map((word) => {
    const [, resource, actions = ""] = /^([^:]+:.*):([^:]*)$/.exec(word) ?? []
    const named = actions.split(",").filter((action) => action !== "")
    return resource === undefined || named.length === 0 ? make(word) : make(resource, ...named)
  }).reduce(union, empty)

/**
 * Returns one word for each resource, in alphabetical order. Resources with actions other than `pull` come first,
 * because some token services read only the first word.
 */
export const words = ({ resources }: TokenScope): ReadonlyArray<string> =>
  Array.from(resources, ([resource, actions]) => ({
    first: Array.from(actions).some((action) => action !== "pull"),
    word: actions.size === 0 ? resource : `${resource}:${Array.from(actions).sort().join(",")}`
  }))
    .sort((a, b) => Number(b.first) - Number(a.first) || (a.word < b.word ? -1 : 1))
    .map(({ word }) => word)

/** Returns the text of a scope. Equal scopes have equal texts. */
export const format = (scope: TokenScope): string => words(scope).join(" ")

/** Returns the scope that includes every action of both scopes. */
export const union = (self: TokenScope, that: TokenScope): TokenScope => {
  if (contains(self, that)) return self
  const resources = new Map(self.resources)
  for (const [resource, actions] of that.resources) {
    resources.set(resource, new Set([...resources.get(resource) ?? [], ...actions]))
  }
  return { resources }
}

/** Returns true if the first scope includes every action of the second. */
export const contains = (self: TokenScope, that: TokenScope): boolean =>
  Array.from(that.resources).every(([resource, actions]) => {
    const own = self.resources.get(resource)
    return own !== undefined && Array.from(actions).every((action) => own.has(action))
  })

/** Returns true if both scopes have the same resources and actions. */
export const equals = (self: TokenScope, that: TokenScope): boolean => contains(self, that) && contains(that, self)

/** Returns true if a scope has no resources. */
export const isEmpty = ({ resources }: TokenScope): boolean => resources.size === 0

/**
 * Scope that later requests to a host will need. It is added to the scope of each token that is requested, so that a
 * pull and a later push need one token instead of two. If the token service refuses it, only the required scope is
 * requested.
 */
export const Wanted: Context.Reference<(host: string) => TokenScope> = Context.Reference<(host: string) => TokenScope>(
  "effect-oci/Scope/Wanted",
  { defaultValue: () => () => empty }
)
