import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Result, Schema } from "effect"
import * as Platform from "effect-oci/Platform"
import { TestSchema } from "effect/testing"

const parse = (input: string): Platform.Platform => Result.getOrThrow(Platform.parse(input))

/** Strings that look like platforms at first, and any others. */
const strings = Arbitrary.array(Arbitrary.schema(Schema.Union([
  Schema.Literals(["linux", "/", "amd64", "AARCH64", "armhf", "v8", "İ"]),
  Schema.String
]))).pipe(Arbitrary.map((parts) => parts.join("")))

describe("Platform", () => {
  describe("parse", () => {
    it.each([
      ["linux/amd64", { os: "linux", architecture: "amd64" }],
      ["linux/arm/v7", { os: "linux", architecture: "arm", variant: "v7" }],
      ["linux/arm64/v8", { os: "linux", architecture: "arm64", variant: "v8" }],
      ["Linux/AMD64", { os: "linux", architecture: "amd64" }],
      ["linux/x86_64", { os: "linux", architecture: "amd64" }],
      ["linux/x86-64", { os: "linux", architecture: "amd64" }],
      ["linux/i386", { os: "linux", architecture: "386" }],
      ["linux/aarch64", { os: "linux", architecture: "arm64" }],
      ["linux/armhf", { os: "linux", architecture: "arm", variant: "v7" }],
      ["linux/armel", { os: "linux", architecture: "arm", variant: "v6" }],
      ["linux/armhf/v6", { os: "linux", architecture: "arm", variant: "v6" }],
      ["plan9/constructor", { os: "plan9", architecture: "constructor" }],
      ["macos/arm64", { os: "darwin", architecture: "arm64" }],
      ["linux/arm/7", { os: "linux", architecture: "arm", variant: "v7" }],
      ["linux/arm64/8", { os: "linux", architecture: "arm64", variant: "v8" }],
      ["windows(10.0.17763.5936)/amd64", { os: "windows", architecture: "amd64", "os.version": "10.0.17763.5936" }],
      ["windows()/amd64", { os: "windows", architecture: "amd64" }],
      ["windows(+win32k)/amd64", { os: "windows", architecture: "amd64", "os.features": ["win32k"] }],
      ["windows(10+a+b%2Bc)/amd64", {
        os: "windows",
        architecture: "amd64",
        "os.version": "10",
        "os.features": ["a", "b+c"]
      }],
      ["windows/amd64,osver=10.0.17763", { os: "windows", architecture: "amd64", "os.version": "10.0.17763" }],
      ["windows/amd64, osversion=10", { os: "windows", architecture: "amd64", "os.version": "10" }],
      ["windows/amd64:10.0.17763", { os: "windows", architecture: "amd64", "os.version": "10.0.17763" }]
    ])("reads %s", (input, platform) => assert.deepStrictEqual(parse(input), platform))

    it.each([
      "",
      "linux",
      "/",
      "linux/",
      "/amd64",
      "linux//v7",
      "linux/arm/v7/x",
      "linux/arm/",
      "linux/amd64\n",
      "windows(10)/amd64,osver=10",
      "windows(10/amd64",
      "windows/amd64,prefer=x",
      "windows/amd64:",
      "a b/c"
    ])(
      "does not read %j",
      (input) => {
        const error = Result.getOrThrow(Result.flip(Platform.parse(input)))
        assert.strictEqual(error.input, input)
        assert.strictEqual(
          error.message,
          `invalid platform ${
            JSON.stringify(input)
          }: expected os/architecture or os/architecture/variant, such as linux/amd64`
        )
      }
    )

    it.prop("never throws, and reads again what format writes", [strings], ([input]) => {
      const parsed = Platform.parse(input)
      if (Result.isFailure(parsed)) return assert.strictEqual(parsed.failure.input, input)
      assert.deepStrictEqual(parse(Platform.format(parsed.success)), parsed.success)
    })

    it.each(["a".repeat(100_000), "/".repeat(100_000), "a/".repeat(50_000)])(
      "is not slowed down by length",
      (input) => {
        assert.isBelow(Result.getOrThrow(Result.flip(Platform.parse(input))).message.length, 300)
      }
    )
  })

  it("is formatted with its variant, if it has one", () => {
    assert.strictEqual(Platform.format({ os: "linux", architecture: "amd64" }), "linux/amd64")
    assert.strictEqual(Platform.format({ os: "linux", architecture: "arm", variant: "v7" }), "linux/arm/v7")
    assert.strictEqual(
      Platform.format({ os: "windows", architecture: "amd64", "os.version": "10" }),
      "windows(10)/amd64"
    )
  })

  it("is written without fields that are blank", () => {
    const blank = { os: "linux", architecture: "amd64", variant: "", "os.version": "", "os.features": [] }
    assert.strictEqual(Platform.format(blank), "linux/amd64")
  })

  it("is written with what its features have in common with the syntax escaped", () => {
    const odd = { os: "windows", architecture: "amd64", "os.version": "(1/2)", "os.features": ["b+", "a%", "\ud800"] }
    assert.strictEqual(Platform.format(odd), "windows(%281%2F2%29+a%25+b%2B+%EF%BF%BD)/amd64")
  })

  describe("matches", () => {
    it.each([
      ["linux/amd64", "linux/amd64", true],
      ["linux/amd64", "linux/arm64", false],
      ["linux/amd64", "windows/amd64", false],
      ["linux/arm", "linux/arm/v6", true],
      ["linux/arm/v6", "linux/arm", false],
      ["linux/arm/v7", "linux/arm/v7", true],
      ["linux/arm/v7", "linux/arm/v6", true],
      ["linux/arm/v6", "linux/arm/v7", false],
      ["linux/arm64", "linux/arm64/v8", true],
      ["linux/arm64/v8", "linux/arm64", true],
      ["linux/arm64/v8", "linux/arm64/v8", true],
      ["linux/arm64/v9", "linux/arm64/v8", true],
      ["linux/arm64/v8", "linux/arm64/v9", false],
      ["linux/amd64/v2", "linux/amd64", true],
      ["linux/amd64/v2", "linux/amd64/v3", false],
      ["linux/amd64", "linux/amd64/v3", true],
      ["linux/amd64/v1", "linux/amd64", true],
      ["linux/amd64", "linux/386", false],
      ["linux/arm/v8", "linux/arm", true],
      ["linux/ppc64le/power9", "linux/ppc64le/power8", false],
      ["linux/ppc64le", "linux/ppc64le/power8", true],
      ["linux/amd64", "unknown/unknown", false],
      ["unknown/unknown", "unknown/unknown", false]
    ])("a wish for %s, answered by %s: %s", (wanted, candidate, expected) => {
      assert.strictEqual(Platform.matches(parse(wanted), parse(candidate)), expected)
    })

    it.each([
      ["10.0.17763.5936", "10.0.17763.5936", true],
      ["10.0.17763", "10.0.17763.5936", true],
      ["10.0", "10.0.17763.5936", true],
      ["10.0.1", "10.0.17763.5936", false],
      ["10.0.17763.1", "10.0.17763.5936", true],
      ["10.0.17763.1", "10.0.20348.1", false]
    ])("a wish for windows(%s)/amd64, answered by version %s: %s", (wanted, version, expected) => {
      const candidate = { ...parse("windows/amd64"), "os.version": version }
      assert.strictEqual(Platform.matches(parse(`windows(${wanted})/amd64`), candidate), expected)
    })

    it("takes another revision of a build for Windows alone", () => {
      assert.isFalse(Platform.matches(parse("freebsd(14.1.0.1)/amd64"), parse("freebsd(14.1.0.2)/amd64")))
    })

    it("takes the version of the operating system into account only where it is wished for", () => {
      const any = parse("windows/amd64")
      const ltsc2022 = { ...any, "os.version": "10.0.20348.1" }
      const ltsc2019 = { ...any, "os.version": "10.0.17763.1" }
      assert.isTrue(Platform.matches(any, ltsc2022))
      assert.isTrue(Platform.matches(ltsc2022, ltsc2022))
      assert.isFalse(Platform.matches(ltsc2022, ltsc2019))
      assert.isFalse(Platform.matches(ltsc2022, any))
    })

    it.prop("every platform answers the wish for itself", [Platform.Platform], ([platform]) => {
      assert.isTrue(Platform.matches(platform, platform))
    })
  })

  describe("select", () => {
    it.each<readonly [wanted: string, candidates: ReadonlyArray<string>, expected: ReadonlyArray<string>]>([
      ["linux/amd64", ["linux/amd64/v3", "linux/amd64", "linux/amd64/v2"], ["linux/amd64"]],
      ["linux/amd64", ["linux/amd64/v3", "linux/amd64/v2"], ["linux/amd64/v2"]],
      ["linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], ["linux/amd64/v2"]],
      ["linux/arm", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], ["linux/arm/v6"]],
      ["linux/arm", ["linux/arm/v6", "linux/arm/v7"], ["linux/arm/v7"]],
      ["linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], ["linux/arm/v5"]],
      ["linux/arm64/v9.1", ["linux/arm64", "linux/arm64/v8.6", "linux/arm64/v8.7"], ["linux/arm64/v8.6"]],
      ["linux/arm64/v9.1", ["linux/arm64/v8.6", "linux/arm64/v9"], ["linux/arm64/v9"]],
      ["linux/arm64", ["linux/arm/v8"], []],
      ["windows/amd64", ["windows(10.0.20348.1)/amd64", "windows(10.0.17763.1)/amd64"], [
        "windows(10.0.20348.1)/amd64",
        "windows(10.0.17763.1)/amd64"
      ]],
      ["windows(10.0.1.2)/amd64", ["windows(10.0.1.1)/amd64", "windows(10.0.1.2)/amd64"], ["windows(10.0.1.2)/amd64"]],
      ["windows/amd64", ["windows(+win32k)/amd64", "windows/amd64"], ["windows/amd64"]],
      ["windows(+win32k)/amd64", ["windows/amd64", "windows(+win32k)/amd64"], ["windows(+win32k)/amd64"]],
      ["windows(+a)/amd64", ["windows(+b)/amd64"], []],
      ["linux/amd64", ["unknown/unknown", "linux/arm64"], []]
    ])("for %s chooses of %j %j", (wanted, candidates, expected) => {
      assert.deepStrictEqual(Platform.select(parse(wanted), candidates, parse), expected)
    })

    it("passes over what has no platform", () => {
      assert.deepStrictEqual(Platform.select(parse("linux/amd64"), [1, 2], () => undefined), [])
    })
  })

  describe("schema", () => {
    it.effect("survives encoding, fields it does not declare included", () =>
      new TestSchema.Asserts(Platform.Platform).verifyRoundTripEffect())

    it.effect("needs an operating system and an architecture", () =>
      new TestSchema.Asserts(Platform.Platform).decoding().failEffect(
        { os: "linux" },
        `Missing key\n  at ["architecture"]`
      ))
  })

  describe("fromJson", () => {
    it("reads the platform out of an image config, and nothing else", () => {
      const platform = {
        architecture: "arm64",
        os: "linux",
        "os.version": "1",
        "os.features": ["win32k"],
        variant: "v8"
      }
      const config = { created: "2020-01-01", ...platform, config: { Env: ["PASSWORD=x"] }, rootfs: { diff_ids: [] } }
      assert.deepStrictEqual(Platform.fromJson(JSON.stringify(config)), Result.succeed(platform))
    })

    it("accepts null for an absent field, as Go writes it", () => {
      const json = `{ "architecture": "amd64", "os": "linux", "variant": null, "os.features": null }`
      assert.deepStrictEqual(
        Platform.fromJson(json),
        Result.succeed({
          architecture: "amd64",
          os: "linux",
          variant: undefined,
          "os.features": undefined
        })
      )
    })

    it.each(["", "{}", "[]", "null", `{ "os": "linux" }`, `{ "os": 1, "architecture": "amd64" }`])(
      "does not read %j",
      (json) => assert.isTrue(Result.isFailure(Platform.fromJson(json)))
    )

    it("does not fall over deep nesting", () => {
      const deep = "[".repeat(100_000) + "]".repeat(100_000)
      const json = `{ "architecture": "amd64", "os": "linux", "x": ${deep} }`
      assert.isTrue(Result.isSuccess(Platform.fromJson(json)))
    })
  })
})
