/**
 * Messages on stderr of all verbs: with `--quiet`, `--debug` and `--json`.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as MediaType from "effect-oci/MediaType"
import type * as Http from "node:http"
import * as Command from "../utils/Command.ts"
import { pushSample, repository, tag } from "../utils/images.ts"
import { validatorOf } from "../utils/JsonSchemas.ts"
import * as Program from "../utils/Program.ts"
import { digestOf, listen } from "../utils/ScriptedServer.ts"
import * as Served from "../utils/Served.ts"

const withNode = Effect.provide(NodeServices.layer)

const layer = "the layer"
const config = "{}"
const manifest = JSON.stringify({
  schemaVersion: 2,
  mediaType: MediaType.imageManifest,
  config: { mediaType: MediaType.imageConfig, digest: digestOf(config), size: config.length },
  layers: [{ mediaType: MediaType.imageLayer, digest: digestOf(layer), size: layer.length }]
})

const password = "password-marker"
const basic = `Basic ${Buffer.from(`ada:${password}`).toString("base64")}`

const send = (response: Http.ServerResponse, status: number, headers: Http.OutgoingHttpHeaders = {}, body = "") =>
  void response.writeHead(status, { "content-length": body.length, ...headers }).end(body)

/**
 * Serves an image to clients with a token. Every place that may contain a secret contains one whose text ends in
 * `-marker`: the query of the token service and of the address of a blob, the token, and the password.
 */
const secretSource = listen((request, response) => {
  const { headers: { authorization, host = "" }, url = "" } = request
  const reply = (body: string, type: string = MediaType.octetStream) =>
    send(
      response,
      200,
      { "content-type": type, "docker-content-digest": digestOf(body), warning: "299 - \"moves soon\"" },
      body
    )
  if (url.startsWith("/token")) {
    return authorization === basic
      ? reply(JSON.stringify({ token: "token-marker" }), "application/json")
      : send(response, 401)
  }
  if (url.startsWith("/cdn/")) return reply(url.includes(digestOf(layer)) ? layer : config)
  if (authorization !== "Bearer token-marker") {
    return send(response, 401, {
      "www-authenticate": `Bearer realm="http://${host}/token?realm=realm-marker",service="test"`
    })
  }
  if (url.includes("/blobs/")) {
    return send(response, 307, { location: `http://${host}/cdn${url}?signature=signature-marker` })
  }
  return url.includes("/manifests/") ? reply(manifest, MediaType.imageManifest) : send(response, 404)
})

/** Accepts an image. The addresses of its upload sessions contain secrets. */
const secretDestination = listen((request, response) => {
  request.resume().once("end", () => {
    if (request.method === "POST") {
      return send(response, 202, { location: "/v2/app/blobs/uploads/session-marker?_state=state-marker" })
    }
    return send(response, request.method === "PUT" ? 201 : 404, request.method === "PUT" ? { location: "/" } : {})
  })
})

/** Copies the image from the source to the destination with secrets, as a process. */
const copySecrets = Effect.fnUntraced(function*(...flags: ReadonlyArray<string>) {
  const [source, destination] = [yield* secretSource, yield* secretDestination]
  const env = { OCI_REGISTRY: source, OCI_USERNAME: "ada", OCI_PASSWORD: password }
  const ended = yield* Program.runWith({ env }, "copy", `${source}/app:1`, `${destination}/app:1`, ...flags)
  assert.strictEqual(ended.code, 0, ended.stderr)
  return { ...ended, source, destination }
})

const linesOf = (stderr: string): ReadonlyArray<string> => stderr.split("\n").slice(0, -1)

/** Returns the messages on stderr, which must follow their schema. */
const messagesOf = Effect.fnUntraced(function*(stderr: string) {
  const check = yield* validatorOf("message")
  return linesOf(stderr).map((line) => {
    const message: Readonly<Record<string, unknown>> = JSON.parse(line)
    check(message)
    return message
  })
})

describe("--quiet", () => {
  it.live("leaves nothing on stderr of a copy that succeeds", () =>
    Effect.gen(function*() {
      const { destination, stderr, stdout } = yield* copySecrets("--quiet")
      assert.deepStrictEqual([stderr, stdout], ["", `${destination}/app@${digestOf(manifest)}\n`])
      const usual = yield* copySecrets()
      assert.include(usual.stderr, `warning: ${usual.source}: moves soon\n`)
      assert.include(usual.stderr, "copied 2 blobs and 1 manifest")
    }))

  it.live("leaves errors on stderr", () =>
    Effect.gen(function*() {
      const host = yield* listen((_, response) => send(response, 404))
      const { code, stderr } = yield* Program.run("-q", "tags", `${host}/app`)
      assert.strictEqual(code, 1)
      assert.match(stderr, /^effect-oci: [^\n]+\n$/)
    }))
})

describe("--debug", () => {
  it.live("shows requests with status and time, and the decisions of the copy, but no secret", () =>
    Effect.gen(function*() {
      const { destination, source, stderr, stdout } = yield* copySecrets("--debug")
      const lines = linesOf(stderr)
      const has = (pattern: RegExp) => assert.isTrue(lines.some((line) => pattern.test(line)), `${pattern}\n${stderr}`)
      has(new RegExp(`^debug: GET http://${source}/v2/app/manifests/1: 401 after \\d+ ms$`))
      has(new RegExp(`^debug: GET http://${source}/token: 200 after \\d+ ms$`))
      has(new RegExp(`^debug: GET http://${source}/cdn/v2/app/blobs/${digestOf(layer)}: 200 after \\d+ ms$`))
      has(new RegExp(`^debug: PUT http://${destination}/v2/app/blobs/uploads/…: 201 after \\d+ ms$`))
      has(new RegExp(`^debug: planned blob ${digestOf(layer)} \\(9 B\\)$`))
      has(new RegExp(`^copied blob ${digestOf(layer)} \\(9 B\\)$`))
      assert.notMatch(stderr + stdout, /-marker/)
      assert.notInclude(stderr, basic.slice("Basic ".length))
      assert.notInclude(stderr, "?")
    }))

  it.live("shows no secret as JSON either", () =>
    Effect.gen(function*() {
      const { stderr, stdout } = yield* copySecrets("--debug", "--json")
      const messages = yield* messagesOf(stderr)
      const types = new Set(messages.map(({ type }) => type))
      for (const type of ["request", "planned", "started", "settled", "copied", "warning"]) assert.include(types, type)
      assert.notMatch(stderr + stdout, /-marker/)
      assert.notInclude(stderr, basic.slice("Basic ".length))
    }))

  it.live("shows why a request has no response", () =>
    Effect.gen(function*() {
      const host = yield* listen((request) => request.socket.destroy())
      const { code, stderr } = yield* Program.run("catalog", host, "--debug")
      assert.strictEqual(code, 1)
      assert.match(stderr, new RegExp(`^debug: GET http://${host}/v2/_catalog: (?!200)[^\\n]+ after \\d+ ms\n`, "m"))
    }))

  it.live("shows the outcome of each piece of several copies", () =>
    Effect.gen(function*() {
      const source = yield* Served.memory()
      const { index } = yield* pushSample(source.registry, repository("app"), [tag("1")])
      const { host } = yield* Served.memory()
      const { code, stderr } = yield* Command.run(
        "copy",
        "--debug",
        `${source.host}/app:1`,
        `${host}/one:1`,
        `${host}/two:1`
      )
      assert.strictEqual(code, 0, stderr)
      assert.strictEqual(stderr.split(`copied root ${index.digest}`).length, 3)
    }).pipe(withNode))
})

describe("--json", () => {
  it.live("makes progress one JSON object per line, and leaves stdout one document", () =>
    Effect.gen(function*() {
      const { destination, stderr, stdout } = yield* copySecrets("--json")
      assert.strictEqual(JSON.parse(stdout).root.digest, digestOf(manifest))
      const messages = yield* messagesOf(stderr)
      assert.deepInclude(messages.find(({ digest, type }) => type === "settled" && digest === digestOf(layer)), {
        role: "blob",
        size: layer.length,
        outcome: "copied"
      })
      assert.include(messages.at(-1)?.["destination"], `${destination}/app:1`)
    }))

  it.live("makes errors JSON, also those of the arguments and of a signal", () =>
    Effect.gen(function*() {
      const host = yield* listen((_, response) => send(response, 404))
      const failed = yield* Program.run("tags", `${host}/app`, "--json")
      const [error, ...others] = yield* messagesOf(failed.stderr)
      assert.deepStrictEqual([failed.code, failed.stdout, others], [1, "", []])
      assert.deepInclude(error, { type: "error", reference: `${host}/app`, operation: "tags" })
      const misused = yield* Program.run("tags", "--json", "--bogus")
      assert.deepStrictEqual([misused.code, yield* messagesOf(misused.stderr)], [
        2,
        [{ type: "error", message: "unknown flag --bogus", help: "effect-oci tags --help" }]
      ])
      let arrive: () => void = () => {}
      const arrived = new Promise<void>((resolve) => {
        arrive = resolve
      })
      const hanging = yield* listen(() => arrive())
      const running = yield* Program.start("tags", `${hanging}/app`, "--json")
      yield* Effect.promise(() => arrived)
      running.kill("SIGINT")
      const { code, stderr } = yield* running.ended
      assert.deepStrictEqual([code, yield* messagesOf(stderr)], [130, [{ type: "error", message: "interrupted" }]])
    }))

  it.live("does not apply to an argument after --", () =>
    Effect.gen(function*() {
      const { stderr } = yield* Command.run("tags", "--", "--json")
      assert.match(stderr, /^effect-oci: /)
    }).pipe(withNode))
})

describe("serve", () => {
  const serve = Effect.fnUntraced(function*(...flags: ReadonlyArray<string>) {
    const running = yield* Program.start("serve", "--port", "0", ...flags)
    const line = yield* running.firstLine
    const host = /http:\/\/(127\.0\.0\.1:[0-9]+)/.exec(line)?.[1] ?? ""
    yield* Served.send(host, "GET /v2/app/tags/list?n=1")
    running.kill("SIGTERM")
    return { ...yield* running.ended, line, host }
  })

  it.live("prints its address and its access log as JSON with --json", () =>
    Effect.gen(function*() {
      const { host, line, stderr } = yield* serve("--json")
      assert.deepStrictEqual(JSON.parse(line), { address: `http://${host}` })
      const [access, ...others] = yield* messagesOf(stderr)
      assert.deepStrictEqual(others, [])
      assert.deepInclude(access, { type: "access", method: "GET", url: "/v2/app/tags/list?n=1", status: 404 })
    }))

  it.live("writes no access log with --quiet", () =>
    Effect.gen(function*() {
      const { host, stderr, stdout } = yield* serve("--quiet")
      assert.deepStrictEqual([stdout, stderr], [`listening on http://${host}\n`, ""])
    }))

  it.live("shows the requests to the upstream registry with --debug", () =>
    Effect.gen(function*() {
      const upstream = yield* listen((_, response) => send(response, 404))
      const { stderr } = yield* serve("--debug", "--proxy", upstream)
      assert.include(stderr, `debug: GET http://${upstream}/v2/app/tags/list: 404`)
    }))
})

describe("every verb", () => {
  it.live("has --quiet and --debug", () =>
    Effect.gen(function*() {
      const verbs = Array.from((yield* Command.run("--help")).stdout.matchAll(/^ {2}([a-z]+)(?:, [a-z]+)? {2,}/gm))
      assert.isAbove(verbs.length, 15)
      for (const [, verb = ""] of verbs) {
        const { stdout } = yield* Command.run(verb, "--help")
        assert.include(stdout, "-q, --quiet\n", verb)
        assert.include(stdout, "--debug\n", verb)
      }
    }).pipe(withNode))
})
