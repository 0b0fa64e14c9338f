/**
 * Referrers over HTTP (distribution-spec, "Listing Referrers"), and at registries that do not list them, the tag in
 * their place (see `ReferrersTag`).
 *
 * The tag of a subject that is deleted stays: its entries still exist, and may be wanted.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Descriptor } from "../Descriptor.ts"
import type * as Digest from "../Digest.ts"
import * as KeyedLock from "../KeyedLock.ts"
import * as KnownTags from "../KnownTags.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import type * as RegistryError from "../RegistryError.ts"
import type * as Connection from "./Connection.ts"
import * as Items from "./Items.ts"
import type { ManifestRequests } from "./ManifestRequests.ts"
import * as Pages from "./Pages.ts"
import * as ReferrersTag from "./ReferrersTag.ts"

export interface Referrers {
  readonly list: Registry.Registry["referrers"]
  /** Adds a pushed referrer to the list, unless the registry does so. `isListed` is true if the response says so. */
  readonly pushed: (
    repository: Repository,
    subject: Digest.Digest,
    referrer: Descriptor,
    isListed: boolean
  ) => Effect.Effect<void, RegistryError.RegistryError>
  /** Returns the subject of a manifest that is about to be deleted, if clients keep its list at this registry. */
  readonly subjectToUpdate: (
    repository: Repository,
    digest: Digest.Digest
  ) => Effect.Effect<Digest.Digest | undefined, RegistryError.RegistryError>
  /** Removes a deleted referrer from the list of its subject. */
  readonly removed: (
    repository: Repository,
    subject: Digest.Digest,
    digest: Digest.Digest
  ) => Effect.Effect<void, RegistryError.RegistryError>
}

const decodeDescriptor = Schema.decodeUnknownOption(Schema.toCodecGoJson(Descriptor))

const refusals: ReadonlySet<string> = new Set(["Unauthorized", "Denied", "TooManyRequests"])

/** Returns true if a registry answers in this way because it does not list referrers ("Listing Referrers"). */
const isNoList = ({ reason, status = 0 }: RegistryError.RegistryError): boolean =>
  [400, 404, 405, 406, 501].includes(status) && !refusals.has(reason._tag) ||
  // a web page, or a redirect to one
  reason._tag === "UnexpectedResponse" && status >= 200 && status < 400

const callOf = (repository: Repository) => ({ operation: "referrers", repository, target: "referrers" } as const)

const itemsOf = (repository: Repository, digest: Digest.Digest): Items.Items<Descriptor> => ({
  call: callOf(repository),
  name: `referrers of ${digest}`,
  field: "manifests",
  decode: decodeDescriptor,
  key: (descriptor) => descriptor.digest,
  mayLackField: ({ mediaType, schemaVersion }) => schemaVersion === 2 || mediaType === MediaType.imageIndex,
  otherwise: "the list of referrers is not an image index"
})

const fromApi = (
  connection: Connection.Connection,
  repository: Repository,
  digest: Digest.Digest,
  artifactType: string | undefined,
  onPage: Effect.Effect<void>
) => {
  const query = artifactType === undefined ? "" : `?artifactType=${encodeURIComponent(artifactType)}`
  return Pages.list(connection, {
    ...itemsOf(repository, digest),
    url: connection.url(`/v2/${repository}/referrers/${digest}${query}`),
    accept: MediaType.imageIndex,
    onPage
  })
}

const fromTag = Effect.fnUntraced(function*(
  connection: Connection.Connection,
  requests: ManifestRequests,
  repository: Repository,
  digest: Digest.Digest
) {
  if (yield* KnownTags.lacks(connection.name, repository, ReferrersTag.tagOf(digest))) return Stream.empty
  const found = yield* ReferrersTag.read(requests, repository, digest)
  if (found === undefined || found.descriptor.mediaType !== MediaType.imageIndex) return Stream.empty
  const items = itemsOf(repository, digest)
  const page = yield* Effect.option(Items.pageOf(connection, items, found.bytes))
  return Option.isNone(page) ? Stream.empty : Items.stream(connection, items, Stream.succeed(page.value))
})

/** Lists referrers by the API, or as `orElse` says if the registry does not have it. */
const fromApiOr = (
  connection: Connection.Connection,
  repository: Repository,
  digest: Digest.Digest,
  artifactType: string | undefined,
  orElse: ReturnType<Referrers["list"]>
) =>
  Stream.suspend(() => {
    let hasAnswered = false
    const answered = Effect.andThen(
      Effect.sync(() => {
        hasAnswered = true
      }),
      connection.learn({ referrers: true })
    )
    return fromApi(connection, repository, digest, artifactType, answered).pipe(
      Stream.catchIf(
        (error) => !hasAnswered && isNoList(error),
        ({ reason }) =>
          // a registry that reports a problem of this request may still list referrers
          reason._tag === "Unsupported" || reason._tag === "UnexpectedResponse"
            ? Stream.concat(Stream.fromEffectDrain(connection.learn({ referrers: false })), orElse)
            : orElse
      )
    )
  })

/**
 * Returns true if the registry lists referrers. Its response to a push does not prove that (ECR), so that one request
 * finds out.
 */
const knowsReferrers = Effect.fnUntraced(function*(
  connection: Connection.Connection,
  repository: Repository,
  subject: Digest.Digest
) {
  const { referrers } = yield* Ref.get(connection.capabilities)
  if (referrers !== undefined) return referrers
  yield* Stream.runDrain(Stream.take(fromApiOr(connection, repository, subject, undefined, Stream.empty), 1))
  return (yield* Ref.get(connection.capabilities)).referrers === true
})

export const make = (connection: Connection.Connection, requests: ManifestRequests): Referrers => {
  // changes by this client do not meet
  const locked = KeyedLock.make()
  const update = (
    repository: Repository,
    subject: Digest.Digest,
    change: (entries: ReferrersTag.Entries) => ReferrersTag.Entries
  ) => locked(`${repository}@${subject}`)(ReferrersTag.update({ connection, requests, repository, subject }, change))

  return {
    list: (repository, digest, options) =>
      Stream.unwrap(Effect.map(Ref.get(connection.capabilities), ({ referrers }) => {
        const byTag = Stream.unwrap(fromTag(connection, requests, repository, digest))
        const found = referrers === false
          ? byTag
          : fromApiOr(connection, repository, digest, options?.artifactType, byTag)
        // a registry may ignore the filter, and a tag has none
        return options?.artifactType === undefined
          ? found
          : Stream.filter(found, ({ artifactType }) => artifactType === options.artifactType)
      })),
    pushed: Effect.fnUntraced(function*(repository, subject, referrer, isListed) {
      // if the list cannot be read now, the response to the push is believed
      if (isListed && (yield* Effect.orElseSucceed(knowsReferrers(connection, repository, subject), () => true))) return
      yield* update(repository, subject, ReferrersTag.adding(referrer))
    }),
    subjectToUpdate: Effect.fnUntraced(function*(repository, digest) {
      const { referrers } = yield* Ref.get(connection.capabilities)
      if (referrers === true) return undefined
      const { bytes, descriptor } = yield* requests.getManifest(repository, digest)
      const subject = Manifest.subjectOf(descriptor.mediaType, bytes)
      const isListed = subject !== undefined &&
        // if the list cannot be read now, the tag shows whether there is anything to update
        (yield* Effect.orElseSucceed(knowsReferrers(connection, repository, subject), () => false))
      return isListed ? undefined : subject
    }),
    removed: (repository, subject, digest) => update(repository, subject, ReferrersTag.removing(digest))
  }
}
