import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Layer, Schedule, Stream } from "effect"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as NodeHttp from "effect-oci/NodeHttp"
import * as Http from "node:http"
import * as Https from "node:https"
import * as Net from "node:net"
import { inspect } from "node:util"
import { SystemLookup } from "../../src/node/Lookup.ts"
import * as certificates from "../utils/certificates.ts"
import { repository } from "../utils/images.ts"
import { digestOf, listen, listening } from "../utils/ScriptedServer.ts"

const ok: Http.RequestListener = (_, response) => void response.end()

const ping = (
  host: string,
  options: NodeHttp.Options & { readonly plainHttp?: boolean; readonly env?: Record<string, string> } = {}
) =>
  HttpRegistry.make({ host, plainHttp: options.plainHttp === true }).pipe(
    Effect.flatMap((registry) => registry.ping),
    Effect.as("pong"),
    Effect.catchTag(
      "RegistryError",
      ({ reason }) => Effect.succeed(reason._tag === "Transport" ? reason.code : reason)
    ),
    Effect.provide(Layer.provide(
      NodeHttp.layer(options),
      ConfigProvider.layer(ConfigProvider.fromEnv({ env: options.env ?? {} }))
    )),
    Effect.provideService(HttpRegistry.RetrySchedule, Schedule.recurs(0))
  )

/** How an operation fails. It would be retried, if that made sense. */
const failure = (host: string, plainHttp: boolean) =>
  HttpRegistry.make({ host, plainHttp }).pipe(
    Effect.flatMap((registry) => Effect.flip(registry.ping)),
    Effect.provide(NodeHttp.layer()),
    Effect.provideService(HttpRegistry.RetrySchedule, Schedule.recurs(1))
  )

const tls = (options: Https.ServerOptions = {}) =>
  listening(() =>
    Https.createServer({ cert: certificates.serverCertificate, key: certificates.serverKey, ...options }, ok)
  )

describe("TLS", () => {
  it.effect("trusts the authorities that are given, and no others", () =>
    Effect.gen(function*() {
      const host = yield* tls()
      assert.strictEqual(yield* ping(host, { ca: [certificates.authority] }), "pong")
      assert.strictEqual(yield* ping(host), "UNABLE_TO_VERIFY_LEAF_SIGNATURE")
    }))

  it.effect("is not checked for hosts that are named insecure, and for no others", () =>
    Effect.gen(function*() {
      const [one, two] = [yield* tls(), yield* tls()]
      assert.strictEqual(yield* ping(one, { insecure: [one] }), "pong")
      assert.strictEqual(yield* ping(two, { insecure: [one] }), "UNABLE_TO_VERIFY_LEAF_SIGNATURE")
    }))

  it.effect("is checked by one client of a program though another one does not", () =>
    Effect.gen(function*() {
      const host = yield* tls()
      const within = Effect.provide(ping(host), NodeHttp.layer({ insecure: [host] }))
      assert.strictEqual(yield* within, "UNABLE_TO_VERIFY_LEAF_SIGNATURE")
    }))

  it.effect("shows a certificate of our own", () =>
    Effect.gen(function*() {
      const host = yield* tls({ ca: certificates.authority, requestCert: true, rejectUnauthorized: true })
      const ca = [certificates.authority]
      const certificate = { cert: certificates.clientCertificate, key: certificates.clientKey }
      assert.strictEqual(yield* ping(host, { ca, certificate }), "pong")
      assert.notStrictEqual(yield* ping(host, { ca }), "pong")
    }))
})

describe("a port that speaks the other scheme", () => {
  it.effect("is named by the error, if it expects TLS and closes the connection", () =>
    Effect.gen(function*() {
      const { message, reason } = yield* failure(yield* tls(), true)
      assert.deepInclude(reason, { _tag: "SchemeMismatch", used: "http" })
      assert.include(message, "the port expects TLS, and the request was plain HTTP")
    }))

  it.effect.each([
    "Client sent an HTTP request to an HTTPS server.\n",
    "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
    "Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />"
  ])("is named by the error, if it says so itself: %s", (body) =>
    Effect.gen(function*() {
      const host = yield* listen((_, response) => void response.writeHead(400).end(body))
      assert.deepInclude((yield* failure(host, true)).reason, { _tag: "SchemeMismatch", used: "http" })
    }))

  it.effect("is named by the error, if it only answers HEAD with 400, as servers in Go", () =>
    Effect.gen(function*() {
      const [, port] = (yield* tls()).split(":")
      const host = yield* listening(() =>
        Net.createServer((socket) => {
          socket.on("error", () => socket.destroy()).once("data", (bytes) => {
            // a handshake begins so
            if (bytes[0] !== 0x16) return socket.end("HTTP/1.0 400 Bad Request\r\n\r\n")
            const onward = Net.connect(Number(port), "127.0.0.1", () => {
              onward.write(bytes)
              onward.pipe(socket).pipe(onward)
            })
            onward.on("error", () => socket.destroy())
          })
        })
      )
      const registry = yield* Effect.provide(
        HttpRegistry.make({ host, plainHttp: true }),
        yield* Layer.build(NodeHttp.layer())
      )
      const error = yield* Effect.flip(registry.resolveBlob(repository("app"), digestOf("content")))
      assert.deepInclude(error.reason, { _tag: "SchemeMismatch", used: "http" })
    }))

  it.effect("is named by the error, if it does not speak TLS", () =>
    Effect.gen(function*() {
      assert.deepInclude((yield* failure(yield* listen(ok), false)).reason, { _tag: "SchemeMismatch", used: "https" })
    }))

  it.effect("is not looked for at a registry that closes connections", () =>
    Effect.gen(function*() {
      const host = yield* listening(() => Net.createServer((socket) => socket.on("error", () => {}).destroy()))
      assert.strictEqual((yield* failure(host, true)).reason._tag, "Transport")
    }))
})

describe("a name that a registry gave", () => {
  /** A registry whose blob is at a port of another name, which stands for this machine. */
  const leading = Effect.fnUntraced(function*(policy?: typeof HttpRegistry.AddressPolicy.Service) {
    const asked: Array<string> = []
    const storage = yield* listen((request, response) => {
      asked.push(request.url ?? "")
      response.end("content")
    })
    const location = `http://storage.test:${storage.split(":")[1]}/blob`
    const host = yield* listen((_, response) => void response.writeHead(307, { location }).end())
    const lookup: Net.LookupFunction = (_, { all }, done) =>
      all === true ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4)
    const layer = Layer.provide(NodeHttp.layer(), Layer.succeed(SystemLookup, lookup))
    const registry = yield* Effect.provide(HttpRegistry.make({ host, plainHttp: true }), yield* Layer.build(layer))
    const read = Effect.flatMap(
      registry.getBlob(repository("app"), digestOf("content")),
      ({ stream }) => Stream.mkUint8Array(stream)
    )
    const exit = yield* Effect.exit(
      policy === undefined ? read : Effect.provideService(read, HttpRegistry.AddressPolicy, policy)
    )
    return { asked, exit }
  })

  it.effect("is followed to the network that the registry is in", () =>
    Effect.gen(function*() {
      const { asked, exit } = yield* leading()
      assert.isTrue(Exit.isSuccess(exit))
      assert.deepStrictEqual(asked, ["/blob"])
    }))

  it.effect("is not followed to an address that the policy does not allow, and not tried again", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const { asked, exit } = yield* leading((_, { hostname }, resolved) => {
        seen.push([hostname, resolved])
        return resolved === undefined
      })
      assert.include(String(exit), "it leads to storage.test, which is 127.0.0.1")
      assert.deepStrictEqual(asked, [])
      assert.deepStrictEqual(seen, [
        ["storage.test", undefined],
        ["storage.test", { registry: [], address: "127.0.0.1" }]
      ])
    }))
})

describe("a connection", () => {
  /** A registry that answers each request with what a line of it says, and how often it was connected to. */
  const serving = Effect.fnUntraced(function*(answer: (method: string) => string) {
    let connections = 0
    const host = yield* listening(() =>
      Net.createServer((socket) => {
        connections++
        socket.on("data", (bytes) => socket.write(answer(bytes.toString().split(" ", 1)[0] ?? "")))
        socket.on("error", () => socket.destroy())
      })
    )
    const registry = yield* HttpRegistry.make({ host, plainHttp: true }).pipe(
      Effect.provide(yield* Layer.build(NodeHttp.layer()))
    )
    return { registry, connections: () => connections }
  })
  const digest = digestOf("content")

  const head = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"

  it.live("is used again after HEAD", () =>
    Effect.gen(function*() {
      const { connections, registry } = yield* serving((method) => method === "HEAD" ? head : `${head}content`)
      for (let count = 0; count < 3; count++) yield* registry.resolveBlob(repository("app"), digest)
      yield* registry.ping
      assert.strictEqual(connections(), 1)
    }))

  it.live("is closed if a body arrives late after HEAD, and the next request uses another connection", () =>
    Effect.gen(function*() {
      let isLate = true
      const { connections, registry } = yield* serving((method) => {
        if (method === "HEAD") return head
        const late = isLate ? "content" : ""
        isLate = false
        return `${late}${head}content`
      })
      yield* registry.resolveBlob(repository("app"), digest)
      yield* registry.ping
      assert.strictEqual(connections(), 2)
    }))

  it.live("is closed if a body arrives after HEAD", () =>
    Effect.gen(function*() {
      const { connections, registry } = yield* serving(() => `${head}content`)
      for (let count = 0; count < 3; count++) {
        const { size } = yield* registry.resolveBlob(repository("app"), digest)
        assert.strictEqual(size, 7)
      }
      assert.strictEqual(connections(), 3)
    }))
})

describe("a proxy of the environment", () => {
  /** A proxy that forwards all requests to one server, and records the hosts that were requested. */
  const proxy = Effect.fnUntraced(function*(target: string) {
    const asked: Array<string> = []
    const host = yield* listening(() =>
      Http.createServer((request, response) => {
        asked.push(request.url ?? "")
        response.end()
      }).on("connect", (request, socket) => {
        asked.push(request.url ?? "")
        const [hostname = "", port] = target.split(":")
        const onward = Net.connect(Number(port), hostname, () => {
          socket.write("HTTP/1.1 200 OK\r\n\r\n")
          onward.pipe(socket).pipe(onward)
        })
        onward.on("error", () => socket.destroy())
        socket.on("error", () => onward.destroy())
      })
    )
    return { asked, url: `http://${host}` }
  })

  it.effect("is asked for hosts in HTTPS, whose certificates are checked", () =>
    Effect.gen(function*() {
      const { asked, url } = yield* proxy(yield* tls())
      const env = { HTTPS_PROXY: url }
      assert.strictEqual(yield* ping("registry.test", { env, ca: [certificates.authority] }), "pong")
      assert.strictEqual(yield* ping("registry.test", { env }), "UNABLE_TO_VERIFY_LEAF_SIGNATURE")
      assert.strictEqual(yield* ping("registry.test", { env, insecure: ["registry.test"] }), "pong")
      assert.deepStrictEqual(new Set(asked), new Set(["registry.test:443"]))
    }))

  it.effect("is asked for hosts in plain HTTP", () =>
    Effect.gen(function*() {
      const { asked, url } = yield* proxy("")
      assert.strictEqual(yield* ping("registry.test", { env: { http_proxy: url }, plainHttp: true }), "pong")
      assert.lengthOf(asked, 1)
    }))

  it.effect("is named without a scheme, too, and gets its name and password decoded", () =>
    Effect.gen(function*() {
      const sent: Array<string | undefined> = []
      const host = yield* listen((request, response) => {
        sent.push(request.headers["proxy-authorization"])
        response.end()
      })
      for (const url of [host, `ada:p%40%zz%C3%A9@${host}`, `http://ada@${host}/`]) {
        assert.strictEqual(yield* ping("registry.test", { env: { HTTP_PROXY: url }, plainHttp: true }), "pong")
      }
      const basic = (login: string) => `Basic ${Buffer.from(login).toString("base64")}`
      assert.deepStrictEqual(sent, [undefined, basic("ada:p@%zzé"), basic("ada:")])
    }))

  it.effect("that cannot be used is an error that names its variable alone, for what is meant for it, at once", () =>
    Effect.gen(function*() {
      const env = { HTTP_PROXY: "socks5://ada:marker@127.0.0.1:1", https_proxy: "ftp://ada:marker@proxy.test" }
      const refused = (host: string, plainHttp: boolean) =>
        HttpRegistry.make({ host, plainHttp }).pipe(
          Effect.flatMap((registry) => Effect.flip(registry.ping)),
          Effect.map((error) => {
            assert.notInclude(inspect(error, { depth: 20 }), "marker")
            return error.message
          }),
          Effect.provide(Layer.provide(NodeHttp.layer(), ConfigProvider.layer(ConfigProvider.fromEnv({ env }))))
        )
      assert.strictEqual(
        yield* refused("registry.test", true),
        "registry.test: the proxy cannot be used: HTTP_PROXY names a SOCKS proxy: only those of HTTP are supported (ping)"
      )
      assert.strictEqual(
        yield* refused("registry.test", false),
        "registry.test: the proxy cannot be used: https_proxy is not the address of a proxy, such as " +
          "http://proxy.example.com:3128 (ping)"
      )
      assert.strictEqual(yield* ping(yield* listen(ok), { env, plainHttp: true }), "pong")
    }))

  it.effect("is not asked for loopback, nor for what NO_PROXY names", () =>
    Effect.gen(function*() {
      const { asked, url } = yield* proxy("")
      const env = { HTTP_PROXY: url, HTTPS_PROXY: url, NO_PROXY: "localhost.test,.example.test" }
      assert.strictEqual(yield* ping(yield* listen(ok), { env, plainHttp: true }), "pong")
      assert.strictEqual(yield* ping("a.example.test", { env }), "ENOTFOUND")
      assert.deepStrictEqual(asked, [])
    }))
})
