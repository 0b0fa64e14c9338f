/**
 * Validates documents against the JSON Schemas that the command prints.
 */
import { assert } from "@effect/vitest"
import { Ajv2020 } from "ajv/dist/2020.js"
import { Effect } from "effect"
import * as Command from "./Command.ts"

/** Returns a function that asserts that a document follows the schema with this name. */
export const validatorOf = Effect.fnUntraced(function*(name: string) {
  const { code, stderr, stdout } = yield* Command.run("schema", name)
  assert.deepStrictEqual([code, stderr], [0, ""], name)
  const validate = new Ajv2020({ strict: true, strictTypes: false, allowUnionTypes: true }).compile(JSON.parse(stdout))
  return (document: unknown): void =>
    assert.isTrue(validate(document), `${name}: ${JSON.stringify(validate.errors)}\n${JSON.stringify(document)}`)
})
