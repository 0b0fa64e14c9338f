/**
 * References as people type them: `docker.io` and `latest` may be left out, and are added aloud.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type * as Result from "effect/Result"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import * as Reference from "../Reference.ts"

/** The command was called in a way that makes no sense. */
export class Misuse extends Schema.TaggedError<Misuse>("effect-oci/cli/Misuse")("Misuse", { message: Schema.String }) {
  override readonly [Runtime.errorExitCode] = 2
}

const fit = <A>(parsed: Result.Result<A, Reference.InvalidReference>): Effect.Effect<A, Misuse> =>
  Effect.mapError(Effect.fromResult(parsed), ({ message }) => new Misuse({ message }))

/** Reads an argument that names an image. */
export const readReference = Effect.fnUntraced(
  function*(input: string): Effect.fn.Return<Reference.Reference, Misuse> {
    const { digest, registry = "docker.io", repository, tag } = yield* fit(Reference.parseRelative(input))
    const isShort = registry === "docker.io" && !repository.includes("/")
    const reference = yield* fit(Reference.parse(Reference.format({
      registry,
      repository: isShort ? `library/${repository}` : repository,
      ...digest === undefined || tag !== undefined ? { tag: tag ?? "latest" } : {},
      ...digest === undefined ? {} : { digest }
    })))
    if (String(reference) !== input) yield* Console.error(`${input} is taken as ${reference}`)
    return reference
  }
)

/** Reads an option that names a host. */
export const readHost = (input: string): Effect.Effect<Reference.Host, Misuse> =>
  Effect.mapError(
    Effect.fromResult(Reference.parseHost(input)),
    ({ problem }) =>
      new Misuse({ message: `${JSON.stringify(input)} is not a host, with its port if it has one: ${problem}` })
  )
