/**
 * Addresses of the page: `/` lists the repositories, and `/ui/` is followed by a reference without its host. `-` is no
 * repository, so that `/ui/-/` is free for the rest.
 */
import * as Result from "effect/Result"
import * as Digest from "../../Digest.ts"
import * as Reference from "../../Reference.ts"

/** Address of a view. */
export type Address =
  | { readonly _tag: "Repositories" }
  | { readonly _tag: "Space" }
  | { readonly _tag: "SignIn" }
  | { readonly _tag: "Repository"; readonly repository: Reference.Repository }
  | {
    readonly _tag: "Image"
    readonly repository: Reference.Repository
    readonly reference: Reference.Tag | Digest.Digest
  }

/** Changes that forms make. */
export type Change = "tag" | "delete-tag" | "delete-manifest"

const changes: ReadonlyArray<Change> = ["tag", "delete-tag", "delete-manifest"]

const root = "/ui/"

export const space = `${root}-/space`

export const signIn = `${root}-/sign-in`

export const ofChange = (change: Change): string => `${root}-/${change}`

/** Returns the change that the form of an address makes. */
export const changeOf = (path: string): Change | undefined => changes.find((change) => ofChange(change) === path)

/** Returns the address of a repository. */
export const ofRepository = (repository: string): string => root + repository

/** Returns the address of an image or artifact. */
export const ofImage = (repository: string, reference: string): string =>
  `${root}${repository}${Digest.isDigest(reference) ? "@" : ":"}${reference}`

const parseReference = (text: string): Address | undefined => {
  const [, name = "", tag, digest] = /^([^:@]+)(?::([^:@]+)|@(.+))?$/.exec(text) ?? []
  const repository = Result.getOrUndefined(Reference.parseRepository(name))
  if (repository === undefined) return undefined
  if (tag === undefined && digest === undefined) return { _tag: "Repository", repository }
  const reference = tag === undefined
    ? Result.getOrUndefined(Digest.parse(digest ?? ""))
    : Result.getOrUndefined(Reference.parseTag(tag))
  return reference === undefined ? undefined : { _tag: "Image", repository, reference }
}

/** Maximum length of a path. A repository has up to 255 characters, and a digest or a tag some 140. */
const maximumLength = 1000

/** Parses the path of a request. Returns `undefined` if it is none of the page. */
export const parse = (path: string): Address | undefined => {
  if (path === "/") return { _tag: "Repositories" }
  if (path === space) return { _tag: "Space" }
  if (path === signIn) return { _tag: "SignIn" }
  if (!path.startsWith(root) || path.length > maximumLength) return undefined
  const text = Result.getOrUndefined(Result.try(() => decodeURIComponent(path.slice(root.length))))
  return text === undefined ? undefined : parseReference(text)
}
