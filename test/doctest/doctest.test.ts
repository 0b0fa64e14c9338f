import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { examples, examplesIn, run } from "./examples.ts"

for (const example of examples()) it(`${example.file}:${example.line}`, () => run(example))

it.effect("a wrong example fails", () =>
  Effect.gen(function*() {
    const failures = yield* Effect.forEach(
      examplesIn("test/doctest/wrong.md"),
      (example) => Effect.flip(Effect.tryPromise({ try: () => run(example), catch: String }))
    )
    assert.deepStrictEqual(failures, ["AssertionError: expected some(2), got some(1)"])
  }))
