/**
 * Endpoints of the specification (distribution-spec, "Endpoints") and `_catalog` of CNCF distribution, parsed from the
 * method and path of a request.
 *
 * Paths are not normalized. Their parts are decoded one by one, and a part that contains a slash is refused, so that no
 * two readers of a path disagree on the repository that it names.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Digest from "../Digest.ts"
import { Repository, Tag } from "../Reference.ts"
import * as Refusal from "./Refusal.ts"

export type Endpoint =
  | { readonly _tag: "Base" }
  | { readonly _tag: "Catalog" }
  | { readonly _tag: "Tags"; readonly repository: Repository }
  | { readonly _tag: "Manifest"; readonly repository: Repository; readonly reference: Tag | Digest.Digest }
  | { readonly _tag: "Blob"; readonly repository: Repository; readonly digest: Digest.Digest }
  | { readonly _tag: "Uploads"; readonly repository: Repository }
  | { readonly _tag: "Upload"; readonly repository: Repository; readonly id: string }
  | { readonly _tag: "Referrers"; readonly repository: Repository; readonly digest: Digest.Digest }

/** Request to an endpoint. */
export interface Request {
  readonly endpoint: Endpoint
  readonly method: string
  readonly query: URLSearchParams
}

/** Methods of each endpoint. */
export const methods: { readonly [Tag in Endpoint["_tag"]]: ReadonlyArray<string> } = {
  Base: ["GET", "HEAD"],
  Catalog: ["GET", "HEAD"],
  Tags: ["GET", "HEAD"],
  Manifest: ["GET", "HEAD", "PUT", "DELETE"],
  Blob: ["GET", "HEAD", "DELETE"],
  Uploads: ["POST"],
  Upload: ["GET", "HEAD", "PATCH", "PUT", "DELETE"],
  Referrers: ["GET", "HEAD"]
}

const isRepository = Schema.is(Repository)
const isTag = Schema.is(Tag)

export const parseRepository = (name: string): Result.Result<Repository, Refusal.Refusal> =>
  isRepository(name)
    ? Result.succeed(name)
    : Result.fail(Refusal.make(400, "NAME_INVALID", "the name of the repository is invalid"))

/** Parses a required digest. The refusal does not repeat the text of the client. */
export const parseDigest = (digest: string | null): Result.Result<Digest.Digest, Refusal.Refusal> =>
  Result.mapError(
    Digest.parse(digest ?? ""),
    ({ problem }) =>
      Refusal.make(400, "DIGEST_INVALID", digest === null ? "a digest is missing" : `the digest is invalid: ${problem}`)
  )

export const parseTag = (tag: string): Result.Result<Tag, Refusal.Refusal> =>
  isTag(tag) ? Result.succeed(tag) : Result.fail(Refusal.make(400, "MANIFEST_INVALID", "the tag is invalid"))

const unknownPath = Refusal.make(404, "UNSUPPORTED", "there is no such endpoint")

// an invalid tag is 404 in a read, because no manifest has it
const parseReference = (reference: string, method: string): Result.Result<Tag | Digest.Digest, Refusal.Refusal> =>
  reference.includes(":")
    ? parseDigest(reference)
    : Result.mapError(
      parseTag(reference),
      (refusal) =>
        method === "PUT" ? refusal : Refusal.make(404, "MANIFEST_UNKNOWN", "there is no such manifest or tag")
    )

const decode = (word: string): string | undefined => {
  if (!word.includes("%")) return word
  const decoded = Result.try(() => decodeURIComponent(word))
  return Result.isSuccess(decoded) && !decoded.success.includes("/") ? decoded.success : undefined
}

const parsePath = (path: string, method: string): Result.Result<Endpoint, Refusal.Refusal> => {
  if (path === "/v2/" || path === "/v2") return Result.succeed({ _tag: "Base" })
  if (!path.startsWith("/v2/")) return Result.fail(unknownPath)
  if (path === "/v2/_catalog") return Result.succeed({ _tag: "Catalog" })
  const words = path.slice("/v2/".length).split("/").map(decode)
  if (words.includes(undefined)) {
    return Result.fail(Refusal.make(400, "NAME_INVALID", "the path is encoded incorrectly"))
  }
  const [third = "", second = "", last = ""] = ["", "", ...words].slice(-3)
  // the endpoint is parsed from the end of the path, because a repository name may contain the names of endpoints
  const named = <A>(length: number, make: (repository: Repository) => A) =>
    Result.map(parseRepository(words.slice(0, -length).join("/")), make)

  if (second === "blobs" && last === "uploads") return named(2, (repository) => ({ _tag: "Uploads", repository }))
  if (third === "blobs" && second === "uploads") {
    return named(
      3,
      (repository) => last === "" ? { _tag: "Uploads", repository } : { _tag: "Upload", repository, id: last }
    )
  }
  if (second === "tags" && last === "list") return named(2, (repository) => ({ _tag: "Tags", repository }))
  switch (second) {
    case "blobs":
      return Result.flatMap(
        named(2, (repository) => repository),
        (repository) => Result.map(parseDigest(last), (digest) => ({ _tag: "Blob", repository, digest }))
      )
    case "manifests":
      return Result.flatMap(
        named(2, (repository) => repository),
        (repository) =>
          Result.map(parseReference(last, method), (reference) => ({ _tag: "Manifest", repository, reference }))
      )
    case "referrers":
      return Result.flatMap(
        named(2, (repository) => repository),
        (repository) => Result.map(parseDigest(last), (digest) => ({ _tag: "Referrers", repository, digest }))
      )
    default:
      return Result.fail(unknownPath)
  }
}

/** Parses the endpoint of a request. `target` is its path and query, as the client sent them. */
export const parse = (method: string, target: string): Result.Result<Request, Refusal.Refusal> => {
  const mark = target.search(/[?#]/)
  const path = mark < 0 ? target : target.slice(0, mark)
  return Result.flatMap(parsePath(path, method), (endpoint) => {
    const allowed = methods[endpoint._tag]
    return allowed.includes(method)
      ? Result.succeed({
        endpoint,
        method,
        query: new URLSearchParams(mark < 0 || target[mark] === "#" ? "" : target.slice(mark + 1))
      })
      : Result.fail(
        Refusal.make(405, "UNSUPPORTED", "this endpoint has no such method", { allow: allowed.join(", ") })
      )
  })
}
