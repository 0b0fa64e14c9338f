/**
 * Lists of tags and repositories over HTTP (distribution-spec, "Listing Tags"; `_catalog` as CNCF distribution has it).
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import { Repository, Tag } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import type * as Connection from "./Connection.ts"
import * as Pages from "./Pages.ts"

/** Of a registry that does not know `last`, as CNCF distribution 2.8, `after` itself comes along. */
const behind = <A extends string>(names: ReadonlyArray<A>, after: string | undefined): ReadonlyArray<A> =>
  after !== undefined && names.some((name) => name === after) ? names.filter((name) => name > after) : names

const json = <S extends Schema.ConstraintDecoder<unknown>>(schema: S) =>
  Schema.decodeUnknownEffect(Schema.fromJsonString(Schema.toCodecGoJson(schema)))
const decodeTags = json(Schema.Struct({ tags: Schema.Array(Tag) }))
const decodeRepositories = json(Schema.Struct({ repositories: Schema.Array(Repository) }))

export const make = (connection: Connection.Connection): Pick<Registry.Registry, "tags" | "repositories"> => {
  const list = <A extends string, P>(
    call: Connection.Call,
    path: string,
    after: string | undefined,
    decode: (text: string) => Effect.Effect<P, Schema.SchemaError>,
    items: (page: P) => ReadonlyArray<A>
  ): Stream.Stream<A, RegistryError.RegistryError> => {
    const query = new URLSearchParams({ n: `${Pages.pageSize}`, ...after === undefined ? {} : { last: after } })
    return Pages.pages(connection, call, `${connection.url(path)}?${query}`, {
      decode: (page) =>
        Effect.mapBoth(decode(new TextDecoder().decode(page.bytes)), {
          onSuccess: (decoded) => behind(items(decoded), after),
          onFailure: () => {
            const detail = "the answer is not a list of names"
            return connection.error(call, new RegistryError.UnexpectedResponse({ status: page.status, detail }))
          }
        })
    })
  }
  return {
    tags: (repository, options) =>
      list(
        { operation: "tags", repository, target: "repository" },
        `/v2/${repository}/tags/list`,
        options?.after,
        decodeTags,
        ({ tags }) => tags
      ),
    repositories: (options) =>
      list(
        { operation: "repositories", target: "registry" },
        "/v2/_catalog",
        options?.after,
        decodeRepositories,
        ({ repositories }) => repositories
      )
  }
}
