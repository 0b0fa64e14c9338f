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
const idleTimeout = 4000

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

/** Returns the option of a connection that makes it read into memory that is reused. */
const readingInto = (buffer: Uint8Array, socket: () => Duplex | null | undefined): { onread: Net.OnReadOpts } => ({
  onread: {
    buffer,
    callback: (size) => {
      // the parser listens to this event
      socket()?.emit("data", buffer.subarray(0, size))
      return true
    }
  }
})

/** Closes an idle connection on which something arrives. */
function closeOnData(this: Duplex): void {
  this.destroy()
}

const agentOptions = ({ lookup, maxSockets }: Settings): Http.AgentOptions => ({
  keepAlive: true,
  timeout: idleTimeout,
  maxSockets,
  ...lookup === undefined ? {} : { lookup }
})

/** Connections in plain HTTP. */
class PlainAgent extends Http.Agent {
  readonly settings: Settings
  constructor(settings: Settings) {
    super(agentOptions(settings))
    this.settings = settings
  }
  override createConnection(options: Http.ClientRequestArgs): Duplex | null | undefined {
    const { buffer, connectTimeout } = this.settings
    const socket = super.createConnection({ ...options, ...readingInto(buffer, () => socket) })
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

/** Connections in HTTPS. Sessions of TLS are resumed. */
class SecureAgent extends Https.Agent {
  readonly settings: Settings
  constructor(settings: Settings) {
    super({ ...agentOptions(settings), ...settings.tls(), ALPNProtocols: ["http/1.1"] })
    this.settings = settings
  }
  override createConnection(
    options: Https.RequestOptions,
    _callback?: (error: Error | null, socket: Duplex) => void
  ): Duplex | null | undefined {
    const { buffer, connectTimeout } = this.settings
    const socket = super.createConnection({ ...options, ...readingInto(buffer, () => socket) })
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
      const socket = super.createConnection({ ...options, ...through })
      if (socket instanceof Net.Socket) callback(null, socket)
    })
    this.opening.add(opening)
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

/** Makes the agent for a scheme. */
export const direct = (protocol: string, settings: Settings): Http.Agent =>
  protocol === "https:" ? new SecureAgent(settings) : new PlainAgent(settings)

/** Makes the agent for HTTPS through a proxy. */
export const tunnel = (settings: Settings, proxy: Proxy, proxyTls: Settings["tls"]): Http.Agent =>
  new TunnelAgent(settings, proxy, proxyTls)
