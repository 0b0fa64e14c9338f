/**
 * Configuration of a mirror: registries, rules, notifications.
 *
 * @since 0.1.0
 */
import type * as Redacted from "effect/Redacted"
import type { Host } from "../Reference.ts"
import type { MirrorRule } from "./MirrorRule.ts"

/**
 * Credentials of a registry: those of docker's files, of environment variables that begin with a prefix, of a file with
 * `username:password`, or given ones.
 *
 * @category models
 * @since 0.1.0
 */
export type RegistryCredentials =
  | { readonly _tag: "Docker" }
  | { readonly _tag: "Environment"; readonly prefix: string }
  | { readonly _tag: "File"; readonly path: string }
  | { readonly _tag: "Password"; readonly username: string; readonly password: Redacted.Redacted }

/**
 * Settings of one registry.
 *
 * @category models
 * @since 0.1.0
 */
export interface RegistrySettings {
  readonly host: Host
  readonly credentials: RegistryCredentials
  /** Largest number of requests in each second. */
  readonly rate: number | undefined
  /** Requests are paused if the registry says in its RateLimit headers that only so many are left. */
  readonly budget: { readonly keep: number } | undefined
  /** Largest number of requests at the same time. */
  readonly concurrency: number | undefined
  readonly scheme: "default" | "plainHttp" | "tls" | "insecure"
}

/**
 * When a webhook is called.
 *
 * @category models
 * @since 0.1.0
 */
export interface Notification {
  readonly webhook: string
  readonly on: ReadonlyArray<"failed" | "recovered" | "pruned" | "finished">
}

/**
 * A complete configuration.
 *
 * @category models
 * @since 0.1.0
 */
export interface MirrorConfig {
  readonly registries: ReadonlyArray<RegistrySettings>
  readonly rules: ReadonlyArray<MirrorRule>
  /** URL of the store of the state, if the file names one. */
  readonly store: string | undefined
  readonly notify: ReadonlyArray<Notification>
  /** Command and arguments that run before the first push to a repository that the destination lacks. */
  readonly onRepositoryMissing: ReadonlyArray<string> | undefined
}
