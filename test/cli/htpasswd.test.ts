import { assert, describe, it } from "@effect/vitest"
import { hashSync } from "bcryptjs"
import { Effect, Redacted, Result } from "effect"
import { TestClock } from "effect/testing"
import * as Htpasswd from "../../src/cli/Htpasswd.ts"

const hash = hashSync("s3cret", 4)
const other = hashSync("other", 4)

const linesOf = (text: string) =>
  Result.match(Htpasswd.parse("users", text), { onSuccess: () => [], onFailure: ({ lines }) => lines })

describe("the file of htpasswd", () => {
  it("has users with hashes of the variants 2a, 2b and 2y, comments and blank lines", () => {
    const hashes = ["2a", "2b", "2y"].map((variant) => hash.replace("$2b$", `$${variant}$`))
    const text = `# team\r\n\r\nada:${hashes[0]}\r\nbob:${hashes[1]}\n\ncarol:${hashes[2]}\n`
    const parsed = Result.getOrThrow(Htpasswd.parse("users", text))
    assert.deepStrictEqual(Array.from(parsed.entries()), [["ada", hashes[0]], ["bob", hashes[1]], ["carol", hashes[2]]])
  })

  it.each([
    ["ada:$apr1$x$y", "hashed with MD5 (apr1), which is not accepted: replace it with htpasswd -B users ada"],
    ["ada:{SHA}x", "hashed with SHA-1, which is not accepted"],
    ["ada:$6$x$y", "hashed with SHA-512, which is not accepted"],
    ["ada:s3cret", "plain text, or hashed with crypt, which is not accepted"],
    [`ada:${hash.replace("$2b$", "$2x$")}`, "a faulty variant of bcrypt"],
    [`ada:${hash.slice(0, 40)}`, "not a complete hash of bcrypt"],
    [`ada:${hash.replace("$04$", "$20$")}`, "hashed with cost 20, but 4 to 17 is allowed"],
    [`ada:${hash}\nada:${hash}`, "line 2: there are two passwords of ada"],
    ["ada", "line 1: write NAME:HASH"],
    [`:${hash}`, "line 1: write NAME:HASH"]
  ])("is refused with %j", (text, says) => {
    assert.include(linesOf(text).join("\n"), says)
  })

  it("is refused with all its problems, and without the passwords in it", () => {
    const lines = linesOf("ada:hunter2\nbob\n")
    assert.strictEqual(lines.length, 2)
    assert.notInclude(lines.join(), "hunter2")
  })
})

describe("the check of passwords", () => {
  const users = new Map([["ada", hash]])
  const check = Htpasswd.make(() => users)
  const says = (check: ReturnType<typeof Htpasswd.make>, name: string, password: string) =>
    check(name, Redacted.make(password))

  it.effect.each(
    [
      ["ada", "s3cret", true],
      ["ada", "s3cre", false],
      ["ada", "", false],
      ["eve", "s3cret", false],
      ["__proto__", "s3cret", false]
    ] as const
  )("of %s: %j is right: %s", ([name, password, expected]) =>
    Effect.gen(function*() {
      assert.strictEqual(yield* says(check, name, password), expected)
      assert.strictEqual(yield* says(check, name, password), expected)
    }))

  it.effect("without any users refuses every name", () =>
    Effect.gen(function*() {
      assert.isFalse(yield* says(Htpasswd.make(() => new Map()), "ada", "x"))
    }))

  it.effect("forgets a password when its hash changes, and when the user is removed", () =>
    Effect.gen(function*() {
      let current = new Map([["ada", hash]])
      const check = Htpasswd.make(() => current)
      assert.isTrue(yield* says(check, "ada", "s3cret"))
      current = new Map([["ada", other]])
      assert.isFalse(yield* says(check, "ada", "s3cret"))
      assert.isTrue(yield* says(check, "ada", "other"))
      current = new Map()
      assert.isFalse(yield* says(check, "ada", "other"))
    }))

  it.effect("remembers a password for two minutes, so that further requests need no hash", () =>
    Effect.gen(function*() {
      let reads = 0
      const costly = hashSync("s3cret", 10)
      const check = Htpasswd.make(() => {
        reads++
        return new Map([["ada", costly]])
      })
      const time = Effect.gen(function*() {
        const began = performance.now()
        assert.isTrue(yield* says(check, "ada", "s3cret"))
        return performance.now() - began
      })
      const first = yield* time
      assert.isBelow(yield* time, first / 4)
      // a hash is checked against the users twice, a remembered password once
      const before = reads
      yield* time
      assert.strictEqual(reads - before, 1)
      yield* TestClock.adjust("2 minutes")
      yield* time
      assert.strictEqual(reads - before, 3)
    }))

  it.effect("needs one hash for many requests at the same time", () =>
    Effect.gen(function*() {
      let reads = 0
      const check = Htpasswd.make(() => {
        reads++
        return users
      })
      const all = yield* Effect.all(
        Array.from({ length: 20 }, () => says(check, "ada", "s3cret")),
        { concurrency: "unbounded" }
      )
      assert.isTrue(all.every((isRight) => isRight))
      assert.strictEqual(reads, 21)
    }))
})
