/**
 * The body of a request, in the form in which it is sent: as bytes, if it is in memory, or as a stream.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as HttpBody from "effect/http/HttpBody"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Stream from "effect/Stream"
import type * as Net from "node:net"

/** A body, with the header that determines its end. */
export interface RequestBody {
  readonly content: Uint8Array | Stream.Stream<Uint8Array, unknown> | undefined
  readonly length: number | undefined
  /** Line of the header, or nothing if there is no body. */
  readonly framing: string
  /** Media type that it was encoded with. */
  readonly type: string | undefined
}

/** A streamed body has another length than its headers say. */
class WrongLength extends Data.Error<{ readonly code: "ERR_HTTP_CONTENT_LENGTH_MISMATCH"; readonly message: string }> {}

const none: RequestBody = { content: undefined, length: 0, framing: "", type: undefined }
const empty: RequestBody = { ...none, framing: "content-length: 0\r\n" }

const ofBytes = (content: Uint8Array, type?: string): RequestBody => ({
  content,
  length: content.length,
  framing: `content-length: ${content.length}\r\n`,
  type
})

const ofStream = ({ contentLength, stream }: HttpBody.Stream): RequestBody => ({
  content: stream,
  length: contentLength,
  framing: contentLength === undefined ? "transfer-encoding: chunked\r\n" : `content-length: ${contentLength}\r\n`,
  type: undefined
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
    const type = isForm ? encoded.headers.get("content-type") ?? "" : undefined
    return encoded.arrayBuffer().then((buffer) => ofBytes(new Uint8Array(buffer), type))
  })

// maximum size of a body that is copied, so that it leaves in one piece with the head, in bytes
const smallBody = 8 * 1024

/** Writes a request whose body is in memory. */
export const writeAll = (socket: Net.Socket, head: string, content: Uint8Array | undefined): void => {
  if (content === undefined || content.length === 0) return void socket.write(head, "latin1")
  if (content.length <= smallBody) {
    const bytes = Buffer.allocUnsafe(head.length + content.length)
    bytes.write(head, "latin1")
    bytes.set(content, head.length)
    return void socket.write(bytes)
  }
  socket.cork()
  socket.write(head, "latin1")
  socket.write(content)
  socket.uncork()
}

/** A connection to which a body is written. */
export interface Target {
  readonly socket: Net.Socket
  /** The head of the request, which is sent with the first piece. */
  readonly head: string
  /** Runs when all has been written. */
  readonly onEnd: () => void
}

/**
 * Writes a request with a streamed body. A piece has left before the next is read, so that its memory may be used
 * again. If the stream fails, its failure is returned after the pieces before it have left, because a registry keeps
 * those of an upload.
 */
export const write = (
  { head, onEnd, socket }: Target,
  stream: Stream.Stream<Uint8Array, unknown>,
  length: number | undefined
): Effect.Effect<void, unknown> =>
  Effect.suspend(() => {
    let before = head
    let sent = 0
    let unsent = 0
    // the piece that completes the body is sent after the end of the stream, which may still fail
    let last: Uint8Array | undefined
    let onSent: () => void = () => {}
    // runs also if the connection is closed
    const written = () => {
      if (--unsent === 0) onSent()
    }
    const flushed = Effect.callback<void>((resume) => {
      if (unsent === 0) return resume(Effect.void)
      onSent = () => resume(Effect.void)
    })
    const wrong = (actual: string) =>
      new WrongLength({
        code: "ERR_HTTP_CONTENT_LENGTH_MISMATCH",
        message: `the body was announced with ${length} bytes, and has ${actual}`
      })
    const put = (piece: Uint8Array | undefined) => {
      socket.cork()
      if (length === undefined && piece !== undefined) before += `${piece.length.toString(16)}\r\n`
      if (before !== "") socket.write(before, "latin1")
      before = length === undefined ? "\r\n" : ""
      if (piece !== undefined) {
        unsent++
        socket.write(piece, written)
      }
      socket.uncork()
    }
    const send = (pieces: ReadonlyArray<Uint8Array>): Effect.Effect<void, unknown> => {
      for (const piece of pieces) {
        // an empty piece would end a chunked body
        if (piece.length === 0) continue
        sent += piece.length
        if (length !== undefined && sent > length) return Effect.fail(wrong("more"))
        if (sent === length) last = piece
        else put(piece)
      }
      return unsent === 0 ? Effect.void : flushed
    }
    return Effect.andThen(
      Effect.catch(Stream.runForEachArray(stream, send), (error) => Effect.andThen(flushed, Effect.fail(error))),
      Effect.suspend(() => {
        if (length !== undefined && sent !== length) return Effect.fail(wrong(`${sent}`))
        if (length === undefined) {
          before += "0\r\n\r\n"
          socket.write(before, "latin1")
        } else put(last)
        onEnd()
        return Effect.void
      })
    )
  })
