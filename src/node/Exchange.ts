/**
 * A request on a connection, and its response. The connection is free for another exchange after the turn in which the
 * response ended, because what has arrived with it could otherwise be taken for the next response.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Stream from "effect/Stream"
import * as Timers from "node:timers"
import type * as Direct from "../http/Direct.ts"
import { TimedOut } from "../http/TimedOut.ts"
import type { Connection } from "./Connection.ts"
import * as Framing from "./Framing.ts"
import { Malformed, malformed } from "./Malformed.ts"
import type { Pool, User } from "./Pool.ts"
import * as RequestBody from "./RequestBody.ts"
import * as Response from "./Response.ts"
import { Incomplete, ResponseBody } from "./ResponseBody.ts"
import * as ResponseHead from "./ResponseHead.ts"
import type { Slabs } from "./Slabs.ts"
import { Pieces, SlabStorage, type Storage, Whole } from "./Storage.ts"
import * as Timer from "./Timer.ts"

/** A request that is sent. */
export interface Sending {
  readonly request: HttpClientRequest.HttpClientRequest
  readonly url: URL
  readonly pool: Pool
  readonly head: string
  readonly body: RequestBody.RequestBody
  /** Memory for the body of the response, if that is expected to be large. */
  readonly slabs: Slabs | undefined
  readonly headersTimeout: Duration.Duration
  readonly idleTimeout: Duration.Duration
}

/** Receiver of the events of an exchange. */
export interface Listener {
  /** Runs when a streamed body of the request can be written. */
  readonly onStart: (connection: Connection) => void
  readonly onAnswer: (response: Direct.Response) => void
  /** Runs instead of `onAnswer`. */
  readonly onFailure: (cause: Error) => void
  /** Runs when the connection no longer serves the exchange. */
  readonly onOver: () => void
}

/** A request without a usable response. */
export class Unanswered extends Data.Error<{ readonly code: string; readonly message: string }> {}

const timedOut = (phase: "headers" | "body", after: Duration.Duration): TimedOut =>
  new TimedOut({ phase, after, message: `nothing came within ${Duration.format(after)}` })

/** Returns true for the beginning of a connection in HTTP/2: a frame of settings. */
const isHttp2 = (bytes: Uint8Array): boolean =>
  bytes.length >= 9 && bytes[0] === 0 && bytes[3] === 4 && bytes.subarray(5, 9).every((byte) => byte === 0)

const onlyHttp2 = () =>
  new Unanswered({ code: "ERR_HTTP2_UNSUPPORTED_PROTOCOL", message: "the server speaks only HTTP/2" })

// message of OpenSSL for a handshake that fails during a write
const handshakeError = /:SSL routines:[^:]*:([^:]+):/

/** Replaces the code of an error of a connection by that of its cause. */
const explain = (error: NodeJS.ErrnoException): Error => {
  const [, handshake] = error.code === "EPROTO" ? handshakeError.exec(error.message) ?? [] : []
  const code = handshake === undefined ? error.code : `ERR_SSL_${handshake.toUpperCase().replaceAll(/\W/g, "_")}`
  if (code?.endsWith("ALERT_NO_APPLICATION_PROTOCOL") === true) return onlyHttp2()
  return handshake === undefined || code === undefined ? error : new Unanswered({ code, message: handshake })
}

// maximum number of responses that are only for information
const mostInterim = 100

// maximum size of a body that is read as one piece, in bytes
const smallBody = 64 * 1024

/** A response whose head has arrived. */
interface Received {
  readonly head: ResponseHead.ResponseHead
  readonly framing: Framing.Framing
  readonly body: ResponseBody
}

export class Exchange implements User {
  readonly #sending: Sending
  readonly #listener: Listener
  readonly #heads = new ResponseHead.Reader()
  #connection: Connection | undefined
  #received: Received | undefined
  #interim = 0
  #stopWaiting = () => {}
  #isSent = false
  #isBegun = false
  #mayRepeat: boolean
  #isAnswered = false
  /** True after the last byte of the response. */
  #isComplete = false
  /** True if nothing came after the response. */
  #isExact = true
  isOver = false

  constructor(sending: Sending, listener: Listener) {
    const { body: { content }, request: { method } } = sending
    this.#sending = sending
    this.#listener = listener
    this.#mayRepeat = (method === "GET" || method === "HEAD") && !Stream.isStream(content)
  }

  /** Sends the request, when there is a connection. */
  begin(): void {
    const { body: { content }, headersTimeout, pool } = this.#sending
    pool.use(this)
    if (this.#connection !== undefined || Stream.isStream(content)) return
    this.#stopWaiting = Timer.start(Duration.toMillis(headersTimeout), () => this.late())
  }
  start(connection: Connection): void {
    this.#stopWaiting()
    this.#connection = connection
    const { body: { content }, head, headersTimeout } = this.#sending
    if (Stream.isStream(content)) return this.#listener.onStart(connection)
    this.#isSent = true
    connection.expect(Duration.toMillis(headersTimeout))
    RequestBody.writeAll(connection.socket, head, content)
  }
  /** Records that a streamed body has been sent. */
  sent(): void {
    this.#isSent = true
  }
  /** Ends the exchange, and closes its connection. */
  abort(): void {
    this.#mayRepeat = false
    this.close(undefined)
    this.#connection?.destroy()
  }

  read(bytes: Buffer): boolean {
    if (this.#isComplete) this.#isExact = false
    if (this.#isComplete || this.isOver) return true
    this.#isBegun = true
    const at = this.#received === undefined ? this.#readHeads(bytes) : 0
    const received = this.#received
    if (received === undefined) return true
    this.#readBody(received, at === 0 ? bytes : bytes.subarray(at))
    if (this.#isComplete || this.isOver) return true
    this.#answer()
    return !received.body.isFull
  }
  memory(): Buffer | undefined {
    const received = this.#received
    return this.#isComplete ? undefined : received?.body.memory(received.framing.left)
  }
  end(): void {
    if (this.#received?.framing.isUntilEnd === true) this.#complete(false)
    else this.#connection?.destroy()
  }
  late(): void {
    if (this.#received === undefined) this.#fail(timedOut("headers", this.#sending.headersTimeout))
    else this.#received.body.late()
  }
  close(error: NodeJS.ErrnoException | undefined): void {
    if (this.isOver || this.#isComplete) return
    if (this.#isStale(error)) {
      this.#mayRepeat = false
      return this.#sending.pool.replace(this)
    }
    const message = "the connection was closed in the middle"
    this.#fail(error === undefined ? new Incomplete({ code: "ECONNRESET", message }) : explain(error))
  }

  /** Returns true if the request may be repeated: it was sent on a kept connection, which was closed instead. */
  #isStale(error: NodeJS.ErrnoException | undefined): boolean {
    return this.#mayRepeat && this.#connection?.isReused === true && !this.#isBegun &&
      (error === undefined || error.code === "ECONNRESET" || error.code === "EPIPE")
  }
  #fail(cause: Error): void {
    if (this.isOver) return
    this.isOver = true
    this.#stopWaiting()
    this.#connection?.expectNothing()
    this.#connection?.destroy()
    this.#listener.onOver()
    if (this.#isAnswered) this.#received?.body.end(cause)
    else this.#listener.onFailure(cause)
  }

  /** Reads heads until that of the response. Returns the index of what follows it. */
  #readHeads(bytes: Buffer): number {
    let at = 0
    while (at < bytes.length && this.#received === undefined && !this.isOver) {
      const head = this.#heads.read(bytes, at)
      at = this.#heads.end
      if (head instanceof Malformed) this.#fail(isHttp2(bytes) ? onlyHttp2() : head)
      else if (head !== undefined) this.#receiveHead(head)
    }
    return at
  }
  #receiveHead(head: ResponseHead.ResponseHead): void {
    const { idleTimeout, request: { method } } = this.#sending
    const connection = this.#connection
    if (head.status === 101) {
      this.#fail(new Unanswered({ code: "ERR_HTTP_UPGRADE", message: "the server changes to another protocol" }))
    } else if (head.status >= 200 && connection !== undefined) {
      connection.expectNothing()
      const hasBody = method !== "HEAD" && head.status !== 204 && head.status !== 304 && head.length !== 0
      const idle = { limit: Duration.toMillis(idleTimeout), late: () => timedOut("body", idleTimeout) }
      this.#received = {
        head,
        framing: hasBody ? Framing.make(head.length, head.isChunked) : Framing.make(0, false),
        body: new ResponseBody(connection, hasBody ? this.#storageFor(head) : undefined, idle)
      }
    } else if (++this.#interim > mostInterim) {
      this.#fail(malformed("HPE_HEADER_OVERFLOW", "too many responses are only for information"))
    }
  }
  #storageFor({ length, status }: ResponseHead.ResponseHead): Storage {
    if (length === undefined) return new Pieces()
    if (length <= smallBody) return new Whole(length)
    const { slabs } = this.#sending
    return slabs !== undefined && (status === 200 || status === 206) ? new SlabStorage(slabs) : new Pieces()
  }
  #readBody({ body, framing }: Received, bytes: Buffer): void {
    const used = framing.read(bytes, body)
    if (typeof used !== "number") this.#fail(used)
    else if (framing.isOver) this.#complete(used === bytes.length)
  }
  /** Reports the response. */
  #answer(): void {
    const received = this.#received
    if (this.#isAnswered || received === undefined) return
    this.#isAnswered = true
    const { request, url } = this.#sending
    this.#listener.onAnswer(
      Response.make(request, url.href, received.head, this.#connection?.remoteAddress, received.body)
    )
  }
  #complete(isExact: boolean): void {
    this.#isComplete = true
    this.#isExact = isExact
    this.#connection?.expectNothing()
    Timers.setImmediate(this.#release)
  }
  /** Frees the connection, and ends the response. */
  readonly #release = (): void => {
    const { body, framing, head } = this.#received ?? {}
    const connection = this.#connection
    if (connection === undefined || body === undefined) return
    this.isOver = true
    // a connection of TLS may bring the rest of a body in a pause, and keep back what comes after it
    const isFree = !connection.isPaused && !connection.socket.destroyed
    if (isFree && this.#isExact && this.#isSent && framing?.isUntilEnd === false) {
      this.#sending.pool.keep(connection, head?.kept ?? 0)
    } else connection.destroy()
    this.#listener.onOver()
    body.end("complete")
    this.#answer()
  }
}
