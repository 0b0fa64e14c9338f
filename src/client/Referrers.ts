/**
 * Referrers over HTTP (distribution-spec, "Listing Referrers"), and for registries that do not list them the tag that
 * stands in for the list ("Referrers Tag Schema"): read, written and kept in order by the client.
 */
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import { type Repository, Tag } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import type * as Connection from "./Connection.ts"
import type { ManifestRequests } from "./ManifestRequests.ts"
import * as Pages from "./Pages.ts"

export interface Referrers {
  readonly list: Registry.Registry["referrers"]
  /** A manifest with a subject was pushed; `listed` says whether the registry told that it lists it. */
  readonly pushed: (
    repository: Repository,
    subject: Digest.Digest,
    referrer: Descriptor,
    listed: boolean
  ) => Effect.Effect<void, RegistryError.RegistryError>
  /** The subject of a manifest about to be deleted, where the registry leaves its list to clients. */
  readonly subjectToUpdate: (
    repository: Repository,
    digest: Digest.Digest
  ) => Effect.Effect<Digest.Digest | undefined, RegistryError.RegistryError>
  /** A manifest with that subject was deleted. */
  readonly removed: (
    repository: Repository,
    subject: Digest.Digest,
    digest: Digest.Digest
  ) => Effect.Effect<void, RegistryError.RegistryError>
}

/** The tag that stands in for the list of referrers of a digest. */
export const tagOf = (digest: Digest.Digest): Tag =>
  Tag.make(
    `${Digest.algorithm(digest).slice(0, 32)}-${Digest.encoded(digest).slice(0, 64)}`.replaceAll(
      /[^a-zA-Z0-9._-]/g,
      "-"
    )
  )

const encodeIndex = Schema.encodeEffect(Schema.fromJsonString(Manifest.ImageIndex))

export const make = (connection: Connection.Connection, requests: ManifestRequests): Referrers => {
  const callOf = (repository: Repository) => ({ operation: "referrers", repository, target: "referrers" } as const)

  const unexpected = (repository: Repository, detail: string) =>
    connection.error(callOf(repository), new RegistryError.UnexpectedResponse({ detail }))

  const decodeList = (repository: Repository, bytes: Uint8Array) => {
    const index = Manifest.decode(MediaType.imageIndex, bytes)
    return Result.isSuccess(index) && index.success._tag === "Index"
      ? Effect.succeed(index.success.content)
      : Effect.fail(unexpected(repository, "the list of referrers is not an image index"))
  }

  // -- reading --------------------------------------------------------------------------------------------------------

  const fromApi = (repository: Repository, digest: Digest.Digest, artifactType: string | undefined) => {
    const query = artifactType === undefined ? "" : `?artifactType=${encodeURIComponent(artifactType)}`
    return Pages.pages(
      connection,
      callOf(repository),
      connection.url(`/v2/${repository}/referrers/${digest}${query}`),
      {
        accept: MediaType.imageIndex,
        decode: (page) =>
          Effect.tap(
            Effect.map(decodeList(repository, page.bytes), ({ manifests }) => manifests),
            () => connection.learn({ referrers: true })
          )
      }
    )
  }

  /** The index behind the tag; none where there is no such tag. */
  const tagged = (repository: Repository, digest: Digest.Digest) =>
    Effect.catchReasons(requests.getManifest(repository, tagOf(digest)), "RegistryError", {
      ManifestUnknown: () => Effect.undefined,
      NameUnknown: () => Effect.undefined
    })

  const fromTag = Effect.fnUntraced(function*(repository: Repository, digest: Digest.Digest) {
    const found = yield* tagged(repository, digest)
    if (found === undefined || found.descriptor.mediaType !== MediaType.imageIndex) return []
    return yield* Effect.orElseSucceed(
      Effect.map(decodeList(repository, found.bytes), ({ manifests }) => manifests),
      (): ReadonlyArray<Descriptor> => []
    )
  })

  const list: Referrers["list"] = (repository, digest, options) =>
    Stream.unwrap(Effect.map(Ref.get(connection.capabilities), ({ referrers }) => {
      const byTag = Stream.unwrap(Effect.map(fromTag(repository, digest), (found) => Stream.fromArray(found)))
      let hasAnswered = false
      const byApi = fromApi(repository, digest, options?.artifactType).pipe(
        Stream.tap(() =>
          Effect.sync(() => {
            hasAnswered = true
          })
        ),
        Stream.catchIf(
          (error) => error.status === 404 && !hasAnswered,
          ({ reason }) =>
            // a registry that names what it does not know may list referrers all the same
            reason._tag === "Unsupported"
              ? Stream.concat(Stream.fromEffectDrain(connection.learn({ referrers: false })), byTag)
              : byTag
        )
      )
      const found = referrers === false ? byTag : byApi
      // a registry may filter by type or not, and a tag knows no filter
      return options?.artifactType === undefined
        ? found
        : Stream.filter(found, ({ artifactType }) => artifactType === options.artifactType)
    }))

  // -- writing --------------------------------------------------------------------------------------------------------

  // reading, changing and writing back is not one step for a registry: two of our own must not do it at once
  const locks = new Map<string, Semaphore.Semaphore>()
  const locked = (repository: Repository, subject: Digest.Digest) => {
    const key = `${repository}@${subject}`
    const lock = locks.get(key) ?? Semaphore.makeUnsafe(1)
    locks.set(key, lock)
    return lock.withPermit
  }

  const update = (
    repository: Repository,
    subject: Digest.Digest,
    change: (manifests: ReadonlyArray<Descriptor>) => ReadonlyArray<Descriptor>
  ) =>
    locked(repository, subject)(Effect.gen(function*() {
      const found = yield* tagged(repository, subject)
      if (found !== undefined && found.descriptor.mediaType !== MediaType.imageIndex) {
        return yield* unexpected(repository, `the tag ${tagOf(subject)} is not the image index that lists referrers`)
      }
      const content = found === undefined
        ? { schemaVersion: 2 as const, mediaType: MediaType.imageIndex, manifests: [] }
        : yield* decodeList(repository, found.bytes)
      const manifests = change(content.manifests)
      if (manifests === content.manifests) return
      yield* write(repository, subject, { ...content, manifests }).pipe(
        // registries that look whether a list is complete would refuse it for good over one entry that is gone
        Effect.catchReason("RegistryError", "ManifestBlobUnknown", () =>
          Effect.flatMap(
            Effect.filter(manifests, ({ digest }) => isThere(repository, digest), { concurrency: 6 }),
            (manifests) => write(repository, subject, { ...content, manifests })
          ))
      )
    }))

  const isThere = (repository: Repository, digest: Digest.Digest) =>
    requests.resolveManifest(repository, digest).pipe(
      Effect.as(true),
      Effect.catchReason("RegistryError", "ManifestUnknown", () => Effect.succeed(false))
    )

  const write = Effect.fnUntraced(
    function*(repository: Repository, subject: Digest.Digest, index: typeof Manifest.ImageIndex.Type) {
      const bytes = new TextEncoder().encode(yield* Effect.orDie(encodeIndex(index)))
      const digest = yield* Effect.orDie(Hasher.digest(bytes))
      yield* requests.put(repository, tagOf(subject), { mediaType: MediaType.imageIndex, bytes, digest })
    }
  )

  return {
    list,
    pushed: (repository, subject, referrer, listed) =>
      listed
        ? connection.learn({ referrers: true })
        : update(repository, subject, (manifests) =>
          manifests.some(({ digest }) => digest === referrer.digest)
            ? manifests
            : [...manifests, referrer]),
    subjectToUpdate: Effect.fnUntraced(function*(repository, digest) {
      const { referrers } = yield* Ref.get(connection.capabilities)
      if (referrers === true) return undefined
      const { bytes, descriptor } = yield* requests.getManifest(repository, digest)
      const manifest = Manifest.decode(descriptor.mediaType, bytes)
      const subject = Result.isSuccess(manifest) ? manifest.success.content.subject?.digest : undefined
      if (subject === undefined || referrers === false) return subject
      yield* Stream.runDrain(list(repository, subject))
      return (yield* Ref.get(connection.capabilities)).referrers === true ? undefined : subject
    }),
    removed: (repository, subject, digest) =>
      update(repository, subject, (manifests) =>
        manifests.some((listed) => listed.digest === digest)
          ? manifests.filter((listed) => listed.digest !== digest)
          : manifests)
  }
}
