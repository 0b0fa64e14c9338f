/**
 * The result of the command, on stdout. Everything else goes to stderr (see Messages).
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import { isObject } from "effect/Predicate"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import * as Sink from "effect/Sink"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import { Storage } from "../RegistryError.ts"
import * as OutputFile from "../stores/OutputFile.ts"
import { escapeUnprintable, printable } from "../Text.ts"

/** An error with a sentence for people. */
export class Failure extends Schema.TaggedError<Failure>("effect-oci/cli/Failure")("Failure", {
  message: Schema.String
}) {}

/** The command has failed, and the failure has been reported. Default of the exit code: 1. */
export class Reported extends Schema.TaggedError<Reported>("effect-oci/cli/Reported")("Reported", {
  exitCode: Schema.optionalKey(Schema.Natural)
}) {
  override readonly [Runtime.errorExitCode]: number = this.exitCode ?? 1
}

/** A result could not be written, for example because the reader closed the pipe. */
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

/** Prints text or bytes as they arrive. Stops without an error after the reader has closed the pipe. */
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
              : Effect.fail(new Failure({ message: `cannot write the result: ${problem}` }))
        )
      )
  )

const lineOf = (text: string): string => `${printable(text)}\n`

/** Prints lines. Text of another party is made printable, so that each of them stays one line. */
export const lines = <E, R>(content: Stream.Stream<string, E, R>) =>
  write(Stream.mapArray(content, (lines) => [lines.map(lineOf).join("")]))

/** Prints several lines. */
export const text = (content: ReadonlyArray<string>) => lines(Stream.fromIterable(content))

/** Prints a line. */
export const line = (content: string) => text([content])

/** A schema of a document that the command prints. */
export type DocumentSchema<A> = Schema.Codec<A, unknown>

const toText = Schema.encodeEffect(Schema.fromJsonString(Schema.Unknown))

/** Returns the text of a value as its schema describes it. */
export const encode = <A>(schema: DocumentSchema<A>, value: A): Effect.Effect<string> =>
  Effect.orDie(
    Effect.flatMap(Schema.encodeEffect(Schema.toCodecJson(schema))(value), (encoded) => toText(encoded))
  )

/** Prints pieces of text that together are one JSON document, in one line. */
export const jsonPieces = <E, R>(pieces: Stream.Stream<string, E, R>) =>
  // unprintable characters are escaped, so that a terminal does not obey them
  write(Stream.concat(Stream.map(pieces, escapeUnprintable), Stream.make("\n")))

/** Prints a value as JSON, as its schema describes it. */
export const json = <A>(schema: DocumentSchema<A>, value: A) => jsonPieces(Stream.fromEffect(encode(schema, value)))

/** Writes bytes to a file. */
const toFile = <E, R>(file: string, content: Stream.Stream<Uint8Array, E, R>) =>
  OutputFile.write(file, content).pipe(
    Effect.catchIf(
      (error) => error instanceof Storage,
      ({ message }) => Effect.fail(new Failure({ message: `cannot write ${message}` }))
    )
  )

/** Returns true if the flag `--output` names a file. */
export const isFile = (output: Option.Option<string>): output is Option.Some<string> =>
  Option.isSome(output) && !["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].includes(output.value)

/** Writes bytes to the file of the flag `--output`, or prints them. */
export const to = <E, R>(output: Option.Option<string>, content: Stream.Stream<Uint8Array, E, R>) =>
  isFile(output) ? toFile(output.value, content) : write(content)
