/**
 * Routes to hosts: directly, through a proxy in plain HTTP, or through a tunnel; with certificates checked or not.
 * Each route has its own connections.
 */
import * as Redacted from "effect/Redacted"
import { Pool } from "./Pool.ts"
import type * as ProxyChoice from "./ProxyChoice.ts"
import * as Sockets from "./Sockets.ts"

/** Route to a host. */
export interface Route {
  readonly _tag: "Route"
  /** Connections to the host, or to a proxy. */
  readonly pool: Pool
  /** True if a proxy gets the request, whose target is then the whole URL. */
  readonly isForwarded: boolean
  /** Lines of headers for the proxy. */
  readonly headers: string
}

export interface Options {
  /** Settings of connections. Certificates are checked unless a host is insecure. */
  readonly settings: Sockets.Settings
  /** TLS to proxies. */
  readonly proxyTls: Sockets.Settings["tls"]
  readonly choose: ProxyChoice.Chooser["choose"]
  readonly isInsecure: (url: URL) => boolean
}

/** Routes to hosts, which share connections. */
export interface Routes {
  /** Returns the route of a request. */
  readonly find: (url: URL) => Route | ProxyChoice.Unusable
  /** Opens a connection to a host in advance, if there was one before. */
  readonly prepare: (url: URL) => void
  /** Closes all connections. */
  readonly close: () => void
}

// number of hosts from which on those without a connection are forgotten
const capacity = 1000

export const make = ({ choose, isInsecure, proxyTls, settings }: Options): Routes => {
  const trusting: Sockets.Settings = { ...settings, tls: () => ({ ...settings.tls(), rejectUnauthorized: false }) }
  const forProxies: Sockets.Settings = { ...settings, lookup: undefined, tls: proxyTls }
  const routes = new Map<string, Route>()
  const proxies = new Map<string, Pool>()

  const direct = (used: Sockets.Settings, url: URL): Pool => {
    const open = url.protocol === "https:" ? Sockets.secure : Sockets.plain
    const place = Sockets.placeOf(url)
    return new Pool({ ...used, tunnel: undefined, open: (opening) => open(used, place, opening) })
  }
  const tunnelled = (used: Sockets.Settings, url: URL, proxy: ProxyChoice.Proxy): Pool => {
    const place = Sockets.placeOf(url)
    return new Pool({
      ...used,
      tunnel: (done) => Sockets.tunnel(forProxies, proxy, place, done),
      open: (opening) => Sockets.secure(used, place, opening)
    })
  }
  const forwarded = ({ authorization, url }: ProxyChoice.Proxy): Route => {
    const pool = proxies.get(url.href) ?? direct(forProxies, url)
    proxies.set(url.href, pool)
    const headers = authorization === undefined ? "" : `proxy-authorization: ${Redacted.value(authorization)}\r\n`
    return { _tag: "Route", pool, isForwarded: true, headers }
  }
  const create = (url: URL): Route | ProxyChoice.Unusable => {
    const proxy = choose(url)
    if (proxy?._tag === "Unusable") return proxy
    if (proxy !== undefined && url.protocol === "http:") return forwarded(proxy)
    const used = url.protocol === "https:" && isInsecure(url) ? trusting : settings
    const pool = proxy === undefined ? direct(used, url) : tunnelled(used, url, proxy)
    return { _tag: "Route", pool, isForwarded: false, headers: "" }
  }
  const find: Routes["find"] = (url) => {
    const known = routes.get(url.origin)
    if (known !== undefined) return known
    const route = create(url)
    if (route._tag === "Unusable") return route
    if (routes.size >= capacity) {
      for (const [origin, { pool }] of routes) if (pool.isEmpty) routes.delete(origin)
    }
    routes.set(url.origin, route)
    return route
  }
  return {
    find,
    prepare: (url) => {
      const route = find(url)
      if (route._tag === "Route") route.pool.prepare()
    },
    close: () => {
      for (const { pool } of routes.values()) pool.close()
    }
  }
}
