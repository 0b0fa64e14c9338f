/**
 * What the cases of the contract share.
 */
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

/** How a source breaks. */
export class Broken extends Data.TaggedError("Broken") {}

/** A repository that nobody else uses. */
export const fresh: Effect.Effect<Repository> = Effect.sync(() => repository(`contract/${crypto.randomUUID()}`))

/** A digest of nothing that anybody has. */
export const nowhere = Digest.fromHash("sha256", new Uint8Array(32))

/** Bytes that do not repeat soon. */
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

/** A session, from an answer that may be a mount. */
export const session = <E, R>(
  started: Effect.Effect<Mounted | Upload, E, R>
): Effect.Effect<Upload, E | Expect.Mismatch, R> =>
  Effect.flatMap(started, (started): Effect.Effect<Upload, Expect.Mismatch> =>
    started._tag === "Upload"
      ? Effect.succeed(started)
      : Effect.fail(Expect.mismatch("an upload session", "that the blob was mounted")))

export const startUpload = (
  registry: Registry,
  name: Repository
): Effect.Effect<Upload, RegistryError | Expect.Mismatch, Scope.Scope> => session(registry.startUpload(name))

export const chunk = (offset: number, content: string | Uint8Array) => {
  const bytes = typeof content === "string" ? bytesOf(content) : content
  return { offset, size: bytes.length, stream: Stream.succeed(bytes) }
}

/** A stream that breaks behind some content. */
export const breaking = (content: string): Stream.Stream<Uint8Array, Broken> =>
  Stream.concat(Stream.succeed(bytesOf(content)), Stream.fail(new Broken()))

/** A stream that stops behind some content, and says when it has come there. */
export const stalling = (content: string, reached: Effect.Effect<unknown>): Stream.Stream<Uint8Array> =>
  Stream.concat(Stream.succeed(bytesOf(content)), Stream.fromEffectDrain(Effect.andThen(reached, Effect.never)))
