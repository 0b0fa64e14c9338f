/**
 * Parses references as people type them: without a host, they are on Docker Hub.
 */
import * as CliError from "effect/cli/CliError"
import * as Result from "effect/Result"
import * as DockerHub from "../DockerHub.ts"
import * as Reference from "../Reference.ts"

/** Makes the error about arguments that do not make sense. */
export const misuse = (message: string): CliError.ValidationError => new CliError.ValidationError({ message })

/** Reads a reference. Default: `docker.io` as the host, and `library` before a short name there. */
export const readReference = (input: string): Result.Result<Reference.Reference, Reference.InvalidReference> =>
  Result.flatMap(Reference.parseRelative(input), ({ registry = DockerHub.host, repository, ...part }) => {
    const name = registry === DockerHub.host ? DockerHub.fullName(repository) : repository
    return Reference.parse(Reference.format({ registry, repository: name, ...part }))
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
      // refuses a digest after an @, which is not part of the tag
      tag === input ? Result.succeed(tag) : Result.fail({ problem: "character \"@\" is not allowed" })
  ).pipe(Result.mapError(({ problem }) => ({ message: `${JSON.stringify(input)} is not a tag: ${problem}` })))
