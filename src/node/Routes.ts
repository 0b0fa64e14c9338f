/**
 * Routes to hosts: directly, through a proxy in plain HTTP, or through a tunnel; with certificates checked or not.
 * Each route has its own connections.
 */
import * as Redacted from "effect/Redacted"
import type * as Http from "node:http"
import * as Agents from "./Agents.ts"
import type * as ProxyChoice from "./ProxyChoice.ts"

/** Route of a request: its connection, its target and its headers for a proxy. */
export interface Route {
  readonly _tag: "Route"
  readonly agent: Http.Agent
  /** Scheme of the connection: that of the URL, or that of a proxy. */
  readonly protocol: string
  /** Host of the connection: that of the URL, or a proxy. */
  readonly host: string
  readonly port: number
  /** Target of the request: a path, or the whole URL if a proxy gets it. */
  readonly target: string
  /** Headers for the proxy, names and values in turn. */
  readonly headers: ReadonlyArray<string>
}

export interface Options {
  /** Settings of connections. Certificates are checked unless a host is insecure. */
  readonly settings: Agents.Settings
  /** TLS to proxies. */
  readonly proxyTls: Agents.Settings["tls"]
  readonly choose: ProxyChoice.Chooser["choose"]
  readonly isInsecure: (url: URL) => boolean
}

/** Routes to hosts, which share connections. */
export interface Routes {
  readonly find: (url: URL) => Route | ProxyChoice.Unusable
  /** Closes all connections. */
  readonly close: () => void
}

export const make = ({ choose, isInsecure, proxyTls, settings }: Options): Routes => {
  const trusting: Agents.Settings = { ...settings, tls: () => ({ ...settings.tls(), rejectUnauthorized: false }) }
  const forProxies: Agents.Settings = { ...settings, lookup: undefined, tls: proxyTls }
  const agents = new Map<string, Http.Agent>()

  const agentFor = (key: string, make: () => Http.Agent): Http.Agent => {
    const agent = agents.get(key) ?? make()
    agents.set(key, agent)
    return agent
  }

  const through = (proxy: ProxyChoice.Proxy, url: URL): Route => {
    const { authorization, url: { href, protocol } } = proxy
    const credentials = authorization === undefined ? "" : Redacted.value(authorization)
    return {
      _tag: "Route",
      agent: agentFor(`forward ${href}`, () => Agents.direct(protocol, forProxies)),
      protocol,
      host: Agents.bareHost(proxy.url),
      port: Agents.portOf(proxy.url),
      target: `${url.origin}${url.pathname}${url.search}`,
      headers: credentials === "" ? [] : ["proxy-authorization", credentials]
    }
  }

  return {
    find: (url) => {
      const proxy = choose(url)
      if (proxy?._tag === "Unusable") return proxy
      if (proxy !== undefined && url.protocol === "http:") return through(proxy, url)
      const used = url.protocol === "https:" && isInsecure(url) ? trusting : settings
      const kind = `${url.protocol} ${used === trusting ? "trusting" : "checking"}`
      return {
        _tag: "Route",
        agent: proxy === undefined
          ? agentFor(kind, () => Agents.direct(url.protocol, used))
          : agentFor(`tunnel ${kind}`, () => Agents.tunnel(used, proxy, proxyTls)),
        protocol: url.protocol,
        host: Agents.bareHost(url),
        port: Agents.portOf(url),
        target: url.pathname + url.search,
        headers: []
      }
    },
    close: () => {
      for (const agent of agents.values()) agent.destroy()
      agents.clear()
    }
  }
}
