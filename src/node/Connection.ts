/**
 * A connection to a host. It has one owner at a time, which gets all that happens to it: the exchange of a request and
 * its response. Without an owner it is kept for the next exchange. It is then closed if something arrives, because that
 * could be taken for the next response.
 *
 * A connection is read into the memory of its owner, or into a buffer that all connections share.
 */
import type * as Net from "node:net"
import * as Timer from "./Timer.ts"

/** User of a connection. */
export interface Owner {
  /** Receives bytes, which are valid until it returns, unless they are in its own memory. Returns false to pause. */
  readonly read: (bytes: Buffer) => boolean
  /** Returns the memory for the next bytes, or `undefined` for the shared buffer. */
  readonly memory: () => Buffer | undefined
  /** Runs when the other side has sent all. */
  readonly end: () => void
  /** Runs when the connection is closed. */
  readonly close: (error: Error | undefined) => void
  /** Runs when the time that the connection was given has passed. */
  readonly late: () => void
}

// maximum time that Node measures, in milliseconds
const longest = 2 ** 31 - 1

export class Connection {
  readonly socket: Net.Socket
  owner: Owner | undefined
  /** True if another exchange has used the connection. */
  isReused = false
  #remoteAddress: string | undefined
  #error: Error | undefined
  /** True if bytes may wait to be read. */
  isPaused = false
  #deadline = Infinity
  #stopTimer = () => {}
  #timerEnd = Infinity

  /** Opens a connection. `onClose` runs after its owner got to know that it is closed. */
  constructor(
    buffer: Buffer,
    open: (onread: Net.OnReadOpts) => Net.Socket,
    onClose: (connection: Connection) => void
  ) {
    this.socket = open({
      buffer: () => this.owner?.memory() ?? buffer,
      callback: (size, memory) => this.#read(memory.subarray(0, size) as Buffer)
    })
    this.socket
      // emitted only by a runtime that ignores `onread`
      .on("data", (bytes: Buffer) => this.#read(bytes) || this.socket.pause())
      .on("error", (error) => {
        this.#error = error
      })
      .on("end", () => this.owner === undefined ? this.destroy() : this.owner.end())
      .on("close", () => {
        const { owner } = this
        this.owner = undefined
        this.expectNothing()
        this.#stopTimer()
        owner?.close(this.#error)
        onClose(this)
      })
  }

  get remoteAddress(): string | undefined {
    return this.#remoteAddress ??= this.socket.remoteAddress
  }
  #read(bytes: Buffer): boolean {
    if (this.owner === undefined) this.destroy()
    else if (!this.owner.read(bytes)) this.isPaused = true
    return !this.isPaused
  }
  /** Continues to read after a pause. */
  resume(): void {
    if (!this.isPaused) return
    this.isPaused = false
    this.socket.resume()
  }
  destroy(error?: Error): void {
    this.socket.destroy(error)
  }

  /** Gives the connection some time, in milliseconds, instead of that which it was given before. */
  expect(within: number): void {
    this.#deadline = performance.now() + within
    if (this.#deadline < this.#timerEnd) this.#startTimer(within)
  }
  /** Gives the connection any time. */
  expectNothing(): void {
    this.#deadline = Infinity
  }
  // one timer serves many requests: when it ends early, it starts again
  #startTimer(within: number): void {
    this.#stopTimer()
    this.#stopTimer = Timer.start(Math.min(within, longest), this.#onTimer)
    this.#timerEnd = performance.now() + within
  }
  readonly #onTimer = (): void => {
    this.#timerEnd = Infinity
    const left = this.#deadline - performance.now()
    if (left === Infinity) return
    if (left > 1) return this.#startTimer(left)
    this.#deadline = Infinity
    if (this.owner === undefined) this.destroy()
    else this.owner.late()
  }
}
