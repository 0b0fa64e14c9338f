/**
 * Content codings of bodies (RFC 9110, 8.4). Every request asks for bodies as they are. Some servers encode them all
 * the same, and some label a gzip layer as encoded that is not (mod_mime).
 */
import * as Effect from "effect/Effect"
import type { Headers } from "effect/http/Headers"
import * as Stream from "effect/Stream"
import * as RegistryError from "../RegistryError.ts"
import { excerpt } from "../Text.ts"

/** Returns the coding that a body is labelled with, if there is one. */
export const labelOf = (headers: Headers): string | undefined => {
  const label = (headers["content-encoding"] ?? "").trim().toLowerCase()
  return label === "" || label === "identity" ? undefined : label
}

const formats: Readonly<Record<string, "gzip" | "deflate">> = { gzip: "gzip", "x-gzip": "gzip", deflate: "deflate" }

/** Decodes a body, as it comes. Fails with `UnexpectedResponse` if it is not encoded like this. */
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
      // as the platform types it, it does not take what it reads
      evaluate: () =>
        readable.pipeThrough(new DecompressionStream(format) as ReadableWritablePair<Uint8Array, Uint8Array>),
      onError: () => failure ?? unexpected("and cannot be decoded")
    })
  }))
}

/** Returns true if a body is a document already, whatever its label says. */
const isDocument = (bytes: Uint8Array): boolean => /^\s*[{[<]/.test(new TextDecoder().decode(bytes.subarray(0, 100)))

/** Decodes a document of at most `limit` bytes, if it is labelled and encoded. */
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
