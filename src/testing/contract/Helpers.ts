/**
 * Values and functions that several cases of the contract use.
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Digest from "../../Digest.ts"
import type { Repository, Tag } from "../../Reference.ts"
import type { Blob, Registry } from "../../Registry.ts"
import type { RegistryError } from "../../RegistryError.ts"
import type { Mounted, Upload } from "../../Upload.ts"
import { bytesOf, repository } from "../Images.ts"
import * as Expect from "./Expect.ts"

/** Error of a source that breaks. */
export class Broken extends Data.TaggedError("Broken") {}

/** Creates the name of a repository that no other case uses. */
export const fresh: Effect.Effect<Repository> = Effect.sync(() => repository(`contract/${SecureRandom.uuidV4Unsafe()}`))

/** Digest of content that no registry has. */
export const nowhere = Digest.fromHash("sha256", new Uint8Array(32))

/** Returns `size` bytes without a short period. */
export const noise = (size: number): Uint8Array => {
  const words = new Uint32Array(Math.ceil(size / 4))
  let state = size + 1
  for (let index = 0; index < words.length; index++) {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x6d2b79f5
    words[index] = state
  }
  return new Uint8Array(words.buffer, 0, size)
}

export const text = ({ stream }: Blob): Effect.Effect<string, RegistryError> =>
  Stream.mkString(Stream.decodeText(stream))

export const read = (
  registry: Registry,
  name: Repository,
  digest: Digest.Digest
): Effect.Effect<string, RegistryError, Scope.Scope> => Effect.flatMap(registry.getBlob(name, digest), text)

export const hasNoBlob = (
  registry: Registry,
  name: Repository,
  digest: Digest.Digest
): Effect.Effect<RegistryError, Expect.Mismatch> =>
  Expect.reason(registry.resolveBlob(name, digest), "BlobUnknown", "NameUnknown")

export const hasNoManifest = (
  registry: Registry,
  name: Repository,
  reference: Tag | Digest.Digest
): Effect.Effect<RegistryError, Expect.Mismatch> =>
  Expect.reason(registry.resolveManifest(name, reference), "ManifestUnknown", "NameUnknown")

/** Returns the opened session. Fails if the blob was mounted instead. */
export const session = <E, R>(
  started: Effect.Effect<Mounted | Upload, E, R>
): Effect.Effect<Upload, E | Expect.Mismatch, R> =>
  Effect.flatMap(started, (started): Effect.Effect<Upload, Expect.Mismatch> =>
    started._tag === "Upload"
      ? Effect.succeed(started)
      : Effect.fail(Expect.mismatch("an upload session", "a mounted blob")))

export const startUpload = (
  registry: Registry,
  name: Repository
): Effect.Effect<Upload, RegistryError | Expect.Mismatch, Scope.Scope> => session(registry.startUpload(name))

export const chunk = (offset: number, content: string | Uint8Array) => {
  const bytes = typeof content === "string" ? bytesOf(content) : content
  return { offset, size: bytes.length, stream: Stream.succeed(bytes) }
}

/** Returns a stream of some content that ends with an error. */
export const breaking = (content: string): Stream.Stream<Uint8Array, Broken> =>
  Stream.concat(Stream.succeed(bytesOf(content)), Stream.fail(new Broken()))

/** Returns a stream of some content that runs `reached` at its end and never completes. */
export const stalling = (content: string, reached: Effect.Effect<unknown>): Stream.Stream<Uint8Array> =>
  Stream.concat(Stream.succeed(bytesOf(content)), Stream.fromEffectDrain(Effect.andThen(reached, Effect.never)))
