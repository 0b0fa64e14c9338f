/**
 * Lists in pages (distribution-spec, "Listing Tags" and "Listing Referrers"; `_catalog` of CNCF distribution).
 */
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository } from "../Reference.ts"
import type { RegistryError } from "../RegistryError.ts"
import * as Refusal from "./Refusal.ts"
import type { Answer, Caller, ServerContext } from "./ServerContext.ts"

export interface Lists {
  readonly tags: (repository: Repository, query: URLSearchParams) => Answer
  /** Lists the repositories from which the caller may pull. */
  readonly repositories: (caller: Caller, query: URLSearchParams) => Answer
  readonly referrers: (repository: Repository, digest: Digest, query: URLSearchParams) => Answer
}

interface Page<A> {
  readonly items: ReadonlyArray<A>
  /** Last item of the page, if more items follow. */
  readonly last?: A | undefined
}

/** Maximum size of the descriptors in one page, in bytes of JSON, because clients limit the size of a list. */
const pageBytes = 1024 * 1024

/** Returns the maximum number of entries that the client asks for. */
const numberOf = (query: URLSearchParams): Result.Result<number | undefined, Refusal.Refusal> => {
  const n = query.get("n")
  if (n === null) return Result.succeed(undefined)
  return /^[0-9]+$/.test(n)
    ? Result.succeed(Number(n))
    : Result.fail(Refusal.make(400, "UNSUPPORTED", "n is not a number"))
}

const link = (path: string, parameters: Readonly<Record<string, string>>) => ({
  link: `<${path}?${new URLSearchParams(parameters)}>; rel="next"`
})

/** Returns the first `size` entries. `last` is set only if more entries follow. */
const take = <A>(list: Stream.Stream<A, RegistryError>, size: number): Effect.Effect<Page<A>, RegistryError> =>
  Effect.map(Stream.runCollect(Stream.take(list, size + 1)), (found): Page<A> => {
    const items = found.slice(0, size)
    const last = items.at(-1)
    return found.length > size && last !== undefined ? { items, last } : { items }
  })

const byDigest = (a: Descriptor, b: Descriptor) => a.digest < b.digest ? -1 : 1

/**
 * Returns the first descriptors after a digest, in the order of digests, so that changes of the list between two pages
 * neither repeat nor omit others. At most two pages are in memory.
 */
const takeByDigest = (
  list: Stream.Stream<Descriptor, RegistryError>,
  after: string,
  size: number
): Effect.Effect<Page<Descriptor>, RegistryError> => {
  const first: Array<Descriptor> = []
  const cut = () => {
    first.sort(byDigest)
    first.length = Math.min(first.length, size + 1)
  }
  return Stream.runForEachArray(list, (descriptors) =>
    Effect.sync(() => {
      for (const descriptor of descriptors) {
        if (descriptor.digest <= after) continue
        first.push(descriptor)
        // sorts once per page instead of once per descriptor
        if (first.length > 2 * (size + 1)) cut()
      }
    })).pipe(Effect.map(() => {
      cut()
      let bytes = 0
      const fitting = first.findIndex((descriptor) => (bytes += JSON.stringify(descriptor).length) > pageBytes)
      const items = first.slice(0, fitting < 0 ? size : Math.min(size, Math.max(1, fitting)))
      const last = items.at(-1)
      return items.length < first.length && last !== undefined ? { items, last } : { items }
    }))
}

export const make = ({ registry, settings }: ServerContext): Lists => {
  const { pageSize } = settings

  const names = Effect.fnUntraced(function*<A extends string>(
    path: string,
    query: URLSearchParams,
    list: (after: { readonly after?: string | undefined }) => Stream.Stream<A, RegistryError>,
    content: (items: ReadonlyArray<A>) => object
  ) {
    const n = yield* Effect.fromResult(numberOf(query))
    const after = query.get("last")
    const size = Math.min(n ?? Infinity, pageSize)
    const { items, last } = yield* take(list(after === null ? {} : { after }), size)
    return HttpServerResponse.jsonUnsafe(content(items), {
      headers: last === undefined ? {} : link(path, { n: `${n ?? pageSize}`, last })
    })
  })

  return {
    tags: (repository, query) =>
      names(
        `/v2/${repository}/tags/list`,
        query,
        (options) => registry.tags(repository, options),
        (tags) => ({ name: repository, tags })
      ),
    repositories: ({ isUnrestricted, sees }, query) =>
      names(
        "/v2/_catalog",
        query,
        (options) => {
          const all = registry.repositories(options)
          return isUnrestricted ? all : Stream.filterEffect(all, sees)
        },
        (repositories) => ({ repositories })
      ),
    referrers: Effect.fnUntraced(function*(repository, digest, query) {
      // a media type contains no space, but a `+` in a query decodes to one
      const type = query.get("artifactType")?.replaceAll(" ", "+")
      const filter = type === undefined || type === "" ? {} : { artifactType: type }
      const { items, last } = yield* takeByDigest(
        registry.referrers(repository, digest, filter),
        query.get("last") ?? "",
        pageSize
      ).pipe(
        // the list of an absent subject is empty (distribution-spec, "Listing Referrers")
        Effect.catchReasons("RegistryError", {
          NameUnknown: () => Effect.succeed<Page<Descriptor>>({ items: [] }),
          ManifestUnknown: () => Effect.succeed<Page<Descriptor>>({ items: [] }),
          Unsupported: ({ message }) => Effect.fail(Refusal.make(404, "UNSUPPORTED", message))
        })
      )
      const path = `/v2/${repository}/referrers/${digest}`
      return HttpServerResponse.jsonUnsafe({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: items }, {
        contentType: MediaType.imageIndex,
        headers: {
          ...filter.artifactType === undefined ? {} : { "oci-filters-applied": "artifactType" },
          ...last === undefined ? {} : link(path, { ...filter, last: last.digest })
        }
      })
    })
  }
}
