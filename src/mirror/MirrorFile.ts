/**
 * Schema of the file that declares a mirror, as it is written.
 *
 * Each text has its own check. The meaning of several values together, such as the alias of a registry in a rule, is
 * checked by `MirrorConfig`.
 */
import * as Cron from "effect/Cron"
import * as DateTime from "effect/DateTime"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SemVerRange from "effect/SemVerRange"
import * as Platform from "../Platform.ts"
import * as Reference from "../Reference.ts"
import * as Pattern from "./Pattern.ts"
import * as Spelling from "./Spelling.ts"

// ---------------------------------------------------------------------------------------------------------------------
// texts
// ---------------------------------------------------------------------------------------------------------------------

/** Makes a schema of text. `parse` says what to write instead of a text that it refuses. */
const text = (expected: string, parse: (text: string) => Spelling.Spelled<unknown>) =>
  Schema.String.annotate({ expected }).check(
    Schema.makeFilter<string>((text) =>
      Result.isFailure(parse(text)) ? Result.getOrThrow(Result.flip(parse(text))) : undefined
    )
  )

const pattern = text("a regular expression", Pattern.parse)

const duration = text("a duration, such as 12h", Spelling.duration)

const tag = text(
  "a tag",
  (text) => Result.mapError(Reference.parseTag(text), ({ problem }) => `write a tag: ${problem}`)
)

const range = text(
  "a range of versions",
  (text) =>
    Result.mapError(
      SemVerRange.parse(text),
      () => `write a range of versions, such as ">=1.4 <2", "^1.4" or "1.x || >=3"`
    )
)

const platform = text(
  "a platform",
  (text) => Result.mapError(Platform.parse(text), () => "write a platform, such as linux/amd64 or linux/arm/v7")
)

const host = text(
  "a host",
  (text) =>
    Result.mapError(Reference.parseHost(text), ({ problem }) => `write a host, with its port if it has one: ${problem}`)
)

/** Parses the name of a time zone. */
const timeZone = (text: string): Spelling.Spelled<DateTime.TimeZone> =>
  Result.fromOption(DateTime.zoneFromString(text), () => "write a time zone, such as Europe/Berlin or UTC")

/** Parses a schedule of cron, in UTC unless it begins with `TZ=ZONE` or `CRON_TZ=ZONE`. */
export const cron = (text: string, zone = "UTC"): Spelling.Spelled<Cron.Cron> => {
  const [, own = zone, fields = ""] = /^\s*(?:(?:CRON_)?TZ=(\S+)\s+)?(.*)$/s.exec(text) ?? []
  return Result.flatMap(
    timeZone(own),
    (zone) =>
      Result.mapError(
        Cron.parse(fields, zone),
        () => `write a schedule of cron, such as "15 3 * * *", with minute, hour, day, month and weekday`
      )
  )
}

/** Parses the place of the credentials of a registry. */
export const credentials = (text: string): Spelling.Spelled<{ readonly kind: string; readonly name: string }> => {
  const [, kind = "", name = ""] = /^(docker)$|^$/.test(text) ? ["", text] : /^(env|file):(.+)$/.exec(text) ?? []
  if (kind === "env" && !/^[A-Za-z_]\w{0,99}$/.test(name)) {
    return Result.fail("write env:PREFIX, with the beginning of the names of two variables: PREFIX_USERNAME, …")
  }
  return kind === ""
    // the text may be a password
    ? Result.fail("write docker, env:PREFIX or file:PATH: the file contains no passwords")
    : Result.succeed({ kind, name })
}

const oneOrMore = <S extends Schema.Constraint>(schema: S) => Schema.Union([schema, Schema.Array(schema)])

const positive = Schema.Int.annotate({ expected: "a whole number of at least 1" }).check(
  Schema.isGreaterThanOrEqualTo(1)
)

const natural = Schema.Int.annotate({ expected: "a whole number of at least 0" }).check(
  Schema.isGreaterThanOrEqualTo(0)
)

const described = <S extends Schema.Top>(schema: S, description: string) =>
  Schema.optionalKey(schema).annotateKey({ description })

// ---------------------------------------------------------------------------------------------------------------------
// registries
// ---------------------------------------------------------------------------------------------------------------------

/** Schema of the settings of a registry. */
export const RegistryEntry = Schema.Struct({
  host: described(host, "Host, if the key is an alias"),
  credentials: described(
    text("text", credentials),
    "docker (default): those of docker's files. env:PREFIX: the variables PREFIX_USERNAME and PREFIX_PASSWORD. " +
      "file:PATH: a file with username:password"
  ),
  rate: described(text("a rate, such as 20/s", Spelling.rate), "Largest number of requests: 20/s, 100/m, 5000/h"),
  budget: described(
    Schema.Struct({ keep: natural.annotateKey({ description: "Number of requests that are left" }) }),
    "Requests pause if the registry says in its RateLimit headers that only so many are left"
  ),
  concurrency: described(positive, "Largest number of requests at the same time. Default: adapts to the registry"),
  scheme: described(
    Schema.Literals(["default", "plainHttp", "tls", "insecure"]),
    "plainHttp: HTTP. tls: HTTPS. insecure: HTTPS without a check of the certificate. Default: HTTPS, but HTTP on " +
      "loopback"
  )
})

// ---------------------------------------------------------------------------------------------------------------------
// rules
// ---------------------------------------------------------------------------------------------------------------------

/** Schema of a selection of tags. */
export const Selection = Schema.Struct({
  names: described(oneOrMore(tag), "Exact tags. If alone, the tags of the source are not listed"),
  match: described(oneOrMore(pattern), "Patterns of which at least one must match"),
  exclude: described(oneOrMore(pattern), "Patterns of which none may match"),
  include: described(oneOrMore(pattern), "Patterns of tags that are selected whatever the other conditions say"),
  semver: described(range, "Range that contains the version"),
  versions: described(
    Schema.Literals(["full", "partial"]),
    "Tags that are versions. full (default): 1.2.3. partial: also 1.2 and 1"
  ),
  preReleases: described(
    Schema.Literals(["named", "all"]),
    "Pre-releases in the range. named (default): only of versions that the range names with a pre-release. all: all"
  ),
  newest: described(positive, "Number of the highest versions in each group of `per`"),
  per: described(Schema.Literals(["all", "major", "minor"]), "Groups of `newest`. Default: all"),
  pushedWithin: described(duration, "Largest age of the image, by its annotation or config"),
  digestTags: described(
    Schema.Boolean,
    "Whether tags that are made of a digest, such as sha256-….sig, can be selected. Default: false"
  ),
  atLeast: described(natural, "The rule fails if it selects fewer tags of a repository. Default: 0")
})

/** A selection of tags. */
export type Selection = typeof Selection.Type

const Tags = Schema.Union([Selection, Schema.Array(Schema.Union([tag, Selection]))])

const Referrers = Schema.Union([
  Schema.Boolean,
  Schema.Struct({
    types: described(oneOrMore(Schema.NonEmptyString), "Only referrers of these artifact types"),
    annotations: described(
      Schema.Record(Schema.String, Schema.String),
      "Only referrers that have all of these annotations"
    ),
    every: described(duration, "Referrers of an unchanged image are looked at again after this time. Default: 24h"),
    required: described(Schema.Boolean, "The copy fails if the source does not list referrers. Default: false")
  })
])

/** The placeholders of the template of a backup. */
const backupPlaceholders = ["tag", "date", "digest"]

/** Checks the template of a tag. */
export const tagTemplate = (placeholders: ReadonlyArray<string>) => (text: string): Spelling.Spelled<string> => {
  const other = Array.from(text.matchAll(/\{([^{}]*)\}/g))
    .find(([, name = ""]) => !placeholders.includes(name))?.[0]
  const names = placeholders.map((name) => `{${name}}`).join(", ")
  if (other !== undefined) return Result.fail(`unknown placeholder ${other}: use ${names}`)
  const sample = text.replace(/\{[^{}]*\}/g, "x")
  return Result.mapBoth(Reference.parseTag(sample), {
    onSuccess: () => text,
    onFailure: ({ problem }) =>
      `write the template of a tag, such as ${placeholders.length > 1 ? "backup-{tag}-{date}" : "{tag}"}: ${problem}`
  })
}

const OnTagMoved = Schema.Union([
  Schema.Literals(["replace", "keep", "fail"]),
  Schema.Struct({
    backup: text("the template of a tag", tagTemplate(backupPlaceholders)).annotateKey({
      description: "Template with {tag}, {date} or {digest}"
    })
  })
])

const Prune = Schema.Union([
  Schema.Literals(["none", "gone", "unmatched"]),
  Schema.Struct({
    policy: Schema.Literals(["none", "gone", "unmatched"]).annotateKey({
      description: "gone: tags that the source no longer has. unmatched: also those that the rule no longer selects"
    }),
    keep: described(oneOrMore(pattern), "Patterns of tags that are never deleted"),
    max: described(
      text("a share, such as 10%", Spelling.share),
      "Largest share of the tags of a repository that one run deletes. At least 5 tags may go. Default: 10%"
    ),
    after: described(
      Schema.Union([positive, text("a number of runs, such as 3 runs", Spelling.runs)]),
      "Number of consecutive runs that must find a tag missing. Default: 2 runs"
    )
  })
])

const Schedule = Schema.Union([
  text("a schedule", (text) => text === "manual" ? Result.succeed(text) : cron(text)),
  Schema.Struct({
    cron: described(text("a schedule of cron", cron), "Minute, hour, day, month and weekday"),
    timeZone: described(text("a time zone", timeZone), "Time zone of `cron`. Default: UTC"),
    every: described(duration, "Time between runs, instead of `cron`"),
    jitter: described(duration, "A run starts up to this much later. Default: 0")
  })
])

const settings = {
  to: described(
    oneOrMore(Schema.NonEmptyString),
    "Destinations: HOST/REPOSITORY or ALIAS/REPOSITORY, with $1, $2, … for the captures of the source, $0 for its " +
      "repository, and perhaps a :TAG with {tag}. In defaults, a destination without $ is a prefix"
  ),
  tags: described(Tags, "Tags to copy: a selection, or a list of tags and selections. Default: all"),
  platforms: described(
    Schema.Union([Schema.Literal("all"), platform, Schema.Array(platform)]),
    "all (default), one platform, or a list, which requires `index`"
  ),
  index: described(
    Schema.Literals(["keep", "rewrite", "fail"]),
    "Policy for an index that lists other platforms: keep it as it is, rewrite it without them, or fail"
  ),
  referrers: described(Referrers, "Signatures, SBOMs and other referrers. Default: true"),
  digestTags: described(
    Schema.Boolean,
    "Whether tags made of the digest of a copied image, such as the signatures of cosign, are copied. Default: false"
  ),
  onTagMoved: described(
    OnTagMoved,
    "Policy for a tag of the source that moved. backup: keep the previous image under a tag with {tag}, {date} or " +
      "{digest}. Default: replace"
  ),
  immutable: described(
    oneOrMore(pattern),
    "Patterns of tags that are not looked at again once the destination has them"
  ),
  trust: described(
    Schema.Union([duration, Schema.Literal(0)]),
    "How long the destination is believed to have what this mirror has put there. 0: ask. Default: 12h"
  ),
  adopt: described(
    Schema.Boolean,
    "Whether tags that another tool has put at the destination are treated as those of this mirror. Default: false"
  ),
  prune: described(
    Prune,
    "Deletes tags that this mirror has put at the destination. gone: those that the source no longer has. " +
      "unmatched: also those that the rule no longer selects. Default: none"
  ),
  schedule: described(Schedule, "When a service runs the rule. Default: manual"),
  atStart: described(
    Schema.Literals(["missing", "all", "nothing"]),
    "Work of a service when it starts: copy missing tags, run the rule, or nothing. Default: missing"
  ),
  onError: described(
    Schema.Literals(["continue", "stop"]),
    "Whether a run goes on with other tags after a failure. Default: continue"
  )
}

const source = Schema.Union([
  Schema.NonEmptyString,
  Schema.Struct({
    registry: Schema.NonEmptyString.annotateKey({ description: "Host or alias" }),
    match: pattern.annotateKey({ description: "Pattern of repositories in the catalog. Its groups are captures" })
  })
])

/** Schema of the settings of rules. */
export const Defaults = Schema.Struct(settings)

/** Schema of a rule. */
export const Rule = Schema.Struct({
  name: described(Schema.NonEmptyString, "Unique name. Default: made of the source"),
  from: oneOrMore(source).annotateKey({
    description: "Source: HOST/REPOSITORY or ALIAS/REPOSITORY, with {a,b} for alternatives, and * or ** for " +
      "repositories of the catalog; a list; or a registry and a pattern. Alternatives and stars are captures"
  }),
  ...settings
})

/** A rule as it is written. */
export type Rule = typeof Rule.Type

/** The settings of rules as they are written. */
export type Defaults = typeof Defaults.Type

const webhook = text("a URL", (text) => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  return url?.protocol === "https:" || url?.protocol === "http:"
    ? Result.succeed(text)
    : Result.fail("write a URL that begins with https:// or http://")
})

const Notification = Schema.Struct({
  webhook: webhook.annotateKey({ description: "URL that gets a POST with a JSON document" }),
  on: described(
    Schema.Array(Schema.Literals(["failed", "recovered", "pruned", "finished"])),
    "Events. Default: failed and recovered"
  )
})

/** Schema of a file. */
export const MirrorFile = Schema.Struct({
  version: Schema.Literal(1).annotateKey({ description: "Version of the format" }),
  store: described(
    Schema.NonEmptyString,
    "Store of the state: sqlite:FILE, postgres://…, memory, or env:NAME for the URL in an environment variable. Default: " +
      "a SQLite file beside this one"
  ),
  registries: described(Schema.Record(Schema.String, RegistryEntry), "Settings of registries, by host or alias"),
  defaults: described(Defaults, "Settings for all rules"),
  rules: Schema.Array(Rule).annotateKey({ description: "Rules: which tags of which repositories belong where" }),
  notify: described(Schema.Array(Notification), "Webhooks"),
  onRepositoryMissing: described(
    Schema.Struct({
      exec: Schema.Array(Schema.String).check(Schema.isMinLength(1)).annotateKey({
        description: "Command and arguments"
      })
    }),
    "Command and arguments that run before the first push to a repository that the destination lacks. {registry} and " +
      "{repository} are replaced"
  )
})

/** A file as it is written. */
export type MirrorFile = typeof MirrorFile.Type
