/**
 * A TCP proxy before a registry that breaks connections. It knows only the number of bytes that pass.
 */
import { Duration, Effect, Random, Schedule } from "effect"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import { ResumptionThreshold } from "effect-oci/Upload"
import * as Net from "node:net"
import { LargeSize } from "../../src/http/ResponseBody.ts"

/** A fault of one connection, after a number of bytes have passed in one direction. */
export interface Fault {
  /**
   * Broken off; ended, as if that were all; no longer carried; carried with another bit in the first byte from there on
   * that is no text, and so of a blob.
   */
  readonly kind: "cut" | "end" | "stall" | "flip"
  readonly direction: "there" | "back"
  readonly after: number
}

/**
 * The fate of a connection: nothing, a fault, or an answer to its first request that does not come from the registry.
 */
export type Fate = Fault | 429 | 503 | undefined

const KiB = 1024

/** Bytes in which no part is like another. */
export const noise = (size: number): Uint8Array => {
  const words = new Uint32Array(Math.ceil(size / 4))
  let word = size
  for (let i = 0; i < words.length; i++) words[i] = word = (Math.imul(word, 1664525) + 1013904223) >>> 0
  return new Uint8Array(words.buffer, 0, size)
}

export const pick = <const A extends readonly [unknown, ...ReadonlyArray<unknown>]>(
  options: A
): Effect.Effect<A[number]> =>
  Effect.map(Random.nextIntBetween(0, options.length - 1), (index) => options[index] ?? options[0])

const someFate: Effect.Effect<Fate> = Effect.gen(function*() {
  const kind = yield* pick(["cut", "end", "stall", "flip", "none", 429, 503])
  if (typeof kind === "number") return kind
  if (kind === "none") return undefined
  const direction = yield* pick(["there", "back"])
  const largest = yield* pick([100, 1000, 10 * KiB, 300 * KiB])
  return { kind, direction, after: yield* Random.nextIntBetween(0, largest) }
})

/** Up to a dozen connections that fare badly. */
export const someFates: Effect.Effect<ReadonlyArray<Fate>> = Effect.flatMap(
  Random.nextIntBetween(1, 12),
  (count) => Effect.replicateEffect(someFate, count)
)

const reasons = {
  cut: ["Transport"],
  end: ["Transport"],
  stall: ["Timeout"],
  flip: ["DigestMismatch", "DigestInvalid"]
}

/** Failures that such fates may cause. */
export const reasonsOf = (fates: ReadonlyArray<Fate>): ReadonlyArray<string> =>
  fates.flatMap((fate) => {
    if (fate === undefined) return []
    return typeof fate === "object" ? reasons[fate.kind] : [fate === 429 ? "TooManyRequests" : "UnexpectedResponse"]
  })

/** Lowers the sizes of large blobs and all timeouts. */
export const hasty = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  effect.pipe(
    Effect.provideService(HttpRegistry.RetrySchedule, Schedule.upTo(Schedule.spaced("1 millis"), { times: 4 })),
    Effect.provideService(HttpRegistry.HeadersTimeout, Duration.seconds(1)),
    Effect.provideService(HttpRegistry.IdleTimeout, Duration.seconds(1)),
    Effect.provideService(HttpRegistry.CommitTimeout, Duration.seconds(1)),
    Effect.provideService(ResumptionThreshold, 80 * KiB),
    Effect.provideService(LargeSize, 80 * KiB)
  )

/** So many trials, each with fates of its own. */
export const seeds: ReadonlyArray<number> = Array.from(
  { length: process.env["EFFECT_OCI_LONG"] === undefined ? 50 : 1000 },
  (_, index) => index + 1
)

const refuse = (near: Net.Socket, status: number) => {
  near.once(
    "data",
    () => near.end(`HTTP/1.1 ${status} Not Now\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`)
  )
}

const carry = (
  near: Net.Socket,
  host: string,
  fault: Fault | undefined,
  count: (direction: Fault["direction"], bytes: number) => void
) => {
  const [address = "", port] = host.split(":")
  const far = Net.connect({ host: address, port: Number(port), allowHalfOpen: true })
  const both = [near, far]
  const pass = (from: Net.Socket, to: Net.Socket, direction: Fault["direction"]) => {
    let passed = 0
    let isStalled = false
    let isFlipped = false
    from.on("data", (chunk: Buffer) => {
      if (isStalled) return
      const left = fault?.direction === direction ? fault.after - passed : Infinity
      passed += chunk.length
      count(direction, chunk.length)
      if (fault?.kind === "flip" && left < chunk.length && !isFlipped) {
        const at = chunk.findIndex((byte, index) => index >= left && byte > 127)
        isFlipped = at >= 0
        if (isFlipped) chunk[at] = (chunk[at] ?? 0) ^ 1
      }
      if (fault === undefined || fault.kind === "flip" || left < 0 || left >= chunk.length) {
        if (!to.write(chunk)) from.pause()
        return
      }
      isStalled = true
      to.write(chunk.subarray(0, left), () => {
        if (fault.kind === "cut") both.forEach((socket) => socket.resetAndDestroy())
        if (fault.kind === "end") both.forEach((socket) => socket.destroySoon())
      })
    })
    to.on("drain", () => from.resume())
    from.on("end", () => isStalled || to.end())
    from.on("error", () => to.destroy())
    from.on("close", () => to.destroySoon())
  }
  near.setNoDelay()
  far.setNoDelay()
  pass(near, far, "there")
  pass(far, near, "back")
}

/**
 * Starts a proxy between a client and a registry until the scope closes. The fates apply to the connections in the
 * order in which they are opened; later connections have none.
 */
export const make = Effect.fnUntraced(function*(host: string, fates: ReadonlyArray<Fate>) {
  const queue = fates.values()
  const moved = { there: 0, back: 0 }
  const server = yield* Effect.acquireRelease(
    Effect.callback<Net.Server>((resume) => {
      const server = Net.createServer({ allowHalfOpen: true }, (near) => {
        near.on("error", () => near.destroy())
        const fate = queue.next().value
        if (typeof fate === "number") refuse(near, fate)
        else {
          carry(near, host, fate, (direction, bytes) => {
            moved[direction] += bytes
          })
        }
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  )
  const address = server.address()
  return {
    host: `127.0.0.1:${typeof address === "object" ? address?.port : ""}`,
    /** How many bytes came from either side. */
    moved: { there: () => moved.there, back: () => moved.back }
  }
})
