/**
 * Routes to hosts: directly, through a proxy in plain HTTP, or through a tunnel; with certificates checked or not.
 * Each route has its own connections.
 */
import * as Redacted from "effect/Redacted"
import type * as Http from "node:http"
import * as Agents from "./Agents.ts"
import * as Exchange from "./Exchange.ts"
import type * as ProxyChoice from "./ProxyChoice.ts"
import type { Slabs } from "./Slabs.ts"

/** Route of a request: its connection, its target and its headers for a proxy. */
export interface Route {
  readonly _tag: "Route"
  readonly agent: Http.Agent
  /** Scheme of the agent: that of the connection, or plain HTTP if the agent hands out exchanges. */
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
  /** Memory for large bodies. */
  readonly slabs: Slabs
  readonly choose: ProxyChoice.Chooser["choose"]
  readonly isInsecure: (url: URL) => boolean
}

/** Routes to hosts, which share connections. */
export interface Routes {
  /** Returns the route of a request. `isLarge` is true if its response is expected to have a large body. */
  readonly find: (url: URL, isLarge?: boolean) => Route | ProxyChoice.Unusable
  /** Opens a connection to a host in advance, if there was one before. */
  readonly prepare: (url: URL) => void
  /** Closes all connections. */
  readonly close: () => void
}

export const make = ({ choose, isInsecure, proxyTls, settings, slabs }: Options): Routes => {
  const trusting: Agents.Settings = { ...settings, tls: () => ({ ...settings.tls(), rejectUnauthorized: false }) }
  const forProxies: Agents.Settings = { ...settings, lookup: undefined, tls: proxyTls }
  const agents = new Map<string, Http.Agent>()

  const agentFor = (key: string, make: () => Http.Agent): Http.Agent => {
    const agent = agents.get(key) ?? make()
    agents.set(key, agent)
    return agent
  }

  /** Returns an agent, or one of exchanges over it. */
  const openerOr = (
    isExchanged: boolean,
    key: string,
    settings: Agents.Settings,
    make: () => Http.Agent
  ): Http.Agent => {
    const opener = agentFor(key, make)
    if (!isExchanged) return opener
    return agentFor(`exchanges ${key}`, () => Exchange.agent(opener, Agents.secureOptions(settings), slabs))
  }

  const through = (proxy: ProxyChoice.Proxy, url: URL, isExchanged: boolean): Route => {
    const { authorization, url: { href, protocol } } = proxy
    const credentials = authorization === undefined ? "" : Redacted.value(authorization)
    return {
      _tag: "Route",
      agent: openerOr(isExchanged, `forward ${href}`, forProxies, () => Agents.direct(protocol, forProxies)),
      protocol: isExchanged ? Exchange.protocol : protocol,
      host: Agents.bareHost(proxy.url),
      port: Agents.portOf(proxy.url),
      target: `${url.origin}${url.pathname}${url.search}`,
      headers: credentials === "" ? [] : ["proxy-authorization", credentials]
    }
  }

  const find: Routes["find"] = (url, isLarge = false) => {
    // exchanges have connections of their own, which would exceed a limit
    const isExchanged = isLarge && settings.maxSockets === Infinity
    const proxy = choose(url)
    if (proxy?._tag === "Unusable") return proxy
    if (proxy !== undefined && url.protocol === "http:") return through(proxy, url, isExchanged)
    const used = url.protocol === "https:" && isInsecure(url) ? trusting : settings
    const kind = `${url.protocol} ${used === trusting ? "trusting" : "checking"}`
    return {
      _tag: "Route",
      agent: proxy === undefined
        ? openerOr(isExchanged, kind, used, () => Agents.direct(url.protocol, used))
        : openerOr(isExchanged, `tunnel ${kind}`, used, () => Agents.tunnel(used, proxy, proxyTls)),
      protocol: isExchanged ? Exchange.protocol : url.protocol,
      host: Agents.bareHost(url),
      port: Agents.portOf(url),
      target: url.pathname + url.search,
      headers: []
    }
  }
  return {
    find,
    prepare: (url) => {
      const route = find(url)
      if (route._tag === "Route" && settings.maxSockets === Infinity) Agents.prepare(route.agent, route)
    },
    close: () => {
      for (const agent of agents.values()) agent.destroy()
      agents.clear()
    }
  }
}
