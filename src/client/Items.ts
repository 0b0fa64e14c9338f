/**
 * Items of the lists of registries.
 *
 * Invalid items are skipped, and one warning reports their number and the first of them. An item that is listed twice
 * is returned once. Memory is bounded however long the list is, and the event loop runs between two batches.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as JsonArray from "../JsonArray.ts"
import * as RegistryError from "../RegistryError.ts"
import { excerpt } from "../Text.ts"
import type * as Connection from "./Connection.ts"

/** Description of the items of a list. */
export interface Items<A> {
  readonly call: Connection.Call
  /** Name of the list, in warnings. */
  readonly name: string
  /** Name of the field that holds the items. */
  readonly field: string
  /** Decodes an item, if it is valid. */
  readonly decode: (value: unknown) => Option.Option<A>
  /** Returns the text that is equal for equal items. */
  readonly key: (item: A) => string
  /** Returns the predicate of the items of a page that are omitted. */
  readonly isExcluded?: ((page: JsonArray.JsonArray) => (item: A) => boolean) | undefined
  /** Returns true for a document that lacks the field and is a list without items. */
  readonly mayLackField?: ((document: Readonly<Record<string, unknown>>) => boolean) | undefined
  /** Description of a document of another form, for its error. */
  readonly otherwise: string
}

// maximum number of items that are decoded before the event loop runs
const batchLimit = 250

// in UTF-16 code units: maximum length of an item, and length after which a batch ends
const itemLimit = 1024 * 1024

// maximum size of a document outside of its list, in bytes
const restLimit = 1024 * 1024

// number of items to remember, because a list may have no end: an item that is repeated later is returned twice
const rememberedItems = 100_000

const decodeJson = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Unknown))
const decodeDocument = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown)))

const failure = <A>(connection: Connection.Connection, { call, otherwise }: Items<A>) =>
  connection.error(call, new RegistryError.UnexpectedResponse({ status: 200, detail: otherwise }))

/** Divides a document into its items. Fails if it has another form. `null` in place of the list means no items. */
export const pageOf = Effect.fnUntraced(function*<A>(
  connection: Connection.Connection,
  items: Items<A>,
  bytes: Uint8Array
): Effect.fn.Return<JsonArray.JsonArray, RegistryError.RegistryError> {
  const { field, mayLackField = () => false } = items
  const page = yield* JsonArray.make(bytes, field)
  // of two fields of that name, others would take the first
  if (page === undefined || page.isRepeated || page.rest.length > restLimit) return yield* failure(connection, items)
  const document = decodeDocument(new TextDecoder().decode(page.rest))
  if (Option.isNone(document)) return yield* failure(connection, items)
  const list = document.value[field]
  const isList = Array.isArray(list) || list === null || list === undefined && mayLackField(document.value)
  return isList ? page : yield* failure(connection, items)
})

/** Returns a predicate that is true for keys that it has not seen before. */
const remembering = () => {
  const seen = new Set<string>()
  return (key: string): boolean => {
    if (seen.has(key)) return false
    const [oldest] = seen.size < rememberedItems ? [] : seen
    if (oldest !== undefined) seen.delete(oldest)
    seen.add(key)
    return true
  }
}

/** Streams the items of pages. */
export const stream = <A>(
  connection: Connection.Connection,
  items: Items<A>,
  pages: Stream.Stream<JsonArray.JsonArray, RegistryError.RegistryError>
): Stream.Stream<A, RegistryError.RegistryError> =>
  Stream.suspend(() => {
    const { decode, isExcluded = () => () => false, key, name } = items
    const isNew = remembering()
    let skipped = 0
    let firstSkipped = ""

    const decoded = Effect.fnUntraced(function*(text: string) {
      const value = text.length > itemLimit ? Option.some<unknown>(undefined) : decodeJson(text)
      if (Option.isNone(value)) return yield* failure(connection, items)
      const item = decode(value.value)
      if (Option.isNone(item) && skipped++ === 0) firstSkipped = excerpt(text)
      return item
    })
    const itemsOf = (page: JsonArray.JsonArray) => {
      const isOut = isExcluded(page)
      return Stream.paginate(
        0,
        Effect.fnUntraced(function*(start: number) {
          const batch: Array<A> = []
          let index = start
          let length = 0
          while (index < page.length && index < start + batchLimit && length < itemLimit) {
            const text = page.text(index++)
            length += text.length
            const item = yield* decoded(text)
            if (Option.isSome(item) && isNew(key(item.value)) && !isOut(item.value)) batch.push(item.value)
          }
          if (index === page.length) return [batch, Option.none<number>()] as const
          yield* Effect.yieldNow
          return [batch, Option.some(index)] as const
        })
      )
    }
    const warning = Effect.suspend(() =>
      skipped === 0
        ? Effect.void
        : connection.warn(`${name}: ${skipped} invalid ${skipped === 1 ? "entry" : "entries"} skipped: ${firstSkipped}`)
    )
    return Stream.ensuring(Stream.flatMap(pages, itemsOf), warning)
  })
