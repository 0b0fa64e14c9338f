/**
 * Lists of tags and repositories over HTTP (distribution-spec, "Listing Tags"; `_catalog` of CNCF distribution).
 */
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type { JsonArray } from "../JsonArray.ts"
import { Repository, Tag } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"
import type * as Connection from "./Connection.ts"
import * as Pages from "./Pages.ts"

/**
 * Drops the names up to and including `after`. Registries that ignore `last` (CNCF distribution 2.8) send them again.
 */
const upTo = (after: string) => (page: JsonArray): (name: string) => boolean => {
  const isIncluded = page.includes(JSON.stringify(after))
  return (name) => isIncluded && name <= after
}

const decodeTag = Schema.decodeUnknownOption(Tag)
const decodeRepository = Schema.decodeUnknownOption(Repository)

export const make = (connection: Connection.Connection): Pick<Registry.Registry, "tags" | "repositories"> => {
  const list = <A extends string>(
    call: Connection.Call,
    path: string,
    after: string | undefined,
    items: "tags" | "repositories",
    decode: (value: unknown) => Option.Option<A>
  ): Stream.Stream<A, RegistryError> => {
    const query = new URLSearchParams({ n: `${Pages.pageSize}`, ...after === undefined ? {} : { last: after } })
    return Pages.list(connection, {
      call,
      url: `${connection.url(path)}?${query}`,
      name: call.repository === undefined ? items : `${items} of ${call.repository}`,
      field: items,
      decode,
      key: (name) => name,
      ...after === undefined ? {} : { isExcluded: upTo(after) },
      otherwise: "the answer is not a list of names"
    })
  }
  return {
    tags: (repository, options) =>
      list(
        { operation: "tags", repository, target: "repository" },
        `/v2/${repository}/tags/list`,
        options?.after,
        "tags",
        decodeTag
      ),
    repositories: (options) =>
      list(
        { operation: "repositories", target: "registry" },
        "/v2/_catalog",
        options?.after,
        "repositories",
        decodeRepository
      )
  }
}
