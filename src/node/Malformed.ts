/**
 * The error of a response that is not HTTP/1.1.
 */
import * as Data from "effect/Data"

/** Kinds of errors, named as Node names them. */
export type Code =
  | "HPE_INVALID_CONSTANT"
  | "HPE_INVALID_HEADER_TOKEN"
  | "HPE_HEADER_OVERFLOW"
  | "HPE_INVALID_CONTENT_LENGTH"
  | "HPE_UNEXPECTED_CONTENT_LENGTH"
  | "HPE_INVALID_TRANSFER_ENCODING"
  | "HPE_INVALID_CHUNK_SIZE"
  | "HPE_STRICT"

/** A response is not valid. The message repeats nothing of it. */
export class Malformed extends Data.Error<{ readonly code: Code; readonly message: string }> {}

/** Creates the error. */
export const malformed = (code: Code, message: string): Malformed => new Malformed({ code, message })
