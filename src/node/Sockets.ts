/**
 * Sockets to hosts, in plain TCP or TLS, directly or through the tunnel of a proxy.
 */
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Redacted from "effect/Redacted"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { Malformed } from "./Malformed.ts"
import { failAfter, type Opening } from "./Pool.ts"
import type { Proxy } from "./ProxyChoice.ts"
import * as ResponseHead from "./ResponseHead.ts"

/** Settings of connections. */
export interface Settings {
  /** Buffer into which connections are read. */
  readonly buffer: Buffer
  readonly connectTimeout: Duration.Duration
  /** Maximum number of connections to one host. */
  readonly maxConnections: number
  /** Resolves the names of hosts. Default: the lookup of Node. */
  readonly lookup: Net.LookupFunction | undefined
  readonly tls: () => Pick<Tls.ConnectionOptions, "rejectUnauthorized" | "secureContext">
}

/** Host and port of a URL. */
export interface Place {
  readonly host: string
  readonly port: number
}

/** The proxy refused a tunnel. `ERR_PROXY_TUNNEL` may be temporary, `ERR_INVALID_PROXY` is not. */
class TunnelRefused
  extends Data.Error<{ readonly code: "ERR_INVALID_PROXY" | "ERR_PROXY_TUNNEL"; readonly message: string }>
{}

/** Returns the host of a URL, without the brackets around an address of IPv6, and its port. */
export const placeOf = ({ hostname, port, protocol }: URL): Place => ({
  host: hostname.replace(/^\[(.*)\]$/, "$1"),
  port: port === "" ? protocol === "https:" ? 443 : 80 : Number(port)
})

/** Opens a socket in plain TCP. */
export const plain = ({ lookup }: Settings, place: Place, opening?: Opening): Net.Socket =>
  Net.connect({
    ...place,
    ...lookup === undefined ? {} : { lookup },
    ...opening === undefined ? {} : { onread: opening.onread }
  })

/** Opens a socket in TLS. */
export const secure = ({ lookup, tls }: Settings, place: Place, opening?: Opening): Net.Socket => {
  const { session, tunnel, ...reading } = opening ?? {}
  return Tls.connect({
    ...place,
    ...tls(),
    ...reading,
    // an address is no name for TLS
    servername: Net.isIP(place.host) === 0 ? place.host : "",
    ALPNProtocols: ["http/1.1"],
    ...lookup === undefined ? {} : { lookup },
    ...session === undefined ? {} : { session },
    ...tunnel === undefined ? {} : { socket: tunnel }
  })
}

/** Asks a proxy for a tunnel to a host. The returned function stops that. */
export const tunnel = (
  settings: Settings,
  { authorization, url }: Proxy,
  { host, port }: Place,
  onResult: (result: Net.Socket | Error) => void
): () => void => {
  const socket = (url.protocol === "https:" ? secure : plain)(settings, placeOf(url))
  const heads = new ResponseHead.Reader()
  let isDone = false

  const finish = (result: Net.Socket | Error) => {
    if (isDone) return
    isDone = true
    stopTimer()
    socket.off("data", read)
    if (result instanceof Error) socket.destroy()
    onResult(result)
  }
  const refuse = (status: number, answer: string) => {
    const code = status >= 400 && status < 500 ? "ERR_INVALID_PROXY" : "ERR_PROXY_TUNNEL"
    finish(new TunnelRefused({ code, message: `it answered CONNECT with ${answer}` }))
  }
  const read = (bytes: Buffer) => {
    const head = heads.read(bytes, 0)
    if (head instanceof Malformed) finish(head)
    else if (head !== undefined && head.status !== 200) refuse(head.status, `${head.status}`)
    else if (head !== undefined && heads.end < bytes.length) refuse(head.status, "more than a tunnel")
    else if (head !== undefined) finish(socket)
  }
  const stopTimer = failAfter(settings.connectTimeout, finish)
  const authority = `${host.includes(":") ? `[${host}]` : host}:${port}`
  const credentials = authorization === undefined ? "" : `proxy-authorization: ${Redacted.value(authorization)}\r\n`
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nhost: ${authority}\r\n${credentials}\r\n`, "latin1")
  socket.on("data", read).on("error", finish)
  socket.on("close", () => refuse(0, "no answer"))
  return () => socket.destroy()
}
