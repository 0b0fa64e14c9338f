/**
 * The JSON documents of `copy`.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { CopyError } from "../copy/CopyError.ts"
import { CopyReport, Entry } from "../copy/CopyReport.ts"
import * as Output from "./Output.ts"

const { descriptor, end, operation, path, reason, reference } = CopyError.fields

/** Schema of the outcome of one of several copies: a report or an error. */
export const CopyResult = Schema.Struct({
  source: Schema.String,
  destination: Schema.String,
  report: Schema.optionalKey(CopyReport),
  error: Schema.optionalKey(Schema.Struct({
    message: Schema.String,
    end: Schema.optionalKey(end),
    reference: Schema.optionalKey(reference),
    operation,
    descriptor,
    path: Schema.optionalKey(path),
    reason: Schema.optionalKey(reason)
  }))
})

/** The outcome of one of several copies. */
export type CopyResult = typeof CopyResult.Type

/** Schema of the outcomes of several copies. */
export const CopyResults = Schema.Array(CopyResult)

// a piece of so many entries is encoded in a few milliseconds
const entriesPerPiece = 200

const encodeReport = Schema.encodeEffect(Schema.toCodecJson(CopyReport))

/** Returns the pieces of an object whose last property has its value in pieces. */
const withLast = <E, R>(object: object, key: string, value: Stream.Stream<string, E, R>) => {
  const text = JSON.stringify(object)
  const start = `${text.slice(0, -1)}${text === "{}" ? "" : ","}${JSON.stringify(key)}:`
  return Stream.make(start).pipe(Stream.concat(value), Stream.concat(Stream.make("}")))
}

/** Returns the JSON of a report in pieces, so that a report of very many entries does not block the event loop. */
export const report = (report: CopyReport): Stream.Stream<string> =>
  Stream.unwrap(Effect.gen(function*() {
    const encoded = yield* Effect.orDie(encodeReport(new CopyReport({ ...report, entries: [] })))
    const rest = Object.fromEntries(Object.entries(encoded ?? {}).filter(([key]) => key !== "entries"))
    const pieces = Stream.fromIterable(report.entries).pipe(
      Stream.grouped(entriesPerPiece),
      Stream.mapEffect((entries) => Effect.tap(Output.encode(Schema.Array(Entry), entries), () => Effect.yieldNow)),
      Stream.map((text) => text.slice(1, -1)),
      Stream.intersperse(",")
    )
    return withLast(rest, "entries", Stream.make("[").pipe(Stream.concat(pieces), Stream.concat(Stream.make("]"))))
  }))

const resultPieces = (result: CopyResult): Stream.Stream<string> => {
  const { report: reported, ...rest } = result
  return reported === undefined
    ? Stream.fromEffect(Output.encode(CopyResult, result))
    : withLast(rest, "report", report(reported))
}

/** Returns the JSON of several results in pieces. */
export const results = (results: ReadonlyArray<CopyResult>): Stream.Stream<string> =>
  Stream.make("[").pipe(
    Stream.concat(Stream.flatMap(
      Stream.fromIterable(results.entries()),
      ([index, result]) => index === 0 ? resultPieces(result) : Stream.concat(Stream.make(","), resultPieces(result))
    )),
    Stream.concat(Stream.make("]"))
  )
