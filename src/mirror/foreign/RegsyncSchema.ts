/**
 * Schema of the file of regsync.
 */
import * as Schema from "effect/Schema"
import * as Foreign from "./Foreign.ts"
import * as GoDuration from "./GoDuration.ts"

const { lenient } = Foreign

const texts = Schema.Array(Schema.String)

const Hook = Schema.Struct({ type: lenient(Schema.String), params: lenient(texts) })

const AllowDeny = Schema.Struct({ allow: lenient(texts), deny: lenient(texts) })

/** Schema of a filter of tags. */
export const TagAllowDeny = Schema.Struct({ ...AllowDeny.fields, semverRange: lenient(texts) })

export type TagAllowDeny = typeof TagAllowDeny.Type

/** Fields of an entry and of the defaults. */
export const shared = {
  backup: lenient(Schema.String),
  interval: lenient(GoDuration.Duration),
  schedule: lenient(Schema.String),
  ratelimit: lenient(Schema.Struct({ min: lenient(Schema.Number), retry: lenient(GoDuration.Duration) })),
  digestTags: lenient(Schema.Boolean),
  referrers: lenient(Schema.Boolean),
  referrerFilters: lenient(Schema.Array(Schema.Struct({
    artifactType: lenient(Schema.String),
    annotations: lenient(Schema.Record(Schema.String, Schema.String))
  }))),
  referrerSource: lenient(Schema.String),
  referrerTarget: lenient(Schema.String),
  referrerSlow: lenient(Schema.Boolean),
  fastCheck: lenient(Schema.Boolean),
  forceRecursive: lenient(Schema.Boolean),
  includeExternal: lenient(Schema.Boolean),
  mediaTypes: lenient(texts),
  hooks: lenient(Schema.Struct({ pre: lenient(Hook), post: lenient(Hook), unchanged: lenient(Hook) }))
}

/** Schema of the defaults. */
export const Defaults = Schema.Struct({
  ...shared,
  parallel: lenient(Schema.Number),
  blobLimit: lenient(Schema.Number),
  cacheCount: lenient(Schema.Number),
  cacheTime: lenient(GoDuration.Duration),
  skipDockerConfig: lenient(Schema.Boolean),
  userAgent: lenient(Schema.String)
})

/** Schema of an entry. */
export const Sync = Schema.Struct({
  ...shared,
  source: Schema.String,
  target: Schema.String,
  type: Schema.Literals(["image", "repository", "registry"]),
  tags: lenient(TagAllowDeny),
  tagSets: lenient(Schema.Array(TagAllowDeny)),
  repos: lenient(AllowDeny),
  platform: lenient(Schema.String),
  platforms: lenient(texts)
})

/** Schema of a registry. */
export const Host = Schema.Struct({
  registry: Schema.String,
  tls: lenient(Schema.String),
  regcert: lenient(Schema.String),
  clientCert: lenient(Schema.String),
  clientKey: lenient(Schema.String),
  hostname: lenient(Schema.String),
  user: lenient(Schema.String),
  pass: lenient(Schema.String),
  token: lenient(Schema.String),
  credHelper: lenient(Schema.String),
  credExpire: lenient(GoDuration.Duration),
  credHost: lenient(Schema.String),
  pathPrefix: lenient(Schema.String),
  mirrors: lenient(texts),
  priority: lenient(Schema.Number),
  repoAuth: lenient(Schema.Boolean),
  api: lenient(Schema.String),
  apiOpts: lenient(Schema.Record(Schema.String, Schema.String)),
  blobChunk: lenient(Schema.Number),
  blobMax: lenient(Schema.Number),
  reqPerSec: lenient(Schema.Number),
  reqConcurrent: lenient(Schema.Number),
  scheme: lenient(Schema.String)
})

/** Schema of the file. */
export const File = Schema.Struct({
  version: lenient(Schema.Literals([0, 1])),
  creds: lenient(Schema.Array(Host)),
  defaults: lenient(Defaults),
  sync: lenient(Schema.Array(Sync))
})

export type Sync = typeof Sync.Type
export type Defaults = typeof Defaults.Type
export type Host = typeof Host.Type
