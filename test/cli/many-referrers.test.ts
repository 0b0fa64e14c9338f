/**
 * A registry that lists very many referrers of one image in one response: the command stays within its memory limit,
 * and ends in time after a signal.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect } from "effect"
import * as MediaType from "effect-oci/MediaType"
import type * as Http from "node:http"
import { fileURLToPath } from "node:url"
import * as Program from "../utils/Program.ts"
import { digestOf, listen } from "../utils/ScriptedServer.ts"

const isLong = process.env["EFFECT_OCI_LONG"] !== undefined
const count = isLong ? 100_000 : 1_000
const memoryLimit = 400 * 1024 * 1024

const watcher = fileURLToPath(new URL("../utils/watch-turns.ts", import.meta.url))

const config = Buffer.from("{}")
const describeBytes = (mediaType: string, bytes: Buffer) => ({ mediaType, digest: digestOf(bytes), size: bytes.length })
const manifest = (extra: object) =>
  Buffer.from(JSON.stringify({
    schemaVersion: 2,
    mediaType: MediaType.imageManifest,
    config: describeBytes(MediaType.empty, config),
    layers: [],
    ...extra
  }))
const layerOf = (index: number) => Buffer.from(`layer ${index}`)

const image = manifest({})
const subject = describeBytes(MediaType.imageManifest, image)
const referrerOf = (index: number) =>
  manifest({
    artifactType: "application/vnd.example",
    layers: [describeBytes("text/plain", layerOf(index))],
    subject
  })

/**
 * Serves a source `from` with an image and its referrers, whose manifests exist or not, and a destination `to` that
 * accepts everything and stores nothing.
 */
const makeServer = Effect.fnUntraced(function*(isPresent: boolean) {
  const content = new Map<string, () => Buffer>([["1", () => image], [subject.digest, () => image]])
  content.set(digestOf(config), () => config)
  const manifests = Array.from({ length: count }, (_, index) => {
    const bytes = referrerOf(index)
    const described = describeBytes(MediaType.imageManifest, bytes)
    if (isPresent) {
      content.set(described.digest, () => referrerOf(index))
      content.set(digestOf(layerOf(index)), () => layerOf(index))
    }
    return { ...described, artifactType: "application/vnd.example" }
  })
  const list = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests }))
  const none = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [] }))
  const listed = yield* Deferred.make<void>()
  const underWay = yield* Deferred.make<void>()
  const sessions = new Set<string>()
  let opened = 0
  let read = 0

  const answer = (method: string, url: string, response: Http.ServerResponse): void => {
    const [path = ""] = url.split("?")
    const send = (status: number, headers: Http.OutgoingHttpHeaders = {}, body?: Buffer) => {
      response.writeHead(status, { "content-length": body?.length ?? 0, ...headers })
      response.end(method === "HEAD" ? undefined : body)
    }
    const name = path.slice(path.lastIndexOf("/") + 1)
    if (method === "POST") {
      const session = `/v2/to/blobs/uploads/${++opened}`
      sessions.add(session)
      return send(202, { location: session })
    }
    if (method === "PUT") {
      sessions.delete(path)
      return send(201, { location: path, "oci-subject": subject.digest })
    }
    if (method === "DELETE") {
      sessions.delete(path)
      return send(204)
    }
    const isSource = path.startsWith("/v2/from/")
    if (path.includes("/referrers/")) {
      const isRoot = isSource && name === subject.digest
      send(200, { "content-type": MediaType.imageIndex }, isRoot ? list : none)
      return void (isRoot && Effect.runSync(Deferred.succeed(listed, undefined)))
    }
    const bytes = isSource ? content.get(name)?.() : undefined
    if (path.includes("/manifests/") && ++read === 100) Effect.runSync(Deferred.succeed(underWay, undefined))
    if (bytes === undefined) return send(404)
    send(200, {
      "content-type": path.includes("/manifests/") ? MediaType.imageManifest : MediaType.octetStream,
      "docker-content-digest": digestOf(bytes)
    }, bytes)
  }
  const host = yield* listen((request, response) => {
    request.resume().once("end", () => answer(request.method ?? "", request.url ?? "", response))
  })
  return { host, sessions, listed: Deferred.await(listed), underWay: Deferred.await(underWay) }
})

const start = (host: string) =>
  Program.startNode(`--import=${watcher}`, Program.main, "copy", `${host}/from:1`, `${host}/to:1`)

const longestTurn = (stderr: string): number => Number(/longest turn: ([0-9]+) ms/.exec(stderr)?.[1])

// sequential, because the tests measure time
describe(`${count} referrers in one answer`, { concurrent: false }, () => {
  it.live.each(["listed", "underWay"] as const)(
    "do not delay the end of the command after a signal (%s)",
    (moment) =>
      Effect.gen(function*() {
        const server = yield* makeServer(true)
        const command = yield* start(server.host)
        yield* server[moment]
        command.kill("SIGINT")
        const [elapsed, { code, memory, stderr }] = yield* Effect.timed(command.ended)
        assert.deepStrictEqual([code, stderr.includes("interrupted")], [130, true])
        assert.deepStrictEqual(Array.from(server.sessions), [])
        assert.isBelow(memory, memoryLimit)
        if (isLong) assert.isBelow(Duration.toMillis(elapsed), 2000)
      }),
    180_000
  )

  it.live(
    "are copied, or reported as missing, within 400 MiB, and without a long turn of the event loop",
    () =>
      Effect.gen(function*() {
        for (const isPresent of isLong ? [false, true] : [false]) {
          const server = yield* makeServer(isPresent)
          const { code, memory, stderr } = yield* Effect.flatMap(start(server.host), ({ ended }) => ended)
          assert.strictEqual(code, 0, stderr.slice(-2000))
          assert.isBelow(memory, memoryLimit)
          if (!isPresent) assert.include(stderr, `${count} listed but missing at the source`)
          if (isLong) assert.isBelow(longestTurn(stderr), 100)
        }
      }),
    isLong ? 1_800_000 : 180_000
  )
})
