/**
 * Resolution of the host of a reference to a registry.
 *
 * The registry need not use HTTP, because a resolver may return any `Registry`. {@link layerStatic} resolves the hosts
 * of a table, {@link firstOf} combines several resolvers, and `HttpResolver` resolves every host.
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
 * The host is known, but its registry could not be created.
 *
 * @category errors
 * @since 0.1.0
 */
export class ResolveFailed extends Schema.TaggedError<ResolveFailed>("effect-oci/Resolver/ResolveFailed")(
  "ResolveFailed",
  { host: Schema.String, cause: Schema.Defect() }
) {
  override get message(): string {
    const sentence = `the registry of the host ${this.host} could not be created`
    return this.cause instanceof Error ? `${sentence}: ${excerpt(this.cause.message)}` : sentence
  }
}

/**
 * Failures of a resolution.
 *
 * @category models
 * @since 0.1.0
 */
export type ResolveError = UnknownHost | ResolveFailed

/**
 * Resolves hosts to registries. The same host resolves to the same registry object, so that a copy detects that both of
 * its ends are one registry.
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
   * Creates a resolver from a table of hosts. It fails with `UnknownHost` for other hosts.
   *
   * **Example** (A host in memory)
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
 * Combines several resolvers. The next resolver is asked only if one fails with `UnknownHost`.
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
 * Provides a resolver for a table of hosts.
 *
 * **Example** (A test with one host)
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
