/**
 * Protection of users whose browser is turned against a registry: content that is never a page of its own, requests
 * from other sites (CSRF), and names of other sites that resolve to this machine (DNS rebinding).
 */
import * as Effect from "effect/Effect"
import * as Refusal from "./Refusal.ts"
import type { Incoming } from "./ServerContext.ts"

/** Headers of every response: a browser neither guesses the type of content nor runs any of it. */
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

/** Returns true for names and addresses of this machine that need no name server. */
export const isLoopback = (name: string): boolean =>
  /^(?:(?:.+\.)?localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)$/i.test(name)

const denied = (message: string) => Effect.fail(Refusal.make(403, "DENIED", message))

/**
 * Makes the check of `Host`, `Origin` and `Sec-Fetch-Site`. With allowed hosts, only those and loopback names may stand
 * in `Host`. An origin is that of the registry itself, or of an allowed host. Programs send no `Origin`.
 */
export const make = (allowedHosts: ReadonlyArray<string> | undefined) => {
  const allowed = new Set((allowedHosts ?? []).map((host) => host.toLowerCase()))
  const isAllowed = (host: string) => allowed.has(host.toLowerCase()) || allowed.has(nameOf(host))

  return ({ headers }: Incoming): Effect.Effect<void, Refusal.Refusal> => {
    const { host = "", origin } = headers
    if (allowedHosts !== undefined && host !== "" && !isLoopback(nameOf(host)) && !isAllowed(host)) {
      return denied("requests for this host are not allowed here (Host)")
    }
    if (origin !== undefined) {
      const from = /^https?:\/\/([^/]+)$/i.exec(origin)?.[1] ?? ""
      return from !== "" && (from.toLowerCase() === host.toLowerCase() || isAllowed(from))
        ? Effect.void
        : denied("requests from other sites are not allowed here (Origin)")
    }
    return headers["sec-fetch-site"] === "cross-site"
      ? denied("requests from other sites are not allowed here (Sec-Fetch-Site)")
      : Effect.void
  }
}
