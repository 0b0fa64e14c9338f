import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as SortedMap from "../../src/stores/SortedMap.ts"

const Step = Schema.Struct({
  kind: Schema.Literals(["set", "remove"]),
  key: Schema.Literals(Array.from({ length: 20 }, (_, key) => key)),
  value: Schema.Literals([0, 1])
})

/** Applies the same changes to a SortedMap and to a Map. */
const apply = (
  start: SortedMap.SortedMap<number, number>,
  expected: Map<number, number>,
  steps: ReadonlyArray<typeof Step.Type>
) =>
  steps.reduce((map, { key, kind, value }) => {
    if (kind === "set") expected.set(key, value)
    else expected.delete(key)
    return kind === "set" ? SortedMap.set(map, key, value) : SortedMap.remove(map, key)
  }, start)

const sorted = (map: ReadonlyMap<number, number>) => Array.from(map).sort(([a], [b]) => a - b)

describe("SortedMap", () => {
  it.prop("behaves like a Map in the order of its keys", [Schema.Array(Step)], ([steps]) => {
    const expected = new Map<number, number>()
    const map = apply(SortedMap.empty<number, number>(), expected, steps)
    assert.deepStrictEqual(Array.from(SortedMap.entries(map)), sorted(expected))
    assert.strictEqual(map.size, expected.size)
    for (let key = 0; key < 20; key++) {
      const after = sorted(expected).filter(([other]) => other >= key)
      assert.strictEqual(SortedMap.get(map, key), expected.get(key))
      assert.deepStrictEqual(SortedMap.first(map, key), after[0])
      assert.deepStrictEqual(Array.from(SortedMap.entries(map, key)), after)
    }
  })

  it("can have any size, with keys added in any order", () => {
    const keys = Array.from({ length: 5000 }, (_, index) => (index * 7919) % 5000)
    const builder = SortedMap.builder<number, number>()
    let map = SortedMap.empty<number, number>()
    for (const key of keys) {
      builder.add(key, key)
      map = SortedMap.set(map, key, key)
    }
    const expected = Array.from({ length: 5000 }, (_, key) => [key, key] as const)
    assert.deepStrictEqual(Array.from(SortedMap.entries(map)), expected)
    assert.deepStrictEqual(Array.from(SortedMap.entries(builder.build())), expected)
    for (const key of keys.slice(1)) map = SortedMap.remove(map, key)
    assert.deepStrictEqual(Array.from(SortedMap.entries(map)), [[0, 0]])
  })

  it("returns the entries that were added to a large map", () => {
    let before = SortedMap.empty<number, number>()
    for (let key = 0; key < 5000; key++) before = SortedMap.set(before, key * 2, 0)
    const after = SortedMap.set(SortedMap.set(SortedMap.remove(before, 4000), 2001, 1), 6000, 2)
    assert.deepStrictEqual(Array.from(SortedMap.added(before, after)), [[2001, 1], [6000, 2]])
    assert.deepStrictEqual(Array.from(SortedMap.added(after, before)), [[4000, 0], [6000, 0]])
  })
})
