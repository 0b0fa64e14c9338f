/**
 * Registries with faults, for tests of programs that use them.
 *
 * {@link make} wraps any registry, applies a list of faults, and records the calls. A fault says what happens and to
 * which calls: those of some operations or some content, the third, the first two, or a share that depends on a seed.
 * The same faults give the same results for the same calls.
 *
 * **Example** (A pause, and then a connection that breaks)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import { Faults, Images } from "effect-oci/testing"
 *
 * const program = Effect.gen(function*() {
 *   const memory = yield* MemoryRegistry.make()
 *   const { calls, registry } = yield* Faults.make(memory, [
 *     Faults.throttle({ times: 1, retryAfter: "2 seconds" }),
 *     Faults.breakAt(4, { operation: "pushBlob" })
 *   ])
 *   const push = Images.pushBlob(registry, Images.repository("app"), "0123456789")
 *   const messages = [yield* Effect.flip(push), yield* Effect.flip(push)].map(({ message }) => message)
 *   return { calls: calls.length, messages }
 * })
 *
 * const { calls, messages } = Effect.runSync(program)
 * calls // => 2
 * messages[0] // => "memory/app: the registry asks for a pause (pushBlob)"
 * messages[1] // => "memory/app: the connection was reset (pushBlob)"
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { Digest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as Manifest from "../Manifest.ts"
import type { Repository } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import { isRegistryError, ManifestBlobUnknown, orAbsent, type Reason, RegistryError } from "../RegistryError.ts"
import type { Chunk, Upload } from "../Upload.ts"
import { type Call, intercept, type Operation } from "../views/Intercept.ts"
import { Cut, spoil } from "./faults/Bodies.ts"
import { type Fault, scheduler } from "./faults/Fault.ts"

export {
  /** @since 0.1.0 */
  breakAt,
  /** @since 0.1.0 */
  type Calls,
  /** @since 0.1.0 */
  claim,
  /** @since 0.1.0 */
  declineMounts,
  /** @since 0.1.0 */
  delay,
  /** @since 0.1.0 */
  fail,
  /** @since 0.1.0 */
  type Fault,
  /** @since 0.1.0 */
  flipAt,
  /** @since 0.1.0 */
  type Kind,
  /** @since 0.1.0 */
  loseAnswer,
  /** @since 0.1.0 */
  loseTags,
  /** @since 0.1.0 */
  refuseSubjects,
  /** @since 0.1.0 */
  stallAt,
  /** @since 0.1.0 */
  throttle,
  /** @since 0.1.0 */
  truncateAt,
  /** @since 0.1.0 */
  wait,
  /** @since 0.1.0 */
  type Which
} from "./faults/Fault.ts"

export {
  /** @since 0.1.0 */
  type Call,
  /** @since 0.1.0 */
  type Operation
} from "../views/Intercept.ts"

/**
 * Registry with faults, and all calls to it so far, including those that failed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Faulty {
  readonly registry: Registry.Registry
  readonly calls: ReadonlyArray<Call>
}

/**
 * Wraps a registry so that it has some faults. Without faults, it only records its calls. If several faults happen to
 * one call, those that make it wait or fail come first, in the order of the list.
 *
 * **Example** (The second push breaks off)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import { Faults, Images } from "effect-oci/testing"
 *
 * const app = Images.repository("app")
 *
 * const program = Effect.gen(function*() {
 *   const faults = [Faults.breakAt(2, { operation: "pushBlob", calls: [2] })]
 *   const { registry } = yield* Faults.make(yield* MemoryRegistry.make(), faults)
 *   yield* Images.pushBlob(registry, app, "one")
 *   return yield* Effect.flip(Images.pushBlob(registry, app, "two"))
 * })
 *
 * Effect.runSync(program).message // => "memory/app: the connection was reset (pushBlob)"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (self: Registry.Registry, faults: ReadonlyArray<Fault> = []): Effect.Effect<Faulty> =>
  Effect.sync(() => {
    const calls: Array<Call> = []
    const due = scheduler(faults, ["Fail", "Wait"])

    const before = (call: Call) =>
      Effect.suspend(() => {
        calls.push(call)
        const now = due(call)
        const first = now.filter((fault) => fault._tag === "Wait" || fault.when === "before")
        return Effect.as(
          Effect.forEach(first, (fault) => fault._tag === "Wait" ? fault.until : failure(call, fault.reason), {
            discard: true
          }),
          now.filter((fault) => fault._tag === "Fail")
        )
      })
    const after = (call: Call, left: Effect.Success<ReturnType<typeof before>>) => {
      const fault = left.find(({ when }) => when === "after")
      return fault === undefined ? Effect.void : failure(call, fault.reason)
    }

    const registry = intercept(spoiled(self, faults), {
      effect: (call, effect) => Effect.flatMap(before(call), (left) => Effect.tap(effect, () => after(call, left))),
      stream: (call, stream) =>
        Stream.unwrap(
          Effect.map(before(call), (left) => Stream.concat(stream, Stream.fromEffectDrain(after(call, left))))
        )
    })
    return { registry, calls }
  })

/**
 * Adds faults to the `Registry` service.
 *
 * **Example** (A program whose registry fails)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Registry from "effect-oci/Registry"
 * import { Faults } from "effect-oci/testing"
 *
 * const faults = [Faults.throttle({ times: 1 }, { operation: "ping" })]
 * const layer = Faults.layer(faults).pipe(Layer.provide(MemoryRegistry.layer()))
 *
 * const program = Registry.Registry.use(({ ping }) => ping)
 *
 * const error = Effect.runSync(Effect.flip(Effect.provide(program, layer)))
 * error.message // => "memory: the registry asks for a pause (ping)"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  faults: ReadonlyArray<Fault>
): Layer.Layer<Registry.Registry, never, Registry.Registry> =>
  Layer.effect(
    Registry.Registry,
    Effect.gen(function*() {
      return (yield* make(yield* Registry.Registry, faults)).registry
    })
  )

const failure = ({ operation, registry, repository }: Call, reason: Reason) =>
  Effect.fail(
    new RegistryError({
      operation: operation === "read" ? "getBlob" : operation,
      registry,
      ...repository === undefined ? {} : { repository },
      reason
    })
  )

/** Wraps a registry and applies faults to reads and writes. */
const spoiled = (self: Registry.Registry, faults: ReadonlyArray<Fault>): Registry.Registry => {
  const { name: registry } = self
  const dueToReading = scheduler(faults, ["Break", "Stall", "Flip", "Truncate"])
  const dueToWriting = scheduler(faults, ["Break", "Stall"])
  const dueToResolving = scheduler(faults, ["Claim"])
  const dueToMounting = scheduler(faults, ["DeclineMount"])
  const dueToManifests = scheduler(faults, ["RefuseSubject", "LoseTags"])

  const error = (operation: string, repository: Repository, reason: Reason) =>
    new RegistryError({ operation, registry, repository, reason })

  /** Converts a cut within the bytes to a failure of the call. */
  const mending = <E>(operation: Operation, repository: Repository) => (failure: E | Cut): E | RegistryError =>
    failure instanceof Cut ? error(operation, repository, failure.reason) : failure

  const verified = (repository: Repository, { descriptor, stream }: Registry.Blob): Registry.Blob["stream"] =>
    Stream.mapError(
      Hasher.verify(descriptor)(stream),
      (failure) => isRegistryError(failure) ? failure : error("getBlob", repository, failure)
    )

  const read = (
    repository: Repository,
    digest: Digest,
    blob: Registry.Blob,
    isWhole: boolean
  ): Registry.Blob["stream"] =>
    Stream.suspend(() => {
      const now = dueToReading({ operation: "read", registry, repository, reference: digest })
      const stream = Stream.mapError(spoil(blob.stream, now), mending("getBlob", repository))
      const isNoticed = now.some((fault) => "isNoticed" in fault && fault.isNoticed)
      return isWhole && isNoticed ? verified(repository, { ...blob, stream }) : stream
    })

  const manifest = Effect.fnUntraced(function*(call: Call, repository: Repository, found: Registry.ManifestBytes) {
    const now = dueToReading(call)
    const bytes = yield* Stream.succeed(found.bytes).pipe(
      (stream) => spoil(stream, now),
      Stream.mkUint8Array,
      Effect.mapError(mending<never>("getManifest", repository))
    )
    if (now.some((fault) => "isNoticed" in fault && fault.isNoticed)) {
      yield* Effect.mapError(
        Hasher.verifyBytes(bytes, found.descriptor.digest),
        (reason) => error("getManifest", repository, reason)
      )
    }
    return { ...found, bytes }
  })

  const written = <E, A, R>(
    call: Call & { readonly repository: Repository },
    run: (spoil: (stream: Stream.Stream<Uint8Array, E>) => Stream.Stream<Uint8Array, E | Cut>) => Effect.Effect<
      A,
      E | Cut | RegistryError,
      R
    >
  ): Effect.Effect<A, E | RegistryError, R> =>
    Effect.suspend(() => {
      const now = dueToWriting(call)
      return Effect.mapError(
        run((stream) => spoil(stream, now)),
        mending<E | RegistryError>(call.operation, call.repository)
      )
    })

  const upload = (repository: Repository) => (upload: Upload): Upload => ({
    ...upload,
    append: <E>(chunk: Chunk<E>) =>
      written<E, number, never>(
        { operation: "append", registry, repository },
        (spoil) => upload.append({ ...chunk, stream: spoil(chunk.stream) })
      ),
    commit: <E>(digest: Digest, last?: Chunk<E>) =>
      written<E, Effect.Success<ReturnType<Upload["commit"]>>, never>(
        { operation: "commit", registry, repository, reference: digest },
        (spoil) => upload.commit(digest, last === undefined ? undefined : { ...last, stream: spoil(last.stream) })
      )
  })

  const lacksSubject = Effect.fnUntraced(function*(repository: Repository, mediaType: string, bytes: Uint8Array) {
    const decoded = Manifest.decode(mediaType, bytes)
    const subject = Result.isSuccess(decoded) ? decoded.success.content.subject : undefined
    return subject !== undefined && (yield* orAbsent(self.resolveManifest(repository, subject.digest))) === undefined
  })

  return {
    ...self,
    getBlob: (repository, digest, options) =>
      Effect.map(
        self.getBlob(repository, digest, options),
        (blob) => ({ ...blob, stream: read(repository, digest, blob, options?.range === undefined) })
      ),
    resolveBlob: (repository, digest, options) =>
      Effect.suspend(() => {
        const [claim] = dueToResolving({ operation: "resolveBlob", registry, repository, reference: digest })
        const resolved = self.resolveBlob(repository, digest, options)
        return claim === undefined
          ? resolved
          : Effect.map(orAbsent(resolved), (descriptor) => descriptor ?? claim.descriptor)
      }),
    getManifest: (repository, reference) =>
      Effect.flatMap(
        self.getManifest(repository, reference),
        (found) => manifest({ operation: "getManifest", registry, repository, reference }, repository, found)
      ),
    pushBlob: (repository, descriptor, source) =>
      written(
        { operation: "pushBlob", registry, repository, reference: descriptor.digest },
        (spoil) => self.pushBlob(repository, descriptor, { ...source, open: (offset) => spoil(source.open(offset)) })
      ),
    startUpload: (repository, options) =>
      Effect.suspend(() => {
        const { mount, ...others } = options ?? {}
        const call = { operation: "startUpload", registry, repository } as const
        const isDeclined = mount !== undefined && dueToMounting({ ...call, reference: mount.digest }).length > 0
        return Effect.map(
          self.startUpload(repository, isDeclined ? others : options),
          (started) => started._tag === "Upload" ? upload(repository)(started) : started
        )
      }),
    resumeUpload: (repository, id) => Effect.map(self.resumeUpload(repository, id), upload(repository)),
    pushManifest: Effect.fnUntraced(function*(repository, manifest, tags = []) {
      const { bytes, digest, mediaType } = manifest
      const call = { operation: "pushManifest", registry, repository } as const
      const now = dueToManifests(digest === undefined ? call : { ...call, reference: digest })
      const isStrict = now.some(({ _tag }) => _tag === "RefuseSubject")
      if (isStrict && (yield* lacksSubject(repository, mediaType, bytes))) {
        return yield* error("pushManifest", repository, new ManifestBlobUnknown({ detail: "its subject is absent" }))
      }
      const lost = now.flatMap((fault) => fault._tag === "LoseTags" ? [fault.tags ?? tags] : []).flat()
      return yield* self.pushManifest(repository, manifest, tags.filter((tag) => !lost.includes(tag)))
    })
  }
}
