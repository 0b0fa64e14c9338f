/**
 * Lists in pages, of which each names the next by a `Link` header (distribution-spec, "Listing Tags"; RFC 8288).
 */
import * as Effect from "effect/Effect"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as RegistryError from "../RegistryError.ts"
import { excerpt } from "../Text.ts"
import type * as Connection from "./Connection.ts"
import * as Encoding from "./Encoding.ts"
import * as Items from "./Items.ts"

// maximum size of a page, in bytes: a registry without pages sends all its names at once
const pageLimit = 32 * 1024 * 1024
const pageCountLimit = 100_000

/** Requested number of entries of a page. No registry accepts more than 1000. */
export const pageSize = 1000

const wellFormed = /<([^<>]*)>((?:\s*;\s*[\w*-]+\s*=?\s*(?:"[^"]*"|[^\s",;]*))*)/g
// the pattern is unambiguous, because the registry chooses the text, and backtracking would block the event loop
const bare = /^[\s,]*([^\s<>",;]+)((?:\s*;\s*[\w*-]+(?:\s*=(?:\s*(?:"[^"]*"|[^\s",;]+))?)?)+)[\s,]*$/
const relation = /(?:^|[;\s,])rel\s*=\s*(?:(["'])(?:[^"']*\s)?next(?:\s[^"']*)?\1|next(?=[\s;,]|$))/i

/**
 * Returns the target of `rel="next"` in a header, unchanged, or `undefined` if there is none. Accepts a target without
 * angle brackets (quay.io). If a header names a next page and cannot be parsed, fails with the part that remains.
 */
export const nextLink = (header: string | undefined): Result.Result<string | undefined, string> => {
  const text = header ?? ""
  for (const [, target, parameters] of text.matchAll(wellFormed)) {
    if (relation.test(parameters ?? "")) return Result.succeed(target)
  }
  const others = text.replaceAll(wellFormed, "")
  if (!relation.test(others)) return Result.succeed(undefined)
  const target = bare.exec(others)?.[1]
  return target === undefined ? Result.fail(others) : Result.succeed(target)
}

/**
 * Returns the next page at the path of this one. Registries that show one repository under several names may use
 * another name in their links (Artifactory, RTFACT-18971).
 */
const samePath = (here: string, next: string): string => {
  const [from, to] = [new URL(here), new URL(next)]
  const isOther = from.origin === to.origin && from.pathname !== to.pathname && to.pathname.endsWith("/tags/list")
  return isOther ? from.origin + from.pathname + to.search : next
}

/** A list in pages. */
export interface List<A> extends Items.Items<A> {
  readonly url: string
  readonly accept?: string | undefined
  /** Runs after each valid page. */
  readonly onPage?: Effect.Effect<void> | undefined
}

/** Streams the items of all pages; see `Items`. */
export const list = <A>(
  connection: Connection.Connection,
  options: List<A>
): Stream.Stream<A, RegistryError.RegistryError> =>
  Stream.suspend(() => {
    const { accept = "application/json", call, onPage = Effect.void, url } = options
    const visited = new Set<string>()
    const unexpected = (detail: string) => connection.error(call, new RegistryError.UnexpectedResponse({ detail }))

    const nextOf = Effect.fnUntraced(function*(here: string, { headers, url }: Connection.Received) {
      const link = nextLink(headers["link"])
      if (Result.isFailure(link)) {
        return yield* unexpected(`the Link to the next page cannot be read: ${excerpt(link.failure)}`)
      }
      if (link.success === undefined) return Option.none<string>()
      yield* connection.learn({ pages: true })
      const located = connection.locate(link.success, url)
      if (located === undefined) return yield* unexpected("Link is no URL")
      const next = samePath(here, located)
      if (visited.has(next) || visited.size >= pageCountLimit) {
        return yield* unexpected("the pages of the list lead in a circle")
      }
      return Option.some(next)
    })

    const pages = Stream.paginate(
      url,
      Effect.fnUntraced(function*(url: string) {
        visited.add(url)
        const request = HttpClientRequest.get(url, { headers: { accept } })
        const received = yield* connection.send(call, request, [200], pageLimit)
        const document = yield* Encoding.document(received, pageLimit, (reason) => connection.error(call, reason))
        const page = yield* Items.pageOf(connection, options, document)
        yield* onPage
        return [[page], yield* nextOf(url, received)] as const
      })
    )
    return Items.stream(connection, options, pages)
  })
