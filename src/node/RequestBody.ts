/**
 * The body of a request, in the form in which `node:http` sends it: as bytes, if it is in memory, or as a stream.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as HttpBody from "effect/http/HttpBody"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Stream from "effect/Stream"
import type * as Http from "node:http"

/** A body, with the headers that determine its end, names and values in turn. */
export interface RequestBody {
  readonly content: Uint8Array | Stream.Stream<Uint8Array, unknown> | undefined
  readonly length: number | undefined
  readonly headers: ReadonlyArray<string>
}

/** A streamed body has another length than its headers say. */
class WrongLength extends Data.Error<{ readonly code: "ERR_HTTP_CONTENT_LENGTH_MISMATCH"; readonly message: string }> {}

const none: RequestBody = { content: undefined, length: 0, headers: [] }
const empty: RequestBody = { ...none, headers: ["content-length", "0"] }

const ofBytes = (content: Uint8Array): RequestBody => ({
  content,
  length: content.length,
  headers: ["content-length", `${content.length}`]
})

const ofStream = ({ contentLength, stream }: HttpBody.Stream): RequestBody => ({
  content: stream,
  length: contentLength,
  headers: contentLength === undefined ? ["transfer-encoding", "chunked"] : ["content-length", `${contentLength}`]
})

/** Returns the body of a request, unless it has to be encoded first. */
export const make = (
  { body, method }: HttpClientRequest.HttpClientRequest
): RequestBody | HttpBody.FormData | HttpBody.Raw => {
  switch (body._tag) {
    case "Empty":
      return method === "POST" || method === "PUT" || method === "PATCH" ? empty : none
    case "Uint8Array":
      return ofBytes(body.body)
    case "Stream":
      return ofStream(body)
    default:
      return body
  }
}

/** Encodes a form, or any other body of `fetch`. */
export const encode = (body: HttpBody.FormData | HttpBody.Raw): Effect.Effect<RequestBody, unknown> =>
  Effect.tryPromise(() => {
    const isForm = body._tag === "FormData"
    // any other value fails
    const encoded = new Response((isForm ? body.formData : body.body) as FormData)
    const type = isForm ? ["content-type", encoded.headers.get("content-type") ?? ""] : []
    return encoded.arrayBuffer().then((buffer): RequestBody => {
      const bytes = ofBytes(new Uint8Array(buffer))
      return { ...bytes, headers: [...bytes.headers, ...type] }
    })
  })

/**
 * Writes a streamed body, and ends the request. A piece has left before the next is read, so that its memory may be
 * used again. If the stream fails, its failure is returned after the pieces before it have left, because a registry
 * keeps those of an upload.
 */
export const write = (
  request: Http.ClientRequest,
  stream: Stream.Stream<Uint8Array, unknown>,
  length: number | undefined
): Effect.Effect<void, unknown> =>
  Effect.suspend(() => {
    let sent = 0
    let unsent = 0
    // the piece that completes the body is sent after the end of the stream, which may still fail
    let last: Uint8Array | undefined
    let onSent: () => void = () => {}
    const written = () => {
      if (--unsent === 0) onSent()
    }
    const flushed = Effect.callback<void>((resume) => {
      if (unsent === 0 || request.destroyed) return resume(Effect.void)
      const stop = () => request.off("close", onSent)
      onSent = () => {
        stop()
        resume(Effect.void)
      }
      request.once("close", onSent)
      return Effect.sync(stop)
    })
    const wrong = (actual: string) =>
      new WrongLength({
        code: "ERR_HTTP_CONTENT_LENGTH_MISMATCH",
        message: `the body was announced with ${length} bytes, and has ${actual}`
      })
    const send = (pieces: ReadonlyArray<Uint8Array>): Effect.Effect<void, unknown> => {
      for (const piece of pieces) {
        // an empty piece would end a chunked body
        if (piece.length === 0) continue
        sent += piece.length
        if (length !== undefined && sent > length) return Effect.fail(wrong("more"))
        if (sent === length) {
          last = piece
          continue
        }
        unsent++
        request.write(piece, written)
      }
      return unsent === 0 ? Effect.void : flushed
    }
    return Effect.andThen(
      Effect.catch(Stream.runForEachArray(stream, send), (error) => Effect.andThen(flushed, Effect.fail(error))),
      Effect.suspend(() => {
        if (length !== undefined && sent !== length) return Effect.fail(wrong(`${sent}`))
        request.end(last)
        return Effect.void
      })
    )
  })
