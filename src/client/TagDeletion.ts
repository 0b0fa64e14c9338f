/**
 * Deletion of tags (distribution-spec, "Deleting tags"), also at CNCF distribution 2.8, which deletes only manifests.
 *
 * That registry answers 400 DIGEST_INVALID to DELETE of a tag. Therefore the tag is moved to a manifest of its own,
 * which is deleted together with the tag. Before the tag is moved, a first deletion shows whether the registry allows
 * deletion.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Hasher from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository, Tag } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import type * as Connection from "./Connection.ts"
import type { Document, ManifestRequests } from "./ManifestRequests.ts"

// limit of the restoration, because an interruption waits for it
const restoreTimeout = Duration.seconds(1)

/** Creates an empty index with a unique digest, because registries may check that referenced content exists. */
const makeStub = Effect.gen(function*() {
  const numbers = yield* Effect.replicateEffect(Random.nextInt, 4)
  const bytes = new TextEncoder().encode(JSON.stringify({
    schemaVersion: 2,
    mediaType: MediaType.imageIndex,
    manifests: [],
    annotations: { "org.opencontainers.image.description": `stub to delete a tag ${numbers.join(" ")}` }
  }))
  const digest = yield* Effect.orDie(Hasher.digest(bytes))
  return { mediaType: MediaType.imageIndex, bytes, digest } satisfies Document
})

export const make = (
  connection: Connection.Connection,
  requests: ManifestRequests
): Registry.Registry["deleteTag"] => {
  const byStub = Effect.fnUntraced(function*(repository: Repository, tag: Tag) {
    const before = yield* requests.getManifest(repository, tag).pipe(
      // a manifest that cannot be read can be deleted nevertheless
      Effect.catchIf(({ reason }) => reason._tag !== "ManifestUnknown", () => Effect.undefined)
    )
    const stub = yield* makeStub
    const remove = requests.remove("deleteTag", repository, stub.digest)
    yield* Effect.andThen(requests.put(repository, stub.digest, stub), remove)
    const restore = before === undefined
      ? Effect.void
      : requests.put(repository, tag, { ...before.descriptor, bytes: before.bytes })
    yield* requests.put(repository, tag, stub).pipe(
      Effect.andThen(remove),
      // an earlier attempt succeeded, and its response was lost
      Effect.catchReason("RegistryError", "ManifestUnknown", () => Effect.void),
      Effect.onError(() => Effect.ignore(Effect.timeout(restore, restoreTimeout)))
    )
  })
  return (repository, tag) =>
    Effect.catchReason(
      requests.remove("deleteTag", repository, tag),
      "RegistryError",
      "DigestInvalid",
      () =>
        Effect.mapError(
          byStub(repository, tag),
          ({ reason }) => connection.error({ operation: "deleteTag", repository, target: "manifest" }, reason)
        )
    )
}
