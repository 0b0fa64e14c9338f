import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Equal, Result, Schema } from "effect"
import * as Reference from "effect-oci/Reference"
import { TestSchema } from "effect/testing"

const digest = `sha256:${"0123456789abcdef".repeat(4)}`
const letters = (count: number): string => "a".repeat(count)

const failure = (input: string, parse: (input: string) => Result.Result<unknown, Reference.InvalidReference>) => {
  const error = Result.getOrThrow(Result.flip(parse(input)))
  assert.strictEqual(error.input, shown(input))
  return error
}

/** The input that an error repeats: all of it, unless it may contain a password. */
const shown = (input: string): string =>
  /:\/\//.test(input) || input.split("/", 1)[0]?.includes("@") === true && input.includes(":")
    ? Result.match(Reference.parseRelative(input), { onFailure: (error) => error.input, onSuccess: () => input })
    : input

/** Strings assembled from these fragments, and from any characters where `noise` is wanted. */
const assembled = (fragments: ReadonlyArray<string>, noise: ReadonlyArray<Schema.Schema<string>> = []) =>
  Arbitrary.array(Arbitrary.schema(Schema.Union([Schema.Literals(fragments), ...noise]))).pipe(
    Arbitrary.map((parts) => parts.join(""))
  )
const partsOfReferences = [
  "/",
  ":",
  "@",
  ".",
  "-",
  "_",
  "[",
  "]",
  "::1",
  "a",
  "B",
  "5000",
  "localhost",
  "sha256:",
  digest
]
const references = assembled(partsOfReferences)
const strings = assembled(["reg.io/", ...partsOfReferences], [Schema.String])

describe("Reference", () => {
  describe("parse", () => {
    it.each([
      ["reg.io/app", { registry: "reg.io", repository: "app" }],
      ["reg.io/app:1.0", { registry: "reg.io", repository: "app", tag: "1.0" }],
      [`reg.io/app@${digest}`, { registry: "reg.io", repository: "app", digest }],
      [`reg.io/app:1.0@${digest}`, { registry: "reg.io", repository: "app", tag: "1.0", digest }],
      ["reg.io/app@blake3:Xyz=", { registry: "reg.io", repository: "app", digest: "blake3:Xyz=" }],
      ["reg.io/a/b/c-d__e.f--g_h", { registry: "reg.io", repository: "a/b/c-d__e.f--g_h" }],
      ["reg.io/a:_", { registry: "reg.io", repository: "a", tag: "_" }],
      ["reg.io/a:V1.0-rc_1.", { registry: "reg.io", repository: "a", tag: "V1.0-rc_1." }],
      ["reg.io/localhost/b.c", { registry: "reg.io", repository: "localhost/b.c" }]
    ])(
      "reads %s",
      (input, parts) => assert.deepStrictEqual<object>({ ...Result.getOrThrow(Reference.parse(input)) }, parts)
    )

    it.each([
      "reg.io",
      "Reg.IO",
      "reg.io:5000",
      "registry:5000",
      "localhost",
      "localhost:5000",
      "localhost:1",
      "localhost:65535",
      "127.0.0.1",
      "127.0.0.1:5000",
      "[::1]",
      "[::1]:5000",
      "[2001:DB8::ff00:42:8329]:443",
      "[::ffff:10.0.0.1]",
      "xn--bcher-kva.example",
      `${`${letters(62)}.`.repeat(4)}a`
    ])("knows the host %s by its dot, port or brackets, or as localhost", (host) => {
      assert.strictEqual<string>(Result.getOrThrow(Reference.parse(`${host}/a/b:c`)).registry, host)
      assert.strictEqual<string>(Result.getOrThrow(Reference.parseHost(host)), host)
    })

    it.each([
      "app",
      "app:1.0",
      "team/app",
      `app@${digest}`,
      "reg.io",
      "localhost",
      "reg.io:5000",
      "registry/localhost/a"
    ])(
      "takes no reference without a host, such as %s",
      (input) => {
        const { offset, part, problem } = failure(input, Reference.parse)
        assert.deepStrictEqual([part, offset], ["registry", 0])
        assert.strictEqual(
          problem,
          "there is no host: expected host/repository; a host has a dot or a port, or is localhost"
        )
      }
    )

    it.each([
      ["a repository", `reg.io/${letters(255)}`, `reg.io/${letters(256)}`, "repository", 7 + 255],
      ["a tag", `reg.io/a:${letters(128)}`, `reg.io/a:${letters(129)}`, "tag", 9 + 128],
      ["a host", `${`${letters(62)}.`.repeat(4)}a/a`, `${`${letters(62)}.`.repeat(4)}aa/a`, "registry", 0],
      ["a port", "localhost:65535/a", "localhost:65536/a", "registry", 10],
      ["a hash", `reg.io/a@${digest}`, `reg.io/a@${digest}0`, "digest", 9 + 71]
    ])("limits %s", (_, longest, tooLong, part, offset) => {
      assert.isTrue(Result.isSuccess(Reference.parse(longest)))
      const error = failure(tooLong, Reference.parse)
      assert.deepStrictEqual([error.part, error.offset], [part, offset])
    })
  })

  describe("parseRelative", () => {
    it.each([
      ["app", { repository: "app" }],
      ["team/app:1.0", { repository: "team/app", tag: "1.0" }],
      [`app:1.0@${digest}`, { repository: "app", tag: "1.0", digest }],
      ["reg.io", { repository: "reg.io" }],
      ["reg.io:5000", { repository: "reg.io", tag: "5000" }],
      ["localhost", { repository: "localhost" }],
      ["localhost:5000", { repository: "localhost", tag: "5000" }],
      ["localhost/app", { registry: "localhost", repository: "app" }],
      ["team:1/app", { registry: "team:1", repository: "app" }],
      ["reg.io/app", { registry: "reg.io", repository: "app" }]
    ])("parses %s; an absent part has no key", (input, parts) => {
      assert.deepStrictEqual<object>(Result.getOrThrow(Reference.parseRelative(input)), parts)
    })
  })

  describe("errors", () => {
    const separators =
      "expected a letter or digit: parts between slashes are letters and digits, joined by one of . _ __ and -"
    const port = "the port is not a number from 1 to 65535"
    const noDigest = "expected an algorithm, a colon and the encoded hash"

    it.each<readonly [input: string, part: string, offset: number, problem: string]>([
      ["", "repository", 0, "it is empty"],
      ["/a", "repository", 0, separators],
      ["/", "repository", 0, separators],
      ["a/", "repository", 2, separators],
      ["a//b", "repository", 2, separators],
      ["a/b/", "repository", 4, separators],
      ["a-", "repository", 2, separators],
      ["a/-b", "repository", 2, separators],
      ["a-/b", "repository", 2, separators],
      ["_a", "repository", 0, separators],
      ["a...b", "repository", 2, separators],
      ["a..b", "repository", 2, separators],
      ["a.-b", "repository", 2, separators],
      ["a-_b", "repository", 2, separators],
      ["a_-b", "repository", 2, separators],
      ["a___b", "repository", 3, separators],
      ["a__.b", "repository", 3, separators],
      ["a--_b", "repository", 3, separators],
      ["App", "repository", 0, `upper-case letter "A"`],
      ["LOCALHOST/a", "repository", 0, `upper-case letter "L"`],
      ["team/aPP", "repository", 6, `upper-case letter "P"`],
      ["a b", "repository", 1, `character " " is not allowed`],
      ["a\n", "repository", 1, `character "\\n" is not allowed`],
      ["é", "repository", 0, `character "é" is not allowed`],
      ["a..B", "repository", 2, separators],
      [":1", "repository", 0, "it is empty"],
      [`@${digest}`, "repository", 0, "it is empty"],
      ["reg.io/", "repository", 7, "it is empty"],
      ["reg.io/:1", "repository", 7, "it is empty"],
      ["reg.io//a", "repository", 7, separators],
      ["reg.io/a-:1", "repository", 9, separators],
      ["127.0.0.1:5000/team/App:1", "repository", 20, `upper-case letter "A"`],
      ["reg.io/a:", "tag", 9, "it is empty"],
      [`reg.io/a:@${digest}`, "tag", 9, "it is empty"],
      ["reg.io/a:.b", "tag", 9, "it must begin with a letter, a digit or _"],
      ["reg.io/a:-", "tag", 9, "it must begin with a letter, a digit or _"],
      ["reg.io/a:b c", "tag", 10, `character " " is not allowed`],
      ["reg.io/a:1:2", "tag", 10, `character ":" is not allowed`],
      ["reg.io/a:1/b", "tag", 10, `character "/" is not allowed`],
      ["localhost:5000:a", "tag", 14, `character ":" is not allowed`],
      ["reg.io/a@", "digest", 9, noDigest],
      ["reg.io/a@sha256", "digest", 15, noDigest],
      ["reg.io/a:1@sha256:abc", "digest", 21, "expected 64 hexadecimal digits after sha256, found 3"],
      ["reg.io/a@sha256:ABC", "digest", 16, "expected a lower-case hexadecimal digit"],
      [`reg.io/a@${digest}:1`, "digest", 80, "expected a lower-case hexadecimal digit"],
      [`reg.io/a@${digest}@${digest}`, "digest", 80, "expected a lower-case hexadecimal digit"],
      ["reg.io/a@Sha:1", "digest", 9, "not an algorithm name"],
      ["localhost:/a", "registry", 10, port],
      ["localhost:0/a", "registry", 10, port],
      ["localhost:http/a", "registry", 10, port],
      ["localhost:+80/a", "registry", 10, port],
      ["localhost:000080/a", "registry", 10, port],
      ["[::1]:99999/a", "registry", 6, port],
      ["https://reg.io/a", "registry", 0, "a reference begins with a host, not with https://"],
      ["a..b/c", "registry", 0, `"a..b" is not a host name or address`],
      [".a/b", "registry", 0, `".a" is not a host name or address`],
      ["-a.b/c", "registry", 0, `"-a.b" is not a host name or address`],
      ["a_b.c/d", "registry", 0, `"a_b.c" is not a host name or address`],
      ["a@b.c/d", "registry", 0, `"a@b.c" is not a host name or address`],
      ["[::1/a", "registry", 0, `"[::1" is not a host name or address`],
      ["[]/a", "registry", 0, `"[]" is not a host name or address`],
      ["[::1]x/a", "registry", 0, `"[::1]x" is not a host name or address`],
      ["[::1]:80:80/a", "registry", 6, port],
      ["[1:2]/a", "registry", 0, `"[1:2]" is not a host name or address`],
      ["::1/a", "registry", 0, `"" is not a host name or address`],
      ["256.0.0.1/a", "registry", 0, `"256.0.0.1" is not a host name or address`],
      [":5000/a", "registry", 0, `"" is not a host name or address`]
    ])("say of %j which part is wrong, where, and why", (input, part, offset, problem) => {
      const error = failure(input, Reference.parseRelative)
      assert.deepStrictEqual([error.part, error.offset, error.problem], [part, offset, problem])
    })

    it("do not repeat the password of a URL", () => {
      const error = (input: string) => Result.getOrThrow(Result.flip(Reference.parse(input)))
      assert.strictEqual(error("https://me:s3cret@reg.io/a").input, "https://…@reg.io/a")
      assert.strictEqual(error("https://me:s3/cret@reg.io/a").input, "https://…@reg.io/a")
      assert.strictEqual(error("me:s3cret@reg.io/a").input, "…@reg.io/a")
      for (const input of ["https://me:s3cret@reg.io/a", "me:s3cret@reg.io/a"]) {
        assert.notInclude(error(input).message, "s3cret")
      }
    })

    it("count characters from 1 in the message, which stays on one line", () => {
      assert.strictEqual(
        failure("reg.io/a\nb", Reference.parse).message,
        `invalid reference "reg.io/a\\nb": repository: character "\\n" is not allowed (character 9)`
      )
      assert.isBelow(failure(letters(100_000), Reference.parse).message.length, 500)
    })

    it.prop("point at the first character with which no repository can go on", [
      assembled(["a", "b1", ".", "_", "-", "/", "A", "!"])
    ], ([input]) => {
      const parsed = Reference.parse(`reg.io/${input}`)
      const isRepository = Schema.is(Reference.Repository)
      assert.strictEqual(Result.isSuccess(parsed), isRepository(input))
      if (Result.isSuccess(parsed)) return
      const offset = parsed.failure.offset - "reg.io/".length
      assert.isTrue(isRepository(`${input.slice(0, offset)}a`))
      if (offset < input.length) assert.isFalse(isRepository(`${input.slice(0, offset + 1)}a`))
    }, { arbitrary: { runs: 500 } })
  })

  describe("any string", () => {
    it.prop("is no reference, or the reference that format writes", [strings], ([input]) => {
      assert.strictEqual(
        Result.match(Reference.parse(input), { onFailure: (error) => error.input, onSuccess: String }),
        shown(input)
      )
    }, { arbitrary: { runs: 500 } })

    it.prop("is no relative reference, or the one that format writes", [references], ([input]) => {
      const parsed = Reference.parseRelative(input)
      assert.strictEqual(
        Result.match(parsed, { onFailure: (error) => error.input, onSuccess: Reference.format }),
        shown(input)
      )
      if (Result.isSuccess(parsed)) return
      assert.isAtLeast(parsed.failure.offset, 0)
      assert.isAtMost(parsed.failure.offset, input.length)
    }, { arbitrary: { runs: 500 } })

    it.prop(
      "is a repository if the specification's pattern says so",
      [assembled(["a", "b1", ".", "_", "-", "/", "A"])],
      ([
        input
      ]) => {
        const pattern = /^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$/
        assert.strictEqual(Schema.is(Reference.Repository)(input), pattern.test(input))
      },
      { arbitrary: { runs: 500 } }
    )

    it.prop("is a tag if the specification's pattern says so", [
      assembled(["a", "B1", ".", "_", "-", "/", letters(64)])
    ], ([
      input
    ]) => {
      assert.strictEqual(Schema.is(Reference.Tag)(input), /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/.test(input))
    }, { arbitrary: { runs: 500 } })

    it.each([
      "a",
      "a-",
      "-",
      "a__",
      "a.",
      "a/",
      "_",
      "/",
      ":",
      "@",
      "[",
      "[:",
      "a:",
      "sha256:",
      "\0",
      "é",
      "\ud83d",
      "😀"
    ])(
      "is looked at in one go, be it 100 kB of %j",
      (piece) => {
        const long = piece.repeat(100_000 / piece.length)
        for (
          const input of [long, `${long}!`, `reg.io/${long}!`, `reg.io/a:${long}!`, `reg.io/a@${long}!`, `${long}./a`]
        ) {
          assert.strictEqual(failure(input, Reference.parse).input, input)
        }
      }
    )
  })

  describe("format", () => {
    it.prop("writes what parse reads", [Reference.Reference], ([reference]) => {
      assert.isTrue(Equal.equals(Result.getOrThrow(Reference.parse(Reference.format(reference))), reference))
    })

    it.prop("is what String gives", [Reference.Reference], ([reference]) => {
      assert.strictEqual(String(reference), Reference.format(reference))
    })
  })

  it("two references are equal when their parts are", () => {
    const parse = (input: string) => Result.getOrThrow(Reference.parse(input))
    assert.isTrue(Equal.equals(parse(`reg.io/a:1@${digest}`), parse(`reg.io/a:1@${digest}`)))
    assert.isFalse(Equal.equals(parse("reg.io/a:1"), parse(`reg.io/a:1@${digest}`)))
  })

  describe("FromString", () => {
    const asserts = new TestSchema.Asserts(Reference.FromString)

    it.effect("survives encoding", () => asserts.verifyRoundTripEffect())

    it.effect("decodes a reference, with its methods", () =>
      Effect.gen(function*() {
        const reference = yield* Schema.decodeEffect(Reference.FromString)("reg.io/a:1")
        assert.instanceOf(reference, Reference.Reference)
        assert.strictEqual(String(reference), "reg.io/a:1")
      }))

    it.effect("says what is wrong, and where", () =>
      asserts.decoding().failEffect(
        "reg.io/App",
        `invalid reference "reg.io/App": repository: upper-case letter "A" (character 8)`
      ))
  })

  describe("the schemas of the parts", () => {
    it.effect("survive encoding", () =>
      Effect.all([
        new TestSchema.Asserts(Reference.Reference).verifyRoundTripEffect(),
        new TestSchema.Asserts(Reference.Host).verifyRoundTripEffect(),
        new TestSchema.Asserts(Reference.Repository).verifyRoundTripEffect(),
        new TestSchema.Asserts(Reference.Tag).verifyRoundTripEffect()
      ], { discard: true }))

    it.effect("say what is wrong", () =>
      Effect.all([
        new TestSchema.Asserts(Reference.Host).decoding().failEffect(
          "team",
          "a host has a dot, a port or brackets, or is localhost (character 1)"
        ),
        new TestSchema.Asserts(Reference.Repository).decoding().failEffect(
          "team/App",
          `upper-case letter "A" (character 6)`
        ),
        new TestSchema.Asserts(Reference.Tag).decoding().failEffect(
          "a:b",
          `character ":" is not allowed (character 2)`
        )
      ], { discard: true }))
  })

  it.each([
    ["team", 0, "a host has a dot, a port or brackets, or is localhost"],
    ["LOCALHOST", 0, "a host has a dot, a port or brackets, or is localhost"],
    ["", 0, `"" is not a host name or address`],
    ["reg.io/a", 0, `"reg.io/a" is not a host name or address`],
    ["reg.io:x", 7, "the port is not a number from 1 to 65535"]
  ])("parseHost does not take %j for a host", (input, offset, problem) => {
    const error = failure(input, Reference.parseHost)
    assert.deepStrictEqual([error.part, error.offset, error.problem], ["registry", offset, problem])
  })

  it("parseRepository and parseTag return what the schemas accept", () => {
    assert.strictEqual<string>(Result.getOrThrow(Reference.parseRepository("team/app")), "team/app")
    assert.strictEqual<string>(Result.getOrThrow(Reference.parseTag("1.0")), "1.0")
  })

  it("parseRepository says which character of a repository is wrong", () => {
    const { offset, part, problem } = failure("Team/App", Reference.parseRepository)
    assert.deepStrictEqual([part, offset, problem], ["repository", 0, `upper-case letter "T"`])
  })

  it("parseTag says which character of a tag is wrong", () => {
    const { offset, part, problem } = failure("1.0+build", Reference.parseTag)
    assert.deepStrictEqual([part, offset, problem], ["tag", 3, `character "+" is not allowed`])
  })

  it.each<readonly [name: string, make: () => string, message: string]>([
    [
      "repository",
      () => Reference.Repository.make("Team/App"),
      `invalid reference "Team/App": repository: upper-case letter "T" (character 1)`
    ],
    [
      "tag",
      () => Reference.Tag.make("a b"),
      `invalid reference "a b": tag: character " " is not allowed (character 2)`
    ],
    [
      "host",
      () => Reference.Host.make("team"),
      `invalid reference "team": registry: a host has a dot, a port or brackets, or is localhost (character 1)`
    ]
  ])("making a %s says which character is wrong", (_, make, message) => {
    assert.throws(make, message)
  })

  it("making a host does not repeat a password", () => {
    assert.throws(() => Reference.Host.make("https://ada:secret@reg.io"), /^(?!.*secret)/)
  })

  it("making a part unchecked takes it as it is", () => {
    assert.strictEqual<string>(Reference.Tag.make("a b", { disableChecks: true }), "a b")
  })
})
