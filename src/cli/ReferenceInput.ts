/**
 * References as people type them: `docker.io` and `latest` may be left out.
 */
import * as CliError from "effect/cli/CliError"
import * as Result from "effect/Result"
import * as Reference from "../Reference.ts"

/** The command was called in a way that makes no sense. */
export const misuse = (message: string): CliError.ValidationError => new CliError.ValidationError({ message })

/** Reads what names a repository, an image, or content in it; without a host it is on Docker Hub. */
export const readReference = (input: string): Result.Result<Reference.Reference, Reference.InvalidReference> =>
  Result.flatMap(Reference.parseRelative(input), ({ registry = "docker.io", repository, ...part }) => {
    const isShort = registry === "docker.io" && !repository.includes("/")
    return Reference.parse(
      Reference.format({ registry, repository: isShort ? `library/${repository}` : repository, ...part })
    )
  })

/** Reads a host, with its port if it has one. */
export const readHost = (input: string): Result.Result<Reference.Host, { readonly message: string }> =>
  Result.mapError(Reference.parseHost(input), ({ problem }) => ({
    message: `${JSON.stringify(input)} is not a host, with its port if it has one: ${problem}`
  }))

/** Reads a tag. */
export const readTag = (input: string): Result.Result<Reference.Tag, { readonly message: string }> =>
  Result.flatMap(
    Reference.parse(`registry.test/image:${input}`),
    ({ tag }) =>
      // a digest behind an @ is none of it
      tag === input ? Result.succeed(tag) : Result.fail({ problem: "character \"@\" is not allowed" })
  ).pipe(Result.mapError(({ problem }) => ({ message: `${JSON.stringify(input)} is not a tag: ${problem}` })))
