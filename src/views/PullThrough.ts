/**
 * Blobs on their way from upstream into a store, each once however many read it.
 */
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as BlobSource from "../BlobSource.ts"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import type { Repository } from "../Reference.ts"
import { type Blob, blobSource, Observer, type Range, type Registry } from "../Registry.ts"
import { isRegistryError, RangeNotSatisfiable, type Reason, RegistryError } from "../RegistryError.ts"
import * as Upload from "../Upload.ts"
import * as Window from "./Window.ts"

/** How a blob came to its end: it is in the store; or it went past it, which was in no state to take it. */
type Outcome = { readonly _tag: "Stored" } | { readonly _tag: "Passed"; readonly error: RegistryError }

interface Fill {
  readonly opened: Deferred.Deferred<Descriptor, RegistryError>
  readonly window: Window.Window<RegistryError>
  readonly outcome: Deferred.Deferred<Outcome, RegistryError>
  /** Was the blob deleted meanwhile? */
  isForgotten: boolean
}

export interface PullThrough {
  /** Is the blob on its way? */
  readonly has: (repository: Repository, digest: Digest.Digest) => boolean
  /** Reads a blob as it comes; it is asked for if it is not on its way. */
  readonly getBlob: (
    repository: Repository,
    digest: Digest.Digest,
    options?: Parameters<Registry["getBlob"]>[2]
  ) => Effect.Effect<Blob, RegistryError, Scope.Scope>
  /** The blob is not to be there any more, neither now nor when it has come. */
  readonly forget: (repository: Repository, digest: Digest.Digest) => Effect.Effect<void>
}

export interface Options {
  readonly upstream: Registry
  readonly store: Registry
  readonly capacity: number
  readonly patience: Duration.Duration
  /** Is told of each blob that the store has now. */
  readonly stored: (repository: Repository, digest: Digest.Digest) => Effect.Effect<void>
}

/** Reads a whole blob, which verifies itself, and returns the bytes of a range of it. */
const partOf = Effect.fnUntraced(
  function*<E>(whole: Stream.Stream<Uint8Array, E>, { length, offset }: Required<Range>) {
    const part = new Uint8Array(length)
    let position = 0
    yield* Stream.runForEach(whole, (chunk) =>
      Effect.sync(() => {
        const from = Math.max(0, offset - position)
        const to = Math.min(chunk.length, offset + length - position)
        if (from < to) part.set(chunk.subarray(from, to), position + from - offset)
        position += chunk.length
      }))
    return part
  }
)

/** A failure at upstream, on its way past what looks for failures of the store. */
class Failed extends Data.TaggedError("Failed")<{ readonly error: RegistryError }> {}

export const make = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<PullThrough, never, Scope.Scope> {
  const { store, upstream } = options
  const fills = new Map<string, Fill>()
  const keyOf = (repository: Repository, digest: Digest.Digest) => `${repository}@${digest}`
  const scope = yield* Effect.scope
  // what goes on in the background is not done for whoever happened to ask first: not with their permits, nor in their span
  const context = yield* Effect.context<never>()

  const error = (repository: Repository, reason: Reason) =>
    new RegistryError({ operation: "getBlob", registry: upstream.name, repository, reason })

  /** The blob at upstream. Its bytes go through the window, and are verified before that. */
  const sourceOf = Effect.fnUntraced(
    function*(repository: Repository, digest: Digest.Digest, { opened, window }: Fill, known: number | undefined) {
      // hashed here: a range is not hashed below. Of nothing, there is none
      const { descriptor, stream } = yield* Effect.catchReason(
        upstream.getBlob(repository, digest, { range: { offset: 0 }, size: known }),
        "RegistryError",
        "RangeNotSatisfiable",
        () => upstream.getBlob(repository, digest, { size: known })
      )
      const { size } = descriptor
      const verifier = yield* Effect.mapError(
        Hasher.verifier({ digest, size }),
        (reason) => error(repository, reason)
      )
      yield* Deferred.succeed(opened, descriptor)

      let first: Blob["stream"] | undefined = stream
      const openAt = (offset: number) => {
        const unread = first
        first = undefined
        if (offset === 0 && unread !== undefined) return unread
        return offset > 0 && offset >= size ? Stream.empty : Stream.unwrap(
          Effect.map(upstream.getBlob(repository, digest, { range: { offset }, size }), ({ stream }) => stream)
        )
      }
      return BlobSource.make(size, (offset) =>
        Stream.suspend(() => {
          let position = offset
          return openAt(offset).pipe(
            verifier.from(offset),
            Stream.mapError((failure) => isRegistryError(failure) ? failure : error(repository, failure)),
            Stream.tap((chunk) => {
              const start = position
              position += chunk.length
              return window.write(start, chunk)
            })
          )
        }))
    }
  )

  /** Writes a blob into the store, unless that has it elsewhere. */
  const write = Effect.fnUntraced(
    function*<E>(repository: Repository, digest: Digest.Digest, source: BlobSource.BlobSource<E>) {
      const { anonymousMount } = yield* store.capabilities
      if (anonymousMount !== true) {
        yield* store.pushBlob(repository, { digest, size: source.size }, source)
        return
      }
      const start = store.startUpload(repository, { mount: { digest }, algorithm: Digest.algorithm(digest) })
      const started = yield* start
      if (started._tag === "Upload") yield* Upload.write(started, digest, source, start)
    },
    Effect.scoped
  )

  const run = Effect.fnUntraced(
    function*(repository: Repository, digest: Digest.Digest, fill: Fill, size: number | undefined): Effect.fn.Return<
      Outcome,
      RegistryError,
      Scope.Scope
    > {
      // it may have come since whoever asks has looked
      const present = yield* Effect.option(store.resolveBlob(repository, digest))
      if (present._tag === "Some") {
        yield* Deferred.succeed(fill.opened, present.value)
        return { _tag: "Stored" }
      }
      const source = yield* sourceOf(repository, digest, fill, size)
      const told = BlobSource.make(
        source.size,
        (offset) => Stream.mapError(source.open(offset), (error) => new Failed({ error }))
      )
      const written = yield* Effect.result(write(repository, digest, told))
      if (Result.isSuccess(written)) {
        yield* fill.isForgotten
          ? Effect.ignore(store.deleteBlob(repository, digest))
          : options.stored(repository, digest)
        return { _tag: "Stored" }
      }
      if (written.failure._tag === "Failed") return yield* written.failure.error
      const observe = yield* Observer
      const text = `${repository}@${digest} is not kept: ${written.failure.reason.message}`
      yield* observe({ _tag: "Warning", registry: store.name, text })
      // a store that takes nothing is no reason for who follows not to get it
      if (fill.window.isFollowed()) yield* Stream.runDrain(source.open(fill.window.position()))
      return { _tag: "Passed", error: written.failure }
    },
    Effect.scoped
  )

  const start = (repository: Repository, digest: Digest.Digest, fill: Fill, size: number | undefined) =>
    run(repository, digest, fill, size).pipe(
      Effect.onExit((exit) =>
        Effect.gen(function*() {
          if (!fill.isForgotten) fills.delete(keyOf(repository, digest))
          if (Exit.isFailure(exit)) yield* Deferred.failCause(fill.opened, exit.cause)
          yield* Deferred.done(fill.outcome, exit)
          yield* fill.window.end(exit)
        })
      ),
      Effect.setContext(context),
      Effect.forkIn(scope, { startImmediately: true })
    )

  /** Returns the fill of a blob, which is started if there is none. Its readers join before it starts. */
  const open = Effect.fnUntraced(
    function*<A>(
      repository: Repository,
      digest: Digest.Digest,
      size: number | undefined,
      join: (fill: Fill) => Effect.Effect<A, never, Scope.Scope>
    ) {
      const key = keyOf(repository, digest)
      const current = fills.get(key)
      const fill = current ?? {
        opened: Deferred.makeUnsafe<Descriptor, RegistryError>(),
        window: Window.make<RegistryError>(options),
        outcome: Deferred.makeUnsafe<Outcome, RegistryError>(),
        isForgotten: false
      }
      fills.set(key, fill)
      const joined = yield* join(fill)
      if (current === undefined) yield* start(repository, digest, fill, size)
      return { fill, joined }
    },
    Effect.uninterruptible
  )

  /** What a reader has to get in another way, from a position on. */
  const rest = Effect.fnUntraced(function*(
    repository: Repository,
    descriptor: Descriptor,
    { outcome }: Fill,
    from: Range | undefined,
    range: Required<Range>
  ): Effect.fn.Return<Blob["stream"], RegistryError, Scope.Scope> {
    const { digest } = descriptor
    const ended = yield* Deferred.await(outcome)
    const isUntouched = range.offset === (from?.offset ?? 0)
    if (ended._tag === "Stored") {
      const options = isUntouched && from === undefined ? {} : { range }
      return (yield* store.getBlob(repository, digest, options)).stream
    }
    // only a whole blob can be verified: what follows bytes that were handed on already cannot
    if (!isUntouched || range.length > options.capacity && range.length < descriptor.size) return yield* ended.error
    const whole = (yield* blobSource(upstream, repository, descriptor)).open(0)
    return range.length === descriptor.size ? whole : Stream.fromEffect(partOf(whole, range))
  })

  return {
    forget: (repository, digest) =>
      Effect.suspend(() => {
        const fill = fills.get(keyOf(repository, digest))
        if (fill !== undefined) {
          fill.isForgotten = true
          fills.delete(keyOf(repository, digest))
        }
        return Effect.ignore(store.deleteBlob(repository, digest))
      }),
    has: (repository, digest) => fills.has(keyOf(repository, digest)),
    getBlob: Effect.fnUntraced(function*(repository, digest, options) {
      const range = options?.range
      const { length = Infinity, offset } = range ?? { offset: 0 }
      // what surely ends at the end of the blob follows the fill, whose last chunk comes when all is verified
      const isFollowing = length === Infinity
      const { fill, joined: place } = yield* open(
        repository,
        digest,
        options?.size,
        ({ window }) => isFollowing ? window.join(offset) : Effect.undefined
      )
      const descriptor = yield* Deferred.await(fill.opened)
      const { size } = descriptor
      if (range !== undefined && (offset < 0 || offset >= size || length < 1)) {
        return yield* error(repository, new RangeNotSatisfiable({}))
      }
      const end = Math.min(size, offset + length)
      if (place === undefined) {
        return {
          descriptor,
          stream: yield* rest(repository, descriptor, fill, range, { offset, length: end - offset })
        }
      }
      const stream = Stream.catchTag(place.readTo(end), "Behind", ({ position }) =>
        Stream.unwrap(
          rest(repository, descriptor, fill, range, { offset: position, length: end - position })
        ))
      return { descriptor, stream }
    })
  }
})
