/**
 * The JSON documents that several verbs print.
 */
import * as Schema from "effect/Schema"

/** Schema of the result of a deletion: the reference of the deleted tag, manifest or blob. */
export const Removed = Schema.Struct({ removed: Schema.String })
