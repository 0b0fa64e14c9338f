import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Layer, Option, Scope, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Descriptor from "effect-oci/Descriptor"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Namespace from "effect-oci/Namespace"
import * as NodeHttp from "effect-oci/NodeHttp"
import type { Registry } from "effect-oci/Registry"
import * as Resolver from "effect-oci/Resolver"
import { ResumptionThreshold } from "effect-oci/Upload"
import { HttpClient, type HttpClientError, HttpClientRequest, type HttpClientResponse } from "effect/http"
import * as Crypto from "node:crypto"
import type * as Http from "node:http"
import * as Https from "node:https"
import * as Net from "node:net"
import * as ChunkMemory from "../../src/ChunkMemory.ts"
import { ExpectedSize } from "../../src/http/ResponseBody.ts"
import { TimedOut } from "../../src/http/TimedOut.ts"
import * as Slabs from "../../src/node/Slabs.ts"
import * as certificates from "../utils/certificates.ts"
import { repository } from "../utils/images.ts"
import { listen, listening } from "../utils/ScriptedServer.ts"
import { serve } from "../utils/Served.ts"

const MiB = 1024 * 1024
const ok = "HTTP/1.1 200 OK\r\n"
const content = Crypto.randomBytes(3 * MiB + 11)
const hash = (bytes: Uint8Array) => Crypto.createHash("sha256").update(bytes).digest("hex")

/** Slabs that are overwritten as soon as they may be used again. */
const poisoned = {
  size: MiB / 4,
  capacity: 4,
  onUnused: (bytes: Uint8Array) => void bytes.fill(0xff)
}

/** A client whose connections are closed with the scope. */
const makeClient = (options?: NodeHttp.Options) =>
  Effect.flatMap(
    Layer.build(NodeHttp.layer(options)),
    (context) => Effect.provide(HttpClient.HttpClient, context)
  ).pipe(Effect.provideService(Slabs.Settings, poisoned))

/** Sends a request that expects a large body. */
const send = <R>(
  client: HttpClient.HttpClient.With<HttpClientError.HttpClientError, R>,
  request: HttpClientRequest.HttpClientRequest
) => Effect.provideService(client.execute(request), ExpectedSize, Infinity)

const get = <R>(client: HttpClient.HttpClient.With<HttpClientError.HttpClientError, R>, url: string) =>
  send(client, HttpClientRequest.get(url))

const bytesOf = ({ stream }: HttpClientResponse.HttpClientResponse) =>
  Effect.map(Stream.runCollect(stream), (pieces) => Buffer.concat(pieces))

const causeOf = <A>(exit: Exit.Exit<A, HttpClientError.HttpClientError>): unknown => {
  if (Exit.isSuccess(exit)) return "success"
  const error = Cause.findErrorOption(exit.cause)
  return Option.isSome(error) ? error.value.reason.cause : exit.cause
}

const codeOf = <A>(effect: Effect.Effect<A, HttpClientError.HttpClientError>) =>
  Effect.map(Effect.exit(effect), (exit) => {
    const cause = causeOf(exit)
    return typeof cause === "object" && cause !== null && "code" in cause ? cause.code : cause
  })

/** A server that lets `answer` write to the connection for each request, and counts connections. */
const raw = Effect.fnUntraced(function*(answer: (head: string, socket: Net.Socket, request: number) => void) {
  let connections = 0
  let requests = 0
  const host = yield* listening(() =>
    Net.createServer((socket) => {
      connections++
      socket.on("error", () => socket.destroy())
      socket.on("data", (bytes) => answer(bytes.toString("latin1"), socket, ++requests))
    })
  )
  return { url: `http://${host}/`, connections: () => connections, requests: () => requests }
})

const announced = (length: number, more = "") => `${ok}content-length: ${length}\r\n${more}\r\n`

/** A server that sends as many bytes of the content as the path says. */
const served = (request: Http.IncomingMessage, response: Http.ServerResponse) => {
  const size = Number(request.url?.slice(1))
  response.writeHead(200, { "content-length": size })
  response.end(request.method === "HEAD" ? undefined : content.subarray(0, size))
}

// the connection of a large body is free after the turn in which the body ended
const freed = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))

const sizes = [70_000, MiB / 4 - 1, MiB / 4, MiB / 4 + 1, MiB, 2_000_000, content.length]

describe("a large body", () => {
  it.live("belongs to its reader, though its memory could be used again", () =>
    Effect.gen(function*() {
      const host = yield* listen(served)
      const client = yield* makeClient()
      const read = Effect.fnUntraced(function*(size: number) {
        const pieces = yield* Stream.runCollect((yield* get(client, `http://${host}/${size}`)).stream)
        yield* Effect.sleep("5 millis")
        assert.strictEqual(hash(Buffer.concat(pieces)), hash(content.subarray(0, size)), `${size}`)
      })
      yield* Effect.forEach([...sizes, ...sizes, ...sizes], read, { concurrency: 8 })
    }))

  it.live.each([false, true])(
    "is received into a few slabs if its reader gives the pieces back (TLS: %s)",
    (isSecure) =>
      Effect.gen(function*() {
        const total = 8 * content.length
        const handler = (_: Http.IncomingMessage, response: Http.ServerResponse) => {
          response.writeHead(200, { "content-length": total })
          for (let count = 0; count < 8; count++) response.write(content)
          response.end()
        }
        const tls = { cert: certificates.serverCertificate, key: certificates.serverKey }
        const host = yield* isSecure ? listening(() => Https.createServer(tls, handler)) : listen(handler)
        const client = yield* makeClient({ ca: [certificates.authority] })
        const { stream } = yield* get(client, `${isSecure ? "https" : "http"}://${host}/`)
        const memory = new Set<ArrayBufferLike>()
        const received = Crypto.createHash("sha256")
        let pieces = 0
        yield* ChunkMemory.reusing(stream).pipe(Stream.runForEach((piece) =>
          Effect.sync(() => {
            memory.add(piece.buffer)
            received.update(piece)
            // the reader is slower than the connection now and then
          }).pipe(Effect.andThen(++pieces % 8 === 0 ? Effect.sleep("2 millis") : Effect.void))
        ))
        const expected = Crypto.createHash("sha256")
        for (let count = 0; count < 8; count++) expected.update(content)
        assert.strictEqual(received.digest("hex"), expected.digest("hex"))
        assert.isBelow(memory.size, 12)
      })
  )

  it.live("is not received faster than it is read", () =>
    Effect.gen(function*() {
      let written = 0
      const { url } = yield* raw((_, socket) => {
        socket.write(announced(1024 * MiB))
        const more = (error?: Error | null) => {
          if (error !== undefined && error !== null) return
          written += content.length
          socket.write(content, more)
        }
        more()
      })
      const { stream } = yield* get(yield* makeClient(), url)
      const pull = yield* Stream.toPull(stream)
      yield* pull
      // what the system buffers is unknown, but much less than this
      yield* Effect.sleep("200 millis")
      assert.isBelow(written, 64 * MiB)
    }).pipe(Effect.scoped))

  it.live("is read as one piece of memory", () =>
    Effect.gen(function*() {
      const host = yield* listen(served)
      const response = yield* get(yield* makeClient(), `http://${host}/${content.length}`)
      assert.strictEqual(hash(new Uint8Array(yield* response.arrayBuffer)), hash(content))
    }))

  it.live("may begin with its head, or come much later", () =>
    Effect.gen(function*() {
      const { url } = yield* raw((head, socket) => {
        const whole = Buffer.concat([Buffer.from(announced(MiB)), content.subarray(0, MiB)])
        if (head.startsWith("GET /at-once")) return void socket.write(whole)
        socket.setNoDelay()
        let at = 0
        const next = () => {
          const size = at < 60 ? 1 : 200_000
          socket.write(whole.subarray(at, at + size))
          at += size
          if (at < whole.length) setImmediate(next)
        }
        next()
      })
      const client = yield* makeClient()
      for (const path of ["at-once", "in-pieces", "at-once"]) {
        assert.strictEqual(hash(yield* bytesOf(yield* get(client, url + path))), hash(content.subarray(0, MiB)), path)
        yield* freed
      }
    }))

  it.live("comes after any number of responses that are only for information", () =>
    Effect.gen(function*() {
      const { url } = yield* raw((_, socket) => {
        socket.write("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + announced(MiB))
        socket.write(content.subarray(0, MiB))
      })
      assert.strictEqual(hash(yield* bytesOf(yield* get(yield* makeClient(), url))), hash(content.subarray(0, MiB)))
    }))

  it.live("leaves its connection to the next request", () =>
    Effect.gen(function*() {
      const { connections, url } = yield* raw((head, socket) => {
        if (head.startsWith("GET /small")) return void socket.write(`${announced(5)}right`)
        if (head.startsWith("GET /none")) {
          return void socket.write("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno")
        }
        socket.write(announced(MiB))
        socket.write(content.subarray(0, MiB))
      })
      const client = yield* makeClient()
      for (const path of ["large", "small", "large", "none", "large"]) {
        const { length } = yield* bytesOf(yield* get(client, url + path))
        assert.strictEqual(length, path === "large" ? MiB : path === "small" ? 5 : 2)
        yield* freed
      }
      assert.strictEqual(connections(), 1)
    }))

  it.live.each<readonly [end: string, head: string]>([
    ["the server says so", announced(MiB, "connection: close\r\n")],
    ["the server speaks HTTP/1.0", announced(MiB).replace("1.1", "1.0")]
  ])("does not leave it if %s", ([, head]) =>
    Effect.gen(function*() {
      const { connections, url } = yield* raw((_, socket) => {
        socket.write(head)
        socket.write(content.subarray(0, MiB))
      })
      const client = yield* makeClient()
      for (let count = 0; count < 2; count++) {
        yield* bytesOf(yield* get(client, url))
        yield* freed
      }
      assert.strictEqual(connections(), 2)
    }))

  it.live.each(["at once", "later"])(
    "that is longer than announced ends the connection, if the rest comes %s",
    (when) =>
      Effect.gen(function*() {
        const closed = yield* Deferred.make<void>()
        const { connections, url } = yield* raw((head, socket) => {
          if (!head.startsWith("GET /split")) return void socket.write(`${announced(5)}right`)
          socket.once("close", () => Deferred.doneUnsafe(closed, Effect.void))
          const forged = Buffer.from(`${announced(5)}wrong`)
          const whole = Buffer.concat([Buffer.from(announced(MiB)), content.subarray(0, MiB)])
          if (when === "at once") return void socket.write(Buffer.concat([whole, forged]))
          socket.write(whole, () => void setTimeout(() => socket.write(forged), 20))
        })
        const client = yield* makeClient()
        const response = yield* get(client, `${url}split`)
        assert.strictEqual(hash(yield* bytesOf(response)), hash(content.subarray(0, MiB)))
        yield* Deferred.await(closed)
        yield* freed
        assert.strictEqual(`${yield* bytesOf(yield* get(client, url))}`, "right")
        assert.strictEqual(connections(), 2)
      })
  )

  it.live.each(["end", "destroy"] as const)(
    "that ends too early is an error, after what has arrived (%s)",
    (how) =>
      Effect.gen(function*() {
        const { url } = yield* raw((_, socket) => {
          socket.write(announced(content.length))
          socket.write(content.subarray(0, MiB), () => void setTimeout(() => socket[how](), 20))
        })
        const client = yield* makeClient()
        let received = 0
        const { stream } = yield* get(client, url)
        const code = yield* codeOf(Stream.runForEach(stream, ({ length }) =>
          Effect.sync(() => {
            received += length
          })))
        assert.strictEqual(code, "ECONNRESET")
        assert.strictEqual(received, MiB)
      })
  )

  it.live("that does not arrive in time fails, and its connection is closed", () =>
    Effect.gen(function*() {
      const closed = yield* Deferred.make<void>()
      const { url } = yield* raw((_, socket) => {
        socket.on("close", () => Deferred.doneUnsafe(closed, Effect.void))
        socket.write(announced(MiB))
        socket.write(content.subarray(0, 100_000))
      })
      const client = yield* makeClient()
      const exit = yield* get(client, url).pipe(
        Effect.flatMap(bytesOf),
        Effect.provideService(HttpRegistry.IdleTimeout, Duration.millis(50)),
        Effect.exit
      )
      const cause = causeOf(exit)
      assert.instanceOf(cause, TimedOut)
      assert.strictEqual(cause.phase, "body")
      yield* Deferred.await(closed)
    }))

  it.live.each(["interrupted", "not read to its end", "not read"] as const)(
    "closes its connection if it is %s",
    (how) =>
      Effect.gen(function*() {
        const closed = yield* Deferred.make<void>()
        const { url } = yield* raw((_, socket) => {
          socket.on("close", () => Deferred.doneUnsafe(closed, Effect.void))
          socket.write(announced(content.length))
          socket.write(content.subarray(0, 100_000))
        })
        const client = yield* makeClient()
        const scope = yield* Scope.make()
        const { stream } = yield* Scope.provide(get(HttpClient.withScope(client), url), scope)
        if (how === "interrupted") {
          const begun = yield* Deferred.make<void>()
          const reading = Stream.runForEach(stream, () => Deferred.succeed(begun, undefined))
          const fiber = yield* Effect.forkChild(reading)
          yield* Deferred.await(begun)
          yield* Fiber.interrupt(fiber)
        }
        if (how === "not read to its end") yield* Stream.runDrain(Stream.take(stream, 1))
        if (how === "not read") yield* Scope.close(scope, Exit.void)
        yield* Deferred.await(closed)
      })
  )
})

describe("another response to a request that expects a large body", () => {
  it.live.each<readonly [kind: string, bytes: string]>([
    ["in chunks", `${ok}transfer-encoding: chunked\r\n\r\n100000\r\n${"x".repeat(MiB)}\r\n0\r\n\r\n`],
    ["until the connection ends", `${ok}connection: close\r\n\r\n${"x".repeat(MiB)}`],
    ["of an error", `HTTP/1.1 500 No\r\ncontent-length: ${MiB}\r\n\r\n${"x".repeat(MiB)}`]
  ])("is read %s", ([kind, bytes]) =>
    Effect.gen(function*() {
      const { url } = yield* raw((_, socket) => {
        socket.write(bytes)
        if (kind.startsWith("until")) socket.end()
      })
      const client = yield* makeClient()
      for (let count = 0; count < 2; count++) {
        assert.strictEqual((yield* bytesOf(yield* get(client, url))).length, MiB)
      }
    }))

  it.live("has no body after HEAD", () =>
    Effect.gen(function*() {
      const host = yield* listen(served)
      const client = yield* makeClient()
      for (let count = 0; count < 2; count++) {
        const response = yield* send(client, HttpClientRequest.head(`http://${host}/${MiB}`))
        assert.strictEqual(response.headers["content-length"], `${MiB}`)
        assert.lengthOf(yield* bytesOf(response), 0)
      }
    }))

  it.live.each<readonly [problem: string, bytes: string, code: RegExp]>([
    ["two lengths", `${ok}content-length: ${MiB}\r\ncontent-length: 1\r\n\r\n`, /^HPE_/],
    ["a length and chunks", announced(MiB, "transfer-encoding: chunked\r\n"), /^HPE_/],
    ["no head", "what\r\n\r\n", /^HPE_/],
    ["a head without an end", `${ok}x: ${"x".repeat(100_000)}`, /^HPE_HEADER_OVERFLOW/]
  ])("is an error with %s", ([, bytes, code]) =>
    Effect.gen(function*() {
      const { url } = yield* raw((_, socket) => void socket.write(bytes))
      assert.match(String(yield* codeOf(Effect.flatMap(get(yield* makeClient(), url), bytesOf))), code)
    }))

  it.live("is read on another connection if the server has closed the one that was kept", () =>
    Effect.gen(function*() {
      const { connections, requests, url } = yield* raw((_, socket, request) => {
        if (request === 2) return void socket.destroy()
        socket.write(announced(MiB))
        socket.write(content.subarray(0, MiB))
      })
      const client = yield* makeClient()
      for (let count = 0; count < 2; count++) {
        assert.lengthOf(yield* bytesOf(yield* get(client, url)), MiB)
        yield* freed
      }
      assert.deepStrictEqual([connections(), requests()], [2, 3])
    }))

  it.live("uses no more connections than there may be", () =>
    Effect.gen(function*() {
      const { connections, url } = yield* raw((head, socket) => {
        const length = head.startsWith("GET /small") ? 5 : MiB
        socket.write(announced(length))
        socket.write(content.subarray(0, length))
      })
      const client = yield* makeClient({ maxConnections: 1 })
      const small = Effect.flatMap(client.get(`${url}small`), bytesOf)
      yield* Effect.all([Effect.flatMap(get(client, url), bytesOf), small], { concurrency: 2 })
      assert.strictEqual(connections(), 1)
    }))
})

describe("a connection of large bodies", () => {
  it.live("is closed with the scope, idle or not", () =>
    Effect.gen(function*() {
      const closed = [yield* Deferred.make<void>(), yield* Deferred.make<void>()] as const
      const { url } = yield* raw((head, socket) => {
        const [idle, busy] = closed
        const isIdle = head.startsWith("GET /idle")
        socket.once("close", () => Deferred.doneUnsafe(isIdle ? idle : busy, Effect.void))
        socket.write(announced(MiB))
        socket.write(content.subarray(0, isIdle ? MiB : 10))
      })
      const scope = yield* Scope.make()
      const client = yield* Scope.provide(makeClient(), scope)
      const { stream } = yield* get(client, `${url}busy`)
      yield* bytesOf(yield* get(client, `${url}idle`))
      yield* freed
      yield* Scope.close(scope, Exit.void)
      yield* Effect.forEach(closed, Deferred.await)
      assert.strictEqual(yield* codeOf(Stream.runDrain(stream)), "ECONNRESET")
    }))

  it.live("resumes the TLS session of others", () =>
    Effect.gen(function*() {
      const resumed: Array<boolean> = []
      const tls = { cert: certificates.serverCertificate, key: certificates.serverKey }
      const host = yield* listening(() =>
        Https.createServer(tls, served).on("secureConnection", (socket) => void resumed.push(socket.isSessionReused()))
      )
      const client = yield* makeClient({ ca: [certificates.authority] })
      yield* bytesOf(yield* client.get(`https://${host}/10`))
      // one of them uses the connection that is there
      const three = yield* Effect.forEach([1, 2, 3], () => get(client, `https://${host}/${MiB}`), { concurrency: 3 })
      yield* Effect.forEach(three, bytesOf, { concurrency: 3 })
      assert.deepStrictEqual(resumed, [false, true, true])
    }))
})

describe("a copy of large blobs", () => {
  const namespace = Namespace.make({ resolver: Resolver.static({}) })
  const app = repository("team/app")

  /** Serves a registry in memory. Returns it, and a client of it over HTTP. */
  const registry = Effect.fnUntraced(function*(settings: Slabs.Settings) {
    const store = yield* MemoryRegistry.make()
    const { host } = yield* serve(store)
    const context = yield* Layer.build(NodeHttp.layer()).pipe(Effect.provideService(Slabs.Settings, settings))
    const client = yield* Effect.provide(
      HttpRegistry.make({ host, plainHttp: true, capabilities: { maximumChunk: 3_000_000 } }),
      context
    )
    return { store, client }
  })

  /** Pushes a blob. */
  const push = Effect.fnUntraced(function*(store: Registry) {
    const blob = Crypto.randomBytes(7 * MiB + 3)
    const descriptor = yield* Descriptor.fromBytes(blob)
    yield* store.pushBlob(app, descriptor, BlobSource.fromBytes(blob))
    return { blob, descriptor }
  })

  const contentOf = Effect.fnUntraced(function*(store: Registry, { digest }: Descriptor.Descriptor) {
    return yield* Stream.mkUint8Array((yield* store.getBlob(app, digest)).stream)
  })

  /** Copies a blob between registries, and returns the number of slabs that could be used again. */
  const copied = Effect.fnUntraced(function*(
    wrap: {
      readonly source?: (registry: Registry) => Registry
      readonly destination?: (registry: Registry) => Registry
    }
  ) {
    let unused = 0
    const onUnused = (bytes: Uint8Array) => {
      unused++
      bytes.fill(0xff)
    }
    const { source: asSource = (self) => self, destination: asDestination = (self) => self } = wrap
    const [source, destination] = [yield* registry({ ...poisoned, onUnused }), yield* registry(poisoned)]
    const { blob, descriptor } = yield* push(source.store)
    yield* namespace.copyBlob({
      source: { registry: asSource(source.client), repository: app, digest: descriptor.digest },
      destination: { registry: asDestination(destination.client), repository: app }
    })
    assert.strictEqual(hash(yield* contentOf(destination.store, descriptor)), hash(blob))
    return unused
  })

  it.live("uses memory again between two registries over HTTP, also in chunks", () =>
    Effect.gen(function*() {
      assert.isAbove(yield* copied({}), 15)
      assert.isAbove(yield* Effect.provideService(copied({}), ResumptionThreshold, MiB), 15)
    }))

  it.live.each(["source", "destination"] as const)(
    "uses no memory again if another registry is around its %s",
    (end) =>
      Effect.gen(function*() {
        assert.isBelow(yield* copied({ [end]: (self: Registry) => ({ ...self }) }), 5)
      })
  )

  it.live("brings the right bytes to a registry that keeps them", () =>
    Effect.gen(function*() {
      const { client, store } = yield* registry(poisoned)
      const { blob, descriptor } = yield* push(store)
      const memory = yield* MemoryRegistry.make()
      yield* namespace.copyBlob({
        source: { registry: client, repository: app, digest: descriptor.digest },
        destination: { registry: memory, repository: app }
      })
      assert.strictEqual(hash(yield* contentOf(memory, descriptor)), hash(blob))
    }))

  it.live("brings the right bytes to several destinations", () =>
    Effect.gen(function*() {
      const [source, near, far] = [yield* registry(poisoned), yield* registry(poisoned), yield* registry(poisoned)]
      const { blob, descriptor } = yield* push(source.store)
      const artifact = new TextEncoder().encode(JSON.stringify({
        schemaVersion: 2,
        mediaType: MediaType.imageManifest,
        config: { ...descriptor, mediaType: "application/vnd.example" },
        layers: []
      }))
      const { digest } = yield* source.store.pushManifest(app, { mediaType: MediaType.imageManifest, bytes: artifact })
      yield* namespace.copyToMany({
        source: { registry: source.client, repository: app, digest },
        destinations: [near, far].map(({ client }) => ({ registry: client, repository: app }))
      })
      for (const { store } of [near, far]) {
        assert.strictEqual(hash(yield* contentOf(store, descriptor)), hash(blob))
      }
    }))
})
