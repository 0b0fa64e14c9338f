/**
 * Pages of names, with a search by their beginning.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { RegistryError } from "../../RegistryError.ts"
import type { Names } from "./Frame.ts"

/** Number of names of one page. */
const pageSize = 50

/** Maximum number of names that one search reads. */
const scanLimit = 50_000

/**
 * Reads the names after `after` that begin with `prefix` and that the viewer sees, up to the end of a page. Names that
 * the viewer does not see count for the limit as well.
 */
export const read = <A extends string>(
  list: (options: { readonly after?: string | undefined }) => Stream.Stream<A, RegistryError>,
  query: URLSearchParams,
  sees: (name: A) => Effect.Effect<boolean>
): Effect.Effect<Names<A>, RegistryError> =>
  Effect.suspend(() => {
    const prefix = (query.get("prefix") ?? "").trim().slice(0, 255)
    const after = query.get("after")?.slice(0, 512)
    let scanned = 0
    return list({ after }).pipe(
      Stream.takeWhile(() => ++scanned <= scanLimit),
      Stream.filter((name) => name.startsWith(prefix)),
      Stream.filterEffect(sees),
      Stream.take(pageSize + 1),
      Stream.runCollect,
      Effect.map((found): Names<A> => {
        const items = found.slice(0, pageSize)
        return {
          items,
          last: found.length > pageSize ? items.at(-1) : undefined,
          prefix,
          after,
          isCutOff: scanned > scanLimit && found.length <= pageSize
        }
      })
    )
  })
