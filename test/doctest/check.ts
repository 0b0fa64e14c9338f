import { assert } from "@effect/vitest"
import { Equal, Formatter } from "effect"

export const check = (actual: unknown, expected: unknown): void => {
  if (Equal.equals(actual, expected)) return
  assert.fail(actual, expected, `expected ${Formatter.format(expected)}, got ${Formatter.format(actual)}`, "=>")
}
