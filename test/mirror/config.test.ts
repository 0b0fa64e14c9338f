import { assert, describe, it } from "@effect/vitest"
import { Cron, DateTime, Duration, Effect, Predicate, Result, SemVerRange } from "effect"
import * as MirrorConfig from "effect-oci/MirrorConfig"
import type { MirrorRule } from "effect-oci/MirrorRule"
import * as Platform from "effect-oci/Platform"

const from = "a.test/app"
const to = "m.test/app"

const decoded = (value: unknown): MirrorConfig.MirrorConfig => Result.getOrThrow(MirrorConfig.decode(value))

const ruleOf = (rule: Readonly<Record<string, unknown>>, rest: Readonly<Record<string, unknown>> = {}): MirrorRule => {
  const [first] = decoded({ version: 1, rules: [{ from, to, ...rule }], ...rest }).rules
  return assert.isDefined(first), first as MirrorRule // the assertion has just checked it
}

const problems = (value: unknown): ReadonlyArray<string> =>
  Result.match(MirrorConfig.decode(value), { onSuccess: () => [], onFailure: ({ lines }) => lines })

const problemsOf = (rule: unknown): ReadonlyArray<string> => problems({ version: 1, rules: [rule] })

/** Returns a value without classes, for comparisons. */
const plain = (value: unknown): unknown => {
  if (value instanceof RegExp) return String(value)
  if (Duration.isDuration(value)) return Duration.toMillis(value)
  if (SemVerRange.isSemVerRange(value)) return SemVerRange.format(value)
  if (Array.isArray(value)) return value.map(plain)
  return Predicate.isObject(value)
    ? Object.fromEntries(
      Object.entries(value).filter(([, inner]) => inner !== undefined).map(([key, inner]) => [key, plain(inner)])
    )
    : value
}

const all = {
  match: [],
  exclude: [],
  include: [],
  versions: "full",
  preReleases: "named",
  per: "all",
  digestTags: "exclude",
  atLeast: 0,
  alternatives: []
}

describe("a rule", () => {
  it("has defaults for everything but its source and destination", () => {
    assert.deepStrictEqual(plain(ruleOf({})), {
      name: "a.test-app",
      from: [{ registry: "a.test", repositories: { _tag: "Named", repositories: [{ name: "app", captures: [] }] } }],
      to: [{ registry: "m.test", repository: "app", tag: "{tag}" }],
      tags: all,
      platforms: "all",
      referrers: { _tag: "Copy", filter: {}, required: false, every: 86_400_000 },
      digestTags: "skip",
      onTagMoved: "replace",
      immutable: [],
      trust: 43_200_000,
      foreignTags: "refuse",
      prune: { _tag: "None" },
      timing: { _tag: "Manual" },
      atStart: "missing",
      onError: "continue"
    })
  })

  it.each<
    readonly [name: string, written: Readonly<Record<string, unknown>>, expected: Readonly<Record<string, unknown>>]
  >([
    ["name", { name: "x" }, { name: "x" }],
    ["tags", { tags: {} }, { tags: all }],
    ["tags.names", { tags: { names: ["1", "2"] } }, { tags: { ...all, names: ["1", "2"] } }],
    ["tags as a list", { tags: ["1", "2"] }, { tags: { ...all, names: ["1", "2"] } }],
    ["tags.match", { tags: { match: "^v" } }, { tags: { ...all, match: ["/^v/"] } }],
    ["a pattern that ignores case", { tags: { match: ["(?i)rc"] } }, { tags: { ...all, match: ["/rc/i"] } }],
    ["tags.exclude", { tags: { exclude: ["a", "b"] } }, { tags: { ...all, exclude: ["/a/", "/b/"] } }],
    ["tags.include", { tags: { include: "x" } }, { tags: { ...all, include: ["/x/"] } }],
    ["tags.semver", { tags: { semver: ">=1 <3" } }, { tags: { ...all, semver: ">=1 <3" } }],
    ["tags.versions", { tags: { versions: "partial" } }, { tags: { ...all, versions: "partial" } }],
    [
      "tags.preReleases",
      { tags: { semver: "1.x", preReleases: "all" } },
      { tags: { ...all, semver: "1", preReleases: "all" } }
    ],
    ["tags.newest", { tags: { newest: 2, per: "minor" } }, { tags: { ...all, newest: 2, per: "minor" } }],
    ["tags.pushedWithin", { tags: { pushedWithin: "90d" } }, { tags: { ...all, pushedWithin: 7_776_000_000 } }],
    ["tags.digestTags", { tags: { digestTags: true } }, { tags: { ...all, digestTags: "include" } }],
    ["tags.atLeast", { tags: { atLeast: 3 } }, { tags: { ...all, atLeast: 3 } }],
    [
      "several selections",
      { tags: ["lts", { semver: "^1" }, { match: "^x", atLeast: 2 }] },
      {
        tags: {
          ...all,
          names: ["lts"],
          atLeast: 2,
          alternatives: [{ ...all, semver: "^1" }, { ...all, match: ["/^x/"] }]
        }
      }
    ],
    [
      "one platform",
      { platforms: "linux/amd64" },
      { platforms: { _tag: "Image", platform: { os: "linux", architecture: "amd64" } } }
    ],
    [
      "several platforms",
      { platforms: ["linux/amd64"], index: "rewrite" },
      { platforms: { _tag: "Index", platforms: [{ os: "linux", architecture: "amd64" }], index: "rewrite" } }
    ],
    ["no referrers", { referrers: false }, { referrers: { _tag: "Skip" } }],
    [
      "some referrers",
      { referrers: { types: ["a/b"], annotations: { k: "v" }, every: "2h", required: true } },
      {
        referrers: {
          _tag: "Copy",
          filter: { artifactTypes: ["a/b"], annotations: { k: "v" } },
          required: true,
          every: 7_200_000
        }
      }
    ],
    ["digestTags", { digestTags: true }, { digestTags: "copy" }],
    ["onTagMoved", { onTagMoved: "keep" }, { onTagMoved: "keep" }],
    ["a backup", { onTagMoved: { backup: "b-{tag}-{date}" } }, {
      onTagMoved: { _tag: "Backup", tag: "b-{tag}-{date}" }
    }],
    ["immutable", { immutable: ["^v"] }, { immutable: ["/^v/"] }],
    ["trust", { trust: "30m" }, { trust: 1_800_000 }],
    ["no trust", { trust: 0 }, { trust: 0 }],
    ["adopt", { adopt: true }, { foreignTags: "adopt" }],
    ["prune", { prune: "gone" }, { prune: { _tag: "Prune", policy: "gone", keep: [], most: 0.1, runs: 2 } }],
    [
      "prune with its parts",
      { prune: { policy: "unmatched", keep: ["^r"], max: "25%", after: "3 runs" } },
      { prune: { _tag: "Prune", policy: "unmatched", keep: ["/^r/"], most: 0.25, runs: 3 } }
    ],
    ["prune after a number", { prune: { policy: "gone", after: 1 } }, {
      prune: { _tag: "Prune", policy: "gone", keep: [], most: 0.1, runs: 1 }
    }],
    ["an interval", { schedule: { every: "1h30m", jitter: "5m" } }, {
      timing: { _tag: "Every", interval: 5_400_000, jitter: 300_000 }
    }],
    ["atStart", { atStart: "all" }, { atStart: "all" }],
    ["onError", { onError: "stop" }, { onError: "stop" }],
    ["a template of tags", { to: "m.test/app:{tag}-x" }, {
      to: [{ registry: "m.test", repository: "app", tag: "{tag}-x" }]
    }],
    ["several destinations", { to: ["m.test/app", "n.test:5000/x/y"] }, {
      to: [
        { registry: "m.test", repository: "app", tag: "{tag}" },
        { registry: "n.test:5000", repository: "x/y", tag: "{tag}" }
      ]
    }],
    ["a destination without a repository", { to: "m.test" }, {
      to: [{ registry: "m.test", repository: "$0", tag: "{tag}" }]
    }],
    ["a destination that is a folder", { to: "m.test/x/" }, {
      to: [{ registry: "m.test", repository: "x/$0", tag: "{tag}" }]
    }],
    ["alternatives", { from: "docker.io/{a,b}", to: "m.test/$1" }, {
      from: [{
        registry: "docker.io",
        repositories: {
          _tag: "Named",
          repositories: [{ name: "library/a", captures: ["a"] }, { name: "library/b", captures: ["b"] }]
        }
      }]
    }],
    ["stars", { from: "a.test/{x,y}/*-app/**", to: "m.test/$1/$3" }, {
      from: [{ registry: "a.test", repositories: { _tag: "Catalog", pattern: "/^(x|y)\\/([^/]*)-app\\/(.*)$/" } }]
    }],
    ["a pattern", { from: { registry: "a.test", match: "^x/(.*)$" }, to: "m.test/$1" }, {
      from: [{ registry: "a.test", repositories: { _tag: "Catalog", pattern: "/^x\\/(.*)$/" } }]
    }]
  ])("decodes %s", (_, written, expected) => {
    const rule = plain(ruleOf(written))
    assert.deepStrictEqual({ ...rule as object, ...expected }, rule)
  })

  it("runs by cron in UTC, or in a time zone", () => {
    const next = (schedule: unknown) => {
      const { timing } = ruleOf({ schedule })
      return timing._tag === "Cron"
        ? Cron.next(timing.cron, DateTime.makeUnsafe("2026-06-01T00:00:00Z")).toISOString()
        : ""
    }
    assert.strictEqual(next("15 3 * * *"), "2026-06-01T03:15:00.000Z")
    assert.strictEqual(next({ cron: "15 3 * * *", timeZone: "Europe/Berlin" }), "2026-06-01T01:15:00.000Z")
    assert.strictEqual(next("CRON_TZ=Asia/Tokyo 15 3 * * *"), "2026-06-01T18:15:00.000Z")
  })

  it("takes what it does not have from the defaults", () => {
    const defaults = { to: "m.test/copies", trust: "1h", platforms: ["linux/arm64"], index: "keep", prune: "gone" }
    const { rules } = decoded({
      version: 1,
      defaults,
      rules: [{ from, prune: "none" }, { from: "a.test/other", to, platforms: "all", trust: 0 }]
    })
    assert.deepStrictEqual(rules.map(({ to }) => to.map(({ repository }) => repository)), [["copies/$0"], ["app"]])
    assert.deepStrictEqual(rules.map(({ trust }) => Duration.toMillis(trust)), [3_600_000, 0])
    assert.deepStrictEqual(rules.map(({ prune }) => prune._tag), ["None", "Prune"])
    assert.deepStrictEqual(
      rules.map(({ platforms }) =>
        typeof platforms === "object" && platforms._tag === "Index"
          ? platforms.platforms.map(Platform.format)
          : platforms
      ),
      [["linux/arm64"], "all"]
    )
  })
})

describe("a registry", () => {
  it("has an alias, credentials, a rate, a budget and a limit", () => {
    const { registries, rules } = decoded({
      version: 1,
      registries: {
        "docker.io": { credentials: "env:HUB", rate: "120/m", budget: { keep: 30 }, concurrency: 16 },
        ecr: { host: "1.dkr.ecr.eu-west-1.amazonaws.com", credentials: "file:x", scheme: "insecure" },
        "b.test": {}
      },
      rules: [{ from: "docker.io/app", to: "ecr/app" }]
    })
    const none = { rate: undefined, budget: undefined, concurrency: undefined, scheme: "default" } as const
    assert.deepStrictEqual<unknown>(registries, [
      {
        ...none,
        host: "docker.io",
        credentials: { _tag: "Environment", prefix: "HUB" },
        rate: 2,
        budget: { keep: 30 },
        concurrency: 16
      },
      {
        ...none,
        host: "1.dkr.ecr.eu-west-1.amazonaws.com",
        credentials: { _tag: "File", path: "x" },
        scheme: "insecure"
      },
      { ...none, host: "b.test", credentials: { _tag: "Docker" } }
    ])
    assert.strictEqual(rules[0]?.to[0]?.registry, "1.dkr.ecr.eu-west-1.amazonaws.com")
  })
})

it("a configuration has a store, webhooks, and a command for missing repositories", () => {
  const { notify, onRepositoryMissing, store } = decoded({
    version: 1,
    store: "memory",
    rules: [{ from, to }],
    notify: [{ webhook: "https://h.test/x" }, { webhook: "http://h.test", on: ["pruned"] }],
    onRepositoryMissing: { exec: ["make", "{repository}"] }
  })
  assert.strictEqual(store, "memory")
  assert.deepStrictEqual<unknown>(notify, [
    { webhook: "https://h.test/x", on: ["failed", "recovered"] },
    { webhook: "http://h.test", on: ["pruned"] }
  ])
  assert.deepStrictEqual(onRepositoryMissing, ["make", "{repository}"])
})

describe("a problem is one line with its path and what to write", () => {
  it.each<readonly [name: string, rule: unknown, line: string]>([
    ["no mapping", 5, "rules[0]: expected a mapping, found 5"],
    ["no source", { to }, "rules[0].from: is missing"],
    ["no destination", { from }, "rules[0].to: is missing: write to: HOST/REPOSITORY, here or in defaults"],
    [
      "an unknown key",
      { from, to, onTagMove: "keep" },
      "rules[0].onTagMove: unknown key \"onTagMove\"; did you mean onTagMoved?"
    ],
    [
      "another unknown key",
      { from, to, zzz: 1 },
      "rules[0].zzz: unknown key \"zzz\": use one of name, from, to, tags,"
    ],
    [
      "an unknown key of tags",
      { from, to, tags: { semvr: "1" } },
      "rules[0].tags.semvr: unknown key \"semvr\"; did you mean semver?"
    ],
    ["tags in the wrong place", { from, to, semver: "1" }, "rules[0].semver: write it in tags: { … }"],
    ["an interval in the wrong place", { from, to, every: "1h" }, "rules[0].every: write schedule: { every: 1h }"],
    [
      "a number for a tag",
      { from, to, tags: [1.2] },
      "rules[0].tags[0]: expected a tag or a mapping, found 1.2: write it in quotes"
    ],
    ["a tag", { from, to, tags: ["a/b"] }, "rules[0].tags[0]: write a tag: character \"/\" is not allowed"],
    ["a range", { from, to, tags: { semver: "newest" } }, "rules[0].tags.semver: write a range of versions, such as"],
    [
      "a pattern",
      { from, to, tags: { match: ["("] } },
      "rules[0].tags.match[0]: write a regular expression: unterminated group"
    ],
    [
      "a slow pattern",
      { from, to, tags: { exclude: "(a+)+$" } },
      "rules[0].tags.exclude: write a pattern that repeats no part"
    ],
    [
      "a long pattern",
      { from, to, tags: { match: "a".repeat(1001) } },
      "rules[0].tags.match: use a pattern of at most 1000 characters"
    ],
    [
      "a count",
      { from, to, tags: { newest: 0 } },
      "rules[0].tags.newest: expected a whole number of at least 1, found 0"
    ],
    [
      "a count in words",
      { from, to, tags: { newest: "five" } },
      "rules[0].tags.newest: expected a whole number of at least 1, found text"
    ],
    ["per without newest", { from, to, tags: { per: "major" } }, "rules[0].tags.per: requires newest: N"],
    [
      "preReleases without semver",
      { from, to, tags: { preReleases: "all" } },
      "rules[0].tags.preReleases: requires semver"
    ],
    ["no tags", { from, to, tags: [] }, "rules[0].tags: write at least one tag or selection"],
    ["all tags and others", { from, to, tags: ["1", {}] }, "rules[0].tags[1]: selects all tags: omit the others"],
    [
      "an age",
      { from, to, tags: { pushedWithin: "a week" } },
      "rules[0].tags.pushedWithin: write a duration, such as 90d, 12h"
    ],
    ["a platform", { from, to, platforms: "linux" }, "rules[0].platforms: write a platform, such as linux/amd64"],
    [
      "platforms without index",
      { from, to, platforms: ["linux/amd64"] },
      "rules[0].platforms: a list requires index: keep, rewrite or fail"
    ],
    [
      "index without platforms",
      { from, to, index: "keep" },
      "rules[0].index: index requires platforms: [OS/ARCH, …]"
    ],
    [
      "a literal",
      { from, to, onTagMoved: "kep" },
      "rules[0].onTagMoved: expected replace, keep or fail, found \"kep\"; did you mean keep?"
    ],
    [
      "a backup",
      { from, to, onTagMoved: { backup: "{when}" } },
      "rules[0].onTagMoved.backup: unknown placeholder {when}: use {tag}, {date}, {digest}"
    ],
    [
      "a backup with a slash",
      { from, to, onTagMoved: { backup: "a/{tag}" } },
      "rules[0].onTagMoved.backup: write the template of a tag"
    ],
    [
      "a share",
      { from, to, prune: { policy: "gone", max: "200%" } },
      "rules[0].prune.max: write a share from 0% to 100%"
    ],
    ["runs", { from, to, prune: { policy: "gone", after: "soon" } }, "rules[0].prune.after: write a number of runs"],
    [
      "a schedule",
      { from, to, schedule: "daily" },
      "rules[0].schedule: write a schedule of cron, such as \"15 3 * * *\""
    ],
    [
      "a time zone",
      { from, to, schedule: { cron: "1 1 * * *", timeZone: "Mars" } },
      "rules[0].schedule.timeZone: write a time zone"
    ],
    ["an empty schedule", { from, to, schedule: {} }, "rules[0].schedule: write cron: \"15 3 * * *\" or every: 1h"],
    [
      "two schedules",
      { from, to, schedule: { cron: "1 1 * * *", every: "1h" } },
      "rules[0].schedule: write either cron or every"
    ],
    [
      "a time zone alone",
      { from, to, schedule: { every: "1h", timeZone: "UTC" } },
      "rules[0].schedule: timeZone requires cron"
    ],
    [
      "a very short interval",
      { from, to, schedule: { every: "1ms" } },
      "rules[0].schedule: write every: with at least 1s"
    ],
    [
      "a source without a host",
      { from: "alpine", to },
      "rules[0].from: write HOST/REPOSITORY: \"alpine\" is neither a host nor an alias"
    ],
    [
      "a source without a repository",
      { from: "a.test", to },
      "rules[0].from: write HOST/REPOSITORY, or HOST/** for all"
    ],
    [
      "a source with a tag",
      { from: "a.test/app:1", to },
      "rules[0].from: write no tag and no digest here, but tags: { names: [TAG] }"
    ],
    ["an upper-case source", { from: "a.test/App", to }, "rules[0].from: write lower-case letters: there is \"A\""],
    ["an open brace", { from: "a.test/{a,b", to }, "rules[0].from: close each { with a }"],
    ["three stars", { from: "a.test/***", to: "m.test/$1" }, "rules[0].from: write * for a part of a name"],
    [
      "too many alternatives",
      { from: `a.test/${"{a,b}".repeat(10)}`, to: "m.test/$0" },
      "rules[0].from: write at most 1000 repositories"
    ],
    ["no sources", { from: [], to }, "rules[0].from: write at least one source"],
    [
      "an unknown registry of a pattern",
      { from: { registry: "x", match: "y" }, to: "m.test/$0" },
      "rules[0].from.registry: write HOST/REPOSITORY"
    ],
    [
      "a capture that is absent",
      { from, to: "m.test/$1" },
      "rules[0].to: $1 has no value: the source has no captures; $0 is the whole"
    ],
    [
      "a capture that one source lacks",
      { from: ["a.test/*", "a.test/b"], to: "m.test/$1" },
      "rules[0].to: $1 has no value"
    ],
    ["a lone $", { from, to: "m.test/$x" }, "rules[0].to: write $0 for the repository of the source"],
    ["a digest in a destination", { from, to: "m.test/a@sha256:1" }, "rules[0].to: write no digest in a destination"],
    ["an invalid destination", { from, to: "m.test/A" }, "rules[0].to: write a repository: \"A\": upper-case letter"],
    [
      "an invalid tag in a destination",
      { from, to: "m.test/a:b/c" },
      "rules[0].to: write the template of a tag, such as {tag}"
    ],
    [
      "a placeholder in a destination",
      { from, to: "m.test/a:{date}" },
      "rules[0].to: unknown placeholder {date}: use {tag}"
    ],
    [
      "one destination for several repositories",
      { from: "a.test/{a,b}", to },
      "rules[0].to: several repositories would become one: write m.test/app/$0, or $1"
    ],
    [
      "a template without a valid name",
      { from: "a.test/{a,b-c}", to: "m.test/x-$1/-$1" },
      "rules[0].to: write a repository"
    ]
  ])("%s", (_, rule, line) => {
    const found = problemsOf(rule)
    assert.strictEqual(found.length, 1, found.join("\n"))
    assert.isTrue(found[0]?.startsWith(line), found[0])
  })

  it.each<readonly [name: string, value: unknown, line: string]>([
    ["no mapping", [], "expected a mapping, found a list"],
    ["another version", { version: 2, rules: [{ from, to }] }, "version: expected 1, found 2"],
    ["no version", { rules: [{ from, to }] }, "version: is missing"],
    ["no rules", { version: 1 }, "rules: is missing"],
    ["an empty list of rules", { version: 1, rules: [] }, "rules: write at least one rule"],
    ["rules that are no list", { version: 1, rules: {} }, "rules: expected a list, found a mapping"],
    [
      "an unknown key",
      { version: 1, rules: [{ from, to }], defalts: {} },
      "defalts: unknown key \"defalts\"; did you mean defaults?"
    ],
    [
      "a name twice",
      { version: 1, rules: [{ name: "x", from, to }, { name: "x", from, to: "n.test/x" }] },
      "rules[1].name: rules[0] has the name \"x\" already"
    ],
    [
      "a setting of the defaults",
      { version: 1, defaults: { trust: "x" }, rules: [{ from, to }] },
      "defaults.trust: write a duration"
    ],
    [
      "a destination of the defaults",
      { version: 1, defaults: { to: "x/y" }, rules: [{ from }] },
      "defaults.to: write HOST/REPOSITORY"
    ],
    [
      "a prefix of the defaults with a capture",
      { version: 1, defaults: { to: "m.test/$2" }, rules: [{ from }] },
      "defaults.to: $2 has no value"
    ],
    [
      "an alias without a host",
      { version: 1, registries: { ecr: {} }, rules: [{ from, to }] },
      "registries.ecr: is not a host: write ecr: { host: HOST }"
    ],
    [
      "a bad host",
      { version: 1, registries: { ecr: { host: "a b" } }, rules: [{ from, to: "ecr/x" }] },
      "registries.ecr.host: write a host, with its port"
    ],
    [
      "a host twice",
      { version: 1, registries: { a: { host: "b.test" }, "b.test": {} }, rules: [{ from, to }] },
      "registries[\"b.test\"]: b.test has settings already"
    ],
    [
      "a misspelt alias",
      { version: 1, registries: { harbor: { host: "b.test" } }, rules: [{ from, to: "harbour/x" }] },
      "rules[0].to: unknown registry \"harbour\"; did you mean harbor?"
    ],
    [
      "a rate",
      { version: 1, registries: { "b.test": { rate: "fast" } }, rules: [{ from, to }] },
      "registries[\"b.test\"].rate: write requests in each second"
    ],
    [
      "a negative budget",
      { version: 1, registries: { "b.test": { budget: { keep: -1 } } }, rules: [{ from, to }] },
      "registries[\"b.test\"].budget.keep: expected a whole number of at least 0, found -1"
    ],
    ["a prefix of variables", {
      version: 1,
      registries: { "b.test": { credentials: "env:a b" } },
      rules: [{ from, to }]
    }, "registries[\"b.test\"].credentials: write env:PREFIX"],
    [
      "a webhook",
      { version: 1, notify: [{ webhook: "ftp://x" }], rules: [{ from, to }] },
      "notify[0].webhook: write a URL that begins with https://"
    ],
    [
      "an event",
      { version: 1, notify: [{ webhook: "http://x", on: ["faild"] }], rules: [{ from, to }] },
      "notify[0].on[0]: expected failed, recovered, pruned or finished, found \"faild\"; did you mean failed?"
    ]
  ])("%s", (_, value, line) => {
    const found = problems(value)
    assert.strictEqual(found.length, 1, found.join("\n"))
    assert.isTrue(found[0]?.startsWith(line), found[0])
  })

  it("all at once, each once", () => {
    const found = problems({
      version: 1,
      registries: { ecr: { host: "b.test", rate: "x" } },
      defaults: { platforms: ["linux/amd64"] },
      rules: [{ from: "x", to: "ecr/a", tags: { semver: "y", newest: 0 } }, { from, to, trust: "z" }, {
        from: "a.test/b",
        to
      }]
    })
    assert.deepStrictEqual(found.map((line) => line.replace(/: .*$/, "")), [
      "registries.ecr.rate",
      "rules[0].tags.semver",
      "rules[0].tags.newest",
      "rules[0].from",
      "defaults.platforms",
      "rules[1].trust"
    ])
  })

  it("contains no password that the file has in the wrong place", () => {
    const found = problems({
      version: 1,
      registries: {
        "a.test": { credentials: "ada:hunter2" },
        "b.test": { username: "ada", password: "hunter2" },
        "c.test": { credentials: { username: "ada", password: "hunter2" } }
      },
      rules: [{ from, to }]
    }).join("\n")
    assert.notInclude(found, "hunter2")
    assert.include(
      found,
      "registries[\"a.test\"].credentials: write docker, env:PREFIX or file:PATH: the file contains no passwords"
    )
    assert.include(
      found,
      "registries[\"b.test\"].password: the file contains no passwords: write credentials: env:PREFIX"
    )
  })
})

describe("parse", () => {
  const native = { version: 1, rules: [{ from, to }] }

  it.each<readonly [file: string, text: string]>([
    ["mirror.yml", "version: 1\nrules:\n  - from: a.test/app\n    to: m.test/app\n"],
    ["mirror.YAML", "version: 1\nrules: [{ from: a.test/app, to: m.test/app }]"],
    ["mirror.json", JSON.stringify(native)],
    ["mirror.toml", "version = 1\n[[rules]]\nfrom = \"a.test/app\"\nto = \"m.test/app\"\n"],
    ["mirror", "# a comment\nversion: 1\nrules: [{ from: a.test/app, to: m.test/app }]"],
    ["mirror", `\n${JSON.stringify(native)}`],
    ["mirror", "# a comment\nversion = 1\nrules = [{ from = \"a.test/app\", to = \"m.test/app\" }]"]
  ])("reads %s", (file, text) => {
    assert.deepStrictEqual(plain(Result.getOrThrow(MirrorConfig.parse(file, text))), plain(decoded(native)))
  })

  it.each<readonly [file: string, text: string, line: string]>([
    ["mirror.yml", "version: 1\nrules:\n  - from: [a\n    to: b\n", "mirror.yml:3: invalid YAML: Expected ','"],
    ["mirror.yml", "version: 1\nrules: a: b\n", "mirror.yml:2: invalid YAML: Invalid colon in plain scalar"],
    ["mirror.yml", "version: 1\n\nrules: *all\n", "mirror.yml:3: invalid YAML: Unknown YAML alias '*all'"],
    ["mirror.yml", "version: 1\nversion: 1\n", "mirror.yml:2: invalid YAML: Duplicate key 'version'"],
    ["mirror.yml", "version: 1\nrules:\n\t- from: x\n", "mirror.yml:3: invalid YAML: Tabs cannot be used"],
    ["mirror.json", "{\n  \"version\": 1,\n  \"rules\": [\n}", "mirror.json:4: invalid JSON: Unexpected token '}'"],
    ["mirror.json", "{ \"version\": 1", "mirror.json:1: invalid JSON: "],
    ["mirror.toml", "version = 1\nrules = [\n", "mirror.toml:3: invalid TOML: "],
    ["mirror.yml", " ".repeat(1024 * 1024 + 1), "mirror.yml: the file is larger than 1048576 characters"],
    ["mirror.yml", `version: ${"[".repeat(50_000)}`, "mirror.yml:1: invalid YAML: it is nested too deeply"],
    [
      "mirror.json",
      `${"[".repeat(100)}${"]".repeat(100)}`,
      "mirror.json: the file has more than 500000 values, or nests"
    ],
    ["mirror.yml", "- a", "mirror.yml: expected a mapping, found a list"],
    [
      "mirror.yml",
      "version: 1\nrules: [{ from: a.test/b, to: c.test/d, trust: soon }]",
      "mirror.yml: rules[0].trust: write a duration"
    ]
  ])("reports a problem of %s", (file, text, line) => {
    const found = Result.match(MirrorConfig.parse(file, text), {
      onSuccess: () => "",
      onFailure: ({ message }) => message
    })
    assert.isTrue(found.startsWith(line), found.slice(0, 300))
    assert.notInclude(found, "\n")
  })

  it("counts an alias each time, so that a small file cannot stand for a large one", () => {
    const bomb = Array.from(
      { length: 12 },
      (_, index) => `a${index + 1}: &a${index + 1} [${Array.from({ length: 9 }, () => `*a${index}`).join(", ")}]`
    )
    const found = MirrorConfig.parse("mirror.yml", `a0: &a0 [x]\n${bomb.join("\n")}\n`)
    assert.include(
      Result.match(found, { onSuccess: () => "", onFailure: ({ message }) => message }),
      "more than 500000 values"
    )
  })

  it("reports at most 100 problems", () => {
    const rules = Array.from({ length: 200 }, () => ({ from: "x", to: "y" }))
    assert.strictEqual(problems({ version: 1, rules }).length, 101)
  })

  it("refuses more than 10000 rules", () => {
    const rules = Array.from({ length: 10_001 }, () => ({ from, to }))
    assert.deepStrictEqual(problems({ version: 1, rules }), ["rules: has 10001 rules: 10000 are allowed"])
  })
})

it.effect("a configuration without a name for its rules gives each another one", () =>
  Effect.sync(() => {
    const rules = ["m.test/a", "n.test/b", "o.test/c"].map((to) => ({ from, to }))
    assert.deepStrictEqual(decoded({ version: 1, rules }).rules.map(({ name }) => name), [
      "a.test-app",
      "a.test-app-2",
      "a.test-app-3"
    ])
  }))
