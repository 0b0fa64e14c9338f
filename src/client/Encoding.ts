/**
 * Content codings of bodies (RFC 9110, 8.4). Every request asks for unencoded bodies, but some servers encode them
 * nevertheless, and others (mod_mime) label an unencoded gzip layer as encoded.
 */
import * as Effect from "effect/Effect"
import type { Headers } from "effect/http/Headers"
import * as Stream from "effect/Stream"
import * as RegistryError from "../RegistryError.ts"
import { excerpt } from "../Text.ts"

/** Returns the coding with which a body is labelled, or `undefined` if it has no label. */
export const labelOf = (headers: Headers): string | undefined => {
  const label = (headers["content-encoding"] ?? "").trim().toLowerCase()
  return label === "" || label === "identity" ? undefined : label
}

const formats: Readonly<Record<string, "gzip" | "deflate">> = { gzip: "gzip", "x-gzip": "gzip", deflate: "deflate" }

/** Decodes a body while it arrives. Fails with `UnexpectedResponse` if it is not in that coding. */
export const decode = <E>(
  self: Stream.Stream<Uint8Array, E>,
  label: string,
  fail: (reason: RegistryError.Reason) => E
): Stream.Stream<Uint8Array, E> => {
  const unexpected = (problem: string) =>
    fail(new RegistryError.UnexpectedResponse({ detail: `the answer is encoded as ${excerpt(label)}, ${problem}` }))
  const format = Object.hasOwn(formats, label) ? formats[label] : undefined
  if (format === undefined) return Stream.fail(unexpected("which is not known here"))
  return Stream.unwrap(Effect.gen(function*() {
    let failure: E | undefined
    const readable = yield* Stream.toReadableStreamEffect(Stream.tapError(self, (error) =>
      Effect.sync(() => {
        failure = error
      })))
    return Stream.fromReadableStream<Uint8Array, E>({
      // in the types of the platform, this stream does not accept the chunks that it reads
      evaluate: () =>
        readable.pipeThrough(new DecompressionStream(format) as ReadableWritablePair<Uint8Array, Uint8Array>),
      onError: () => failure ?? unexpected("and cannot be decoded")
    })
  }))
}

/** Returns true if a body begins as a JSON or XML document, and therefore is not encoded, in spite of its label. */
const isDocument = (bytes: Uint8Array): boolean => /^\s*[{[<]/.test(new TextDecoder().decode(bytes.subarray(0, 100)))

/** Decodes a document, if it is labelled and encoded. Fails with `ContentTooLarge` if it exceeds `limit` bytes. */
export const document = Effect.fnUntraced(function*(
  { bytes, headers }: { readonly bytes: Uint8Array; readonly headers: Headers },
  limit: number,
  fail: (reason: RegistryError.Reason) => RegistryError.RegistryError
): Effect.fn.Return<Uint8Array, RegistryError.RegistryError> {
  const label = labelOf(headers)
  if (label === undefined || bytes.length === 0 || isDocument(bytes)) return bytes
  let size = 0
  const decoded = decode(Stream.succeed(bytes), label, fail)
  const read = yield* Stream.mkUint8Array(Stream.takeUntil(decoded, ({ length }) => (size += length) > limit))
  return size > limit ? yield* fail(new RegistryError.ContentTooLarge({ limit })) : read
})
