/**
 * Rows of the state of a mirror, and files with a state in SQLite.
 */
import { NodeServices } from "@effect/platform-node"
import { DateTime, Effect, FileSystem, Layer, Redacted } from "effect"
import * as MirrorSql from "effect-oci/MirrorSql"
import type * as MirrorState from "effect-oci/MirrorState"
import * as NodePostgres from "effect-oci/NodePostgres"
import * as NodeSqlite from "effect-oci/NodeSqlite"
import { tag } from "./images.ts"
import * as Postgres from "./Postgres.ts"

export type Begun = Parameters<MirrorState.MirrorState["Service"]["begin"]>[0][number]

export const row = (name: string, fields: Partial<Begun> = {}): Begun => ({
  destination: "two.local/app",
  tag: tag(name),
  rule: "apps",
  source: "one.local/app",
  sourceTag: tag(name),
  sourceDigest: undefined,
  destinationDigest: undefined,
  filterKey: "all",
  status: "pending",
  error: undefined,
  attempts: 0,
  retryAt: undefined,
  checkedAt: undefined,
  copiedAt: undefined,
  referrersAt: undefined,
  missing: 0,
  ...fields
})

export const run = (
  id: string,
  startedAt: number,
  fields: Partial<MirrorState.RunState> = {}
): MirrorState.RunState => ({
  id,
  rule: "apps",
  slot: undefined,
  startedAt: DateTime.makeUnsafe(startedAt),
  endedAt: undefined,
  by: "test",
  planned: 0,
  copied: 0,
  failed: 0,
  pruned: 0,
  bytes: 0,
  requests: 0,
  error: undefined,
  ...fields
})

/** Path of a database that does not exist yet, in a folder that is removed with the scope. */
export const file = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  return `${yield* fs.makeTempDirectoryScoped()}/mirror.db`
}).pipe(Effect.provide(NodeServices.layer))

/** A state in a file. */
export const layerFile = (filename: string) => MirrorSql.layer.pipe(Layer.provide(NodeSqlite.layer({ filename })))

/** A state in a file of its own. */
export const layerSqlite = Layer.unwrap(Effect.map(file, layerFile))

/** A state in a database of PostgreSQL. */
export const layerUrl = (url: string) =>
  MirrorSql.layer.pipe(Layer.provide(NodePostgres.layer({ url: Redacted.make(url) })))

/** A state in a database of its own. */
export const layerPostgres = Layer.unwrap(
  Effect.map(Postgres.Postgres.use(({ database }) => database), layerUrl)
)

/** A database of PostgreSQL, or in a file, with connections of its own. */
export const layerClient = (url: string) =>
  Layer.fresh(
    url.startsWith("postgres:")
      ? NodePostgres.layer({ url: Redacted.make(url) })
      : NodeSqlite.layer({ filename: url })
  )

/** Jobs in a database of PostgreSQL, or in a file, with connections of their own, as another process has them. */
export const layerJobs = (url: string) => Layer.fresh(MirrorSql.layerJobs).pipe(Layer.provide(layerClient(url)))

/** The state and the jobs in a database of PostgreSQL, with connections of their own, as another process has them. */
export const layerProcess = (url: string) =>
  Layer.fresh(Layer.merge(MirrorSql.layer, MirrorSql.layerJobs)).pipe(
    Layer.provide(layerClient(url))
  )
