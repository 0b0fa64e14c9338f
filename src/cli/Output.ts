/**
 * What the command prints as its result. All else that it says goes to stderr.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import { isObject } from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Sink from "effect/Sink"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import { Storage } from "../RegistryError.ts"
import * as OutputFile from "../stores/OutputFile.ts"
import { escapeUnprintable, printable } from "../Text.ts"
import * as Format from "./Format.ts"

/** Something that the command cannot do, in a sentence. */
export class Failure extends Schema.TaggedError<Failure>("effect-oci/cli/Failure")("Failure", {
  message: Schema.String
}) {}

/** The command has failed, and everything has been said. */
export class Reported extends Schema.TaggedError<Reported>("effect-oci/cli/Reported")("Reported", {}) {}

/** A result that could not be written; or nobody reads it any more. */
class Unwritten extends Schema.TaggedError<Unwritten>("effect-oci/cli/Unwritten")("Unwritten", {
  problem: Schema.String,
  isUnwanted: Schema.Boolean
}) {}

const unwritten = ({ message, reason }: PlatformError): Unwritten => {
  const cause = "cause" in reason && isObject(reason.cause) ? reason.cause : {}
  return new Unwritten({
    problem: "message" in cause && typeof cause.message === "string" ? cause.message : message,
    isUnwanted: "code" in cause && (cause.code === "EPIPE" || cause.code === "ERR_STREAM_DESTROYED")
  })
}

/** Prints text or bytes as they come. When nobody reads them any more they are not asked for any more either. */
const write = <E, R>(
  content: Stream.Stream<string | Uint8Array, E, R>
): Effect.Effect<void, E | Failure, R | Stdio.Stdio> =>
  Effect.flatMap(
    Stdio.Stdio,
    (stdio) =>
      Stream.run(content, Sink.mapError(stdio.stdout({ endOnDone: false }), unwritten)).pipe(
        Effect.catchIf(
          (error) => error instanceof Unwritten,
          ({ isUnwanted, problem }) =>
            isUnwanted
              ? Effect.void
              : Effect.fail(new Failure({ message: `the result could not be written: ${problem}` }))
        )
      )
  )

const lineOf = (text: string): string => `${printable(text)}\n`

/** Prints lines. Text of another party in them becomes printable here: each of them stays one line. */
export const lines = <E, R>(content: Stream.Stream<string, E, R>) =>
  write(Stream.mapArray(content, (lines) => [lines.map(lineOf).join("")]))

/** Prints several lines. */
export const text = (content: ReadonlyArray<string>) => lines(Stream.fromIterable(content))

/** Prints a line. */
export const line = (content: string) => text([content])

/** Prints a line on stderr, where everything goes that is not the result. */
export const note = (content: string): Effect.Effect<void> => Console.error(Format.oneLine(content))

const encodeJson = Schema.encodeEffect(Schema.fromJsonString(Schema.Unknown))

/** Prints JSON, in which all that is not printable is escaped, so that a terminal does not obey it. */
export const json = (value: unknown) =>
  Effect.flatMap(Effect.orDie(encodeJson(value)), (encoded) => line(escapeUnprintable(encoded)))

/** Writes bytes to a file. */
const toFile = <E, R>(file: string, content: Stream.Stream<Uint8Array, E, R>) =>
  OutputFile.write(file, content).pipe(
    Effect.catchIf(
      (error) => error instanceof Storage,
      ({ message }) => Effect.fail(new Failure({ message: `cannot write ${message}` }))
    )
  )

/** Does the flag `--output` name a file? */
export const isFile = (output: Option.Option<string>): output is Option.Some<string> =>
  Option.isSome(output) && !["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].includes(output.value)

/** Writes bytes to where the flag `--output` says. */
export const to = <E, R>(output: Option.Option<string>, content: Stream.Stream<Uint8Array, E, R>) =>
  isFile(output) ? toFile(output.value, content) : write(content)
