import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as MediaType from "effect-oci/MediaType"
import { shellCommand } from "../utils/Program.ts"
import { digestOf, listen } from "../utils/ScriptedServer.ts"
import * as Served from "../utils/Served.ts"
import * as Tmux from "../utils/Tmux.ts"

const MiB = 1024 * 1024
const layer = new Uint8Array(32 * MiB)
const config = "{}"
const manifest = JSON.stringify({
  schemaVersion: 2,
  mediaType: MediaType.imageManifest,
  config: { mediaType: MediaType.imageConfig, digest: digestOf(config), size: config.length },
  layers: [{ mediaType: MediaType.imageLayer, digest: digestOf(layer), size: layer.length }]
})

/** Serves an image, of whose layer it sends three quarters, and the rest after `open`. */
const halting = Effect.gen(function*() {
  let open: () => void = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  const host = yield* listen((request, response) => {
    const { method, url = "" } = request
    const answer = (body: string | Uint8Array, type: string) => {
      response.writeHead(200, {
        "content-type": type,
        "content-length": body.length,
        "docker-content-digest": digestOf(body)
      })
      if (method === "HEAD") return void response.end()
      if (body !== layer) return void response.end(body)
      response.write(layer.subarray(0, 24 * MiB))
      void opened.then(() => response.end(layer.subarray(24 * MiB)))
    }
    if (url.includes("/manifests/1") || url.includes(digestOf(manifest))) {
      return answer(manifest, MediaType.imageManifest)
    }
    if (url.includes(digestOf(config))) return answer(config, "application/octet-stream")
    if (url.includes(digestOf(layer))) return answer(layer, "application/octet-stream")
    response.writeHead(404).end()
  })
  return { host, open: Effect.sync(() => open()) }
})

describe.skipIf(!Tmux.available)("a copy on a terminal", () => {
  const name = digestOf(layer).slice(0, "sha256:".length + 12)
  /** Starts a copy in a terminal of `columns` columns. It stops at three quarters of the layer. */
  const copying = Effect.fnUntraced(function*(columns: number) {
    const source = yield* halting
    const { host } = yield* Served.memory()
    const args = ["copy", "--referrers=skip", `${source.host}/app:1`, `${host}/app:1`]
    const terminal = yield* Tmux.open(`${shellCommand} ${args.join(" ")}; echo "code $?"`, columns, 12)
    return { ...terminal, ...source, destination: `${host}/app@${digestOf(manifest)}` }
  })

  it.live("shows a bar for a large blob and a line with the totals, and then the result", () =>
    Effect.gen(function*() {
      const { destination, open, when } = yield* copying(100)
      const lines = yield* when(/ 75% of 32 MiB$/)
      assert.deepStrictEqual(lines.slice(0, -1), [`${name} [${"#".repeat(23)}${".".repeat(7)}]  75% of 32 MiB`])
      assert.match(`${lines.at(-1)}`, /^\d of 2 blobs, 24 MiB of 32 MiB, [^,]+\/s(?:, [^,]+ left)?$/)
      yield* open
      const [conclusion, result, ...rest] = yield* when(/^code/)
      assert.match(`${conclusion}`, /^copied 2 blobs and 1 manifest \(32 MiB\), in \d+\.\d s$/)
      assert.deepStrictEqual([result, rest], [destination, ["code 0"]])
    }))

  it.live("erases them if it is interrupted", () =>
    Effect.gen(function*() {
      const { press, when } = yield* copying(100)
      yield* when(/ 75% of 32 MiB$/)
      yield* press("C-c")
      assert.deepStrictEqual((yield* when(/^code/)).map((line) => line.replace("^C", "")), [
        "effect-oci: interrupted",
        "code 130"
      ])
    }))

  it.live("fits into the terminal, also after it becomes narrower", () =>
    Effect.gen(function*() {
      const { press, resize, when } = yield* copying(44)
      const [first] = yield* when(/ 75% of 32 MiB$/)
      assert.strictEqual(first, `${name} [#####.]  75% of 32 MiB`)
      yield* resize(30)
      const narrow = yield* when(/^[0-9a-f]{4,12}  75% of 32 MiB$/)
      assert.strictEqual(narrow.length, 2, narrow.join("\n"))
      yield* press("C-c")
      assert.include(yield* when(/^code/), "code 130")
    }))
})
