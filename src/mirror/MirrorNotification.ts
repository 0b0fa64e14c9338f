/**
 * Notifications about the runs of a mirror.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as RunDocument from "./RunDocument.ts"

/**
 * Notification about a run, as webhooks receive it in JSON.
 *
 * - `failed`: the run failed, or tags of it did.
 * - `recovered`: the run failed in no tag, unlike the one before.
 * - `pruned`: the run deleted tags.
 * - `finished`: the run ended.
 *
 * @category schemas
 * @since 0.1.0
 */
export const MirrorNotification = Schema.Struct({
  version: Schema.Literal(1),
  event: Schema.Literals(["failed", "recovered", "pruned", "finished"]),
  rule: Schema.String,
  run: Schema.Struct({
    id: Schema.String,
    planned: Schema.Natural,
    ...RunDocument.Result.fields
  }),
  failures: Schema.Array(Schema.Struct({
    destination: Schema.String,
    tag: Schema.String,
    source: Schema.String,
    error: Schema.String,
    attempts: Schema.Natural
  })).annotate({ description: "Failed tags of the rule, at most 20" })
})

/**
 * Notification about a run.
 *
 * @category models
 * @since 0.1.0
 */
export type MirrorNotification = typeof MirrorNotification.Type
