/**
 * Decodes the fields of a mapping one by one, so that all problems of a file are found at once.
 */
import { isObject } from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Problem from "./Problem.ts"

/** Hints about keys that a file may have in other formats, or in other places. */
const password = "the file contains no passwords: write credentials: env:PREFIX or credentials: file:PATH"
const schedule = "write schedule: { every: 1h }, with cron, timeZone, every and jitter"
const selection = "write it in tags: { … }"
const hints: Problem.Hints = {
  username: password,
  password,
  user: password,
  pass: password,
  token: password,
  every: schedule,
  jitter: schedule,
  timezone: schedule,
  cron: schedule,
  semver: selection,
  match: selection,
  exclude: selection,
  include: selection,
  newest: selection,
  atLeast: selection
}

/** The fields that could be decoded, and the problems of the others. */
export interface Decoded<A> {
  readonly value: { readonly [Key in keyof A]?: A[Key] }
  readonly problems: ReadonlyArray<Problem.Problem>
}

type Fields = Readonly<Record<string, Schema.Decoder<unknown>>>

const isOptional = (schema: Schema.Constraint): boolean => schema.ast.context?.isOptional === true

/** Decodes a value, with all its problems. */
const decodeValue = <A>(
  schema: Schema.Decoder<A>,
  value: unknown,
  path: Problem.FilePath
): Result.Result<A, ReadonlyArray<Problem.Problem>> =>
  Result.mapError(
    Schema.decodeUnknownResult(schema, { errors: "all", onExcessProperty: "error" })(value),
    ({ issue }) => Problem.fromIssue(issue, value, path, hints)
  )

/** Decodes the fields of a mapping. `skipped` fields are left out. */
export const decodeFields = <A>(
  schema: { readonly fields: { readonly [Key in keyof A]: Schema.Decoder<A[Key]> } },
  value: unknown,
  path: Problem.FilePath,
  skipped: ReadonlyArray<string> = []
): Decoded<A> => {
  if (!isObject(value)) {
    return { value: {}, problems: [{ path, message: `expected a mapping, found ${Problem.found(value)}` }] }
  }
  // the type of the value is the concern of the result
  const fields = schema.fields as Fields
  const problems: Array<Problem.Problem> = []
  const decoded: Record<string, unknown> = {}
  for (const key of Object.keys(value)) {
    if (Object.hasOwn(fields, key)) continue
    const hint = Object.hasOwn(hints, key) ? hints[key] : undefined
    problems.push({ path: [...path, key], message: hint ?? Problem.unknown("key", key, Object.keys(fields)) })
  }
  for (const [key, field] of Object.entries(fields)) {
    if (skipped.includes(key)) continue
    if (!Object.hasOwn(value, key)) {
      if (!isOptional(field)) problems.push({ path: [...path, key], message: "is missing" })
      continue
    }
    const result = decodeValue(field, value[key], [...path, key])
    if (Result.isSuccess(result)) decoded[key] = result.success
    else problems.push(...result.failure)
  }
  // each value is that of its field
  return { value: decoded as Decoded<A>["value"], problems }
}
