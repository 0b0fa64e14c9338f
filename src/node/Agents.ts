/**
 * Agents of `node:http` and `node:https`, which open connections and keep them in pools.
 *
 * - All connections are read into one shared buffer instead of fresh memory. The HTTP parser of Node copies what it
 *   emits, so that the buffer can be reused after each read.
 * - A connection that is not made in time fails. An idle one is closed after some seconds, or earlier if the server
 *   says so, or at once if something arrives on it, because that could be taken for the next answer.
 * - HTTPS through a proxy goes through a tunnel, which the proxy makes for `CONNECT`.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Http from "node:http"
import * as Https from "node:https"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import type * as Tls from "node:tls"
import type { Proxy } from "./ProxyChoice.ts"

/** Settings of connections. */
export interface Settings {
  /** Buffer into which connections are read. */
  readonly buffer: Uint8Array
  readonly connectTimeout: Duration.Duration
  /** Maximum number of connections to one host. */
  readonly maxSockets: number
  /** Resolves the names of hosts. Default: the lookup of Node. */
  readonly lookup: Net.LookupFunction | undefined
  readonly tls: () => Pick<Tls.ConnectionOptions, "rejectUnauthorized" | "secureContext">
}

/** The connection was not established in time. */
class ConnectTimeout extends Data.Error<{ readonly code: "ETIMEDOUT"; readonly message: string }> {}

/** The proxy refused a tunnel. `ERR_PROXY_TUNNEL` may be temporary, `ERR_INVALID_PROXY` is not. */
class TunnelRefused
  extends Data.Error<{ readonly code: "ERR_INVALID_PROXY" | "ERR_PROXY_TUNNEL"; readonly message: string }>
{}

// time after which an unused connection is closed, in milliseconds, unless the server announces less
export const idleTimeout: number = 4000

const connectTimeout = (duration: Duration.Duration): ConnectTimeout =>
  new ConnectTimeout({ code: "ETIMEDOUT", message: `no connection within ${Duration.format(duration)}` })

/** Calls `fail` after a duration. The returned function cancels that. */
const failAfter = (duration: Duration.Duration, fail: (error: Error) => void): () => void => {
  const fiber = Effect.runFork(Effect.delay(Effect.sync(() => fail(connectTimeout(duration))), duration))
  return () => fiber.interruptUnsafe()
}

/** Destroys a connection unless it is ready in time. */
const limit = (socket: Duplex, duration: Duration.Duration, ready: "connect" | "secureConnect"): void => {
  const stop = failAfter(duration, (error) => socket.destroy(error))
  socket.once(ready, stop).once("close", stop)
}

/** A reader that gets the bytes of a connection instead of the HTTP parser. */
export interface Reader {
  /** Receives bytes, which are valid until it returns, unless they are in its own memory. Returns false to pause. */
  readonly read: (bytes: Uint8Array) => boolean
  /** Returns the memory for the next bytes, or `undefined` for the shared buffer. */
  readonly memory: () => Uint8Array | undefined
}

/** Readers of connections. */
export const readers: WeakMap<Duplex, Reader> = new WeakMap()

/** Opens a connection that is read into memory that is reused. */
const openReadingInto = (
  buffer: Uint8Array,
  open: (options: { readonly onread: Net.OnReadOpts }) => Duplex | null | undefined
): Duplex | null | undefined => {
  let connection: Duplex | undefined
  const readerOf = () => connection === undefined ? undefined : readers.get(connection)
  const opened = open({
    onread: {
      buffer: () => readerOf()?.memory() ?? buffer,
      callback: (size, memory) => {
        const bytes = memory.subarray(0, size)
        const reader = readerOf()
        if (reader !== undefined) return reader.read(bytes)
        // the parser listens to this event
        connection?.emit("data", bytes)
        return true
      }
    }
  })
  connection = opened ?? undefined
  return opened
}

/** Closes a connection after one of its events. */
function close(this: Duplex): void {
  this.destroy()
}

/** Closes an idle connection on which something arrives. */
function closeOnData(this: Duplex): void {
  this.destroy()
}

/** Host and port of connections. */
interface Place {
  readonly host: string
  readonly port: number
}

const agentOptions = ({ lookup, maxSockets }: Settings): Http.AgentOptions => ({
  keepAlive: true,
  timeout: idleTimeout,
  maxSockets,
  ...lookup === undefined ? {} : { lookup }
})

// maximum number of connections to one host that no request has needed yet
const mostEarly = 64

/** Connections that are opened before requests need them. */
class EarlyConnections {
  /** Options of the last connection to each place. */
  readonly #known = new Map<string, Http.ClientRequestArgs>()
  readonly #opened = new Map<string, Array<Net.Socket>>()

  /** Returns a connection that was opened, and no longer keeps it. Otherwise remembers the options for others. */
  take(options: Http.ClientRequestArgs): Duplex | undefined {
    const place = `${options.host}:${options.port}`
    // without what belongs to the request, such as its credentials
    this.#known.set(place, { ...options, headers: undefined })
    const connection = this.#opened.get(place)?.shift()
    connection?.off("timeout", close).off("close", this.#forget).off("data", closeOnData).ref()
    return connection
  }
  /** Opens a connection with the options of the last one to the same place. Does nothing if there was none. */
  add({ host, port }: Place, open: (options: Http.ClientRequestArgs) => Duplex | null | undefined): void {
    const place = `${host}:${port}`
    const opened = this.#opened.get(place) ?? []
    const options = opened.length < mostEarly ? this.#known.get(place) : undefined
    const connection = options === undefined ? undefined : open(options)
    if (!(connection instanceof Net.Socket)) return
    // a request that needs a connection opens another one, and fails with the error of that
    connection.unref().on("timeout", close).on("close", this.#forget).on("data", closeOnData).on("error", close)
    this.#opened.set(place, [...opened, connection])
  }
  readonly #forget = () => {
    for (const [place, connections] of this.#opened) {
      this.#opened.set(place, connections.filter(({ destroyed }) => !destroyed))
    }
  }
  destroy(): void {
    for (const connection of Array.from(this.#opened.values()).flat()) connection.destroy()
  }
}

/** Connections in plain HTTP. */
class PlainAgent extends Http.Agent {
  readonly settings: Settings
  readonly early: EarlyConnections = new EarlyConnections()
  constructor(settings: Settings) {
    super(agentOptions(settings))
    this.settings = settings
  }
  override createConnection(options: Http.ClientRequestArgs): Duplex | null | undefined {
    return this.early.take(options) ?? this.open(options)
  }
  prepare(place: Place): void {
    this.early.add(place, (options) => this.open(options))
  }
  override destroy(): void {
    super.destroy()
    this.early.destroy()
  }
  open(options: Http.ClientRequestArgs): Duplex | null | undefined {
    const { buffer, connectTimeout } = this.settings
    const socket = openReadingInto(buffer, (reading) => super.createConnection({ ...options, ...reading }))
    if (socket instanceof Net.Socket) limit(socket, connectTimeout, "connect")
    return socket
  }
  override keepSocketAlive(socket: Duplex) {
    socket.on("data", closeOnData)
    return super.keepSocketAlive(socket)
  }
  override reuseSocket(socket: Duplex, request: Http.ClientRequest) {
    socket.off("data", closeOnData)
    super.reuseSocket(socket, request)
  }
}

/** Returns the options of an agent for HTTPS. */
export const secureOptions = (settings: Settings): Https.AgentOptions => ({
  ...agentOptions(settings),
  ...settings.tls(),
  ALPNProtocols: ["http/1.1"]
})

/** Connections in HTTPS. Sessions of TLS are resumed. */
class SecureAgent extends Https.Agent {
  readonly settings: Settings
  readonly early: EarlyConnections = new EarlyConnections()
  constructor(settings: Settings) {
    super(secureOptions(settings))
    this.settings = settings
  }
  override createConnection(
    options: Https.RequestOptions,
    _callback?: (error: Error | null, socket: Duplex) => void
  ): Duplex | null | undefined {
    return this.early.take(options) ?? this.open(options)
  }
  prepare(place: Place): void {
    this.early.add(place, (options) => this.open(options))
  }
  override destroy(): void {
    super.destroy()
    this.early.destroy()
  }
  open(options: Https.RequestOptions): Duplex | null | undefined {
    const { buffer, connectTimeout } = this.settings
    const socket = openReadingInto(buffer, (reading) => super.createConnection({ ...options, ...reading }))
    if (socket instanceof Net.Socket) limit(socket, connectTimeout, "secureConnect")
    return socket
  }
  override keepSocketAlive(socket: Duplex) {
    socket.on("data", closeOnData)
    return super.keepSocketAlive(socket)
  }
  override reuseSocket(socket: Duplex, request: Http.ClientRequest) {
    socket.off("data", closeOnData)
    super.reuseSocket(socket, request)
  }
}

/** Returns a host and a port as `CONNECT` names them. */
const authorityOf = ({ host, port }: Https.RequestOptions): string =>
  `${host?.includes(":") === true ? `[${host}]` : host}:${port}`

/** Connections in HTTPS, each in a tunnel through a proxy. */
class TunnelAgent extends SecureAgent {
  readonly proxy: Proxy
  /** TLS of the connection to the proxy, whose certificate is always checked. */
  readonly proxyTls: Settings["tls"]
  readonly opening = new Set<Http.ClientRequest>()
  constructor(settings: Settings, proxy: Proxy, proxyTls: Settings["tls"]) {
    super({ ...settings, lookup: undefined })
    this.proxy = proxy
    this.proxyTls = proxyTls
  }
  override createConnection(
    options: Https.RequestOptions,
    callback: (error: Error | null, socket: Duplex) => void
  ): undefined {
    const fail = (error: Error) =>
      // Node's own agent passes no socket with an error
      (callback as (error: Error) => void)(error)
    const opening = openTunnel(this, authorityOf(options), (result) => {
      this.opening.delete(opening)
      if (result instanceof Error) return fail(result)
      const through: Tls.ConnectionOptions = { socket: result }
      const socket = this.open({ ...options, ...through })
      if (socket instanceof Net.Socket) callback(null, socket)
    })
    this.opening.add(opening)
  }
  override prepare(): void {
    // a tunnel is made for the request that needs it
  }
  override destroy() {
    for (const opening of this.opening) opening.destroy()
    super.destroy()
  }
}

/** Asks a proxy for a tunnel. */
const openTunnel = (
  { proxy: { authorization, url }, proxyTls, settings: { connectTimeout: duration } }: TunnelAgent,
  authority: string,
  onResult: (result: Duplex | Error) => void
): Http.ClientRequest => {
  const headers = [
    "host",
    authority,
    ...authorization === undefined ? [] : ["proxy-authorization", Redacted.value(authorization)]
  ]
  const to = {
    method: "CONNECT",
    host: bareHost(url),
    port: portOf(url),
    path: authority,
    headers,
    agent: false
  } as const
  const request = url.protocol === "https:" ? Https.request({ ...to, ...proxyTls() }) : Http.request(to)
  request.once("close", failAfter(duration, (error) => request.destroy(error)))
  request.on("error", onResult)
  request.once("connect", ({ statusCode = 0 }, socket, head) => {
    if (statusCode === 200 && head.length === 0) return onResult(socket)
    socket.destroy()
    const code = statusCode >= 400 && statusCode < 500 ? "ERR_INVALID_PROXY" : "ERR_PROXY_TUNNEL"
    const what = statusCode === 200 ? "more than a tunnel" : statusCode
    onResult(new TunnelRefused({ code, message: `it answered CONNECT with ${what}` }))
  })
  return request.end()
}

/** Returns the host of a URL without the brackets around an address of IPv6. */
export const bareHost = ({ hostname }: URL): string => hostname.replace(/^\[(.*)\]$/, "$1")

/** Returns the port of a URL. */
export const portOf = ({ port, protocol }: URL): number => port === "" ? protocol === "https:" ? 443 : 80 : Number(port)

/** Opens another connection to a place, if there was one before. It is closed if no request needs it soon. */
export const prepare = (agent: Http.Agent, place: Place): void => {
  if (agent instanceof PlainAgent || agent instanceof SecureAgent) agent.prepare(place)
}

/** Makes the agent for a scheme. */
export const direct = (protocol: string, settings: Settings): Http.Agent =>
  protocol === "https:" ? new SecureAgent(settings) : new PlainAgent(settings)

/** Makes the agent for HTTPS through a proxy. */
export const tunnel = (settings: Settings, proxy: Proxy, proxyTls: Settings["tls"]): Http.Agent =>
  new TunnelAgent(settings, proxy, proxyTls)
