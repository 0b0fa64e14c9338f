/**
 * Transfers of blobs from upstream into a store. There is one transfer per blob at a time, however many readers it has.
 */
import type * as Context from "effect/Context"
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
import { failing, isRegistryError, RangeNotSatisfiable, type Reason, type RegistryError } from "../RegistryError.ts"
import * as Upload from "../Upload.ts"
import type { CacheSpace } from "./CacheSpace.ts"
import * as Window from "./Window.ts"

/** The outcome of a transfer. A blob that the store cannot take passes by it to the readers that follow. */
type Outcome = { readonly _tag: "Stored" } | { readonly _tag: "Passed"; readonly error: RegistryError }

interface Transfer {
  readonly repository: Repository
  readonly digest: Digest.Digest
  /** Size of the blob if the first reader knows it, in bytes. */
  readonly size: number | undefined
  /** Completes when the size of the blob is known. */
  readonly opened: Deferred.Deferred<Descriptor, RegistryError>
  readonly window: Window.Window<RegistryError>
  readonly outcome: Deferred.Deferred<Outcome, RegistryError>
  /** True if the blob was deleted during the transfer. */
  isForgotten: boolean
}

export interface PullThrough {
  /** Returns true if the blob is being transferred. */
  readonly has: (repository: Repository, digest: Digest.Digest) => boolean
  /** Reads a blob while it is transferred. Starts a transfer if there is none. */
  readonly getBlob: (
    repository: Repository,
    digest: Digest.Digest,
    options?: Parameters<Registry["getBlob"]>[2]
  ) => Effect.Effect<Blob, RegistryError, Scope.Scope>
  /** Deletes a blob from the store, now and after a current transfer. */
  readonly forget: (repository: Repository, digest: Digest.Digest) => Effect.Effect<void>
}

export interface Options {
  readonly upstream: Registry
  readonly store: Registry
  /** Number of bytes of a blob that are kept in memory for its readers. */
  readonly capacity: number
  /** Maximum time that a transfer waits for its fastest reader. */
  readonly readerTimeout: Duration.Duration
  /** Space for the blobs. */
  readonly space: CacheSpace
  /** Runs for each blob after it was stored. */
  readonly stored: (repository: Repository, digest: Digest.Digest) => Effect.Effect<void>
}

/** A range whose end is known. */
interface Section extends Range {
  readonly length: number
}

interface State extends Options {
  readonly transfers: Map<string, Transfer>
  readonly scope: Scope.Scope
  /**
   * Context of transfers. It is not that of the first reader, because a transfer must not use the permits or the span
   * of a reader that may leave before the end.
   */
  readonly context: Context.Context<never>
}

const keyOf = (repository: Repository, digest: Digest.Digest) => `${repository}@${digest}`

const getBlobError = ({ upstream }: State, repository: Repository, reason: Reason) =>
  failing(upstream.name)("getBlob", repository)(reason)

// ---------------------------------------------------------------------------------------------------------------------
// transfers
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Opens a blob at upstream, and returns its source. The bytes are verified, and then written to the window of the
 * transfer.
 */
const openSource = Effect.fnUntraced(function*(state: State, transfer: Transfer) {
  const { upstream } = state
  const { digest, opened, repository, size: known, window } = transfer
  // a range, because the client does not verify ranges and the bytes are verified here. An empty blob has no range
  const { descriptor, stream } = yield* Effect.catchReason(
    upstream.getBlob(repository, digest, { range: { offset: 0 }, size: known }),
    "RegistryError",
    "RangeNotSatisfiable",
    () => upstream.getBlob(repository, digest, { size: known })
  )
  const { size } = descriptor
  const verifier = yield* Effect.mapError(
    Hasher.verifier({ digest, size }),
    (reason) => getBlobError(state, repository, reason)
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
        Stream.mapError((failure) => isRegistryError(failure) ? failure : getBlobError(state, repository, failure)),
        Stream.tap((chunk) => {
          const start = position
          position += chunk.length
          return window.write(start, chunk)
        })
      )
    }))
})

/** Writes a blob into the store, or mounts it if the store has it in another repository. Makes room for it before. */
const write = Effect.fnUntraced(
  function*<E>({ space, store }: State, { digest, repository }: Transfer, source: BlobSource.BlobSource<E>) {
    yield* Effect.mapError(space.reserve(source.size), failing(store.name)("pushBlob", repository))
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

/** A failure of upstream, which must be distinguished from failures of the store. */
class Failed extends Data.TaggedError("Failed")<{ readonly error: RegistryError }> {}

const run = Effect.fnUntraced(
  function*(state: State, transfer: Transfer): Effect.fn.Return<Outcome, RegistryError, Scope.Scope> {
    const { space, store } = state
    const { digest, repository, window } = transfer
    yield* space.hold(repository, digest)
    // another transfer may have ended since the reader looked
    const present = yield* Effect.option(store.resolveBlob(repository, digest))
    if (present._tag === "Some") {
      yield* Deferred.succeed(transfer.opened, present.value)
      return { _tag: "Stored" }
    }
    const source = yield* openSource(state, transfer)
    const marked = BlobSource.make(
      source.size,
      (offset) => Stream.mapError(source.open(offset), (error) => new Failed({ error }))
    )
    const written = yield* Effect.result(write(state, transfer, marked))
    if (Result.isSuccess(written)) {
      if (transfer.isForgotten) yield* Effect.ignore(store.deleteBlob(repository, digest))
      else {
        yield* space.use(repository, digest, source.size)
        yield* state.stored(repository, digest)
      }
      return { _tag: "Stored" }
    }
    if (written.failure._tag === "Failed") return yield* written.failure.error
    const observe = yield* Observer
    const text = `${repository}@${digest} is not cached: ${written.failure.reason.message}`
    yield* observe({ _tag: "Warning", registry: store.name, text })
    // readers still get the blob if the store fails
    if (window.isFollowed()) yield* Stream.runDrain(source.open(window.position()))
    return { _tag: "Passed", error: written.failure }
  },
  Effect.scoped
)

/** Runs a transfer in the background. It ends with the scope of the cache at the latest. */
const start = (state: State, transfer: Transfer) =>
  run(state, transfer).pipe(
    Effect.onExit((exit) =>
      Effect.gen(function*() {
        if (!transfer.isForgotten) state.transfers.delete(keyOf(transfer.repository, transfer.digest))
        if (Exit.isFailure(exit)) yield* Deferred.failCause(transfer.opened, exit.cause)
        yield* Deferred.done(transfer.outcome, exit)
        yield* transfer.window.end(exit)
      })
    ),
    Effect.setContext(state.context),
    Effect.forkIn(state.scope, { startImmediately: true })
  )

// ---------------------------------------------------------------------------------------------------------------------
// readers
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the transfer of a blob, and starts one if there is none. The reader joins before it starts. */
const open = Effect.fnUntraced(
  function*<A>(
    state: State,
    repository: Repository,
    digest: Digest.Digest,
    size: number | undefined,
    join: (transfer: Transfer) => Effect.Effect<A, never, Scope.Scope>
  ) {
    const { transfers } = state
    const key = keyOf(repository, digest)
    const current = transfers.get(key)
    const transfer = current ?? {
      repository,
      digest,
      size,
      opened: Deferred.makeUnsafe<Descriptor, RegistryError>(),
      window: Window.make<RegistryError>(state),
      outcome: Deferred.makeUnsafe<Outcome, RegistryError>(),
      isForgotten: false
    }
    transfers.set(key, transfer)
    const joined = yield* join(transfer)
    if (current === undefined) yield* start(state, transfer)
    return { transfer, joined }
  },
  Effect.uninterruptible
)

/** Reads a whole blob, which is verified, and returns the bytes of a range. */
const partOf = Effect.fnUntraced(
  function*<E>(whole: Stream.Stream<Uint8Array, E>, { length, offset }: Section) {
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

/**
 * Waits for the end of a transfer, and reads a range that the window does not have: from the store, or from upstream if
 * the store did not take the blob. `requested` is the range that the reader asked for, of which `range` is the end.
 */
const readRest = Effect.fnUntraced(function*(
  { capacity, store, upstream }: State,
  { outcome, repository }: Transfer,
  descriptor: Descriptor,
  requested: Range | undefined,
  range: Section
): Effect.fn.Return<Blob["stream"], RegistryError, Scope.Scope> {
  const { digest, size } = descriptor
  const ended = yield* Deferred.await(outcome)
  const isUntouched = range.offset === (requested?.offset ?? 0)
  if (ended._tag === "Stored") {
    const options = isUntouched && requested === undefined ? {} : { range }
    return (yield* store.getBlob(repository, digest, options)).stream
  }
  // only a whole blob can be verified, so a reader that has received bytes already cannot continue
  if (!isUntouched || range.length > capacity && range.length < size) return yield* ended.error
  const whole = (yield* blobSource(upstream, repository, descriptor)).open(0)
  return range.length === size ? whole : Stream.fromEffect(partOf(whole, range))
})

const getBlob = Effect.fnUntraced(function*(
  state: State,
  ...[repository, digest, options]: Parameters<PullThrough["getBlob"]>
): Effect.fn.Return<Blob, RegistryError, Scope.Scope> {
  const range = options?.range
  const { length = Infinity, offset } = range ?? { offset: 0 }
  // only a range that ends with the blob may follow, because the last chunk arrives after the blob was verified
  const isFollowing = length === Infinity
  const { joined: cursor, transfer } = yield* open(
    state,
    repository,
    digest,
    options?.size,
    ({ window }) => isFollowing ? window.join(offset) : Effect.undefined
  )
  const descriptor = yield* Deferred.await(transfer.opened)
  const { size } = descriptor
  if (range !== undefined && (offset < 0 || offset >= size || length < 1)) {
    return yield* getBlobError(state, repository, new RangeNotSatisfiable({}))
  }
  const end = Math.min(size, offset + length)
  const rest = (from: number) => readRest(state, transfer, descriptor, range, { offset: from, length: end - from })
  const stream = cursor === undefined
    ? yield* rest(offset)
    : Stream.catchTag(cursor.readTo(end), "Behind", ({ position }) => Stream.unwrap(rest(position)))
  return { descriptor, stream }
})

const forget = ({ store, transfers }: State, repository: Repository, digest: Digest.Digest) =>
  Effect.suspend(() => {
    const key = keyOf(repository, digest)
    const transfer = transfers.get(key)
    if (transfer !== undefined) {
      transfer.isForgotten = true
      transfers.delete(key)
    }
    return Effect.ignore(store.deleteBlob(repository, digest))
  })

/** Creates the transfers of a cache. They are interrupted when the scope closes. */
export const make = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<PullThrough, never, Scope.Scope> {
  const state: State = {
    ...options,
    transfers: new Map(),
    scope: yield* Effect.scope,
    context: yield* Effect.context<never>()
  }
  return {
    has: (repository, digest) => state.transfers.has(keyOf(repository, digest)),
    getBlob: (repository, digest, options) => getBlob(state, repository, digest, options),
    forget: (repository, digest) => forget(state, repository, digest)
  }
})
