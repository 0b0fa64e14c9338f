/**
 * Limits of how much a registry, and each of its repositories, may hold.
 *
 * The view counts: it begins with the sizes that it is given, and adds what is pushed, mounted and deleted through it.
 * Content that two repositories share counts for both. Bytes of an open upload count until it is cancelled.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { algorithm, type Digest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import type { Repository } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import { Denied, RegistryError } from "../RegistryError.ts"
import type { Chunk, Upload } from "../Upload.ts"

/** Content that is being written, by one writer or several. */
interface Growth {
  /** Whether the registry has the content, so that it counts already. */
  isCounted: boolean
  writers: number
}

/**
 * Limits how much a registry and each of its repositories may hold, in bytes. What goes beyond fails with `Denied`.
 *
 * **Example** (A registry that holds ten bytes)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import { Images } from "effect-oci/testing"
 * import * as View from "effect-oci/View"
 *
 * const app = Images.repository("app")
 *
 * const program = Effect.gen(function*() {
 *   const registry = View.limited(yield* MemoryRegistry.make(), { total: 10 })
 *   yield* Images.pushBlob(registry, app, "0123456789")
 *   return yield* Effect.flip(Images.pushBlob(registry, app, "1"))
 * })
 *
 * Effect.runSync(program).message // => "memory/app: access is denied: the registry may hold 10 bytes (pushBlob)"
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const limited = (
  self: Registry.Registry,
  options: {
    /** Maximum size of a repository, in bytes. Default: any. */
    readonly repository?: number | undefined
    /** Maximum size of all repositories together, in bytes. Default: any. */
    readonly total?: number | undefined
    /** Sizes of the repositories that are there already, in bytes. Default: none. */
    readonly used?: ReadonlyMap<Repository, number> | undefined
  }
): Registry.Registry => {
  const { repository: ownLimit = Infinity, total: totalLimit = Infinity } = options
  const used = new Map(options.used)
  let total = Array.from(used.values()).reduce((sum, size) => sum + size, 0)
  const growths = new Map<string, Growth>()

  const denied = (operation: string, repository: Repository, detail: string) =>
    new RegistryError({ operation, registry: self.name, repository, reason: new Denied({ detail }) })

  const add = (repository: Repository, bytes: number): void => {
    used.set(repository, Math.max(0, (used.get(repository) ?? 0) + bytes))
    total = Math.max(0, total + bytes)
  }
  const check = (operation: string, repository: Repository, bytes: number): Effect.Effect<void, RegistryError> =>
    Effect.suspend(() => {
      if (bytes > 0 && (used.get(repository) ?? 0) + bytes > ownLimit) {
        return Effect.fail(denied(operation, repository, `the repository may hold ${ownLimit} bytes`))
      }
      return bytes > 0 && total + bytes > totalLimit
        ? Effect.fail(denied(operation, repository, `the registry may hold ${totalLimit} bytes`))
        : Effect.void
    })
  const reserve = (operation: string, repository: Repository, bytes: number) =>
    Effect.andThen(check(operation, repository, bytes), Effect.sync(() => add(repository, bytes)))

  /** Runs a write of content for which bytes are reserved. They are released if it fails, or if they count already. */
  const write = <A, E>(
    repository: Repository,
    digest: Digest,
    isThere: Effect.Effect<boolean>,
    bytes: () => number,
    push: Effect.Effect<A, E>
  ): Effect.Effect<A, E> => {
    const key = `${repository}@${digest}`
    return Effect.acquireUseRelease(
      Effect.map(isThere, (isCounted) => {
        const growth = growths.get(key) ?? { isCounted, writers: 0 }
        growth.writers++
        growths.set(key, growth)
        return growth
      }),
      (growth) =>
        Effect.tap(push, () =>
          Effect.sync(() => {
            if (growth.isCounted) add(repository, -bytes())
            growth.isCounted = true
          })),
      (growth) =>
        Effect.sync(() => {
          if (--growth.writers === 0) growths.delete(key)
        })
    )
  }

  /** Pushes content of a known size, which grows the repository unless it is there already. */
  const push = <A, E>(
    operation: string,
    repository: Repository,
    { digest, size }: { readonly digest: Digest; readonly size: number },
    isThere: Effect.Effect<boolean>,
    content: Effect.Effect<A, E>
  ): Effect.Effect<A, E | RegistryError> =>
    Effect.flatMap(isThere, (isThere) =>
      isThere ? content : Effect.andThen(
        reserve(operation, repository, size),
        Effect.onError(
          write(repository, digest, Effect.succeed(false), () => size, content),
          () => Effect.sync(() => add(repository, -size))
        )
      ))

  /** Deletes content, which makes room if it was there. */
  const remove = <E>(
    repository: Repository,
    resolve: Effect.Effect<{ readonly size: number }, RegistryError>,
    removal: Effect.Effect<void, E>
  ): Effect.Effect<void, E> =>
    Effect.flatMap(
      Effect.orElseSucceed(resolve, () => ({ size: 0 })),
      ({ size }) => Effect.andThen(removal, Effect.sync(() => add(repository, -size)))
    )

  const hasBlob = (repository: Repository, digest: Digest) => Effect.isSuccess(self.resolveBlob(repository, digest))

  /** Counts the bytes of an upload until it is committed, or the scope closes. */
  const counted = Effect.fnUntraced(
    function*(repository: Repository, upload: Upload, received: number): Effect.fn.Return<Upload, never, Scope.Scope> {
      let held = received
      add(repository, held)
      yield* Effect.addFinalizer(() => Effect.sync(() => add(repository, -held)))
      const checked = <E>(operation: string, chunk: Chunk<E>) =>
        Effect.as(check(operation, repository, chunk.size ?? 0), {
          ...chunk,
          stream: Stream.tap(chunk.stream, ({ length }) =>
            Effect.map(reserve(operation, repository, length), () => {
              held += length
            }))
        })
      return {
        ...upload,
        append: (chunk) => Effect.flatMap(checked("append", chunk), upload.append),
        commit: Effect.fnUntraced(function*(digest, last) {
          const commit = last === undefined
            ? upload.commit(digest)
            : Effect.flatMap(checked("commit", last), (chunk) => upload.commit(digest, chunk))
          const committed = yield* write(repository, digest, hasBlob(repository, digest), () => held, commit)
          held = 0
          return committed
        })
      }
    }
  )

  return Registry.make({
    ...self,
    pushBlob: (repository, descriptor, source) =>
      push(
        "pushBlob",
        repository,
        descriptor,
        hasBlob(repository, descriptor.digest),
        self.pushBlob(repository, descriptor, source)
      ),
    startUpload: Effect.fnUntraced(function*(repository, options) {
      const mounted = options?.mount?.digest
      const wasThere = mounted !== undefined && (yield* hasBlob(repository, mounted))
      const started = yield* self.startUpload(repository, options)
      if (started._tag === "Upload") return yield* counted(repository, started, 0)
      if (wasThere) return started
      const { size } = yield* self.resolveBlob(repository, started.digest)
      yield* Effect.tapError(
        reserve("startUpload", repository, size),
        () => self.deleteBlob(repository, started.digest)
      )
      return started
    }),
    resumeUpload: Effect.fnUntraced(function*(repository, id) {
      const upload = yield* self.resumeUpload(repository, id)
      return yield* counted(repository, upload, yield* upload.status)
    }),
    pushManifest: (repository, manifest, tags) =>
      Effect.gen(function*() {
        const size = manifest.bytes.length
        const digest = yield* Effect.mapError(
          Hasher.digest(manifest.bytes, manifest.digest === undefined ? "sha256" : algorithm(manifest.digest)),
          (reason) => new RegistryError({ operation: "pushManifest", registry: self.name, repository, reason })
        )
        const isThere = Effect.isSuccess(self.resolveManifest(repository, digest))
        const pushed = self.pushManifest(repository, manifest, tags)
        return yield* push("pushManifest", repository, { digest, size }, isThere, pushed)
      }),
    deleteBlob: (repository, digest) =>
      remove(repository, self.resolveBlob(repository, digest), self.deleteBlob(repository, digest)),
    deleteManifest: (repository, digest) =>
      remove(repository, self.resolveManifest(repository, digest), self.deleteManifest(repository, digest))
  })
}
