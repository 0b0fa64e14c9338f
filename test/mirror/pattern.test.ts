import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Result, Schema } from "effect"
import * as Pattern from "../../src/mirror/Pattern.ts"
import * as PatternSyntax from "../../src/mirror/PatternSyntax.ts"

describe("a pattern that can take exponential time is refused", () => {
  it.each([
    "(a+)+$",
    "(a*)*",
    "(a|a)*b",
    "(a|ab)(c|bcd)*(d|bc)*(a+)*",
    "(a?b?)*c",
    "(?:[._-]?[a-z0-9]+)*$",
    "^([a-z]+|[0-9]+)*$",
    "(x+x+)+y",
    "(.*a){11}",
    "(a{1,3})*b",
    "(?:a|aa)+$",
    "((?:ab)*)+x",
    "(?:(?:a*){1,3}){1,3}b",
    "(?=(a+)+$)b",
    "(\\w|\\d)*!",
    "([^a]|b)*$"
  ])("%s", (source) => {
    assert.include(PatternSyntax.ambiguity(source) ?? "", "repeats no part")
  })

  it("also by letters of another case", () => {
    assert.isUndefined(PatternSyntax.ambiguity("^(a|A)*$"))
    assert.isDefined(PatternSyntax.ambiguity("^(a|A)*$", true))
    assert.isTrue(Result.isFailure(Pattern.parse("(?i)^(a|A)*$")))
  })

  it("and so is a back-reference", () => {
    assert.include(PatternSyntax.ambiguity("(a)\\1") ?? "", "without a back-reference")
    assert.include(PatternSyntax.ambiguity("(?<x>a)\\k<x>") ?? "", "without a back-reference")
  })

  it("and one with too many states", () => {
    assert.strictEqual(PatternSyntax.ambiguity("a".repeat(500)), "write a simpler pattern")
  })
})

describe("other patterns are accepted", () => {
  it.each([
    "^v?\\d+\\.\\d+\\.\\d+$",
    "^v\\d+(\\.\\d+)*$",
    "^(\\d+\\.)*\\d+$",
    "^(?:[._-][a-z0-9]+)*$",
    "^\\d{1,3}(\\.\\d{1,3}){2}(-[a-z]+\\d*)?$",
    "^(?!.*-rc)v[0-9]+$",
    "(?<!x)y",
    "(?:(?:alpha|beta|rc)\\d*\\.?)+",
    ".*-.*-.*",
    "^(release|v)-(?:[^-]+-)*[^-]+$",
    "[\\]a-c\\-x]+",
    "\\x41\\u0042{2,}",
    "a{,3}",
    "^$",
    "",
    "[^\\d]+\\d"
  ])("%s", (source) => {
    assert.isUndefined(PatternSyntax.ambiguity(source))
  })
})

const parts = ["a", "b", "ab", "[ab]", ".", "\\w"] as const
const signs = ["*", "+", "?", "{1,3}"] as const

/** Patterns that grow from parts: a part is added, the last two are joined, or the last is repeated. */
const patterns = Arbitrary.array(Arbitrary.schema(Schema.Literals([...parts, "then", "or", ...signs]))).pipe(
  Arbitrary.map((words) => {
    const stack: Array<string> = []
    for (const word of words) {
      const last = stack.pop() ?? "a"
      if (word === "then") stack.push((stack.pop() ?? "b") + last)
      else if (word === "or") stack.push(`(?:${stack.pop() ?? "b"}|${last})`)
      else if (signs.some((sign) => sign === word)) stack.push(`(?:${last})${word}`)
      else stack.push(last, word)
    }
    return stack.join("")
  })
)

const isLong = process.env["EFFECT_OCI_LONG"] !== undefined

// three repetitions beside each other take time with the third power of the length
const isSimple = (source: string) => (source.match(/[*+?{](?!:)/g) ?? []).length <= 3

it.prop("no text makes an accepted pattern slow", [patterns], ([source]) => {
  if (!isSimple(source) || PatternSyntax.ambiguity(source) !== undefined) return
  const started = performance.now()
  for (const text of ["a".repeat(28), "ab".repeat(14), "b".repeat(28)]) new RegExp(`^(?:${source})!`).test(text)
  assert.isBelow(performance.now() - started, 1000, source)
}, { arbitrary: { runs: isLong ? 20_000 : 1000 } })

it("a text makes a pattern again", () => {
  for (const text of ["^v", "(?i)rc", "a/b", "\\d+"]) {
    const pattern = Result.getOrThrow(Pattern.parse(text))
    const again = Result.getOrThrow(Pattern.parse(Pattern.format(pattern)))
    assert.deepStrictEqual([again.source, again.flags], [pattern.source, pattern.flags])
  }
})
