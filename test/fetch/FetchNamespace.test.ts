import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Redacted } from "effect"
import * as Authentication from "effect-oci/Authentication"
import * as Credentials from "effect-oci/Credentials"
import * as FetchNamespace from "effect-oci/FetchNamespace"
import * as Namespace from "effect-oci/Namespace"
import { Images } from "effect-oci/testing"
import * as Served from "../utils/Served.ts"

const resolve = (reference: string) => Namespace.Namespace.use((namespace) => namespace.resolveManifest(reference))

/** A registry with an image that only ada may read. */
const guarded = Effect.gen(function*() {
  const check = Authentication.passwords({ ada: Redacted.make("pass") })
  const authentication = Authentication.basic({ check })
  const { host, registry } = yield* Served.memory({ authentication })
  const { index } = yield* Images.pushSample(registry, Images.repository("app"), [Images.tag("1")])
  return { reference: `${host}/app:1`, digest: index.digest, host }
})

describe("FetchNamespace", () => {
  it.effect("copies from a registry to another one", () =>
    Effect.gen(function*() {
      const [from, to] = [yield* Served.memory(), yield* Served.memory()]
      const { index } = yield* Images.pushSample(from.registry, Images.repository("app"), [Images.tag("1")])
      const copy = Namespace.Namespace.use((namespace) =>
        namespace.copyManifest({ source: `${from.host}/app:1`, destination: `${to.host}/app:1` })
      )
      yield* Effect.provide(copy, FetchNamespace.layer)
      const copied = yield* to.registry.resolveManifest(Images.repository("app"), Images.tag("1"))
      assert.strictEqual(copied.digest, index.digest)
    }))

  it.effect("is anonymous unless it has credentials", () =>
    Effect.gen(function*() {
      const { digest, reference } = yield* guarded
      const error = yield* Effect.flip(Effect.provide(resolve(reference), FetchNamespace.layer))
      assert.include(error.message, "the registry asks for credentials")
      const layer = FetchNamespace.layerOptions({ credentials: Credentials.basic("ada", Redacted.make("pass")) })
      assert.strictEqual((yield* Effect.provide(resolve(reference), layer)).digest, digest)
    }))

  it.effect("takes settings from the configuration", () =>
    Effect.gen(function*() {
      const { digest, host, reference } = yield* guarded
      const env = { OCI_REGISTRY: host, OCI_USERNAME: "ada", OCI_PASSWORD: "pass" }
      const layer = FetchNamespace.layerConfig({
        credentials: Credentials.fromConfig,
        redirect: Config.Literals(["manual", "follow"], "REDIRECT").pipe(Config.withDefault("manual"))
      })
      const resolved = (more: Readonly<Record<string, string>>) =>
        resolve(reference).pipe(
          Effect.provide(layer),
          Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env: { ...env, ...more } }))
        )
      assert.strictEqual((yield* resolved({})).digest, digest)
      assert.strictEqual((yield* Effect.flip(resolved({ REDIRECT: "never" })))._tag, "ConfigError")
    }))
})
