/**
 * The tag that lists the referrers of a subject at registries without the referrers API (distribution-spec, "Referrers
 * Tag Schema"). Clients write it.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import { type Repository, Tag } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import type * as Connection from "./Connection.ts"
import type { ManifestRequests } from "./ManifestRequests.ts"

/** Returns the tag that lists the referrers of a digest. */
export const tagOf = (digest: Digest.Digest): Tag =>
  Tag.make(
    `${Digest.algorithm(digest).slice(0, 32)}-${Digest.encoded(digest).slice(0, 64)}`.replaceAll(
      /[^a-zA-Z0-9._-]/g,
      "-"
    )
  )

/** Reads the list, or returns `undefined` if there is no such tag. */
export const read = (
  requests: ManifestRequests,
  repository: Repository,
  subject: Digest.Digest
): Effect.Effect<
  Registry.ManifestBytes & { readonly etag: string | undefined } | undefined,
  RegistryError.RegistryError
> =>
  Effect.catchReasons(requests.getManifest(repository, tagOf(subject)), "RegistryError", {
    ManifestUnknown: () => Effect.undefined,
    NameUnknown: () => Effect.undefined
  })

// maximum number of times that the list is written for one change, because other clients may write it as well
const roundLimit = 8

/** Waits for a random time, so that clients that write at the same time get out of step. */
const randomPause = (round: number) =>
  Effect.flatMap(Random.nextIntBetween(0, 50 * 2 ** round), (millis) => Effect.sleep(millis))

// entries stay as they are, even if they are not valid descriptors
const Index = Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown))
const decodeIndex = Schema.decodeUnknownOption(Index)
const encodeIndex = Schema.encodeEffect(Index)
const decodeDescriptor = Schema.decodeUnknownOption(Schema.toCodecGoJson(Descriptor))

/** Entries of a list, as they are written. */
export type Entries = ReadonlyArray<unknown>

const isOf = (digest: Digest.Digest) => (entry: unknown): boolean =>
  Predicate.hasProperty(entry, "digest") && entry.digest === digest

/** Returns the change that adds a referrer to a list, unless the list has it. */
export const adding = (referrer: Descriptor) => (entries: Entries): Entries =>
  entries.some(isOf(referrer.digest)) ? entries : [...entries, referrer]

/** Returns the change that removes a referrer from a list, if the list has it. */
export const removing = (digest: Digest.Digest) => (entries: Entries): Entries => {
  const isRemoved = isOf(digest)
  return entries.some(isRemoved) ? entries.filter((entry) => !isRemoved(entry)) : entries
}

/** The list of one subject. */
interface Target {
  readonly connection: Connection.Connection
  readonly requests: ManifestRequests
  readonly repository: Repository
  readonly subject: Digest.Digest
}

const unexpected = ({ connection, repository }: Target, detail: string) =>
  connection.error(
    { operation: "referrers", repository, target: "referrers" },
    new RegistryError.UnexpectedResponse({ detail })
  )

/** Returns true if the registry has the manifest of an entry. */
const exists = ({ repository, requests }: Target, entry: unknown) =>
  Option.match(decodeDescriptor(entry), {
    onNone: () => Effect.succeed(false),
    onSome: ({ digest }) =>
      requests.resolveManifest(repository, digest).pipe(
        Effect.as(true),
        Effect.catchReason("RegistryError", "ManifestUnknown", () => Effect.succeed(false))
      )
  })

const write = Effect.fnUntraced(function*(
  { repository, requests, subject }: Target,
  index: typeof Index.Type,
  headers: Readonly<Record<string, string>>
) {
  const bytes = new TextEncoder().encode(yield* Effect.orDie(encodeIndex(index)))
  const digest = yield* Effect.orDie(Hasher.digest(bytes))
  yield* requests.put(repository, tagOf(subject), { mediaType: MediaType.imageIndex, bytes, digest }, { headers })
})

/** Reads the list and writes it with the change. Returns true if the list needs no change. */
const step = Effect.fnUntraced(function*(target: Target, change: (entries: Entries) => Entries) {
  const { repository, requests, subject } = target
  const found = yield* read(requests, repository, subject)
  const content = found === undefined
    ? { schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [] }
    : found.descriptor.mediaType === MediaType.imageIndex
    ? Option.getOrUndefined(decodeIndex(new TextDecoder().decode(found.bytes)))
    : undefined
  const before = content?.["manifests"] ?? []
  if (content === undefined || !Array.isArray(before)) {
    return yield* unexpected(target, `the tag ${tagOf(subject)} is not the image index that lists referrers`)
  }
  const manifests = change(before)
  if (manifests === before) return true
  const condition = found === undefined
    ? { "if-none-match": "*" }
    : found.etag === undefined
    ? {}
    : { "if-match": found.etag }
  const put = (manifests: Entries) => write(target, { ...content, manifests }, condition)
  yield* put(manifests).pipe(
    // registries that check whether an index is complete would refuse the list because of one deleted entry
    Effect.catchReason(
      "RegistryError",
      "ManifestBlobUnknown",
      () => Effect.flatMap(Effect.filter(manifests, (entry) => exists(target, entry), { concurrency: 6 }), put)
    ),
    Effect.catchIf(({ status }) => status === 412, () => Effect.void)
  )
  return false
})

/**
 * Changes the list until it is read as it should be. Reading and writing is not one step, and other clients may change
 * the list at the same time (distribution-spec, "Enabling the Referrers API"). Registries that support conditional
 * requests (RFC 9110, 13) refuse to overwrite such a change; at others, reading the list again shows whether it was
 * lost.
 */
export const update = (
  target: Target,
  change: (entries: Entries) => Entries,
  round = 0
): Effect.Effect<void, RegistryError.RegistryError> =>
  Effect.flatMap(step(target, change), (isDone) => {
    if (isDone) return Effect.void
    if (round === roundLimit) return unexpected(target, "the list of referrers does not stay as it is written")
    // the first read follows at once
    return Effect.andThen(round === 0 ? Effect.void : randomPause(round), update(target, change, round + 1))
  })
