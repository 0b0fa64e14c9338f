/**
 * Configurations written as YAML, and read again.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Cron, Duration, Effect, Predicate, Result, Schema, SemVerRange } from "effect"
import * as MirrorConfig from "effect-oci/MirrorConfig"
import * as YamlWriter from "../../src/mirror/YamlWriter.ts"

/** Returns a value without classes, for comparisons. */
const plain = (value: unknown): unknown => {
  if (value instanceof RegExp) return String(value)
  if (Duration.isDuration(value)) return Duration.toMillis(value)
  if (SemVerRange.isSemVerRange(value)) return SemVerRange.format(value)
  if (Cron.isCron(value)) return JSON.stringify(value)
  if (Array.isArray(value)) return value.map(plain)
  return Predicate.isObject(value)
    ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]))
    : value
}

const one = <const Values extends ReadonlyArray<string | number | boolean>>(...values: Values) =>
  Schema.Literals(values)

const Selection = Schema.Struct({
  names: Schema.optionalKey(Schema.NonEmptyArray(one("1", "1.20", "latest", "true", "0x1f"))),
  match: Schema.optionalKey(one("^v", "(?i)rc", "a: b", "#", "'\"\\\\")),
  exclude: Schema.optionalKey(Schema.Array(one("-rc", "^x\\d+$", " ", "\u00e9\u2028", "- a"))),
  include: Schema.optionalKey(Schema.Array(one("^latest$", "[*&!|>%@`]"))),
  semver: Schema.optionalKey(one(">=1.4 <2", "^1", "1.x || >=3", "*")),
  newest: Schema.optionalKey(one(1, 5)),
  pushedWithin: Schema.optionalKey(one("90d", "1h30m", "0")),
  digestTags: Schema.optionalKey(Schema.Boolean),
  atLeast: Schema.optionalKey(one(0, 2))
})

const Rule = Schema.Struct({
  tags: Schema.optionalKey(Selection),
  platforms: Schema.optionalKey(one("all", "linux/amd64", "windows(10.0.17763+win32k)/amd64")),
  referrers: Schema.optionalKey(Schema.Union([
    Schema.Boolean,
    Schema.Struct({
      types: Schema.optionalKey(Schema.Array(one("a/b", "application/vnd.x+json"))),
      annotations: Schema.optionalKey(Schema.Record(one("k", "a: b", "#"), one("v", "null", "~", "")))
    })
  ])),
  onTagMoved: Schema.optionalKey(
    Schema.Union([one("keep", "fail"), Schema.Struct({ backup: one("{tag}-{date}", "b-{digest}") })])
  ),
  trust: Schema.optionalKey(one("12h", 0, "0")),
  prune: Schema.optionalKey(Schema.Union([
    one("none", "gone"),
    Schema.Struct({
      policy: one("gone", "unmatched"),
      max: Schema.optionalKey(one("5%", "12.5%")),
      after: Schema.optionalKey(one(3, "2 runs"))
    })
  ])),
  schedule: Schema.optionalKey(Schema.Union([
    one("manual", "15 3 * * *", "CRON_TZ=Asia/Tokyo 0 0 * * 1-5"),
    Schema.Struct({ every: one("6h", "1d"), jitter: Schema.optionalKey(one("5m")) })
  ]))
})

const rules = Arbitrary.array(Arbitrary.schema(Rule)).pipe(
  Arbitrary.map((rules) =>
    rules.map((rule, index) => ({ ...rule, from: `a.test/app${index}`, to: `m.test:5000/app${index}` }))
  )
)

describe("a file that is written as YAML", () => {
  it.prop("decodes to the same rules", [rules], ([rules]) => {
    const file = { version: 1, rules: [{ from: "a.test/first/{x,y}", to: "m.test/$1:{tag}-z" }, ...rules] }
    const text = YamlWriter.write(file)
    const [written, read] = [MirrorConfig.decode(file), MirrorConfig.parse("mirror.yml", text)]
    assert.deepStrictEqual(
      plain(Result.getOrThrow(read)),
      plain(Result.getOrThrow(written)),
      text
    )
  }, { arbitrary: { runs: 500 } })

  it.effect.each<readonly [name: string, text: string]>([
    [
      "regsync",
      "defaults: { interval: 1h, referrers: true }\nsync:\n" +
      "  - { source: a.test/a, target: m.test/a, type: repository, tags: { allow: ['\\d.*'], semverRange: ['^1'] } }\n" +
      "  - { source: b.test, target: m.test/b, type: registry, repos: { deny: [x] }, backup: '{{ .Ref.Tag }}-old' }\n"
    ],
    ["skopeo", "a.test:\n  images: { a: ['1', '2'], b: [] }\n  images-by-semver: { a: '~1' }\n  tls-verify: false\n"],
    ["image-syncer", "a.test/a:1,2: [\"m.test/a:x,y\", n.test/a]\na.test/b:/^v/: m.test/b\n"],
    [
      "ocync",
      "registries: { hub: { url: docker.io }, m: { url: m.test } }\nmappings:\n" +
      "  - { from: a/b, source: hub, targets: m, tags: { glob: 'v*', semver: '>=1, <2', include: latest }, platforms: [linux/amd64] }\n" +
      "  - { from: a/c, source: hub, targets: [m], tags: { glob: [x] }, platforms: [linux/amd64] }\n"
    ]
  ])("decodes to the rules of the file of %s", ([format, text]) =>
    Effect.gen(function*() {
      const loaded = yield* MirrorConfig.read("sync.yml", text, { to: "m.test/x" })
      assert.strictEqual(loaded.format, format)
      const again = yield* MirrorConfig.read("mirror.yml", YamlWriter.write(loaded.file))
      assert.strictEqual(again.format, "native")
      assert.deepStrictEqual(plain(again.config.rules), plain(loaded.config.rules))
    }).pipe(Effect.provide(NodeServices.layer)))
})
