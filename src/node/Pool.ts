/**
 * The connections to one host. A request gets the one that was used last, or a new one. A connection is kept for some
 * seconds after a request, or for less if the server says so.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import type * as Net from "node:net"
import * as Tls from "node:tls"
import { Connection, type Owner } from "./Connection.ts"
import * as Timer from "./Timer.ts"

/** A request that needs a connection. */
export interface User extends Owner {
  /** True if it no longer needs a connection. */
  readonly isOver: boolean
  /** Uses a connection, whose owner it is. */
  readonly start: (connection: Connection) => void
}

export interface Options {
  /** Buffer into which connections are read. */
  readonly buffer: Buffer
  readonly connectTimeout: Duration.Duration
  /** Maximum number of connections. */
  readonly maxConnections: number
  /** Makes a tunnel that a connection goes through, and returns a function that stops that. */
  readonly tunnel: ((done: (result: Net.Socket | Error) => void) => () => void) | undefined
  /** Opens a connection, which may resume a session of TLS. */
  readonly open: (options: Opening) => Net.Socket
}

/** How a connection is opened. */
export interface Opening {
  readonly onread: Net.OnReadOpts
  readonly session: Buffer | undefined
  readonly tunnel: Net.Socket | undefined
}

/** The connection was not established in time. */
class ConnectTimeout extends Data.Error<{ readonly code: "ETIMEDOUT"; readonly message: string }> {}

/** Calls `fail` unless the returned function is called in time. */
export const failAfter = (duration: Duration.Duration, fail: (error: Error) => void): () => void => {
  const message = `no connection within ${Duration.format(duration)}`
  return Timer.start(
    Duration.toMillis(duration),
    () => fail(new ConnectTimeout({ code: "ETIMEDOUT", message }))
  )
}

// maximum time for which a connection is kept without a request, in milliseconds
const idleTimeout = 4000

// time after which it is checked whether the other side of a connection is still there, in milliseconds
const keepAliveDelay = 15_000

// maximum number of connections to one host that are kept before a request needs them
const mostEarly = 64

export class Pool {
  readonly #options: Options
  readonly #connections = new Set<Connection>()
  /** Connections without a request. The last is the next to be used. */
  readonly #idle: Array<Connection> = []
  readonly #waiting: Array<User> = []
  readonly #tunnels = new Set<() => void>()
  #session: Buffer | undefined
  #isKnown = false
  #isClosed = false

  constructor(options: Options) {
    this.#options = options
  }

  /** True if the pool has no connections. */
  get isEmpty(): boolean {
    return this.#connections.size === 0 && this.#tunnels.size === 0
  }

  /** Gives a connection to a request, when there is one. */
  use(user: User): void {
    const connection = this.#idle.pop()
    if (connection?.socket.destroyed === true) return this.use(user)
    if (connection !== undefined) return this.#give(connection, user)
    if (this.#connections.size + this.#tunnels.size < this.#options.maxConnections) this.#open(user)
    else this.#waiting.push(user)
  }
  /** Gives a new connection to a request whose connection was closed by the other side. */
  replace(user: User): void {
    if (this.#isClosed) user.close(undefined)
    else this.#open(user)
  }
  /** Keeps a connection for the next request, for at most so many milliseconds. */
  keep(connection: Connection, limit: number): void {
    if (limit <= 0 || this.#isClosed) return connection.destroy()
    const user = this.#nextUser()
    connection.isReused = true
    if (user === undefined) this.#rest(connection, Math.min(limit, idleTimeout))
    else this.#give(connection, user)
  }
  /** Opens a connection that is kept for the next request, if there was one before. */
  prepare(): void {
    const early = this.#idle.filter(({ isReused }) => !isReused).length
    const { maxConnections, tunnel } = this.#options
    // a tunnel is made for the request that needs it
    if (this.#isKnown && maxConnections === Infinity && tunnel === undefined && early < mostEarly) this.#open(undefined)
  }
  /** Closes all connections. A request afterwards, such as the last one of an interrupted upload, gets a new one. */
  close(): void {
    this.#isClosed = true
    for (const stop of this.#tunnels) stop()
    for (const connection of this.#connections) connection.destroy()
    for (const user of this.#waiting.splice(0)) user.close(undefined)
  }

  #open(user: User | undefined): void {
    this.#isKnown = true
    const { tunnel } = this.#options
    if (tunnel === undefined) return this.#connect(user, undefined)
    const stop = tunnel((result) => {
      this.#tunnels.delete(stop)
      if (!(result instanceof Error)) return this.#connect(user, result)
      user?.close(result)
      this.#serve()
    })
    this.#tunnels.add(stop)
  }
  #connect(user: User | undefined, tunnel: Net.Socket | undefined): void {
    const { buffer, connectTimeout, open } = this.#options
    const connection = new Connection(
      buffer,
      (onread) => open({ onread, session: this.#session, tunnel }),
      this.#forget
    )
    const { socket } = connection
    const stop = failAfter(connectTimeout, (error) => connection.destroy(error))
    const isSecure = socket instanceof Tls.TLSSocket
    socket.setNoDelay().setKeepAlive(true, keepAliveDelay).once(isSecure ? "secureConnect" : "connect", stop).once(
      "close",
      stop
    )
    if (isSecure) {
      const keep = (session: Buffer | undefined) => {
        this.#session = session
      }
      socket.on("session", keep).on("error", () => keep(undefined))
    }
    this.#connections.add(connection)
    const next = user?.isOver === true ? this.#nextUser() : user
    if (next === undefined) this.#rest(connection, idleTimeout)
    else this.#give(connection, next)
  }
  #give(connection: Connection, user: User): void {
    connection.owner = user
    connection.expectNothing()
    connection.socket.ref()
    user.start(connection)
  }
  #rest(connection: Connection, limit: number): void {
    connection.owner = undefined
    connection.socket.unref()
    connection.expect(limit)
    if (connection.isReused) this.#idle.push(connection)
    else this.#idle.unshift(connection)
  }
  #nextUser(): User | undefined {
    for (;;) {
      const user = this.#waiting.shift()
      if (user === undefined || !user.isOver) return user
    }
  }
  readonly #forget = (connection: Connection): void => {
    this.#connections.delete(connection)
    const at = this.#idle.indexOf(connection)
    if (at >= 0) this.#idle.splice(at, 1)
    this.#serve()
  }
  /** Gives a connection to a request that waits for one. */
  #serve(): void {
    const user = this.#nextUser()
    if (user !== undefined) this.use(user)
  }
}
