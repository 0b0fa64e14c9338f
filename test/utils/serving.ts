/**
 * `effect-oci serve` as a process, and requests to it over HTTPS.
 */
import { assert } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import * as Fs from "node:fs"
import * as Https from "node:https"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Tls from "node:tls"
import { authority } from "./certificates.ts"
import { type Options, run, startWith } from "./Program.ts"
import { send } from "./Served.ts"

/** A temporary folder, and what writes a file in it and returns its path. */
export const temporary = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-oci-"))),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
  ),
  (folder) => ({
    folder,
    write: (name: string, content: string) => {
      const file = Path.join(folder, name)
      Fs.writeFileSync(file, content)
      return file
    }
  })
)

/** Starts `serve` with options of its process, and returns its address. */
export const serveWith = Effect.fnUntraced(function*(options: Options, ...args: ReadonlyArray<string>) {
  const running = yield* startWith(options, "serve", ...args)
  const line = yield* running.firstLine
  const host = /^listening on https?:\/\/(127\.0\.0\.1:[0-9]+)$/.exec(line)?.[1] ?? ""
  if (host === "") assert.fail(`the server did not start: ${(yield* running.ended).stderr}`)
  return { ...running, host, line }
})

/** Starts `serve` at a free port, and returns its address. */
export const serve = (...args: ReadonlyArray<string>) => serveWith({}, "--port", "0", ...args)

/** Runs `serve` that cannot start, and returns the lines on stderr. */
export const refusal = Effect.fnUntraced(function*(code: number, ...args: ReadonlyArray<string>) {
  const ended = yield* run("serve", ...args)
  assert.deepStrictEqual([ended.code, ended.stdout], [code, ""], ended.stderr)
  return ended.stderr
})

/** Repeats an effect until its value is the expected one. */
export const eventually = <A>(effect: Effect.Effect<A>, isExpected: (value: A) => boolean) =>
  Effect.repeat(effect, { until: isExpected, schedule: Schedule.spaced("50 millis") }).pipe(
    Effect.timeout("30 seconds")
  )

export const basicHeader = (user: string) => ({
  authorization: `Basic ${Buffer.from(user).toString("base64")}`
})

/** Returns the common name of the certificate at an address, or the failure of the handshake. */
export const certificateAt = (host: string, options: Tls.ConnectionOptions = {}): Effect.Effect<string> =>
  Effect.callback((resume) => {
    const [address, port] = host.split(":")
    const socket = Tls.connect({
      host: address,
      port: Number(port),
      rejectUnauthorized: false,
      ...options
    }, () => {
      resume(Effect.succeed(String(socket.getPeerCertificate().subject.CN)))
      socket.destroy()
    })
    socket.on("error", (error) => resume(Effect.succeed(error.message)))
    return Effect.sync(() => socket.destroy())
  })

/** Sends a GET over HTTPS, and returns its status. */
export const getSecure = (
  host: string,
  path: string,
  headers: Readonly<Record<string, string>> = {}
): Effect.Effect<number> =>
  Effect.callback((resume) => {
    const request = Https.get(`https://${host}${path}`, { ca: authority, headers, agent: false }, (response) => {
      response.resume()
      resume(Effect.succeed(response.statusCode ?? 0))
    })
    request.on("error", (error) => resume(Effect.die(error)))
    return Effect.sync(() => request.destroy())
  })

/** Pulls an image of one platform from a server: its manifest, its config and its layers. */
export const pullFrom = Effect.fnUntraced(function*(host: string, repository: string, reference: string) {
  const { text } = yield* send(host, `GET /v2/${repository}/manifests/${reference}`)
  const { config, layers }: Record<"config", Part> & { readonly layers: ReadonlyArray<Part> } = JSON.parse(text)
  for (const { digest } of [config, ...layers]) yield* send(host, `GET /v2/${repository}/blobs/${digest}`)
})

interface Part {
  readonly digest: string
}
