/**
 * JSON objects as programs in Go read them, such as docker, podman and credential helpers.
 */
import * as Predicate from "effect/Predicate"

/** A JSON object. */
export type Fields = Readonly<Record<string, unknown>>

/** Returns true if a JSON value is an object. */
export const isFields = (json: unknown): json is Fields => Predicate.isObject(json) && !Array.isArray(json)

/** Returns the key of a field: the exact name, or else the last key that differs only in case. */
export const keyOf = (keys: ReadonlyArray<string>, name: string): string | undefined =>
  keys.includes(name) ? name : keys.findLast((key) => key.toLowerCase() === name.toLowerCase())

/** Returns the value of a field, by its case-insensitive name. `null`, as Go writes an empty value, is `undefined`. */
export const field = (fields: Fields, name: string): unknown => {
  const key = keyOf(Object.keys(fields), name)
  return key === undefined ? undefined : fields[key] ?? undefined
}
