/**
 * Protection of a server against requests from pages of other sites (CSRF), and against names of other sites that
 * resolve to this machine (DNS rebinding).
 */
import * as AddressPolicy from "../http/AddressPolicy.ts"

/** Headers of a request, with names in lower case. */
export type RequestHeaders = Readonly<Record<string, string | undefined>>

/** Returns the name in `name[:port]`, in lower case, without a dot at its end. */
const nameOf = (host: string): string => host.replace(/:\d*$/, "").replace(/\.$/, "").toLowerCase()

/** Returns true for names and addresses of this machine that resolve without a name server. */
export const isLoopback = (name: string): boolean => AddressPolicy.isLoopback(name) || /\.localhost$/i.test(name)

/**
 * Creates the check of `Host`, `Origin` and `Sec-Fetch-Site`, which returns an objection to a request or `undefined`.
 * With allowed hosts, `Host` must be one of them or a loopback name. `Origin` must be the server itself or an allowed
 * host. Programs other than browsers send no `Origin`.
 */
export const make = (allowedHosts: ReadonlyArray<string> | undefined) => {
  const allowed = new Set((allowedHosts ?? []).map((host) => host.toLowerCase()))
  const isAllowed = (host: string) => allowed.has(host.toLowerCase()) || allowed.has(nameOf(host))

  return (headers: RequestHeaders): string | undefined => {
    const { host = "", origin } = headers
    if (allowedHosts !== undefined && host !== "" && !isLoopback(nameOf(host)) && !isAllowed(host)) {
      return "requests for this host are not allowed (Host)"
    }
    if (origin !== undefined) {
      const from = /^https?:\/\/([^/]+)$/i.exec(origin)?.[1] ?? ""
      return from !== "" && (from.toLowerCase() === host.toLowerCase() || isAllowed(from))
        ? undefined
        : "requests from other sites are not allowed (Origin)"
    }
    return headers["sec-fetch-site"] === "cross-site"
      ? "requests from other sites are not allowed (Sec-Fetch-Site)"
      : undefined
  }
}
