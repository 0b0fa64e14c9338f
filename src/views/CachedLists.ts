/**
 * Lists of a cache. They come from upstream. While upstream fails temporarily, they are those of the content that is
 * kept, as far as the policy permits to serve tags as last known, because its clients pull that content by them.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import { Observer, type Registry } from "../Registry.ts"
import { failing, type RegistryError, Timeout } from "../RegistryError.ts"
import type { CachedManifests, Stale } from "./CachedManifests.ts"

interface Options {
  readonly upstream: Registry
  readonly store: Registry
  readonly manifests: CachedManifests
  readonly stale: Stale
  /** Maximum time to wait for the beginning of a list of upstream while the kept content could be listed. */
  readonly timeout: Duration.Duration
}

/** Operations that list tags and repositories. */
export type CachedLists = Pick<Registry, "tags" | "repositories">

/** Returns a list of upstream, or another list if upstream fails temporarily before its first item. */
const orElse = <A>(
  { stale, timeout, upstream }: Options,
  operation: "tags" | "repositories",
  list: Stream.Stream<A, RegistryError>,
  other: Stream.Stream<A, RegistryError>,
  title: string
): Stream.Stream<A, RegistryError> =>
  stale === "fail" ? list : Stream.unwrap(Effect.gen(function*() {
    const pull = yield* Stream.toPull(list)
    const first = Effect.timeoutOrElse(Pull.catchDone(pull, () => Effect.succeed<ReadonlyArray<A>>([])), {
      duration: timeout,
      orElse: () => Effect.fail(failing(upstream.name)(operation)(new Timeout({ phase: "headers", after: timeout })))
    })
    const listed = Effect.map(first, (items) =>
      items.length === 0
        ? Stream.empty
        : Stream.concat(Stream.fromIterable(items), Stream.fromPull(Effect.succeed(pull))))
    return yield* Effect.catch(listed, (error) =>
      Effect.gen(function*() {
        if (!error.isRetryable) return Stream.fail(error)
        const observe = yield* Observer
        const text = `${title} are those of the cache: ${error.reason.message}`
        yield* observe({ _tag: "Warning", registry: upstream.name, text })
        // the failure of upstream, also if the store does not have the repository, because upstream may have it
        return Stream.mapError(other, () => error)
      }))
  }))

/** Creates the lists of a cache. */
export const make = (options: Options): CachedLists => {
  const { manifests, stale, store, upstream } = options
  return {
    tags: (repository, list) =>
      orElse(
        options,
        "tags",
        upstream.tags(repository, list),
        Stream.filterEffect(store.tags(repository, list), (tag) => manifests.isServed(repository, tag)),
        `the tags of ${repository}`
      ),
    repositories: (list) =>
      orElse(
        options,
        "repositories",
        upstream.repositories(list),
        stale === "serve"
          ? store.repositories(list)
          : Stream.filterEffect(
            store.repositories(list),
            (repository) =>
              Stream.runHead(Stream.filterEffect(store.tags(repository), (tag) => manifests.isServed(repository, tag)))
                .pipe(Effect.map((tag) => tag._tag === "Some"))
          ),
        "the repositories"
      )
  }
}
