/**
 * From the host of a reference to the registry that answers for it.
 *
 * The registry need not be behind HTTP: a resolver hands out whatever `Registry` it likes. {@link layerStatic} serves a
 * table, {@link firstOf} asks several resolvers in turn, and `HttpResolver` speaks to any host.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { Host } from "./Reference.ts"
import type { Registry } from "./Registry.ts"
import { excerpt } from "./Text.ts"

/**
 * No registry is known under this host.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownHost
  extends Schema.TaggedError<UnknownHost>("effect-oci/Resolver/UnknownHost")("UnknownHost", { host: Schema.String })
{
  override get message(): string {
    return `no registry is known under the host ${this.host}`
  }
}

/**
 * The host is known, but there is no registry to be had for it.
 *
 * @category errors
 * @since 0.1.0
 */
export class ResolveFailed extends Schema.TaggedError<ResolveFailed>("effect-oci/Resolver/ResolveFailed")(
  "ResolveFailed",
  { host: Schema.String, cause: Schema.Defect() }
) {
  override get message(): string {
    const sentence = `no registry could be had for the host ${this.host}`
    return this.cause instanceof Error ? `${sentence}: ${excerpt(this.cause.message)}` : sentence
  }
}

/**
 * Every way in which resolving fails.
 *
 * @category models
 * @since 0.1.0
 */
export type ResolveError = UnknownHost | ResolveFailed

/**
 * Finds the registry of a host. The same host gives the same registry, so that copies know when both ends are one.
 *
 * @category services
 * @since 0.1.0
 */
export class Resolver extends Context.Service<Resolver, {
  readonly resolve: (host: Host) => Effect.Effect<Registry, ResolveError>
}>()("effect-oci/Resolver") {}

const static_ = (registries: Readonly<Record<string, Registry>>): Resolver["Service"] => {
  const table = new Map(Object.entries(registries))
  return Resolver.of({
    resolve: (host) =>
      Effect.suspend(() => {
        const registry = table.get(host)
        return registry === undefined ? Effect.fail(new UnknownHost({ host })) : Effect.succeed(registry)
      })
  })
}

export {
  /**
   * A resolver of a fixed table.
   *
   * **Example** (A host that exists in memory only)
   *
   * ```ts import.meta.vitest
   * import { Effect } from "effect"
   * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
   * import * as Reference from "effect-oci/Reference"
   * import * as Resolver from "effect-oci/Resolver"
   *
   * const registry = Effect.runSync(MemoryRegistry.make())
   * const resolver = Resolver.static({ "mem.local": registry })
   *
   * Effect.runSync(resolver.resolve(Reference.Host.make("mem.local"))) === registry // => true
   * Effect.runSync(Effect.flip(resolver.resolve(Reference.Host.make("ghcr.io"))))._tag // => "UnknownHost"
   * ```
   *
   * @category constructors
   * @since 0.1.0
   */
  static_ as static
}

/**
 * Asks one resolver after another. Only a host that a resolver does not know goes on to the next.
 *
 * @category combinators
 * @since 0.1.0
 */
export const firstOf = (...resolvers: ReadonlyArray<Resolver["Service"]>): Resolver["Service"] =>
  Resolver.of({
    resolve: (host) =>
      resolvers.reduceRight<Effect.Effect<Registry, ResolveError>>(
        (next, resolver) => Effect.catchTag(resolver.resolve(host), "UnknownHost", () => next),
        Effect.fail(new UnknownHost({ host }))
      )
  })

/**
 * Provides a resolver of a fixed table.
 *
 * **Example** (A test that knows one host)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Reference from "effect-oci/Reference"
 * import * as Resolver from "effect-oci/Resolver"
 *
 * const layer = Layer.unwrap(
 *   Effect.map(MemoryRegistry.make({ name: "mem.local" }), (memory) => Resolver.layerStatic({ "mem.local": memory }))
 * )
 *
 * const program = Resolver.Resolver.use((resolver) => resolver.resolve(Reference.Host.make("mem.local")))
 *
 * Effect.runSync(Effect.provide(program, layer)).name // => "mem.local"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStatic = (registries: Readonly<Record<string, Registry>>): Layer.Layer<Resolver> =>
  Layer.succeed(Resolver, static_(registries))
