/**
 * How a registry is served: what is allowed, how much, and for how long.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Limits from "./Limits.ts"

/**
 * How long the body of a request or an answer may stand still because of the client.
 *
 * @default 60 seconds
 * @category references
 * @since 0.1.0
 */
export const IdleTimeout: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/RegistryServer/IdleTimeout",
  { defaultValue: () => Duration.seconds(60) }
)

/**
 * How long an upload session is kept when nobody asks for it: it is then cancelled (distribution-spec, "Canceling Blob
 * Push").
 *
 * @default 1 hour
 * @category references
 * @since 0.1.0
 */
export const UploadTimeout: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/RegistryServer/UploadTimeout",
  { defaultValue: () => Duration.hours(1) }
)

/**
 * Something that a registry does not do, or does in its own way, so that clients can be tried against registries as they
 * are:
 *
 * - `noReferrers`: it does not list referrers, and does not say that it noted a subject.
 * - `noFilter`: it lists all referrers, whatever type was asked for.
 * - `noSinglePost`: a POST with a digest opens a session, and its body is not looked at.
 * - `noChunks`: there is no PATCH.
 * - `noResumption`: an upload that breaks off is lost.
 * - `noCancel`: an upload cannot be cancelled.
 * - `noMount`: every mount is declined.
 * - `noRanges`: a blob comes as a whole, whatever range was asked for.
 * - `noLink`: no list says that there is more of it.
 * - `shortPages`: a page has half of what was asked for.
 * - `noDigestHeader`: no answer names a digest.
 * - `noHeadLength`: an answer to HEAD says nothing of a length.
 * - `noTagParameters`: a manifest is pushed with one tag at most.
 *
 * @category models
 * @since 0.1.0
 */
export type Quirk =
  | "noReferrers"
  | "noFilter"
  | "noSinglePost"
  | "noChunks"
  | "noResumption"
  | "noCancel"
  | "noMount"
  | "noRanges"
  | "noLink"
  | "shortPages"
  | "noDigestHeader"
  | "noHeadLength"
  | "noTagParameters"

/**
 * What is allowed, and how much.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Limits.Options {
  /** What may be changed: everything, unless given; everything, but nothing deleted; or nothing. */
  readonly changes?: "all" | "no-deletes" | "none" | undefined
  /** The most entries in one page of a list; 1000 unless given. */
  readonly pageSize?: number | undefined
  /**
   * Names that requests may be for (`Host`), with or without a port, besides loopback names; and whose pages may send
   * requests (`Origin`). Set it for a registry without authentication that only this machine reaches, because names of
   * other sites can resolve to it (DNS rebinding). Default: every name, and only pages of the registry's own host.
   */
  readonly allowedHosts?: ReadonlyArray<string> | undefined
  /** No chunk of an upload but the last may be smaller, in bytes (`OCI-Chunk-Min-Length`); 0 unless given. */
  readonly minimumChunk?: number | undefined
  /** What the registry does not do; none unless given. */
  readonly quirks?: ReadonlyArray<Quirk> | undefined
}

export interface Settings extends Limits.Values {
  readonly changes: "all" | "no-deletes" | "none"
  readonly pageSize: number
  readonly allowedHosts: ReadonlyArray<string> | undefined
  readonly minimumChunk: number
  readonly quirks: ReadonlySet<Quirk>
  readonly idleTimeout: Duration.Duration
  readonly uploadTimeout: Duration.Duration
}

export const make = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<Settings> {
  return {
    ...Limits.valuesOf(options),
    changes: options.changes ?? "all",
    pageSize: options.pageSize ?? 1000,
    allowedHosts: options.allowedHosts,
    minimumChunk: options.minimumChunk ?? 0,
    quirks: new Set(options.quirks),
    idleTimeout: yield* IdleTimeout,
    uploadTimeout: yield* UploadTimeout
  }
})
