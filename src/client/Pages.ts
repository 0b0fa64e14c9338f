/**
 * Lists that come in pages, each naming the next by a `Link` header (distribution-spec, "Listing Tags"; RFC 8288).
 */
import * as Effect from "effect/Effect"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as RegistryError from "../RegistryError.ts"
import type * as Connection from "./Connection.ts"

// in bytes; a registry that knows no pages sends all its names at once
const pageLimit = 32 * 1024 * 1024
const pageCountLimit = 100_000

/** How many entries a page is asked to have: no registry takes more than 1000. */
export const pageSize = 1000

/** The target of `rel="next"` among the links of a header, as it stands there. */
export const nextLink = (header: string | undefined): string | undefined => {
  for (
    const [, target, parameters] of (header ?? "").matchAll(
      /<([^>]*)>((?:\s*;\s*[\w*-]+\s*=?\s*(?:"[^"]*"|[^\s",;]*))*)/g
    )
  ) {
    if (/;\s*rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next(?=\s|;|$))/i.test(parameters ?? "")) return target
  }
  return undefined
}

/**
 * Some registries that show one repository under several names forget in their links which one it was: the next page is
 * below the same path (Artifactory, RTFACT-18971).
 */
const samePath = (here: string, next: string): string => {
  const [from, to] = [new URL(here), new URL(next)]
  const isOther = from.origin === to.origin && from.pathname !== to.pathname && to.pathname.endsWith("/tags/list")
  return isOther ? from.origin + from.pathname + to.search : next
}

export const pages = <A>(
  connection: Connection.Connection,
  call: Connection.Call,
  url: string,
  options: {
    readonly accept?: string
    readonly decode: (page: Connection.Received) => Effect.Effect<ReadonlyArray<A>, RegistryError.RegistryError>
  }
): Stream.Stream<A, RegistryError.RegistryError> =>
  Stream.suspend(() => {
    const seen = new Set<string>()
    return Stream.paginate(
      url,
      Effect.fnUntraced(function*(url: string) {
        seen.add(url)
        const request = HttpClientRequest.get(url, { headers: { accept: options.accept ?? "application/json" } })
        const page = yield* connection.send(call, request, [200], pageLimit)
        const items = yield* options.decode(page)
        const link = nextLink(page.headers["link"])
        if (link === undefined) return [items, Option.none<string>()] as const
        yield* connection.learn({ pages: true })
        const located = connection.locate(link, page.url)
        if (located === undefined) {
          return yield* connection.error(call, new RegistryError.UnexpectedResponse({ detail: "Link is no URL" }))
        }
        const next = samePath(url, located)
        if (seen.has(next) || seen.size >= pageCountLimit) {
          const detail = "the pages of the list lead in a circle"
          return yield* connection.error(call, new RegistryError.UnexpectedResponse({ detail }))
        }
        return [items, Option.some(next)] as const
      })
    )
  })
