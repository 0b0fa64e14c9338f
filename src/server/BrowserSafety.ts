/**
 * Protection against attacks through the browser of a user: content that runs as a page, requests from other sites
 * (CSRF), and names of other sites that resolve to this machine (DNS rebinding).
 */
import * as Effect from "effect/Effect"
import * as SameSite from "../web/SameSite.ts"
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

/**
 * Creates the check of `Host`, `Origin` and `Sec-Fetch-Site` (see `SameSite`).
 */
export const make = (allowedHosts: ReadonlyArray<string> | undefined) => {
  const objection = SameSite.make(allowedHosts)

  return ({ headers }: Incoming): Effect.Effect<void, Refusal.Refusal> => {
    const message = objection(headers)
    return message === undefined ? Effect.void : Effect.fail(Refusal.make(403, "DENIED", message))
  }
}
