/**
 * Changes that forms of the page make.
 */
import * as Effect from "effect/Effect"
import * as Digest from "../../Digest.ts"
import * as Reference from "../../Reference.ts"
import type { Registry } from "../../Registry.ts"
import { orAbsent, type RegistryError } from "../../RegistryError.ts"
import * as Refusal from "../Refusal.ts"
import * as Address from "./Address.ts"

/** Returns the value of a field of a form. */
export type Fields = (name: string) => string | undefined

/** A change that a form asks for. */
export interface Request {
  readonly change: Address.Change
  readonly repository: Reference.Repository
  readonly digest: Digest.Digest
  readonly tag: Reference.Tag | undefined
  /** True if a tag that exists may be moved. */
  readonly mayMove: boolean
}

const invalid = (message: string) => Refusal.make(400, "UNSUPPORTED", message)

/** Reads the fields of a form. */
export const parse = Effect.fnUntraced(function*(
  change: Address.Change,
  field: Fields
): Effect.fn.Return<Request, Refusal.Refusal> {
  const repository = yield* Effect.mapError(
    Effect.fromResult(Reference.parseRepository(field("repository") ?? "")),
    ({ message }) => invalid(message)
  )
  const digest = yield* Effect.mapError(
    Effect.fromResult(Digest.parse(field("digest") ?? "")),
    ({ message }) => invalid(message)
  )
  const tag = change === "delete-manifest" ? undefined : yield* Effect.mapError(
    Effect.fromResult(Reference.parseTag((field("tag") ?? "").trim())),
    ({ message }) => invalid(message)
  )
  return { change, repository, digest, tag, mayMove: field("move") === "yes" }
})

/** Returns the digest that a tag points at, if it exists. */
const current = (registry: Registry, repository: Reference.Repository, tag: Reference.Tag) =>
  Effect.map(orAbsent(registry.resolveManifest(repository, tag)), (found) => found?.digest)

const addTag = Effect.fnUntraced(function*(
  registry: Registry,
  { digest, mayMove, repository }: Request,
  tag: Reference.Tag
) {
  const before = yield* current(registry, repository, tag)
  if (before !== undefined && before !== digest && !mayMove) {
    return yield* Refusal.make(409, "DENIED", `the tag ${tag} exists and points at another manifest`)
  }
  const { bytes, descriptor: { mediaType } } = yield* registry.getManifest(repository, digest)
  yield* registry.pushManifest(repository, { mediaType, bytes, digest }, [tag])
})

const deleteTag = Effect.fnUntraced(function*(
  registry: Registry,
  { digest, repository }: Request,
  tag: Reference.Tag
) {
  if ((yield* current(registry, repository, tag)) !== digest) {
    return yield* Refusal.make(409, "DENIED", `the tag ${tag} does not point at this manifest any more`)
  }
  yield* registry.deleteTag(repository, tag)
})

/** Makes a change, and returns the address of the view that follows. */
export const run = Effect.fnUntraced(function*(
  registry: Registry,
  request: Request
): Effect.fn.Return<string, Refusal.Refusal | RegistryError> {
  const { change, digest, repository, tag } = request
  if (tag === undefined) {
    yield* registry.deleteManifest(repository, digest)
    return `${Address.ofRepository(repository)}?done=${change}`
  }
  if (change === "tag") {
    yield* addTag(registry, request, tag)
    return `${Address.ofImage(repository, tag)}?done=${change}`
  }
  yield* deleteTag(registry, request, tag)
  return `${Address.ofRepository(repository)}?done=${change}`
})

const notices: Readonly<Record<Address.Change, string>> = {
  "tag": "The tag points at this manifest.",
  "delete-tag": "The tag was deleted.",
  "delete-manifest": "The manifest and its tags were deleted."
}

/** Returns the result of the form that led to a view. */
export const noticeOf = (query: URLSearchParams): string | undefined => {
  const done = query.get("done") ?? ""
  return Object.hasOwn(notices, done) ? notices[done as Address.Change] : undefined // as: it is one of the keys
}
