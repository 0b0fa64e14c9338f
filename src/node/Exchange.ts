/**
 * Connections for requests whose response is expected to have a large body.
 *
 * `node:http` gets an {@link Exchange} instead of the connection itself. It parses the head of the response. If that
 * announces a large body of a known length, the body is received directly from the connection; the parser sees none of
 * it, and the exchange ends with the body. Any other response goes through the parser as usual. In both cases the
 * connection is kept for another exchange afterwards.
 */
import * as Http from "node:http"
import * as Net from "node:net"
import { Duplex } from "node:stream"
import { idleTimeout, readers } from "./Agents.ts"
import * as LargeBody from "./LargeBody.ts"
import { type Idle, Incomplete, type ResponseBody, smallBody } from "./ResponseBody.ts"
import type { Slabs } from "./Slabs.ts"

/** Scheme of the agents of exchanges, though the connection below may be one of TLS. */
export const protocol = "http:"

const newline = 10

/** A connection as `node:http` sees it, for one request after another, until a response has a large body. */
export class Exchange extends Duplex {
  readonly connection: Net.Socket
  /** True if other exchanges have used the connection. */
  readonly isReused: boolean
  readonly slabs: Slabs
  readonly #keep: (connection: Net.Socket) => void
  #isAnswered = false
  #isOver = false
  #body: LargeBody.LargeBody | undefined

  constructor(
    connection: Net.Socket,
    isReused: boolean,
    slabs: Slabs,
    keep: (connection: Net.Socket) => void
  ) {
    super()
    this.connection = connection
    this.isReused = isReused
    this.slabs = slabs
    this.#keep = keep
    connection.on("error", this.#onError).on("end", this.#onEnd).on("close", this.#onClose)
    readers.set(connection, { read: this.#read, memory: () => undefined })
    connection.resume()
  }

  get remoteAddress(): string | undefined {
    return this.connection.remoteAddress
  }

  readonly #onError = (error: Error) => void this.destroy(error)
  readonly #onEnd = () => void this.push(null)
  readonly #onClose = () => void this.destroy()

  /** Passes bytes to the parser: the head line by line, because what follows it is not for the parser. */
  readonly #read = (bytes: Uint8Array): boolean => {
    let at = 0
    while (at < bytes.length && !this.#isOver) {
      const end = this.#isAnswered ? -1 : bytes.indexOf(newline, at)
      const next = end < 0 ? bytes.length : end + 1
      this.emit("data", bytes.subarray(at, next))
      at = next
      if (this.#body !== undefined) return at === bytes.length || this.#body.reader.read(bytes.subarray(at))
    }
    return true
  }

  /** Returns the body of a response if it is large. The parser gets no more bytes then. */
  answer(message: Http.IncomingMessage, idle: Idle, onEnd: () => void): ResponseBody | undefined {
    this.#isAnswered = true
    const { headers, httpVersion, statusCode } = message
    const length = Number(headers["content-length"] ?? NaN)
    const isWhole = (statusCode === 200 || statusCode === 206) && headers["transfer-encoding"] === undefined
    if (!isWhole || !(length > smallBody)) return undefined
    const isKept = httpVersion === "1.1" && !/\bclose\b/i.test(headers.connection ?? "")
    this.#body = LargeBody.make({
      connection: this.connection,
      slabs: this.slabs,
      length,
      idle,
      onComplete: (isExact) => {
        onEnd()
        // only after all that has arrived with the body, because that would be taken for the next response
        setImmediate(() => {
          if (isKept && isExact) this.leave()
          this.destroy()
        })
      }
    })
    readers.set(this.connection, this.#body.reader)
    // the parser does not see the end of the message
    message.on("error", () => {})
    this.once("close", () => {
      onEnd()
      this.#body?.fail(new Incomplete({ code: "ECONNRESET", message: "the connection was closed in the middle" }))
    })
    return this.#body
  }

  /** Keeps the connection for another exchange. */
  leave(): void {
    const { connection } = this
    if (this.#isOver || connection.destroyed) return
    this.#isOver = true
    connection.off("error", this.#onError).off("end", this.#onEnd).off("close", this.#onClose)
    this.#keep(connection)
  }

  override _read(): void {
    // its data are emitted as they arrive
  }
  override _write(chunk: Uint8Array, _encoding: string, callback: (error?: Error | null) => void): void {
    this.#isAnswered = false
    this.connection.write(chunk, callback)
  }
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.#isOver) {
      this.#isOver = true
      this.connection.destroy()
    }
    callback(error)
  }
  override pause(): this {
    if (this.#body === undefined && !this.#isOver) this.connection.pause()
    return super.pause()
  }
  override resume(): this {
    if (this.#body === undefined && !this.#isOver) this.connection.resume()
    return super.resume()
  }
  setKeepAlive(): this {
    return this
  }
  setNoDelay(): this {
    return this
  }
  setTimeout(): this {
    return this
  }
  ref(): this {
    return this
  }
  unref(): this {
    return this
  }
}

/** A connection that no exchange uses. */
interface Unused {
  readonly connection: Net.Socket
  /** Returns the connection for an exchange. */
  readonly wake: () => Net.Socket
}

/** Opens connections as another agent does, keeps those that are not in use, and gives them out as exchanges. */
class ExchangeAgent extends Http.Agent {
  readonly opener: Http.Agent
  readonly slabs: Slabs
  readonly #unused = new Map<string, Array<Unused>>()
  #isClosed = false

  constructor(opener: Http.Agent, options: Http.AgentOptions, slabs: Slabs) {
    // connections that are not in use are closed here, not by `node:http`
    super({ ...options, timeout: 0 })
    this.opener = opener
    this.slabs = slabs
  }
  override getName(options?: Http.ClientRequestArgs): string {
    return this.opener.getName(options)
  }
  override createConnection(
    options: Http.ClientRequestArgs,
    callback?: (error: Error | null, connection: Duplex) => void
  ): Duplex | null | undefined {
    const name = this.getName(options)
    const exchange = (connection: Duplex, isReused: boolean) =>
      connection instanceof Net.Socket
        ? new Exchange(connection, isReused, this.slabs, (connection) => this.#keep(name, connection))
        : connection
    const unused = this.#unused.get(name)?.pop()
    if (unused !== undefined) return exchange(unused.wake(), true)
    const opened = this.opener.createConnection(options, (error, connection) =>
      // an error comes without a connection
      callback?.(error, error === null ? exchange(connection, false) : connection))
    return opened instanceof Net.Socket ? exchange(opened, false) : opened
  }
  override keepSocketAlive(socket: Duplex): boolean {
    if (socket instanceof Exchange) socket.leave()
    return false
  }
  override destroy(): void {
    this.#isClosed = true
    super.destroy()
    for (const unused of this.#unused.values()) unused.forEach(({ connection }) => connection.destroy())
  }
  #keep(name: string, connection: Net.Socket): void {
    const unused = this.#unused.get(name) ?? []
    this.#unused.set(name, unused)
    const close = () => void connection.destroy()
    const remove = () => {
      const at = unused.findIndex((each) => each.connection === connection)
      if (at >= 0) unused.splice(at, 1)
    }
    const wake = () => connection.off("timeout", close).off("error", close).off("close", remove).setTimeout(0).ref()
    if (this.#isClosed) return close()
    unused.push({ connection, wake })
    connection.resume().unref().setTimeout(idleTimeout).on("timeout", close).on("error", close).on("close", remove)
    // what arrives could be taken for the next response
    readers.set(connection, { read: () => !connection.destroy(), memory: () => undefined })
  }
}

/** Creates an agent of exchanges, whose connections another agent opens. */
export const agent = (opener: Http.Agent, options: Http.AgentOptions, slabs: Slabs): Http.Agent =>
  new ExchangeAgent(opener, options, slabs)
