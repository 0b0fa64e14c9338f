/**
 * Files of other tools, in shapes of our own that cover every field.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Redacted } from "effect"
import * as MirrorConfig from "effect-oci/MirrorConfig"
import * as TagRule from "effect-oci/TagRule"
import { Images } from "effect-oci/testing"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { temporaryFolder } from "../utils/layouts.ts"

const env = { HUB_USER: "ada", HUB_PASSWORD: "hunter2", SPACE: "team", EMPTY: "" }

const read = (text: string, options: MirrorConfig.LoadOptions = {}) =>
  MirrorConfig.read("sync.yml", text, options).pipe(
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env })),
    Effect.provide(NodeServices.layer)
  )

const linesOf = (text: string, options: MirrorConfig.LoadOptions = {}) =>
  Effect.map(Effect.flip(read(text, options)), ({ lines }) => lines.map((line) => line.replace(/^sync\.yml: /, "")))

const omissionsOf = ({ omissions }: MirrorConfig.Loaded) => omissions.map(({ message, path }) => `${path}: ${message}`)

/** Returns the credentials and other settings of the registries. */
const registriesOf = ({ config }: MirrorConfig.Loaded) =>
  config.registries.map(({ budget, concurrency, credentials, host, rate, scheme }) => ({
    host: String(host),
    credentials: credentials._tag === "Password"
      ? `${credentials.username}:${Redacted.value(credentials.password)}`
      : credentials._tag,
    rate,
    keep: budget?.keep,
    concurrency,
    scheme
  }))

const selected = ({ config }: MirrorConfig.Loaded, index: number, tags: ReadonlyArray<string>) => {
  const rule = config.rules[index]
  return rule === undefined
    ? []
    : TagRule.decide(rule.tags, tags.map(Images.tag)).filter(({ selected }) => selected).map(({ tag }) => String(tag))
}

// ---------------------------------------------------------------------------------------------------------------------

describe("regsync", () => {
  const sync = (entry: string) =>
    `version: 1\nsync:\n  - { source: a.test/app, target: m.test/app, type: repository, ${entry} }\n`

  it.effect("keeps credentials, rates, limits and budgets of registries", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      Fs.writeFileSync(Path.join(folder, "password"), "from a file\n")
      const loaded = yield* read(`
creds:
  - registry: docker.io
    user: '{{ env "HUB_USER" }}'
    pass: '{{ env "HUB_PASSWORD" }}'
    reqPerSec: 2.5
  - registry: https://m.test
    user: '{{ env "NO_USER" | default "bob" }}'
    pass: '{{ file "${folder}/password" }}'
    tls: disabled
    reqConcurrent: 5
  - { registry: n.test, hostname: other.test, tls: insecure, reqPerSec: 20 }
  - { registry: o.test, scheme: http }
  - { registry: p.test, tls: enabled }
sync:
  - { source: app, target: m.test/app, type: repository, ratelimit: { min: 100 } }
  - { source: n.test/app, target: m.test/n, type: repository }
`)
      const none = {
        credentials: "Docker",
        rate: undefined,
        keep: undefined,
        concurrency: undefined,
        scheme: "default"
      }
      assert.deepStrictEqual<unknown>(registriesOf(loaded), [
        { ...none, host: "docker.io", credentials: "ada:hunter2", rate: 2.5, keep: 100 },
        { ...none, host: "m.test", credentials: "bob:from a file", concurrency: 5, scheme: "plainHttp" },
        { ...none, host: "other.test", rate: 20, scheme: "insecure" },
        { ...none, host: "o.test", scheme: "plainHttp" },
        { ...none, host: "p.test", scheme: "tls" }
      ])
      assert.strictEqual(loaded.config.rules[1]?.from[0]?.registry, "other.test")
      assert.notInclude(JSON.stringify(loaded.file), "hunter2")
      assert.strictEqual(loaded.file.registries?.["docker.io"]?.credentials, "env:DOCKER_IO")
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("reads images, repositories and registries", () =>
    Effect.gen(function*() {
      const { file } = yield* read(`
sync:
  - { source: busybox, target: "m.test:5000/busybox:1", type: image }
  - { source: "a.test/app:1", target: "m.test:5000/app:1", type: image }
  - { source: "a.test/app:2", target: "m.test:5000/app:2", type: image }
  - { source: "a.test/db", target: "m.test:5000/{{ .Sync.Source }}", type: repository }
  - source: b.test
    target: m.test:5000/b
    type: registry
    repos: { allow: ["team/.*", "x|y"], deny: [".*-test"] }
  - { source: c.test, target: m.test:5000/c, type: registry, repos: { allow: ["team/.*"] } }
`)
      assert.deepStrictEqual<unknown>(file.rules.map(({ from, tags, to }) => [from, to, tags]), [
        ["docker.io/library/busybox", "m.test:5000/busybox:1", ["latest"]],
        ["a.test/app", "m.test:5000/app", ["1", "2"]],
        ["a.test/db", "m.test:5000/a.test/db", { digestTags: true }],
        [{ registry: "b.test", match: "^(?!(?:.*-test)$)(?=.*(?:^team/.*$|^x|y$))" }, "m.test:5000/b/$0", {
          digestTags: true
        }],
        [{ registry: "c.test", match: "^(?=(?:team/.*)$)" }, "m.test:5000/c/$0", { digestTags: true }]
      ])
    }))

  it.effect.each<readonly [tags: string, expected: ReadonlyArray<string>]>([
    ["", ["1", "1.2", "1.2.3", "v1.3.0", "1.3.0-rc1", "1.3.0_1", "2.0.0-rc.1", "2.0.0", "12", "latest"]],
    ["tags: { allow: ['1\\.2.*', latest] }", ["1.2", "1.2.3", "latest"]],
    // the pattern is ^1|2$
    ["tags: { allow: ['1|2'] }", ["1", "1.2", "1.2.3", "1.3.0-rc1", "1.3.0_1", "12"]],
    ["tags: { deny: ['.*\\d'] }", ["latest"]],
    ["tags: { semverRange: ['>=1.2 <1.3', '^2'] }", ["1.2", "1.2.3", "1.3.0-rc1", "2.0.0"]],
    ["tags: { semverRange: ['~1'] }", ["1"]],
    ["tags: { semverRange: ['>=1.3.0 <2.0.0'] }", ["v1.3.0", "2.0.0-rc.1"]],
    ["tags: { semverRange: ['=1.2', ''], deny: [x] }", ["1.2"]],
    ["tags: { semverRange: ['>1.2'], deny: ['.*rc.*'], allow: ['\\d.*'] }", ["1.2.3", "2.0.0", "12"]],
    ["tagSets: [{ allow: [latest] }, { semverRange: ['1.2.3'] }], tags: { allow: ['12'] }", ["1.2.3", "12", "latest"]],
    ["tagSets: [{}], tags: { allow: ['12'] }", [
      "1",
      "1.2",
      "1.2.3",
      "v1.3.0",
      "1.3.0-rc1",
      "1.3.0_1",
      "2.0.0-rc.1",
      "2.0.0",
      "12",
      "latest"
    ]]
  ])("selects the same tags: %s", ([tags, expected]) =>
    Effect.gen(function*() {
      const all = ["1", "1.2", "1.2.3", "v1.3.0", "1.3.0-rc1", "1.3.0_1", "2.0.0-rc.1", "2.0.0", "12", "latest"]
      assert.deepStrictEqual(selected(yield* read(sync(tags)), 0, all), [...expected])
    }))

  it.effect.each<readonly [entry: string, rule: Readonly<Record<string, unknown>>]>([
    ["platform: linux/amd64", { platforms: "linux/amd64" }],
    ["platforms: [linux/amd64, linux/arm64]", { platforms: ["linux/amd64", "linux/arm64"], index: "keep" }],
    ["referrers: true", { referrers: true }],
    [
      "referrers: true, referrerFilters: [{ artifactType: a/b, annotations: { k: v } }, { artifactType: c/d, annotations: { k: v } }]",
      { referrers: { types: ["a/b", "c/d"], annotations: { k: "v" } } }
    ],
    ["digestTags: true", { digestTags: true }],
    ["backup: 'bkup-{{.Ref.Tag}}'", { onTagMoved: { backup: "bkup-{tag}" } }],
    ["backup: '{{ .Ref.Registry }}/{{ .Ref.Repository }}:old-{{ .Ref.Tag }}'", { onTagMoved: { backup: "old-{tag}" } }],
    ["backup: '{{ .Ref.Tag }}-{{ time.Now.Format \"20060102\" }}'", { onTagMoved: { backup: "{tag}-{date}" } }],
    ["interval: 90m", { schedule: { every: "1h30m" } }],
    ["interval: 60000000000", { schedule: { every: "1m" } }],
    ["schedule: '15 3 * * *'", { schedule: { cron: "15 3 * * *" } }],
    ["schedule: '@daily'", { schedule: { cron: "0 0 * * *" } }],
    ["schedule: '@every 2h'", { schedule: { every: "2h" } }]
  ])("keeps %s", ([entry, rule]) =>
    Effect.gen(function*() {
      const { file: { rules: [first] } } = yield* read(sync(entry))
      assert.deepInclude(first, rule)
    }))

  it.effect("applies the defaults to each entry", () =>
    Effect.gen(function*() {
      const { config } = yield* read(`
defaults: { interval: 1h, referrers: true, digestTags: true, backup: "b-{{ .Ref.Tag }}", ratelimit: { min: 5 } }
sync:
  - { source: a.test/a, target: m.test/a, type: repository }
  - { source: a.test/b, target: m.test/b, type: repository, schedule: "0 0 * * *", referrers: false, backup: "x" }
`)
      assert.deepStrictEqual(
        config.rules.map(({ digestTags, onTagMoved, referrers, timing }) => [
          timing._tag,
          referrers._tag,
          digestTags,
          typeof onTagMoved === "object" ? onTagMoved.tag : onTagMoved
        ]),
        [["Every", "Copy", "copy", "b-{tag}"], ["Cron", "Skip", "copy", "x"]]
      )
    }))

  it.effect("lists what has no counterpart", () =>
    Effect.gen(function*() {
      const loaded = yield* read(`
version: 1
x-anchors: {}
other: 1
creds:
  - registry: a.test
    regcert: x
    clientCert: x
    clientKey: x
    token: x
    credHelper: x
    credExpire: 1h
    credHost: x
    pathPrefix: x
    mirrors: [b.test]
    priority: 1
    repoAuth: true
    api: x
    apiOpts: { a: b }
    blobChunk: 1
    blobMax: 1
defaults:
  parallel: 2
  blobLimit: 1
  cacheCount: 1
  cacheTime: 1m
  skipDockerConfig: true
  userAgent: x
  schedule: "1 1 * * *"
  hooks: { pre: { type: x, params: [y] } }
sync:
  - source: a.test/app
    target: m.test/app
    type: repository
    referrers: true
    referrerFilters: [{ artifactType: a/b, annotations: { k: v } }, { artifactType: c/d }]
    referrerSource: a.test/app
    referrerTarget: m.test/app
    referrerSlow: true
    fastCheck: true
    forceRecursive: true
    includeExternal: true
    mediaTypes: [application/vnd.oci.image.manifest.v1+json]
    ratelimit: { min: 1, retry: 15m }
    platform: linux/amd64
    platforms: [linux/arm64]
    backup: "elsewhere.test/app:{{ .Ref.Tag }}"
    hooks: { post: { type: x }, unchanged: { type: x } }
    unheard: of
  - { source: "ocidir:///tmp/x", target: m.test/y, type: repository }
  - { source: "a.test/app@sha256:${"a".repeat(64)}", target: m.test/z, type: image }
`)
      assert.deepStrictEqual(
        omissionsOf(loaded).map((line) => line.replace(/: .*$/, "")).sort(),
        [
          "api",
          "apiOpts",
          "blobChunk",
          "blobMax",
          "clientCert",
          "clientKey",
          "credExpire",
          "credHelper",
          "credHost",
          "mirrors",
          "pathPrefix",
          "priority",
          "regcert",
          "repoAuth",
          "token"
        ].map((key) => `creds[0].${key}`).concat(
          ["blobLimit", "cacheCount", "cacheTime", "hooks", "parallel", "schedule", "skipDockerConfig", "userAgent"]
            .map((key) => `defaults.${key}`),
          ["other"],
          [
            "backup",
            "fastCheck",
            "forceRecursive",
            "hooks",
            "includeExternal",
            "mediaTypes",
            "platforms",
            "ratelimit.retry",
            "referrerFilters",
            "referrerSlow",
            "referrerSource",
            "referrerTarget",
            "unheard"
          ].map((key) => `sync[0].${key}`),
          ["sync[1].source", "sync[2]"]
        )
      )
      assert.strictEqual(loaded.config.rules.length, 1)
    }))

  it.effect.each<readonly [text: string, line: string]>([
    [sync("tags: { semverRange: [newest] }"), "sync[0].tags: the range \"newest\" has no counterpart"],
    [sync("tags: { semverRange: ['>=1.2.3.4'] }"), "sync[0].tags: the range \">=1.2.3.4\" has no counterpart"],
    [sync("tags: { allow: ['('] }"), "sync[0].tags: write a regular expression: unterminated group"],
    [sync("tags: { allow: ['\\pL'] }"), "sync[0].tags: \\p has no counterpart in a pattern here"],
    [sync("tags: { allow: 5 }"), "sync[0].tags.allow: expected a list or a mapping, found 5"],
    [sync("platform: local"), "sync[0]: write a platform, such as linux/amd64"],
    [sync("backup: '{{ lower .Ref.Tag }}'"), "sync[0].backup: lower cannot be applied to the tag of an image here"],
    [
      sync("backup: '{{ if .Ref.Tag }}x{{ end }}'"),
      "sync[0].backup: the template has if: only default, env, file, index"
    ],
    [sync("backup: '{{ .Ref.Digest }}'"), "sync[0].backup: the template has .Ref.Digest: only .Sync.Source,"],
    [sync("schedule: sometimes"), "sync[0]: write a schedule of cron"],
    [sync("interval: soon"), "sync[0].interval: write a duration"],
    [
      "sync: [{ source: a.test/x, target: m.test/x, type: other }]",
      "sync[0].type: expected image, repository or registry, found \"other\""
    ],
    ["sync: [{ source: a.test/x, type: image }]", "sync[0].target: is missing"],
    ["sync: [{ source: a.test/X, target: m.test/x, type: image }]", "sync[0].source: invalid reference \"a.test/X\""],
    ["sync: [{ source: '{{ .Sync.Target', target: m.test/x, type: image }]", "sync[0].source: the template lacks a }}"],
    ["creds: [{ registry: a.test, tls: maybe }]\nsync: []", "creds[0].tls: write enabled, disabled or insecure"],
    ["version: 2\nsync: []", "version: expected 0 or 1, found 2"],
    [
      "sync:\n  - { source: a.test/a, target: m.test/x, type: repository }\n  - { source: a.test/b, target: m.test/x, type: repository }",
      "sync[1]: tags of m.test/x would come from a.test/a"
    ]
  ])("reports the place of a problem: %s", ([text, line]) =>
    Effect.gen(function*() {
      const [first = ""] = yield* linesOf(text)
      assert.isTrue(first.startsWith(line), first)
    }))

  it.effect.each<readonly [template: string, expected: string]>([
    ["{{ env \"SPACE\" }}/x", "team/x"],
    ["{{env `SPACE`}}-{{- env \"SPACE\" -}}  /x", "team-team/x"],
    ["{{ \"A/B\" | lower }}", "a/b"],
    ["{{ upper \"a\" | lower }}", "a"],
    ["{{ env \"EMPTY\" | default \"none\" }}", "none"],
    ["{{ default \"none\" (env \"SPACE\") }}", "team"],
    ["{{ index (split \"a/b/c\" \"/\") 1 }}", "b"],
    ["{{ join (split \"a/b\" \"/\") \"-\" }}", "a-b"],
    ["{{ trimSpace \" a \" }}{{/* a comment */}}", "a"],
    ["{{ .Sync.Type }}", "repository"]
  ])("evaluates %s", ([template, expected]) =>
    Effect.gen(function*() {
      const { config } = yield* read(
        `sync: [{ source: a.test/x, target: ${JSON.stringify(`m.test/${template}`)}, type: repository }]`
      )
      assert.strictEqual(config.rules[0]?.to[0]?.repository, expected)
    }))
})

// ---------------------------------------------------------------------------------------------------------------------

describe("skopeo sync", () => {
  const text = `
docker.io:
  images: { busybox: [], library/redis: ["7", "8"] }
  images-by-tag-regex: { nginx: '^1\\.\\d+$' }
  images-by-semver: { library/redis: ">= 7.2, < 8", alpine: "~3.20" }
q.test:
  images: { team/app: }
`

  it.effect("reads images, patterns and ranges", () =>
    Effect.gen(function*() {
      const { file, format } = yield* read(text, { to: "m.test/mirror/" })
      assert.strictEqual(format, "skopeo")
      assert.deepStrictEqual<unknown>(file.rules.map(({ from, to }) => [from, to]), [
        ["docker.io/library/busybox", "m.test/mirror/busybox"],
        ["docker.io/library/redis", "m.test/mirror/redis"],
        ["docker.io/library/nginx", "m.test/mirror/nginx"],
        ["docker.io/library/alpine", "m.test/mirror/alpine"],
        ["q.test/team/app", "m.test/mirror/app"]
      ])
    }))

  it.effect("has scoped names on request", () =>
    Effect.gen(function*() {
      const { file } = yield* read(text, { to: "m.test", names: "scoped" })
      assert.deepStrictEqual<unknown>(file.rules.map(({ to }) => to), [
        "m.test/docker.io/library/busybox",
        "m.test/docker.io/library/redis",
        "m.test/docker.io/library/nginx",
        "m.test/docker.io/library/alpine",
        "m.test/q.test/team/app"
      ])
    }))

  it.effect("reports sources whose names end alike", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf("a.test: { images: { x/app: [\"1\"], y/app: [\"1\"] } }", { to: "m.test" })
      assert.deepStrictEqual(lines, [
        "[\"a.test\"].images[\"y/app\"]: m.test/app:1 would come from a.test/x/app (rule a.test-x-app) and from " +
        "a.test/y/app (rule a.test-y-app)"
      ])
    }))

  it.effect("selects the same tags", () =>
    Effect.gen(function*() {
      const loaded = yield* read(
        `
a.test:
  images: { all: [], some: ["7", "8"] }
  images-by-tag-regex: { regex: '1\\.\\d$' }
  images-by-semver: { some: ">= 7.2, < 8", tilde: "~v3.20 || 1.x", pre: ">=1.0.0-0" }
`,
        { to: "m.test" }
      )
      const tags = ["7", "8", "7.2", "v7.3.1", "7.4-rc1", "7.5_1", "3.20.1", "1.2", "1.2.1-rc1", "latest"]
      assert.deepStrictEqual(loaded.config.rules.map((_, index) => selected(loaded, index, tags)), [
        tags,
        ["7", "8", "7.2", "v7.3.1"],
        ["1.2"],
        ["3.20.1", "1.2"],
        ["7", "8", "7.2", "v7.3.1", "7.4-rc1", "3.20.1", "1.2", "1.2.1-rc1"]
      ])
    }))

  it.effect("keeps credentials and schemes, and lists what has no counterpart", () =>
    Effect.gen(function*() {
      const loaded = yield* read(
        `
a.test:
  images: { app: ["1", "sha256:${"a".repeat(64)}"] }
  credentials: { username: ada, password: hunter2, identitytoken: x }
  tls-verify: false
  cert-dir: /certs
  other: 1
127.0.0.1:5000:
  images: { db: ["sha256:${"a".repeat(64)}"] }
  tls-verify: false
`,
        { to: "m.test" }
      )
      assert.deepStrictEqual(
        registriesOf(loaded).map(({ credentials, host, scheme }) => [host, credentials, scheme]),
        [["a.test", "ada:hunter2", "insecure"], ["127.0.0.1:5000", "Docker", "plainHttp"]]
      )
      assert.deepStrictEqual(loaded.omissions.map(({ path }) => path), [
        "[\"a.test\"].other",
        "[\"a.test\"].cert-dir",
        "[\"a.test\"].credentials.identitytoken",
        "[\"a.test\"].images.app[1]",
        "[\"127.0.0.1:5000\"].images.db[0]"
      ])
      assert.deepStrictEqual(loaded.config.rules.length, 1)
    }))

  it.effect.each<readonly [text: string, line: string]>([
    ["a.test: { images: { App: [x] } }", "[\"a.test\"].images.App: invalid reference \"a.test/App\""],
    ["a.test: { images: { app: [1.0] } }", "[\"a.test\"].images.app[0]: expected text, found 1: write it in quotes"],
    [
      "a.test: { images-by-semver: { app: '!=1' } }",
      "[\"a.test\"].images-by-semver.app: the range \"!=1\" has no counterpart"
    ],
    ["a.test: { images-by-semver: { app: '>=1.0.0-0 <2' } }", "[\"a.test\"].images-by-semver.app: the range"],
    [
      "a.test: { images-by-tag-regex: { app: '(' } }",
      "[\"a.test\"].images-by-tag-regex.app: write a regular expression"
    ]
  ])("reports the place of a problem: %s", ([text, line]) =>
    Effect.gen(function*() {
      const [first = ""] = yield* linesOf(text, { to: "m.test" })
      assert.isTrue(first.startsWith(line), first)
    }))

  it.effect("requires a destination", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* linesOf("a.test: { images: { app: [] } }"), [
        "the file of skopeo names no destination: use --to HOST/PREFIX"
      ])
    }))
})

// ---------------------------------------------------------------------------------------------------------------------

describe("image-syncer", () => {
  it.effect("reads a map of images", () =>
    Effect.gen(function*() {
      const { file, format } = yield* read(`
a.test/all: m.test/all
a.test/one:v1: m.test/one
a.test/two:v1,v2: m.test/two
a.test/many:v1: [m.test/many, n.test/many]
a.test/renamed:v1,v2: m.test/renamed:x,v2
a.test/regex:/^v\\d+$/: m.test/regex
nginx:1: m.test/\${SPACE}/nginx
a.test/by@sha256:${"a".repeat(64)}: m.test/by
`)
      assert.strictEqual(format, "image-syncer")
      assert.deepStrictEqual<unknown>(file.rules.map(({ from, tags, to }) => [from, to, tags]), [
        ["a.test/all", "m.test/all", { digestTags: true }],
        ["a.test/one", "m.test/one", ["v1"]],
        ["a.test/two", "m.test/two", ["v1", "v2"]],
        ["a.test/many", ["m.test/many", "n.test/many"], ["v1"]],
        ["a.test/renamed", "m.test/renamed:x", ["v1"]],
        ["a.test/renamed", "m.test/renamed", ["v2"]],
        ["a.test/regex", "m.test/regex", { match: "^v\\d+$", digestTags: true }],
        ["docker.io/library/nginx", "m.test/team/nginx", ["1"]]
      ])
    }))

  it.effect("reads credentials of the same file, and of a separate one", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const auth = Path.join(folder, "auth.json")
      Fs.writeFileSync(auth, `{ "m.test": { "username": "$HUB_USER", "password": "\${HUB_PASSWORD}" } }`)
      const whole = yield* read(`
auth:
  a.test: { username: ada, password: x, insecure: true }
  a.test/team: { username: ada, password: x }
images: { a.test/app: m.test/app }
`)
      const separate = yield* read("a.test/app: m.test/app", { auth })
      const shown = (loaded: MirrorConfig.Loaded) =>
        registriesOf(loaded).map(({ credentials, host, scheme }) => [host, credentials, scheme])
      assert.deepStrictEqual(shown(whole), [["a.test", "ada:x", "plainHttp"]])
      assert.deepStrictEqual(whole.omissions.map(({ path }) => path), ["auth[\"a.test/team\"]"])
      assert.deepStrictEqual(shown(separate), [["m.test", "ada:hunter2", "default"]])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect.each<readonly [text: string, line: string]>([
    ["a.test/app:1,2: m.test/app:x", "[\"a.test/app:1,2\"]: source and destination must have the same number of tags"],
    ["a.test/app: m.test/app:/x/", "[\"a.test/app\"]: a pattern in a destination has no counterpart"],
    ["a.test/app: []", "[\"a.test/app\"]: write at least one destination"],
    ["a.test/App: m.test/app", "[\"a.test/App\"]: invalid reference"],
    ["images: { a.test/app: m.test/App }", "images[\"a.test/app\"]: invalid reference"]
  ])("reports the place of a problem: %s", ([text, line]) =>
    Effect.gen(function*() {
      const [first = ""] = yield* linesOf(text)
      assert.isTrue(first.startsWith(line), first)
    }))
})

// ---------------------------------------------------------------------------------------------------------------------

describe("ocync", () => {
  const file = (mapping: string, defaults = "") => `
registries: { hub: { url: docker.io }, m: { url: m.test } }
defaults: { source: hub, targets: [m], ${defaults} }
mappings: [{ from: library/app, ${mapping} }]
`

  it.effect("reads registries, groups and mappings", () =>
    Effect.gen(function*() {
      const loaded = yield* read(`
global: { cache_ttl: 6h }
registries:
  hub: { url: https://docker.io/, max_concurrent: 9 }
  m: { url: "http://\${MIRROR:-m.test}:5000", auth_type: basic, credentials: { username: "\${HUB_USER}", password: "\${HUB_PASSWORD:?missing}" } }
  n.test: { url: n.test }
target_groups: { both: [m, n.test] }
defaults: { source: hub, targets: both, tags: { glob: "1*" }, platforms: [linux/amd64] }
mappings:
  - { from: library/app, to: x/app }
  - { from: team/db, source: n.test, targets: [m], tags: { glob: [latest, "2"] }, platforms: [linux/arm64] }
  - { from: team/one, targets: m, artifacts: { enabled: false } }
  - { from: team/two, artifacts: { include: [a/b], require_artifacts: true } }
`)
      assert.strictEqual(loaded.format, "ocync")
      assert.deepStrictEqual(
        registriesOf(loaded).map((
          { concurrency, credentials, host, scheme }
        ) => [host, credentials, concurrency, scheme]),
        [
          ["docker.io", "Docker", 9, "default"],
          ["m.test:5000", "ada:hunter2", undefined, "plainHttp"],
          ["n.test", "Docker", undefined, "default"]
        ]
      )
      assert.deepStrictEqual<unknown>(
        loaded.file.rules.map(({ from, platforms, referrers, to }) => [from, to, platforms, referrers]),
        [
          ["hub/library/app", ["m/x/app", "n.test/x/app"], ["linux/amd64"], true],
          ["n.test/team/db", "m/team/db", ["linux/arm64"], true],
          ["hub/team/one", "m/team/one", ["linux/amd64"], false],
          ["hub/team/two", ["m/team/two", "n.test/team/two"], ["linux/amd64"], { types: ["a/b"], required: true }]
        ]
      )
      assert.deepStrictEqual<unknown>(loaded.file.rules[1]?.tags, ["latest", "2"])
      assert.deepInclude(loaded.file.defaults, { trust: "6h", index: "rewrite" })
    }))

  const tags = [
    "latest",
    "edge",
    "1.25.5",
    "1.25.5-r0",
    "1.25.4-RC1",
    "1.25.3-alpine",
    "1.24.0",
    "1.25",
    "2.0.0",
    "2.0-alpine",
    "1.25.1-perl",
    "nightly",
    "1-nightly",
    "1.25.2-dev"
  ]

  it.effect.each<readonly [mapping: string, defaults: string, expected: ReadonlyArray<string>]>([
    ["tags: { glob: '1.25*' }", "", ["1.25.5", "1.25.5-r0", "1.25.3-alpine", "1.25", "1.25.1-perl", "1.25.2-dev"]],
    ["tags: { glob: '1.25*', exclude: '*-perl' }", "tags: { exclude: '*-dev' }", [
      "1.25.5",
      "1.25.5-r0",
      "1.25.3-alpine",
      "1.25"
    ]],
    ["tags: { glob: 'e*', include: ['*-dev', '*-RC*'] }", "tags: { exclude: '*-dev' }", [
      "edge",
      "1.25.4-RC1",
      "1.25.2-dev"
    ]],
    ["tags: { glob: 'x*', include: [latest, '1.25.1-perl'], exclude: '*-perl' }", "", ["latest"]],
    ["tags: { semver: '>=1.25, <2.0' }", "", [
      "1.25.5",
      "1.25.5-r0",
      "1.25.3-alpine",
      "1.25",
      "1.25.1-perl",
      "1.25.2-dev"
    ]],
    ["tags: { semver: '=1.25' }", "", ["1.25"]],
    ["tags: { semver: '<=1.25' }", "", ["1.24.0", "1.25"]],
    ["tags: { semver: '>1.25.4' }", "", ["1.25.5", "1.25.5-r0", "2.0.0", "2.0-alpine"]],
    ["tags: { semver: '>=1.24', sort: semver, latest: 2 }", "", ["2.0.0", "2.0-alpine"]],
    ["tags: { glob: '[!1]*' }", "", ["latest", "edge", "2.0.0", "2.0-alpine", "nightly"]],
    ["tags: { glob: '{latest,edge}' }", "", ["latest", "edge"]],
    ["tags: { glob: '?.25' }", "", ["1.25"]]
  ])("selects the same tags: %s", ([mapping, defaults, expected]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(selected(yield* read(file(mapping, defaults)), 0, tags), [...expected])
    }))

  it.effect("keeps min_tags and immutable_tags", () =>
    Effect.gen(function*() {
      const { config: { rules: [rule] } } = yield* read(
        file("tags: { glob: '*', min_tags: 3, immutable_tags: 'v*.*' }")
      )
      assert.strictEqual(rule?.tags.atLeast, 3)
      assert.deepStrictEqual(rule?.immutable.map(String), ["/^(?:v.*\\..*)$/"])
    }))

  it.effect("lists what has no counterpart", () =>
    Effect.gen(function*() {
      const loaded = yield* read(`
global: { max_concurrent_transfers: 5, cache_dir: /x, staging_size_limit: 2GB, other: 1 }
registries:
  hub: { url: docker.io, auth_type: static_token, token: x, head_first: true }
  m: { url: m.test, auth_type: ecr, aws_profile: x }
mappings:
  - { from: a/b, source: hub, targets: m, tags: { glob: x }, artifacts: { exclude: [a/b], require_artifacts: true } }
`)
      assert.deepStrictEqual(loaded.omissions.map(({ path }) => path), [
        "global.other",
        "global.max_concurrent_transfers",
        "global.cache_dir",
        "global.staging_size_limit",
        "registries.hub.auth_type",
        "registries.m.auth_type",
        "registries.m.aws_profile",
        "mappings[0].artifacts.exclude",
        "mappings[0].artifacts.require_artifacts"
      ])
    }))

  it.effect.each<readonly [text: string, line: string]>([
    [file("tags: { semver: '^1' }"), "mappings[0].tags: the range \"^1\" has no counterpart"],
    [file("tags: { latest: 1 }"), "mappings[0].tags: latest requires sort"],
    [file("tags: { latest: 1, sort: alpha }"), "mappings[0].tags: latest with sort: alpha has no counterpart"],
    [file("tags: { glob: '{a' }"), "mappings[0].tags: \"{a\" is not a glob pattern"],
    [file("targets: [n], tags: { glob: a }"), "mappings[0].targets: unknown registry \"n\""],
    [file("to: x"), "mappings[0].tags: is missing"],
    ["registries: { m: { url: 'a b' } }\nmappings: []", "registries.m.url: invalid reference"],
    ["registries: { m: { url: '${NOWHERE:?set it}' } }\nmappings: []", "NOWHERE: set it"]
  ])("reports the place of a problem: %s", ([text, line]) =>
    Effect.gen(function*() {
      const [first = ""] = yield* linesOf(text)
      assert.isTrue(first.startsWith(line), first)
    }))
})
