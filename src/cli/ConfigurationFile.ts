/**
 * Files that the administrator of a server writes: YAML, JSON or TOML, checked by a schema.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as FileSyntax from "../mirror/FileSyntax.ts"
import * as Problem from "../mirror/Problem.ts"
import { printable } from "../Text.ts"

/** Problems of a file: each is a line with the file and the place. */
export class FileProblems extends Schema.TaggedError<FileProblems>("effect-oci/cli/FileProblems")("FileProblems", {
  lines: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return this.lines.join("\n")
  }
}

const maximumProblems = 20

/** Makes the failure of these problems. */
export const failing = (file: string, problems: ReadonlyArray<Problem.Problem>): FileProblems => {
  const all = Problem.withoutDoubles(problems)
  const lines = all.slice(0, maximumProblems).map(({ message, path }) =>
    printable([file, ...path.length === 0 ? [] : [Problem.formatPath(path)], message].join(": "))
  )
  const more = all.length - lines.length
  return new FileProblems({ lines: more === 0 ? lines : [...lines, `${file}: there are ${more} more problems`] })
}

/** Reads the text of a file. Fails if it is too large. */
export const readText = Effect.fnUntraced(function*(file: string) {
  const fs = yield* FileSystem.FileSystem
  const failed = (problem: string) => failing(file, [{ path: [], message: `cannot read the file: ${problem}` }])
  const { size } = yield* Effect.mapError(
    fs.stat(file),
    ({ reason }) => failed(reason._tag === "NotFound" ? "there is no such file" : reason._tag)
  )
  if (size > FileSyntax.maximumSize) return yield* failed(`it is larger than ${FileSyntax.maximumSize} bytes`)
  return yield* Effect.mapError(fs.readFileString(file), ({ reason }) => failed(reason._tag))
})

/** Decodes the text of a file, and finds all its problems. */
export const decode = <A>(
  file: string,
  text: string,
  schema: Schema.Decoder<A>
): Result.Result<A, FileProblems> =>
  FileSyntax.parse(file, text).pipe(
    Result.mapError(({ line, message }) =>
      failing(line === undefined ? file : `${file}:${line}`, [{ path: [], message }])
    ),
    Result.flatMap((value) =>
      Result.mapError(
        Schema.decodeUnknownResult(schema, { errors: "all", onExcessProperty: "error" })(value),
        ({ issue }) => failing(file, Problem.fromIssue(issue, value, [], {}))
      )
    )
  )
