/**
 * Objects of JSON as programs in Go read them: docker, podman and credential helpers.
 */
import * as Predicate from "effect/Predicate"

/** An object of JSON. */
export type Fields = Readonly<Record<string, unknown>>

/** Returns true if a value of JSON is an object. */
export const isFields = (json: unknown): json is Fields => Predicate.isObject(json) && !Array.isArray(json)

/** Returns the key under which an object has a field: written exactly so, or else regardless of case. */
export const keyOf = (keys: ReadonlyArray<string>, name: string): string | undefined =>
  keys.includes(name) ? name : keys.findLast((key) => key.toLowerCase() === name.toLowerCase())

/** Returns the value of a field, whose name matches regardless of case. Go writes `null` for what is empty. */
export const field = (fields: Fields, name: string): unknown => {
  const key = keyOf(Object.keys(fields), name)
  return key === undefined ? undefined : fields[key] ?? undefined
}
