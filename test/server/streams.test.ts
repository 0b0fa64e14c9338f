import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as Registry from "effect-oci/Registry"
import type { Upload } from "effect-oci/Upload"
import * as Http from "node:http"
import { digestOf } from "../utils/digests.ts"
import { memory, send, serve } from "../utils/Served.ts"

const MiB = 1024 * 1024
const total = 512 * MiB
const chunk = new Uint8Array(64 * 1024)
const digest = digestOf("never asked for")

/** Waits until a server has no more to do by itself: it answers many requests one after another. */
const idle = (host: string) => Effect.repeat(send(host, "GET /v2/"), { times: 200 })

describe("a blob streams", () => {
  it.live("to a client no faster than the client takes it", () =>
    Effect.gen(function*() {
      let given = 0
      const { host } = yield* serve(Registry.make({
        name: "endless",
        getBlob: () =>
          Effect.succeed({
            descriptor: { mediaType: "application/octet-stream", digest, size: total },
            stream: Stream.range(1, total / chunk.length).pipe(
              Stream.rechunk(1),
              Stream.map(() => {
                given += chunk.length
                return chunk
              })
            )
          })
      }))
      const response = yield* Effect.acquireRelease(
        Effect.callback<Http.IncomingMessage>((resume) => {
          Http.get(`http://${host}/v2/app/blobs/${digest}`, { agent: false }, (response) => {
            response.pause()
            resume(Effect.succeed(response))
          }).on("error", () => {})
        }),
        (response) => Effect.sync(() => response.destroy())
      )
      yield* idle(host)
      assert.isAtLeast(given, chunk.length)
      assert.isBelow(given, 32 * MiB)
      response.resume()
      yield* Effect.callback<void>((resume) => {
        response.on("end", () => resume(Effect.void))
      })
      assert.strictEqual(given, total)
    }))

  it.live("from a client no faster than the registry takes it", () =>
    Effect.gen(function*() {
      const upload: Upload = {
        _tag: "Upload",
        id: Effect.succeed("1"),
        minimumChunk: 0,
        maximumChunk: Infinity,
        resumable: true,
        status: Effect.succeed(0),
        append: ({ stream }) => Effect.andThen(Stream.runDrain(Stream.take(stream, 1)), Effect.never),
        commit: () => Effect.never
      }
      const { host } = yield* serve(Registry.make({ name: "slow", startUpload: () => Effect.succeed(upload) }))
      const { headers } = yield* send(host, "POST /v2/app/blobs/uploads/")
      let sent = 0
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          const request = Http.request(`http://${host}${headers.location}`, {
            method: "PATCH",
            agent: false,
            headers: { "content-length": total }
          })
          const write = () => {
            if (sent < total) {
              request.write(chunk, () => {
                sent += chunk.length
                write()
              })
            }
          }
          request.on("error", () => {})
          write()
          return request
        }),
        (request) => Effect.sync(() => request.destroy())
      )
      yield* idle(host)
      assert.isAtLeast(sent, chunk.length)
      assert.isBelow(sent, 32 * MiB)
    }))

  it.live("through the server while it still arrives", () =>
    Effect.gen(function*() {
      const { ask, host } = yield* memory()
      const { headers } = yield* ask("POST /v2/app/blobs/uploads/")
      const request = Http.request(`http://${host}${headers.location}`, {
        method: "PATCH",
        agent: false,
        headers: { "content-length": 10 }
      })
      request.on("error", () => {})
      request.write("01234")
      const { headers: told } = yield* ask(`GET ${headers.location}`).pipe(
        Effect.repeat({ until: ({ headers }) => headers.range !== "0-0" })
      )
      assert.strictEqual(told.range, "0-4")
      request.destroy()
    }))
})
