/**
 * A `SqlClient` for PostgreSQL, over the optional package `@effect/sql-pg`, which is loaded when it is needed.
 *
 * Connections that are lost are replaced. The server ends statements after 30 seconds, and transactions whose process
 * does not go on for 10 seconds, so that a process that is frozen holds no rows.
 *
 * @since 0.1.0
 */
import type { PgPoolConfig } from "@effect/sql-pg/PgClient"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as SqlClient from "effect/sql/SqlClient"
import { SqlError, UnknownError } from "effect/sql/SqlError"

/**
 * Options of {@link layer}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * URL of the database: `postgres://user:password@host:port/database`, with the parameters of libpq (such as
   * `sslmode`, `sslrootcert`, `connect_timeout`, `application_name`) and these:
   *
   * - `max_connections`: largest number of connections of this process. Default: 10.
   * - `pgbouncer=true`: PgBouncer pools the connections of the server by transaction. Then no statement is prepared,
   *   and no time limits are set; set them for the role instead.
   *
   * A password or user that the URL lacks is that of `PGPASSWORD` or `PGUSER`.
   *
   * `sslmode` differs from libpq: `require` verifies the certificate, as `verify-full` does, and `no-verify` does
   * not. Default: TLS if the server has it, or none on loopback.
   */
  readonly url: Redacted.Redacted
}

// time after which the server ends a statement, and a transaction without statements, in milliseconds
const limits = { statement_timeout: "30000", idle_in_transaction_session_timeout: "10000" }

const maximumConnections = 1000

/** An error that has no cause, because causes of URLs contain passwords. */
const problem = (message: string): SqlError =>
  new SqlError({
    reason: new UnknownError({ cause: undefined, message: `PostgreSQL: ${message}`, operation: "connect" })
  })

const parse = (url: Redacted.Redacted): Effect.Effect<URL, SqlError> =>
  Effect.try({
    try: () => new URL(Redacted.value(url)),
    catch: () => problem("the URL is not valid; special characters in a password have to be percent-encoded")
  })

/** Removes a parameter from a URL, and returns its value. */
const take = (url: URL, name: string): string | undefined => {
  const value = url.searchParams.get(name) ?? undefined
  url.searchParams.delete(name)
  return value
}

const connectionsOf = (text: string | undefined): Effect.Effect<number, SqlError> => {
  const connections = Number(text ?? 10)
  return Number.isInteger(connections) && connections > 0 && connections <= maximumConnections
    ? Effect.succeed(connections)
    : Effect.fail(problem(`max_connections must be a number from 1 to ${maximumConnections}`))
}

const isLoopback = (host: string): boolean => /^(?:|localhost|127(?:\.\d+){3}|\[::1\]|%2f.*)$/i.test(host)

/** Returns the options of TLS. Those that the driver knows stay in the URL. */
const tlsOf = Effect.fnUntraced(function*(url: URL) {
  const host = url.searchParams.get("host") ?? url.hostname
  const file = take(url, "sslrootcert")
  const mode = url.searchParams.get("sslmode")
  if (mode === "no-verify") {
    url.searchParams.delete("sslmode")
    return { rejectUnauthorized: false }
  }
  if (file !== undefined && file !== "system" && mode !== "disable") {
    const ca = yield* Effect.tryPromise({
      try: () => import("node:fs/promises").then(({ readFile }) => readFile(file, "utf8")),
      catch: () => problem(`cannot read the certificates of sslrootcert from ${file}`)
    })
    return { ca }
  }
  if (mode === null && !isLoopback(host) && !host.startsWith("/")) url.searchParams.set("sslmode", "prefer")
  return undefined
})

/** Returns a value of the environment that the URL lacks. */
const fallback = <A>(isGiven: boolean, config: Config.Config<A>) =>
  isGiven ? Effect.undefined : Effect.map(Effect.option(config), Option.getOrUndefined)

/** Returns the settings of the driver. */
const settingsOf = Effect.fnUntraced(function*(options: Options) {
  const url = yield* parse(options.url)
  const maxConnections = yield* connectionsOf(take(url, "max_connections"))
  const isPooled = take(url, "pgbouncer") === "true"
  const hasUser = url.username !== "" || url.searchParams.has("user")
  const hasPassword = url.password !== "" || url.searchParams.has("password")
  const settings: PgPoolConfig = {
    username: yield* fallback(hasUser, Config.String("PGUSER")),
    password: yield* fallback(hasPassword, Config.Redacted("PGPASSWORD")),
    ssl: yield* tlsOf(url),
    // afterwards, because parameters were taken from it
    url: Redacted.make(url.href),
    maxConnections,
    prepare: !isPooled,
    keepAlive: "30 seconds",
    ...url.searchParams.has("application_name") ? {} : { applicationName: "effect-oci" },
    ...isPooled ? {} : { startupParameters: limits }
  }
  return settings
})

const load = Effect.tryPromise({
  try: () => import("@effect/sql-pg/PgClient"),
  catch: () => problem("this requires the package @effect/sql-pg: npm install @effect/sql-pg")
})

/**
 * Provides a SQL client for a database of PostgreSQL. Connections are opened when they are needed.
 *
 * **Example** (The state of a mirror in PostgreSQL)
 *
 * ```ts import.meta.vitest
 * import { Layer, Redacted } from "effect"
 * import * as MirrorSql from "effect-oci/MirrorSql"
 * import * as NodePostgres from "effect-oci/NodePostgres"
 *
 * const url = Redacted.make("postgres://mirror@db.example.com/mirror?sslmode=require")
 *
 * const layer = MirrorSql.layer.pipe(Layer.provide(NodePostgres.layer({ url })))
 *
 * Layer.isLayer(layer) // => true
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<SqlClient.SqlClient, SqlError> =>
  Layer.unwrap(
    Effect.map(Effect.all([load, settingsOf(options)]), ([{ layer }, settings]) => layer(settings))
  )
