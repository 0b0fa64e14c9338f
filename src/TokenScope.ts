/**
 * What may be done with a token: a set of resources, each with actions, as the token specification of CNCF distribution
 * writes them: `repository:team/app:pull,push registry:catalog:*`.
 *
 * An action is only itself: `*` does not stand for others, since no registry says which. What is not of the form
 * `type:name:actions` is kept as it is, as a resource without actions.
 */
import * as Context from "effect/Context"

/** A set of permissions. */
export interface TokenScope {
  /** By resource, `type:name`, the actions on it. */
  readonly resources: ReadonlyMap<string, ReadonlySet<string>>
}

/** No permission at all. */
export const empty: TokenScope = { resources: new Map() }

/** Some actions on one resource. */
export const make = (resource: string, ...actions: ReadonlyArray<string>): TokenScope => ({
  resources: new Map([[resource, new Set(actions)]])
})

/** Some actions on one repository. */
export const repository = (name: string, ...actions: ReadonlyArray<"pull" | "push" | "delete">): TokenScope =>
  make(`repository:${name}`, ...actions)

/** To list the repositories of a registry. */
export const catalog: TokenScope = make("registry:catalog", "*")

/** Understands every text. The name of a resource may have colons itself: that of a host has. */
export const parse = (text: string): TokenScope =>
  text.split(/\s+/).filter((word) => word !== "").map((word) => {
    const [, resource, actions = ""] = /^([^:]+:.*):([^:]*)$/.exec(word) ?? []
    const named = actions.split(",").filter((action) => action !== "")
    return resource === undefined || named.length === 0 ? make(word) : make(resource, ...named)
  }).reduce(union, empty)

/**
 * One word for each resource. Those that allow more than `pull` come first, since some token services read only the
 * first; otherwise the order is that of the alphabet.
 */
export const words = ({ resources }: TokenScope): ReadonlyArray<string> =>
  Array.from(resources, ([resource, actions]) => ({
    first: Array.from(actions).some((action) => action !== "pull"),
    word: actions.size === 0 ? resource : `${resource}:${Array.from(actions).sort().join(",")}`
  }))
    .sort((a, b) => Number(b.first) - Number(a.first) || (a.word < b.word ? -1 : 1))
    .map(({ word }) => word)

/** The same text for equal scopes. */
export const format = (scope: TokenScope): string => words(scope).join(" ")

/** Everything that is in one of two scopes. */
export const union = (self: TokenScope, that: TokenScope): TokenScope => {
  if (contains(self, that)) return self
  const resources = new Map(self.resources)
  for (const [resource, actions] of that.resources) {
    resources.set(resource, new Set([...resources.get(resource) ?? [], ...actions]))
  }
  return { resources }
}

/** Is everything of the second scope in the first? */
export const contains = (self: TokenScope, that: TokenScope): boolean =>
  Array.from(that.resources).every(([resource, actions]) => {
    const own = self.resources.get(resource)
    return own !== undefined && Array.from(actions).every((action) => own.has(action))
  })

/** Are they the same set? */
export const equals = (self: TokenScope, that: TokenScope): boolean => contains(self, that) && contains(that, self)

/** Is nothing in it? */
export const isEmpty = ({ resources }: TokenScope): boolean => resources.size === 0

/**
 * What is going to be needed at a host, so that a token that is asked for is good for that, too: who pulls now and
 * pushes later needs one token and not two. It is a wish: where it is refused, only what is needed is asked for.
 */
export const Wanted: Context.Reference<(host: string) => TokenScope> = Context.Reference<(host: string) => TokenScope>(
  "effect-oci/Scope/Wanted",
  { defaultValue: () => () => empty }
)
