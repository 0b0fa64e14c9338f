/**
 * Selects the proxy for a URL from the environment, by the rules of Go (golang.org/x/net/http/httpproxy), which crane,
 * oras, regctl, skopeo and docker follow. It does not depend on the transport.
 *
 * - `HTTP_PROXY` is for URLs in plain HTTP, `HTTPS_PROXY` for those in HTTPS. A proxy is `http://host:port`,
 *   `https://host:port` or `host:port`, with a name and a password before the host if it requires them.
 * - `NO_PROXY` lists hosts that are requested directly, separated by commas: `example.com` (with the names below it),
 *   `.example.com` and `*.example.com` (the names below it only), an IP address, or a network such as `10.0.0.0/8`. A
 *   name or an IP address with a port is for this port only. `*` is for all hosts.
 * - `localhost`, `127.0.0.1` and `::1` are always requested directly.
 */
import * as Base64 from "effect/encoding/Base64"
import * as Redacted from "effect/Redacted"

/** A variable of the environment that is set: its name in the case that is set, and its value. */
export interface Variable {
  readonly name: string
  readonly value: Redacted.Redacted
}

/** Proxies of the environment. */
export interface Environment {
  readonly httpProxy: Variable | undefined
  readonly httpsProxy: Variable | undefined
  readonly noProxy: string
}

/** A proxy. If both variables name the same one, it has two values. */
export interface Proxy {
  readonly _tag: "Proxy"
  /** URL without a name and a password. */
  readonly url: URL
  /** Value of `Proxy-Authorization`, if the URL has a name and a password. */
  readonly authorization: Redacted.Redacted | undefined
}

/** A variable that names no proxy, or an unsupported one. */
export interface Unusable {
  readonly _tag: "Unusable"
  /** Sentence that names the variable and does not repeat its value. */
  readonly problem: string
}

/** Choice for a URL: a proxy, a direct request (`undefined`), or a variable that is not usable. */
export type Choice = Proxy | Unusable | undefined

// ---------------------------------------------------------------------------------------------------------------------
// proxies
// ---------------------------------------------------------------------------------------------------------------------

/** Decodes `%XX`, and keeps malformed escapes. */
const percentDecoded = (text: string): string =>
  text.replace(
    /(?:%[0-9a-f]{2})+/gi,
    (run) => new TextDecoder().decode(Uint8Array.from(run.slice(1).split("%"), (hex) => Number.parseInt(hex, 16)))
  )

const readProxy = (variable: Variable | undefined): Choice => {
  if (variable === undefined) return undefined
  const unusable = (problem: string): Unusable => ({ _tag: "Unusable", problem: `${variable.name} ${problem}` })
  const text = Redacted.value(variable.value).trim()
  const [, scheme = "http"] = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text) ?? []
  if (/^socks/i.test(scheme)) return unusable("names a SOCKS proxy: only those of HTTP are supported")
  const href = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`
  const url = URL.canParse(href) ? new URL(href) : undefined
  if (url === undefined || url.hostname === "" || !/^https?:$/.test(url.protocol)) {
    return unusable("is not the address of a proxy, such as http://proxy.example.com:3128")
  }
  const { password, username } = url
  return {
    _tag: "Proxy",
    url: new URL(url.origin),
    authorization: username === "" && password === ""
      ? undefined
      : Redacted.make(`Basic ${Base64.encode(`${percentDecoded(username)}:${percentDecoded(password)}`)}`)
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// hosts without a proxy
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the 16 bytes of an IP address, with IPv4 mapped to IPv6, or `undefined` for anything else. */
const bytesOf = (text: string): ReadonlyArray<number> | undefined => {
  if (/^\d{1,3}(?:\.\d{1,3}){3}$/.test(text)) {
    const bytes = text.split(".").map(Number)
    return bytes.some((byte) => byte > 255) ? undefined : [...new Array<number>(10).fill(0), 255, 255, ...bytes]
  }
  if (!text.includes(":") || !URL.canParse(`http://[${text}]`)) return undefined
  const [head = "", tail] = new URL(`http://[${text}]`).hostname.slice(1, -1).split("::")
  const groupsOf = (part: string) => part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16))
  const [front, back] = [groupsOf(head), groupsOf(tail ?? "")]
  const gap = new Array<number>(8 - front.length - back.length).fill(0)
  return [...front, ...gap, ...back].flatMap((group) => [group >> 8, group & 255])
}

/** Host of a URL: its name in lower case, or its address, and its port. */
interface Host {
  readonly name: string
  readonly address: ReadonlyArray<number> | undefined
  readonly port: string
}

type Matches = (host: Host) => boolean

const isWithin = (network: ReadonlyArray<number>, length: number): Matches => ({ address }) =>
  address !== undefined && network.every((byte, index) => {
    const shift = 8 - Math.min(8, Math.max(0, length - 8 * index))
    return byte >> shift === (address[index] ?? 0) >> shift
  })

const readNetwork = (entry: string): Matches | undefined => {
  const [, address = "", length = ""] = /^(.*)\/(\d{1,3})$/.exec(entry) ?? []
  const network = bytesOf(address)
  if (network === undefined) return undefined
  const offset = address.includes(":") ? 0 : 96
  return offset + Number(length) > 128 ? undefined : isWithin(network, offset + Number(length))
}

/** Reads an entry of `NO_PROXY`, in lower case. A malformed entry is ignored, as in Go. */
const readEntry = (entry: string): Matches | undefined => {
  if (entry === "*") return () => true
  const network = readNetwork(entry)
  if (network !== undefined) return network
  const bare = bytesOf(entry)
  const [, before = entry, port] = bare === undefined ? /^(.*):(\d+)$/.exec(entry) ?? [] : []
  const host = before.replace(/^\[(.*)\]$/, "$1")
  const isForPort: Matches = (host) => port === undefined || port === host.port
  const address = bytesOf(host)
  if (address !== undefined) return (host) => isWithin(address, 128)(host) && isForPort(host)
  const name = host.replace(/^\*\./, ".")
  if (name === "") return undefined
  const suffix = name.startsWith(".") ? name : `.${name}`
  return (host) => (host.name === name || host.name.endsWith(suffix)) && isForPort(host)
}

/**
 * Returns true for the names of this machine. Other addresses of `127.0.0.0/8` may be requested through a proxy, which
 * differs from Go.
 */
const isThisMachine = (name: string): boolean => name === "localhost" || name === "127.0.0.1" || name === "::1"

const hostOf = (url: URL): Host => {
  const name = url.hostname.replace(/^\[(.*)\]$/, "$1")
  const port = url.port === "" ? url.protocol === "https:" ? "443" : "80" : url.port
  return { name, address: bytesOf(name), port }
}

// ---------------------------------------------------------------------------------------------------------------------
// the choice
// ---------------------------------------------------------------------------------------------------------------------

/** Choice of proxies, and the proxies of the environment. */
export interface Chooser {
  readonly proxies: ReadonlyArray<Proxy>
  readonly choose: (url: URL) => Choice
}

/** Reads the environment. A malformed variable is reported for each URL that it applies to. */
export const make = ({ httpProxy, httpsProxy, noProxy }: Environment): Chooser => {
  const [forHttp, forHttps] = [readProxy(httpProxy), readProxy(httpsProxy)]
  const without = noProxy.toLowerCase().split(",").flatMap((entry) => readEntry(entry.trim()) ?? [])
  return {
    proxies: [forHttp, forHttps].flatMap((choice) => choice?._tag === "Proxy" ? [choice] : []),
    choose: (url) => {
      const choice = url.protocol === "https:" ? forHttps : forHttp
      if (choice === undefined) return undefined
      const host = hostOf(url)
      return isThisMachine(host.name) || without.some((matches) => matches(host)) ? undefined : choice
    }
  }
}
