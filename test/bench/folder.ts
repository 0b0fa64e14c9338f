/**
 * Measures `effect-oci serve --dir`, as built, with large folders: a repository with 20 000 tags, a collection of
 * 50 000 blobs or 20 000 manifests while 20 clients push, and viewers of the page while 20 clients push.
 *
 *     npm run bench:folder [-- tags|collection|manifests|page]
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect } from "effect"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Path from "node:path"
import { temporaryFolder } from "../utils/layouts.ts"
import { main } from "./Peers.ts"
import * as Registries from "./Registries.ts"

const tagCount = Number(process.env["BENCH_TAGS"] ?? 20_000)
const blobCount = Number(process.env["BENCH_BLOBS"] ?? 50_000)
const manifestCount = Number(process.env["BENCH_MANIFESTS"] ?? 20_000)
const clients = 20

const digestOf = (bytes: Uint8Array | string) => `sha256:${Crypto.createHash("sha256").update(bytes).digest("hex")}`

const agent = new Http.Agent({ keepAlive: true, maxSockets: 64 })

/** Sends a request, and returns its status, headers and time in milliseconds. */
const request = (
  host: string,
  method: string,
  path: string,
  { accept, body, type }: { readonly accept?: string; readonly body?: string | Uint8Array; readonly type?: string } = {}
) =>
  Effect.callback<{ readonly status: number; readonly headers: Http.IncomingHttpHeaders; readonly time: number }>(
    (resume) => {
      const began = performance.now()
      const headers = {
        "content-length": body === undefined ? 0 : Buffer.byteLength(body),
        ...accept === undefined ? {} : { accept },
        ...type === undefined ? {} : { "content-type": type }
      }
      const request = Http.request(`http://${host}${path}`, { method, agent, headers }, (response) => {
        response.resume()
        response.on("end", () =>
          resume(Effect.succeed({
            status: response.statusCode ?? 0,
            headers: response.headers,
            time: performance.now() - began
          })))
      })
      request.on("error", (error) => resume(Effect.die(error)))
      request.end(body)
    }
  )

const expect = Effect.fnUntraced(function*(
  status: number,
  ...[host, method, path, sent]: Parameters<typeof request>
) {
  const response = yield* request(host, method, path, sent)
  if (response.status !== status) return yield* Effect.die(new Error(`${method} ${path}: HTTP ${response.status}`))
  return response
})

const manifestType = "application/vnd.oci.image.manifest.v1+json"

const manifestOf = (layer: string, note: string) => {
  const config = "{}"
  const descriptor = (mediaType: string, content: string) => ({
    mediaType,
    digest: digestOf(content),
    size: Buffer.byteLength(content)
  })
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: manifestType,
    config: descriptor("application/vnd.oci.empty.v1+json", config),
    layers: [descriptor("application/octet-stream", layer)],
    annotations: { note }
  })
}

const writeBlob = (layout: string, content: string | Uint8Array) =>
  Fs.writeFileSync(Path.join(layout, "blobs", ...digestOf(content).split(":")), content)

/** Writes a layout with these manifests, of which each has at most one tag. */
const writeLayout = (layout: string, manifests: ReadonlyArray<readonly [tag: string | undefined, content: string]>) => {
  Fs.mkdirSync(Path.join(layout, "blobs", "sha256"), { recursive: true })
  for (const content of ["{}", "layer", ...manifests.map(([, content]) => content)]) writeBlob(layout, content)
  const entries = manifests.map(([tag, content]) => ({
    mediaType: manifestType,
    digest: digestOf(content),
    size: Buffer.byteLength(content),
    ...tag === undefined ? {} : { annotations: { "org.opencontainers.image.ref.name": tag } }
  }))
  Fs.writeFileSync(Path.join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: entries }))
  Fs.writeFileSync(Path.join(layout, "oci-layout"), `{"imageLayoutVersion":"1.0.0"}`)
}

const serve = (folder: string, ...flags: ReadonlyArray<string>) =>
  Registries.start(
    process.execPath,
    [main, "serve", "--port", "0", "--dir", folder, ...flags],
    Path.join(folder, "..", "serve.log")
  )

const summary = (times: ReadonlyArray<number>) => {
  const sorted = times.toSorted((one, other) => one - other)
  const at = (share: number) => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(0)
  return `median ${at(0.5)} ms, 99% ${at(0.99)} ms, longest ${at(1)} ms`
}

const pushBlob = Effect.fnUntraced(function*(host: string, repository: string, content: string) {
  const opened = yield* expect(202, host, "POST", `/v2/${repository}/blobs/uploads/`)
  const location = new URL(`${opened.headers.location}`, `http://${host}`)
  location.searchParams.set("digest", digestOf(content))
  const closed = yield* expect(201, host, "PUT", location.pathname + location.search, { body: content })
  return [opened.time, closed.time]
})

const measureTags = Effect.gen(function*() {
  const folder = Path.join(yield* temporaryFolder, "content")
  const manifests = Array.from(
    { length: tagCount },
    (_, index) => [`v${index}`, manifestOf("layer", `${index}`)] as const
  )
  writeLayout(Path.join(folder, "app"), manifests)
  const began = performance.now()
  const { host } = yield* serve(folder)
  const started = performance.now()
  yield* expect(200, host, "HEAD", "/v2/app/manifests/v1")
  yield* Console.log(
    `start ${(started - began).toFixed(0)} ms, first pull ${(performance.now() - started).toFixed(0)} ms`
  )
  const times = { push: new Array<number>(), pull: new Array<number>(), list: new Array<number>() }
  for (let round = 0; round < 30; round++) {
    const body = manifestOf("layer", `new ${round}`)
    const tag = round % 2 === 0 ? `new${round}` : `v${round}`
    times.push.push((yield* expect(201, host, "PUT", `/v2/app/manifests/${tag}`, { body, type: manifestType })).time)
    times.pull.push((yield* expect(200, host, "GET", `/v2/app/manifests/v${round * 600}`)).time)
    times.list.push((yield* expect(200, host, "GET", `/v2/app/tags/list?n=100&last=v${round * 600}`)).time)
  }
  for (const [name, values] of Object.entries(times)) {
    yield* Console.log(`${tagCount} tags, ${name}: ${summary(values)}`)
  }
}).pipe(Effect.scoped)

/** Pushes and pulls as 20 clients until an effect ends, and prints how long the requests took. */
const loaded = Effect.fnUntraced(function*(title: string, host: string, until: Effect.Effect<void>) {
  const times = { upload: new Array<number>(), manifest: new Array<number>(), pull: new Array<number>() }
  const state = { isDone: false }
  const client = Effect.fnUntraced(function*(name: number) {
    for (let round = 0; !state.isDone; round++) {
      const layer = `${title} ${name} ${round}`
      times.upload.push(...yield* pushBlob(host, "app", layer))
      times.upload.push(...yield* pushBlob(host, "app", "{}"))
      const sent = { body: manifestOf(layer, ""), type: manifestType }
      times.manifest.push((yield* expect(201, host, "PUT", `/v2/app/manifests/c${name}`, sent)).time)
      times.pull.push((yield* expect(200, host, "GET", `/v2/app/manifests/c${name}`)).time)
    }
  })
  const began = performance.now()
  const end = Effect.andThen(
    until,
    Effect.sync(() => {
      state.isDone = true
    })
  )
  yield* Effect.all([end, ...Array.from({ length: clients }, (_, name) => client(name))], { concurrency: "unbounded" })
  yield* Console.log(`${title}: ${((performance.now() - began) / 1000).toFixed(1)} s`)
  for (const [name, values] of Object.entries(times)) {
    const slow = values.filter((time) => time > 200).length
    yield* Console.log(`  ${name}: ${values.length} requests, ${summary(values)}, ${slow} over 200 ms`)
  }
})

/** Content that nothing needs: its files, and the manifests among it. */
interface Unneeded {
  readonly contents: ReadonlyArray<string>
  readonly isManifest: boolean
}

const old = new Date("2020-01-01T00:00:00Z")

const measureCollection = Effect.fnUntraced(function*({ contents, isManifest }: Unneeded) {
  const folder = Path.join(yield* temporaryFolder, "content")
  const layout = Path.join(folder, "app")
  const path = (content: string) => Path.join(layout, "blobs", ...digestOf(content).split(":"))
  writeLayout(layout, [
    ["1", manifestOf("layer", "1")],
    ...isManifest ? contents.map((content) => [undefined, content] as const) : []
  ])
  for (const content of contents) {
    if (!isManifest) writeBlob(layout, content)
    Fs.utimesSync(path(content), old, old)
  }
  yield* Effect.scoped(
    Effect.flatMap(serve(folder), ({ host }) => loaded("without a collection", host, Effect.sleep("10 seconds")))
  )
  const { host } = yield* serve(
    folder,
    "--gc",
    "1s",
    "--gc-older-than",
    "1h",
    ...isManifest ? ["--gc-untagged", "collect"] : []
  )
  const isLeft = () =>
    Fs.existsSync(path(contents.at(-1) ?? "")) ||
    contents.some((content, index) => index % Math.ceil(contents.length / 100) === 0 && Fs.existsSync(path(content)))
  yield* loaded(
    `with a collection of ${contents.length} ${isManifest ? "manifests" : "blobs"}`,
    host,
    Effect.repeat(Effect.sleep("200 millis"), { while: isLeft }).pipe(Effect.asVoid)
  )
}, Effect.scoped)

const blobs: Unneeded = {
  contents: Array.from({ length: blobCount }, (_, index) => `unneeded ${index}`),
  isManifest: false
}

const manifests: Unneeded = {
  contents: Array.from({ length: manifestCount }, (_, index) => manifestOf("layer", `unneeded ${index}`)),
  isManifest: true
}

const viewers = 2

const measurePage = Effect.gen(function*() {
  const folder = Path.join(yield* temporaryFolder, "content")
  for (let repository = 0; repository < 20; repository++) {
    const manifests = Array.from(
      { length: 100 },
      (_, index) => [`v${index}`, manifestOf("layer", `${repository} ${index}`)] as const
    )
    writeLayout(Path.join(folder, `team/app${repository}`), manifests)
  }
  const { host } = yield* serve(folder, "--ui")
  yield* loaded("without viewers", host, Effect.sleep("10 seconds"))
  const paths = ["/", "/ui/-/space", "/ui/team/app1", "/ui/team/app1:v1", "/ui/app"]
  const times = new Map(paths.map((path) => [path, new Array<number>()]))
  const viewer = Effect.forever(Effect.forEach(
    times,
    ([path, values]) =>
      Effect.map(expect(200, host, "GET", path, { accept: "text/html" }), ({ time }) => values.push(time)),
    { discard: true }
  ))
  const viewing = Effect.all(Array.from({ length: viewers }, () => viewer), { concurrency: "unbounded" })
  yield* loaded(`with ${viewers} viewers`, host, Effect.race(Effect.sleep("10 seconds"), viewing).pipe(Effect.asVoid))
  for (const [path, values] of times) {
    yield* Console.log(`  page ${path}: ${values.length} requests, ${summary(values)}`)
  }
}).pipe(Effect.scoped)

const [only] = process.argv.slice(2)

NodeRuntime.runMain(
  Effect.gen(function*() {
    if (only === undefined || only === "tags") yield* measureTags
    if (only === undefined || only === "collection") yield* measureCollection(blobs)
    if (only === undefined || only === "manifests") yield* measureCollection(manifests)
    if (only === undefined || only === "page") yield* measurePage
    agent.destroy()
  }).pipe(Effect.provide(NodeServices.layer))
)
