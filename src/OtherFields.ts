/**
 * Fields of JSON documents that their schemas do not declare. They survive decoding and encoding, but types do not show
 * them: an index signature would accept every misspelled name.
 */
import * as Schema from "effect/Schema"

/** The rest of a struct that keeps them. */
export const kept = [Schema.Record(Schema.String, Schema.Unknown)] as const

/** Returns the fields of a document other than those of the struct. */
export const of = (declared: { readonly fields: object }, document: object): Readonly<Record<string, Schema.Json>> =>
  Object.fromEntries(
    Object.entries(document).filter(([name, value]) => value !== undefined && !Object.hasOwn(declared.fields, name))
  )
