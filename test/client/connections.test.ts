/**
 * Connections of a client, as a server sees them.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Http from "node:http"
import type * as Net from "node:net"
import { bytesOf, repository } from "../utils/images.ts"
import { connect, digestOf, listening } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const content = bytesOf("0123456789")
const digest = digestOf(content)

/** A registry that counts its connections. */
const counting = Effect.fnUntraced(function*(answer: Http.RequestListener) {
  const sockets = new Set<Net.Socket>()
  const host = yield* listening(() => Http.createServer(answer).on("connection", (socket) => sockets.add(socket)))
  return { registry: yield* connect({ host }), sockets }
})

describe("a connection", () => {
  it.live("is used for small blobs that are read and pushed one after another", () =>
    Effect.gen(function*() {
      const { registry, sockets } = yield* counting((request, response) => {
        request.resume()
        if (request.method === "GET") return response.end(content)
        response.writeHead(request.method === "PUT" ? 201 : 202, { location: "/v2/team/app/blobs/uploads/1" }).end()
      })
      for (let round = 0; round < 10; round++) {
        const { stream } = yield* registry.getBlob(name, digest)
        yield* Stream.runDrain(stream)
        yield* registry.pushBlob(name, { digest, size: content.length }, BlobSource.fromBytes(content))
      }
      assert.strictEqual(sockets.size, 1)
    }))

  it.live("is closed if its small blob is not read", () =>
    Effect.gen(function*() {
      const { registry, sockets } = yield* counting((_, response) => {
        response.writeHead(200, { "content-length": `${content.length}` })
        response.write(content.subarray(0, 1))
      })
      const scope = yield* Scope.make()
      yield* Scope.provide(registry.getBlob(name, digest), scope)
      yield* Scope.close(scope, Exit.void)
      const [socket] = sockets
      yield* Effect.callback<void>((resume) => {
        if (socket === undefined || socket.destroyed) return resume(Effect.void)
        socket.once("close", () => resume(Effect.void))
      })
    }))

  it.live("is closed if the read of a small blob is interrupted", () =>
    Effect.gen(function*() {
      const { registry, sockets } = yield* counting((_, response) => {
        response.writeHead(200, { "content-length": `${content.length}` })
        response.write(content.subarray(0, 1))
      })
      const { stream } = yield* registry.getBlob(name, digest)
      const reading = yield* Effect.forkChild(Stream.runDrain(stream), { startImmediately: true })
      yield* Fiber.interrupt(reading)
      const [socket] = sockets
      yield* Effect.callback<void>((resume) => {
        if (socket === undefined || socket.destroyed) return resume(Effect.void)
        socket.once("close", () => resume(Effect.void))
      })
    }))
})
