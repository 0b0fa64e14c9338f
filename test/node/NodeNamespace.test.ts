import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, FileSystem, Redacted, Schedule, Schema } from "effect"
import * as Credentials from "effect-oci/Credentials"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import type * as HttpResolver from "effect-oci/HttpResolver"
import * as MediaType from "effect-oci/MediaType"
import * as Namespace from "effect-oci/Namespace"
import * as NodeNamespace from "effect-oci/NodeNamespace"
import * as Https from "node:https"
import * as certificates from "../utils/certificates.ts"
import { bytesOf } from "../utils/images.ts"
import { digestOf, listen, listening } from "../utils/ScriptedServer.ts"

const bytes = bytesOf(`{"schemaVersion":2}`)
const digest = digestOf(bytes)

const basic = (login: string) => `Basic ${Buffer.from(login).toString("base64")}`

/** Reads from a registry that lets in ada alone; the directory is docker's and has this config. */
const read = Effect.fnUntraced(function*(
  config: (host: string) => string | undefined,
  options?: Pick<HttpResolver.Options, "credentials">
) {
  const fs = yield* FileSystem.FileSystem
  const directory = yield* fs.makeTempDirectoryScoped()
  const host = yield* listen((request, response) => {
    if (request.headers.authorization !== basic("ada:pass")) {
      response.writeHead(401, { "www-authenticate": `Basic realm="test"` }).end()
      return
    }
    response.writeHead(200, {
      "content-length": bytes.length,
      "content-type": MediaType.imageManifest,
      "docker-content-digest": digest
    })
    response.end(request.method === "HEAD" ? "" : bytes)
  })
  const text = config(host)
  if (text !== undefined) yield* fs.writeFileString(`${directory}/config.json`, text)
  const layer = options === undefined ? NodeNamespace.layer : NodeNamespace.layerOptions(options)
  return yield* Namespace.Namespace.use((namespace) => namespace.resolveManifest(`${host}/team/app:1`)).pipe(
    Effect.provide(layer),
    Effect.provideService(
      ConfigProvider.ConfigProvider,
      ConfigProvider.fromEnv({ env: { DOCKER_CONFIG: directory } })
    ),
    Effect.map((descriptor) => descriptor.digest),
    Effect.catch((error) => Effect.succeed(error.message))
  )
})

const login = (host: string) => JSON.stringify({ auths: { [host]: { username: "ada", password: "pass" } } })

describe("NodeNamespace", () => {
  it.effect("is who docker has logged in as", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* read(login), digest)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("uses other credentials in each namespace of a program", () =>
    Effect.gen(function*() {
      const outer = NodeNamespace.layerOptions({ credentials: Credentials.anonymous })
      assert.strictEqual(yield* Effect.provide(read(login), outer), digest)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("has no credentials if docker has none", () =>
    Effect.gen(function*() {
      assert.include(yield* read(() => undefined), "the registry asks for credentials")
      assert.include(yield* read(() => login("other.io")), "the registry asks for credentials")
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("says so where docker's config is broken", () =>
    Effect.gen(function*() {
      assert.match(yield* read(() => "rubbish"), /no credentials from .*config\.json: it is not JSON/)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("uses the credentials of the options", () =>
    Effect.gen(function*() {
      const credentials = Credentials.basic("ada", Redacted.make("pass"))
      assert.strictEqual(yield* read(() => "rubbish", { credentials }), digest)
      assert.include(
        yield* read(login, { credentials: Credentials.anonymous }),
        "the registry asks for credentials"
      )
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("speaks TLS to a registry on this machine, if told to, and plain HTTP otherwise", () =>
    Effect.gen(function*() {
      const host = yield* listening(() =>
        Https.createServer({ cert: certificates.serverCertificate, key: certificates.serverKey }, (_, response) => {
          response.writeHead(200, { "content-length": bytes.length, "content-type": MediaType.imageManifest }).end(
            bytes
          )
        })
      )
      const get = (options: Parameters<typeof NodeNamespace.layerOptions>[0]) =>
        Namespace.Namespace.use((namespace) => namespace.getManifest(`${host}/team/app:1`)).pipe(
          Effect.provide(
            NodeNamespace.layerOptions({ ca: [certificates.authority], credentials: Credentials.anonymous, ...options })
          ),
          Effect.provideService(HttpRegistry.RetrySchedule, Schedule.recurs(0))
        )
      assert.strictEqual((yield* get({ tls: [host] })).descriptor.digest, digest)
      assert.strictEqual((yield* Effect.flip(get({})))._tag, "RegistryError")
    }))

  it.effect("takes settings from the configuration", () =>
    Effect.gen(function*() {
      const host = yield* listen((_, response) => {
        response.writeHead(200, { "content-type": MediaType.imageManifest }).end(bytes)
      })
      const layer = NodeNamespace.layerConfig({
        credentials: Config.succeed(Credentials.anonymous),
        insecure: Config.Array(Schema.String, "INSECURE")
      })
      const get = (env: Readonly<Record<string, string>>) =>
        Namespace.Namespace.use((namespace) => namespace.getManifest(`${host}/team/app:1`)).pipe(
          Effect.provide(layer),
          Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))
        )
      assert.strictEqual((yield* get({ INSECURE: "a.test,b.test" })).descriptor.digest, digest)
      assert.strictEqual((yield* Effect.flip(get({})))._tag, "ConfigError")
    }))
})
