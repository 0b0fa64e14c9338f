import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Redacted } from "effect"
import * as Credentials from "effect-oci/Credentials"
import * as RegistryError from "effect-oci/RegistryError"
import { inspect } from "node:util"

const token = (secret: string): Credentials.Credential => ({ _tag: "RegistryToken", token: Redacted.make(secret) })

/** The secret that was found, if any. */
const lookup = (credentials: Credentials.Credentials["Service"], host: string, repository?: string) =>
  Effect.map(credentials.lookup({ host, ...repository === undefined ? {} : { repository } }), (found) => {
    if (found === undefined) return undefined
    return Redacted.value(found._tag === "Basic" ? found.password : found.token)
  })

describe("anonymous", () => {
  it.effect("has no credentials", () =>
    Effect.gen(function*() {
      assert.isUndefined(yield* Credentials.anonymous.lookup({ host: "ghcr.io" }))
      yield* Credentials.anonymous.refused({ host: "ghcr.io" })
      assert.isUndefined(
        yield* Credentials.Credentials.use(({ lookup }) => lookup({ host: "ghcr.io" })).pipe(
          Effect.provide(Credentials.layerAnonymous)
        )
      )
    }))
})

describe("basic", () => {
  it.effect("is the same for every place, also after a refusal", () =>
    Effect.gen(function*() {
      const credentials = Credentials.basic("ada", Redacted.make("secret"))
      yield* credentials.refused({ host: "ghcr.io" })
      assert.strictEqual(yield* lookup(credentials, "ghcr.io"), "secret")
      assert.strictEqual(yield* lookup(credentials, "quay.io", "team/app"), "secret")
    }))
})

describe("static", () => {
  const table = Credentials.static({
    "ghcr.io": token("host"),
    "ghcr.io/team": token("path"),
    "ghcr.io/team/app": token("repository"),
    "ghcr.io:8443": token("port"),
    "only.io/team": token("path alone"),
    "[::1]:5000": token("address")
  })

  it.effect.each<readonly [host: string, repository: string | undefined, expected: string | undefined]>([
    ["ghcr.io", undefined, "host"],
    ["GHCR.io", undefined, "host"],
    ["ghcr.io", "other/app", "host"],
    ["ghcr.io", "team", "path"],
    ["ghcr.io", "team/other", "path"],
    ["ghcr.io", "team/app", "repository"],
    ["ghcr.io", "team/app/part", "repository"],
    ["ghcr.io", "team/apps", "path"],
    ["ghcr.io", "teams/app", "host"],
    ["ghcr.io:8443", "team/app", "port"],
    ["ghcr.io:443", "team/app", undefined],
    ["my.ghcr.io", undefined, undefined],
    ["only.io", undefined, undefined],
    ["only.io", "team/app", "path alone"],
    ["[::1]:5000", "team/app", "address"]
  ])(
    "uses the longest key that is a prefix by whole parts: %s %s",
    ([host, repository, expected]) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* lookup(table, host, repository), expected)
      })
  )

  it.effect.each([
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
    "https://index.docker.io/v1/",
    "https://registry-1.docker.io/v2/",
    "index.docker.io/v1/"
  ])("recognizes each name of Docker Hub: %s", (key) =>
    Effect.gen(function*() {
      const credentials = Credentials.static({ [key]: token("hub") })
      assert.strictEqual(yield* lookup(credentials, "docker.io"), "hub")
      assert.strictEqual(yield* lookup(credentials, "index.docker.io"), "hub")
      assert.strictEqual(yield* lookup(credentials, "registry-1.docker.io", "library/busybox"), "hub")
      assert.isUndefined(yield* lookup(credentials, "hub.docker.io"))
    }))

  it.effect.each([
    "reg.io:5000",
    "REG.io:5000",
    "reg.io:5000/",
    "http://reg.io:5000",
    "https://reg.io:5000/",
    "https://reg.io:5000/v1/",
    "https://reg.io:5000/v2",
    "https://reg.io:5000/v2/_catalog",
    "reg.io:5000/v1/",
    "reg.io:5000/v2/"
  ])("accepts each form of a host: %s", (key) =>
    Effect.gen(function*() {
      const credentials = Credentials.static({ [key]: token("host") })
      assert.strictEqual(yield* lookup(credentials, "reg.io:5000", "team/app"), "host")
      assert.isUndefined(yield* lookup(credentials, "reg.io"))
    }))

  it.effect("prefers a plain key, then the first", () =>
    Effect.gen(function*() {
      const plain = { "https://reg.io/v1/": token("address"), "reg.io": token("plain"), "reg.io/": token("slash") }
      assert.strictEqual(yield* lookup(Credentials.static(plain), "reg.io"), "plain")
      const addresses = { "https://reg.io/v1/": token("first"), "https://reg.io/v2/": token("second") }
      assert.strictEqual(yield* lookup(Credentials.static(addresses), "reg.io"), "first")
    }))

  it.effect("is a layer", () =>
    Effect.gen(function*() {
      const found = yield* Effect.flatMap(Credentials.Credentials, (credentials) => lookup(credentials, "reg.io"))
      assert.strictEqual(found, "layer")
    }).pipe(Effect.provide(Credentials.layerStatic({ "reg.io": token("layer") }))))
})

describe("firstOf", () => {
  const error = new RegistryError.CredentialsUnavailable({ source: "a file", problem: "it is not JSON" })
  const broken = Credentials.Credentials.of({ lookup: () => Effect.fail(error), refused: () => Effect.void })

  it.effect("returns the first that is found", () =>
    Effect.gen(function*() {
      const credentials = Credentials.firstOf(
        Credentials.static({ "a.io": token("first a") }),
        Credentials.static({ "a.io": token("second a"), "b.io": token("second b") }),
        broken
      )
      assert.strictEqual(yield* lookup(credentials, "a.io"), "first a")
      assert.strictEqual(yield* lookup(credentials, "b.io"), "second b")
      assert.isUndefined(yield* lookup(Credentials.firstOf(), "a.io"))
    }))

  it.effect("does not skip one that fails", () =>
    Effect.gen(function*() {
      const credentials = Credentials.firstOf(broken, Credentials.static({ "a.io": token("second") }))
      assert.strictEqual(yield* Effect.flip(lookup(credentials, "a.io")), error)
    }))

  it.effect("reports a refusal to all", () =>
    Effect.gen(function*() {
      const told: Array<string> = []
      const one = (name: string) =>
        Credentials.Credentials.of({
          lookup: () => Effect.undefined,
          refused: ({ host }) => Effect.sync(() => void told.push(`${name} ${host}`))
        })
      yield* Credentials.firstOf(one("first"), one("second")).refused({ host: "a.io" })
      assert.deepStrictEqual(told, ["first a.io", "second a.io"])
    }))
})

describe("fromConfig", () => {
  const provider = (env: Record<string, string>) => ConfigProvider.fromEnv({ env })
  const login = { OCI_USERNAME: "ada", OCI_PASSWORD: "password" }

  it.effect.each<readonly [env: Record<string, string>, found: string | undefined]>([
    [{}, undefined],
    [{ OCI_REGISTRY: "reg.io" }, undefined],
    [{ OCI_REGISTRY: "reg.io", ...login }, "password"],
    [{ OCI_REGISTRY: "reg.io/team", ...login }, "password"],
    [{ OCI_REGISTRY: "reg.io/other", ...login }, undefined],
    [{ OCI_REGISTRY: "https://reg.io", ...login, OCI_IDENTITY_TOKEN: "identity" }, "identity"],
    [{ OCI_REGISTRY: "reg.io", OCI_IDENTITY_TOKEN: "identity", OCI_REGISTRY_TOKEN: "token" }, "token"]
  ])("reads the credentials of one place: %j", ([env, found]) =>
    Effect.gen(function*() {
      const credentials = yield* Credentials.fromConfig.parse(provider(env))
      assert.strictEqual(yield* lookup(credentials, "reg.io", "team/app"), found)
      assert.isUndefined(yield* lookup(credentials, "other.io", "team/app"))
    }))

  it.effect.each<readonly [env: Record<string, string>, missing: string]>([
    [{ OCI_REGISTRY: "reg.io", OCI_USERNAME: "ada" }, "OCI_PASSWORD"],
    [{ OCI_REGISTRY: "reg.io", OCI_PASSWORD: "password" }, "OCI_USERNAME"],
    [login, "OCI_REGISTRY"]
  ])("names the missing variable: %j", ([env, missing]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Effect.scoped(Layer.build(Layer.provide(
        Credentials.layerConfig,
        ConfigProvider.layer(provider(env))
      ))))
      assert.include(error.message, missing)
      assert.notInclude(inspect(error, { depth: 20 }), "password\"")
    }))
})

describe("secrets", () => {
  it.effect("are not shown", () =>
    Effect.gen(function*() {
      const secret = Redacted.make("MARKER")
      for (
        const credential of [
          { _tag: "Basic", username: "ada", password: secret },
          { _tag: "IdentityToken", token: secret },
          { _tag: "RegistryToken", token: secret }
        ] satisfies ReadonlyArray<Credentials.Credential>
      ) {
        const credentials = Credentials.static({ "reg.io": credential })
        const found = yield* credentials.lookup({ host: "reg.io" })
        for (const value of [found, credentials]) {
          assert.notInclude(inspect(value, { depth: 20, showHidden: true }), "MARKER")
          assert.notInclude(JSON.stringify(value), "MARKER")
        }
      }
    }))
})
