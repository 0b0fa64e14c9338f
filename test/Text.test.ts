import { assert, describe, it } from "@effect/vitest"
import * as Text from "../src/Text.ts"

describe("Text", () => {
  it("replaces control, bidirectional and line characters by a space", () => {
    assert.strictEqual(Text.printable("a\u001b[31mb\nc\u202ed\u2028e\u2066f"), "a [31mb c d e f")
  })

  it("replaces half of a surrogate pair, and keeps a whole one", () => {
    assert.strictEqual(Text.printable("\ud83d \u{1f600}"), "  \u{1f600}")
  })

  it("escapes in JSON what is not printable, and keeps what it means", () => {
    const value = "a\u001b\u0085\u202e\u2028\ud800 \u{e0001}\u{1f600}b"
    const escaped = Text.escapeUnprintable(JSON.stringify({ [value]: value }))
    assert.match(escaped, /^[\x20-\x7e\u{1f600}]*$/u)
    assert.deepStrictEqual(JSON.parse(escaped), { [value]: value })
  })

  it("cuts an excerpt to 200 characters and never within a surrogate pair", () => {
    assert.strictEqual(Text.excerpt(` ${"a".repeat(300)}`), "a".repeat(200))
    assert.strictEqual(Text.excerpt(`${"a".repeat(199)}\u{1f600}`), "a".repeat(199))
    assert.strictEqual(Text.excerpt("  a word \n"), "a word")
  })
})
