import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer } from "effect"
import * as Reference from "effect-oci/Reference"
import * as Registry from "effect-oci/Registry"
import * as Resolver from "effect-oci/Resolver"

const host = Reference.Host.make

const one = Registry.make({ name: "one" })
const two = Registry.make({ name: "two" })

const failing = Resolver.Resolver.of({
  resolve: (host) => Effect.fail(new Resolver.ResolveFailed({ host, cause: "out of order" }))
})

describe("Resolver.static", () => {
  it.effect("finds the registry of a host", () =>
    Effect.gen(function*() {
      const resolver = Resolver.static({ "one.local": one, "two.local:5000": two })
      assert.strictEqual(yield* resolver.resolve(host("two.local:5000")), two)
    }))

  it.effect("does not know the host of another port", () =>
    Effect.gen(function*() {
      const resolver = Resolver.static({ "one.local:5000": one })
      const error = yield* Effect.flip(resolver.resolve(host("one.local:5001")))
      assert.deepStrictEqual(error, new Resolver.UnknownHost({ host: "one.local:5001" }))
    }))

  it.effect("has the unknown host in its error", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Resolver.static({}).resolve(host("one.local")))
      assert.strictEqual(error.message, "no registry is known under the host one.local")
    }))
})

describe("Resolver.firstOf", () => {
  it.effect("uses the first resolver that knows the host", () =>
    Effect.gen(function*() {
      const resolver = Resolver.firstOf(Resolver.static({ "a.local": one }), Resolver.static({ "a.local": two }))
      assert.strictEqual(yield* resolver.resolve(host("a.local")), one)
    }))

  it.effect("continues with the next resolver if a host is not known", () =>
    Effect.gen(function*() {
      const resolver = Resolver.firstOf(Resolver.static({}), Resolver.static({}), Resolver.static({ "a.local": two }))
      assert.strictEqual(yield* resolver.resolve(host("a.local")), two)
    }))

  it.effect("does not continue if a resolution fails", () =>
    Effect.gen(function*() {
      const resolver = Resolver.firstOf(failing, Resolver.static({ "a.local": two }))
      assert.strictEqual((yield* Effect.flip(resolver.resolve(host("a.local"))))._tag, "ResolveFailed")
    }))

  it.effect("asks no resolver after the one that knows the host", () =>
    Effect.gen(function*() {
      const resolver = Resolver.firstOf(Resolver.static({ "a.local": one }), failing)
      assert.strictEqual(yield* resolver.resolve(host("a.local")), one)
    }))

  it.effect("does not know a host that none of them knows", () =>
    Effect.gen(function*() {
      const resolver = Resolver.firstOf(Resolver.static({ "a.local": one }), Resolver.static({}))
      const error = yield* Effect.flip(resolver.resolve(host("b.local")))
      assert.deepStrictEqual(error, new Resolver.UnknownHost({ host: "b.local" }))
    }))

  it.effect("of no resolvers knows no host", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* Effect.flip(Resolver.firstOf().resolve(host("a.local"))))._tag, "UnknownHost")
    }))
})

describe("Resolver.layerStatic", () => {
  const layer: Layer.Layer<Resolver.Resolver> = Resolver.layerStatic({ "one.local": one })

  it.effect("provides the table", () =>
    Effect.gen(function*() {
      const resolver = yield* Resolver.Resolver
      assert.strictEqual(yield* resolver.resolve(host("one.local")), one)
    }).pipe(Effect.provide(layer)))
})
