/**
 * Settings of a server: permitted changes, limits and timeouts.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Limits from "./Limits.ts"
import type * as MirroredHosts from "./MirroredHosts.ts"

/**
 * Maximum time without progress of a request or response body because of the client. After that, the body is aborted.
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
 * Maximum time between two requests to an upload session. After that, the session is cancelled (distribution-spec,
 * "Canceling Blob Push").
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
 * Options of a server except authentication.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Limits.Options {
  /** Permitted changes: all, all except deletion of manifests, tags and blobs, or none. Default: `all`. */
  readonly changes?: "all" | "no-deletes" | "none" | undefined
  /** Maximum number of entries in one page of a list. Pages of referrers also end at 1 MiB. Default: 1000. */
  readonly pageSize?: number | undefined
  /**
   * Names of the server, with or without a port, beside loopback names. `Host` must be one of them, and pages of these
   * hosts may send requests (`Origin`). Set it for a registry without authentication that only this machine can reach,
   * because names of other sites can resolve to it (DNS rebinding). Default: every `Host`, and pages of the registry's
   * own host.
   */
  readonly allowedHosts?: ReadonlyArray<string> | undefined
  /**
   * Hosts that a client may name in the query parameter `ns`, as containerd does when it uses this server as a mirror,
   * with the prefixes of their repositories: `/v2/library/alpine/…?ns=docker.io` is `hub/library/alpine` if `docker.io`
   * has the prefix `hub`. A blank prefix adds nothing, and the first prefix of a host counts. Hosts that are not listed
   * are refused with 404, so that clients try the host itself. Default: `ns` is ignored.
   */
  readonly mirroredHosts?: MirroredHosts.Prefixes | undefined
  /** Minimum size of every chunk of an upload except the last, in bytes (`OCI-Chunk-Min-Length`). Default: 0. */
  readonly minimumChunk?: number | undefined
  /**
   * Owner of the pieces in which the registry receives a blob: `owned` pieces belong to the registry. `lent` pieces are
   * freed when it asks for the next one, which saves garbage collections; `MemoryRegistry` and `LayoutRegistry` support
   * that, and the HTTP server must give each piece its own memory, as that of Node does. Default: `owned`.
   */
  readonly pieces?: "owned" | "lent" | undefined
}

export interface Settings extends Limits.Values {
  readonly changes: "all" | "no-deletes" | "none"
  readonly pageSize: number
  readonly allowedHosts: ReadonlyArray<string> | undefined
  readonly mirroredHosts: MirroredHosts.Prefixes | undefined
  readonly minimumChunk: number
  readonly pieces: "owned" | "lent"
  readonly idleTimeout: Duration.Duration
  readonly uploadTimeout: Duration.Duration
}

export const make = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<Settings> {
  return {
    ...Limits.valuesOf(options),
    changes: options.changes ?? "all",
    pageSize: options.pageSize ?? 1000,
    allowedHosts: options.allowedHosts,
    mirroredHosts: options.mirroredHosts,
    minimumChunk: options.minimumChunk ?? 0,
    pieces: options.pieces ?? "owned",
    idleTimeout: yield* IdleTimeout,
    uploadTimeout: yield* UploadTimeout
  }
})
