/**
 * The place that an end names: its registry, its repository, and its name in messages.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Digest } from "../Digest.ts"
import * as Namespace from "../Namespace.ts"
import * as Reference from "../Reference.ts"
import type { Registry } from "../Registry.ts"

/** A repository with a tag or a digest. */
export interface Place {
  readonly registry: Registry
  readonly repository: Reference.Repository
  readonly tag?: Reference.Tag | undefined
  readonly digest?: Digest | undefined
}

/** Returns the text of an end, for messages. */
export const format = (end: Namespace.End): string => {
  if (typeof end === "string" || end instanceof Reference.Reference) return String(end)
  const { digest, registry, repository, tag } = end
  const host = typeof registry === "string" ? registry : registry.name
  return `${host}/${repository}${tag === undefined ? "" : `:${tag}`}${digest === undefined ? "" : `@${digest}`}`
}

/** Resolves the host of an end. */
export const resolve = Effect.fnUntraced(function*(end: Namespace.End) {
  const namespace = yield* Namespace.Namespace
  const { digest, registry, repository, tag } = yield* Effect.fromResult(
    typeof end === "string" ? Reference.parse(end) : Result.succeed(end)
  )
  const place: Place = {
    registry: typeof registry === "string" ? yield* namespace.registry(registry) : registry,
    repository,
    ...tag === undefined ? {} : { tag },
    ...digest === undefined ? {} : { digest }
  }
  return place
})
