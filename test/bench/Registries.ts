/**
 * CNCF distribution for measurements: with storage in memory if the system has it, over TLS if wanted, and with an
 * access log, whose lines are counted.
 */
import { Effect, Layer, Schedule } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Descriptor from "effect-oci/Descriptor"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as NodeHttp from "effect-oci/NodeHttp"
import * as Reference from "effect-oci/Reference"
import type { Registry } from "effect-oci/Registry"
import * as ChildProcess from "node:child_process"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Certificates from "../utils/certificates.ts"

const root = Fs.existsSync("/dev/shm") ? "/dev/shm" : Os.tmpdir()

/** Creates a folder that is removed when the scope closes. */
export const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(root, "bench-"))),
  (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true, force: true }))
)

export interface Running {
  readonly host: string
  readonly pid: number
  /** Returns the number of requests so far, if the server has an access log. */
  readonly requests: () => number
}

/** Starts a server that logs to a file, and waits until it listens. */
export const start = Effect.fnUntraced(function*(command: string, args: ReadonlyArray<string>, log: string) {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const output = Fs.openSync(log, "w")
      const child = ChildProcess.spawn(command, args, { stdio: ["ignore", output, output] })
      Fs.closeSync(output)
      return child
    }),
    (child) =>
      Effect.callback<void>((resume) => {
        if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
        child.once("exit", () => resume(Effect.void))
        child.kill("SIGKILL")
      })
  )
  const read = () => Fs.readFileSync(log, "utf8")
  const port = yield* Effect.sync(() => /listening on (?:http:\/\/)?127\.0\.0\.1:([0-9]+)/.exec(read())?.[1]).pipe(
    Effect.filterOrFail((port) => port !== undefined),
    Effect.retry({ times: 200, schedule: Schedule.spaced("50 millis") }),
    Effect.mapError(() => new Error(`${command} did not start: ${read().slice(-1000)}`)),
    Effect.orDie
  )
  return {
    host: `127.0.0.1:${port}`,
    pid: child.pid ?? 0,
    requests: () => read().split("\n").filter((line) => /"(?:GET|HEAD|POST|PUT|PATCH|DELETE) \/v2\//.test(line)).length
  } satisfies Running
})

export interface Options {
  readonly tls: boolean
}

/** Starts distribution. */
export const distribution = Effect.fnUntraced(function*({ tls }: Options = { tls: false }) {
  const directory = yield* folder
  const at = (name: string) => Path.join(directory, name)
  Fs.writeFileSync(at("certificate.pem"), Certificates.serverCertificate)
  Fs.writeFileSync(at("key.pem"), Certificates.serverKey)
  // JSON is YAML
  Fs.writeFileSync(
    at("config.yml"),
    JSON.stringify({
      version: 0.1,
      log: { level: "info" },
      storage: { filesystem: { rootdirectory: at("data") }, delete: { enabled: true } },
      http: {
        addr: "127.0.0.1:0",
        secret: "any",
        ...tls ? { tls: { certificate: at("certificate.pem"), key: at("key.pem") } } : {}
      }
    })
  )
  return yield* start("docker-registry", ["serve", at("config.yml")], at("log"))
})

// ---------------------------------------------------------------------------------------------------------------------
// content
// ---------------------------------------------------------------------------------------------------------------------

/** An image: its repository, tag and layers. */
export interface Image {
  readonly repository: string
  readonly tag: string
  readonly layers: ReadonlyArray<Uint8Array>
}

/** Returns random layers. */
export const layers = (count: number, size: number): ReadonlyArray<Uint8Array> =>
  Array.from({ length: count }, () => Crypto.randomBytes(size))

const pushImage = Effect.fnUntraced(function*(registry: Registry, { layers, repository, tag }: Image) {
  const name = Reference.Repository.make(repository)
  const blob = Effect.fnUntraced(function*(bytes: Uint8Array, mediaType: string) {
    const descriptor = yield* Descriptor.fromBytes(bytes, { mediaType })
    yield* registry.pushBlob(name, descriptor, BlobSource.fromBytes(bytes))
    return descriptor
  })
  const encode = (content: object) => new TextEncoder().encode(JSON.stringify(content))
  const config = yield* blob(encode({ os: "linux", architecture: "amd64", repository, tag }), MediaType.imageConfig)
  const descriptors = yield* Effect.forEach(layers, (layer) => blob(layer, MediaType.imageLayer), { concurrency: 8 })
  const mediaType = MediaType.imageManifest
  const bytes = encode({ schemaVersion: 2, mediaType, config, layers: descriptors })
  yield* registry.pushManifest(name, { mediaType, bytes }, [Reference.Tag.make(tag)])
})

/** A source with images, and an empty destination. */
export interface Pair {
  readonly source: Running
  readonly destination: Running
}

/** Starts two registries, and pushes images to the first. */
export const pair = Effect.fnUntraced(function*(images: Iterable<Image>, options: Options = { tls: false }) {
  const [source, destination] = [yield* distribution(options), yield* distribution(options)]
  const http = yield* Layer.build(NodeHttp.layer({ ca: [Certificates.authority] }))
  const client = yield* Effect.provide(
    HttpRegistry.make({ host: Reference.Host.make(source.host), plainHttp: !options.tls }),
    http
  )
  for (const image of images) yield* pushImage(client, image)
  return { source, destination } satisfies Pair
})
