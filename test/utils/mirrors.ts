/**
 * Mirrors between registries in memory that count their calls: `one.local`, and the destinations `two.local` and
 * `three.local`.
 */
import { Effect, Result, Stream } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Mirror from "effect-oci/Mirror"
import * as MirrorConfig from "effect-oci/MirrorConfig"
import * as MirrorState from "effect-oci/MirrorState"
import * as Namespace from "effect-oci/Namespace"
import type { Registry } from "effect-oci/Registry"
import * as Resolver from "effect-oci/Resolver"
import { pushImage, repository, tag } from "./images.ts"
import { override } from "./registries.ts"

/** Decodes rules as a file has them. */
export const configOf = (...rules: ReadonlyArray<unknown>): MirrorConfig.MirrorConfig =>
  Result.getOrThrow(MirrorConfig.decode({ version: 1, rules }))

/** Returns the last event of a run, which contains the report. */
const reportOf = Effect.fnUntraced(
  function*(config: Pick<MirrorConfig.MirrorConfig, "rules">, options?: Mirror.RunOptions) {
    const events = yield* Stream.runCollect(Mirror.run(config, options))
    const last = events[events.length - 1]
    if (last?._tag !== "Done") return yield* Effect.die("a run has ended without a report")
    return { events, report: last.report, rule: last.report.rules[0] ?? (yield* Effect.die("a run without a rule")) }
  }
)

/** A registry that counts its calls. */
const counted = Effect.fnUntraced(function*(name: string) {
  const memory = yield* MemoryRegistry.make({ name })
  let counts: Record<string, number> = {}
  const add = (operation: string) => {
    counts[operation] = (counts[operation] ?? 0) + 1
  }
  const effect = <Args extends ReadonlyArray<unknown>, A, E, R>(
    operation: string,
    run: (...args: Args) => Effect.Effect<A, E, R>
  ) =>
  (...args: Args) =>
    Effect.suspend(() => {
      add(operation)
      return run(...args)
    })
  const list = <Args extends ReadonlyArray<unknown>, A, E, R>(
    operation: string,
    run: (...args: Args) => Stream.Stream<A, E, R>
  ) =>
  (...args: Args) =>
    Stream.suspend(() => {
      add(operation)
      return run(...args)
    })
  const registry = override(memory, {
    getBlob: effect("getBlob", memory.getBlob),
    resolveBlob: effect("resolveBlob", memory.resolveBlob),
    getManifest: effect("getManifest", memory.getManifest),
    resolveManifest: effect("resolveManifest", memory.resolveManifest),
    pushManifest: effect("pushManifest", memory.pushManifest),
    startUpload: effect("startUpload", memory.startUpload),
    deleteTag: effect("deleteTag", memory.deleteTag),
    deleteManifest: effect("deleteManifest", memory.deleteManifest),
    repositories: list("repositories", memory.repositories),
    tags: list("tags", memory.tags),
    referrers: list("referrers", memory.referrers)
  })
  return {
    memory,
    registry,
    /** Returns the operations since the last `forget`, with their numbers. */
    counts: () => counts,
    forget: () => {
      counts = {}
    }
  }
})

/** Options of {@link setup}: views of the registries. */
export interface Options {
  readonly source?: (registry: Registry) => Registry
  readonly destination?: (registry: Registry) => Registry
}

/** Creates the registries, and functions that plan and run rules. */
export const setup = Effect.fnUntraced(function*(options: Options = {}) {
  const source = yield* counted("one.local")
  const destination = yield* counted("two.local")
  const other = yield* counted("three.local")
  const same = (registry: Registry) => registry
  const namespace = Namespace.make({
    resolver: Resolver.static({
      "one.local": (options.source ?? same)(source.registry),
      "two.local": (options.destination ?? same)(destination.registry),
      "three.local": other.registry
    })
  })
  const state = yield* MirrorState.MirrorState
  const within = <A, E>(effect: Effect.Effect<A, E, MirrorState.MirrorState | Namespace.Namespace>) =>
    effect.pipe(
      Effect.provideService(Namespace.Namespace, namespace),
      Effect.provideService(MirrorState.MirrorState, state)
    )
  return {
    source,
    destination,
    other,
    state,
    namespace,
    /** Pushes an image to the source, whose content is `content`. */
    push: (name: string, content: string, in_ = "app") =>
      Effect.map(
        pushImage(source.memory, repository(in_), [content], { tags: [tag(name)] }),
        ({ digest }) => digest
      ),
    run: (config: Pick<MirrorConfig.MirrorConfig, "rules">, options?: Mirror.RunOptions) =>
      within(reportOf(config, options)),
    plan: (config: Pick<MirrorConfig.MirrorConfig, "rules">, options?: Mirror.PlanOptions) =>
      within(Mirror.plan(config, options)),
    forget: () => {
      for (const each of [source, destination, other]) each.forget()
    }
  }
})

/** Returns the tags of a repository with their digests. */
export const imagesOf = Effect.fnUntraced(function*(registry: Registry, name: string) {
  const tags = yield* registry.tags(repository(name)).pipe(
    Stream.runCollect,
    Effect.orElseSucceed(() => [])
  )
  const digests = yield* Effect.forEach(tags, (tag) => registry.resolveManifest(repository(name), tag))
  return Object.fromEntries(tags.map((tag, index) => [tag, digests[index]?.digest]))
})
