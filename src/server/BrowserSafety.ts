/**
 * Protection against attacks through the browser of a user: content that runs as a page, requests from other sites
 * (CSRF), and names of other sites that resolve to this machine (DNS rebinding).
 */
import * as Effect from "effect/Effect"
import * as AddressPolicy from "../http/AddressPolicy.ts"
import * as Refusal from "./Refusal.ts"
import type { Incoming } from "./ServerContext.ts"

/** Headers of every response. With them, browsers do not guess the type of content and do not execute it. */
export const headers: Readonly<Record<string, string>> = {
  "x-content-type-options": "nosniff",
  "content-security-policy": "default-src 'none'; sandbox"
}

const executable =
  /^(?:text\/html|(?:text|application)\/(?:x-)?(?:java|ecma|j|live)script[\d.]*|text\/xsl|multipart\/.*|.*[/+]xml)$/i

/** Returns true for media types that a browser executes, such as HTML, SVG and JavaScript. */
export const isExecutable = (mediaType: string): boolean => executable.test(mediaType)

/** Returns the name in `name[:port]`, in lower case, without a dot at its end. */
const nameOf = (host: string): string => host.replace(/:\d*$/, "").replace(/\.$/, "").toLowerCase()

/** Returns true for names and addresses of this machine that resolve without a name server. */
export const isLoopback = (name: string): boolean => AddressPolicy.isLoopback(name) || /\.localhost$/i.test(name)

const denied = (message: string) => Effect.fail(Refusal.make(403, "DENIED", message))

/**
 * Creates the check of `Host`, `Origin` and `Sec-Fetch-Site`. With allowed hosts, `Host` must be one of them or a
 * loopback name. `Origin` must be the registry itself or an allowed host. Programs other than browsers send no
 * `Origin`.
 */
export const make = (allowedHosts: ReadonlyArray<string> | undefined) => {
  const allowed = new Set((allowedHosts ?? []).map((host) => host.toLowerCase()))
  const isAllowed = (host: string) => allowed.has(host.toLowerCase()) || allowed.has(nameOf(host))

  return ({ headers }: Incoming): Effect.Effect<void, Refusal.Refusal> => {
    const { host = "", origin } = headers
    if (allowedHosts !== undefined && host !== "" && !isLoopback(nameOf(host)) && !isAllowed(host)) {
      return denied("requests for this host are not allowed (Host)")
    }
    if (origin !== undefined) {
      const from = /^https?:\/\/([^/]+)$/i.exec(origin)?.[1] ?? ""
      return from !== "" && (from.toLowerCase() === host.toLowerCase() || isAllowed(from))
        ? Effect.void
        : denied("requests from other sites are not allowed (Origin)")
    }
    return headers["sec-fetch-site"] === "cross-site"
      ? denied("requests from other sites are not allowed (Sec-Fetch-Site)")
      : Effect.void
  }
}
