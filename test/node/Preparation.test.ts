import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Layer, Schedule, Scope } from "effect"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as NodeHttp from "effect-oci/NodeHttp"
import * as Net from "node:net"
import * as Preparation from "../../src/Preparation.ts"
import { listening } from "../utils/ScriptedServer.ts"

/** A registry that answers every request. `onConnection` sees its connections. */
const served = Effect.fnUntraced(function*(
  options: NodeHttp.Options = {},
  onConnection: (socket: Net.Socket, count: number) => void = () => {}
) {
  let connections = 0
  const host = yield* listening(() =>
    Net.createServer((socket) => {
      socket.on("error", () => socket.destroy())
      socket.on("data", () => void setTimeout(() => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"), 5))
      onConnection(socket, ++connections)
    })
  )
  const context = yield* Layer.build(NodeHttp.layer(options))
  const registry = yield* Effect.provide(HttpRegistry.make({ host, plainHttp: true }), context)
  return {
    registry,
    ask: (times: number) => Effect.replicateEffect(registry.ping, times, { concurrency: "unbounded", discard: true }),
    connections: () => connections
  }
})

const until = (isTrue: () => boolean) =>
  Effect.retry(Effect.suspend(() => isTrue() ? Effect.void : Effect.fail("not yet")), Schedule.spaced("2 millis"))

describe("a connection that is opened in advance", () => {
  it.live("is used by the next request that needs one", () =>
    Effect.gen(function*() {
      const { ask, connections, registry } = yield* served()
      yield* ask(1)
      Preparation.prepare(registry)
      Preparation.prepare(registry)
      yield* until(() => connections() === 3)
      yield* ask(3)
      assert.strictEqual(connections(), 3)
      yield* ask(4)
      assert.strictEqual(connections(), 4)
    }))

  it.live("may still be in the making when a request needs it", () =>
    Effect.gen(function*() {
      const { ask, connections, registry } = yield* served()
      yield* ask(1)
      Preparation.prepare(registry)
      yield* ask(2)
      assert.strictEqual(connections(), 2)
    }))

  it.live("is not opened before the first request", () =>
    Effect.gen(function*() {
      const { ask, connections, registry } = yield* served()
      Preparation.prepare(registry)
      yield* ask(1)
      assert.strictEqual(connections(), 1)
    }))

  it.live("is not opened if the number of connections is limited", () =>
    Effect.gen(function*() {
      const { ask, connections, registry } = yield* served({ maxConnections: 4 })
      yield* ask(1)
      Preparation.prepare(registry)
      yield* ask(1)
      assert.strictEqual(connections(), 1)
    }))

  it.live("is replaced if the server closes it", () =>
    Effect.gen(function*() {
      const closed = yield* Deferred.make<void>()
      const { ask, connections, registry } = yield* served({}, (socket, count) => {
        if (count !== 2) return
        socket.once("close", () => Deferred.doneUnsafe(closed, Effect.void))
        socket.destroy()
      })
      yield* ask(1)
      Preparation.prepare(registry)
      yield* Deferred.await(closed)
      yield* Effect.sleep("5 millis")
      yield* ask(2)
      assert.strictEqual(connections(), 3)
    }))

  it.live("is closed if something arrives on it that no request asked for", () =>
    Effect.gen(function*() {
      const closed = yield* Deferred.make<void>()
      const { ask, registry } = yield* served({}, (socket, count) => {
        if (count !== 2) return
        socket.once("close", () => Deferred.doneUnsafe(closed, Effect.void))
        socket.write("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
      })
      yield* ask(1)
      Preparation.prepare(registry)
      yield* Deferred.await(closed)
      yield* ask(2)
    }))

  it.live("is closed with the scope", () =>
    Effect.gen(function*() {
      const closed = yield* Deferred.make<void>()
      const scope = yield* Scope.make()
      const { ask, connections, registry } = yield* Scope.provide(
        served({}, (socket, count) => {
          if (count === 2) socket.once("close", () => Deferred.doneUnsafe(closed, Effect.void))
        }),
        scope
      )
      yield* ask(1)
      Preparation.prepare(registry)
      yield* until(() => connections() === 2)
      yield* Scope.close(scope, Exit.void)
      yield* Deferred.await(closed)
    }))
})
