/**
 * Referrers over HTTP (distribution-spec, "Listing Referrers"), and for registries that do not list them the tag that
 * stands in for the list ("Referrers Tag Schema"): read, written and kept in order by the client. The tag of a subject that
 * is deleted stays: what it lists is still there, and may be wanted.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as KeyedLock from "../KeyedLock.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import { type Repository, Tag } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import type * as Connection from "./Connection.ts"
import * as Items from "./Items.ts"
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

// how often the list is written again at most, when others write it too
const roundLimit = 8

const outOfStep = (round: number) =>
  Effect.flatMap(Random.nextIntBetween(0, 50 * 2 ** round), (millis) => Effect.sleep(millis))

const decodeDescriptor = Schema.decodeUnknownOption(Schema.toCodecGoJson(Descriptor))

const refusals: ReadonlySet<string> = new Set(["Unauthorized", "Denied", "TooManyRequests"])

/** Returns true if a registry answers in this way because it does not list referrers ("Listing Referrers"). */
const isNoList = ({ reason, status = 0 }: RegistryError.RegistryError): boolean =>
  [400, 404, 405, 406, 501].includes(status) && !refusals.has(reason._tag) ||
  // a page of a web site, or the way to one
  reason._tag === "UnexpectedResponse" && status >= 200 && status < 400

// entries stay as they are written, whatever they are
const Index = Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown))
const decodeIndex = Schema.decodeUnknownOption(Index)
const encodeIndex = Schema.encodeEffect(Index)

const isOf = (digest: Digest.Digest) => (entry: unknown): boolean =>
  Predicate.hasProperty(entry, "digest") && entry.digest === digest

export const make = (connection: Connection.Connection, requests: ManifestRequests): Referrers => {
  const callOf = (repository: Repository) => ({ operation: "referrers", repository, target: "referrers" } as const)

  const unexpected = (repository: Repository, detail: string) =>
    connection.error(callOf(repository), new RegistryError.UnexpectedResponse({ detail }))

  // -- reading --------------------------------------------------------------------------------------------------------

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

  /** Reads the index behind the tag; nothing if there is no such tag. */
  const tagged = (repository: Repository, digest: Digest.Digest) =>
    Effect.catchReasons(requests.getManifest(repository, tagOf(digest)), "RegistryError", {
      ManifestUnknown: () => Effect.undefined,
      NameUnknown: () => Effect.undefined
    })

  const fromTag = Effect.fnUntraced(function*(repository: Repository, digest: Digest.Digest) {
    const found = yield* tagged(repository, digest)
    if (found === undefined || found.descriptor.mediaType !== MediaType.imageIndex) return Stream.empty
    const items = itemsOf(repository, digest)
    const page = yield* Effect.option(Items.pageOf(connection, items, found.bytes))
    return Option.isNone(page) ? Stream.empty : Items.stream(connection, items, Stream.succeed(page.value))
  })

  /** Asks the registry for the list, and something else if it has no such list. */
  const fromApiOr = (
    repository: Repository,
    digest: Digest.Digest,
    artifactType: string | undefined,
    orElse: ReturnType<Referrers["list"]>
  ) => {
    let hasAnswered = false
    const answered = Effect.andThen(
      Effect.sync(() => {
        hasAnswered = true
      }),
      connection.learn({ referrers: true })
    )
    return fromApi(repository, digest, artifactType, answered).pipe(
      Stream.catchIf(
        (error) => !hasAnswered && isNoList(error),
        ({ reason }) =>
          // a registry that names what is wrong with the request may list referrers all the same
          reason._tag === "Unsupported" || reason._tag === "UnexpectedResponse"
            ? Stream.concat(Stream.fromEffectDrain(connection.learn({ referrers: false })), orElse)
            : orElse
      )
    )
  }

  const list: Referrers["list"] = (repository, digest, options) =>
    Stream.unwrap(Effect.map(Ref.get(connection.capabilities), ({ referrers }) => {
      const byTag = Stream.unwrap(fromTag(repository, digest))
      const found = referrers === false ? byTag : fromApiOr(repository, digest, options?.artifactType, byTag)
      // a registry may filter by type or not, and a tag knows no filter
      return options?.artifactType === undefined
        ? found
        : Stream.filter(found, ({ artifactType }) => artifactType === options.artifactType)
    }))

  /** Does the registry list referrers? That it says so when one is pushed is not enough (ECR): it is asked once. */
  const knowsReferrers = Effect.fnUntraced(function*(repository: Repository, subject: Digest.Digest) {
    const { referrers } = yield* Ref.get(connection.capabilities)
    if (referrers !== undefined) return referrers
    yield* Stream.runDrain(Stream.take(fromApiOr(repository, subject, undefined, Stream.empty), 1))
    return (yield* Ref.get(connection.capabilities)).referrers === true
  })

  // -- writing --------------------------------------------------------------------------------------------------------

  const locked = KeyedLock.make()

  /**
   * Reads the list, changes it and writes it back, until it is read as it should be: it is not one step, and others may
   * do the same at the same time (distribution-spec, "Enabling the Referrers API"). Two of our own do not; of others'
   * changes, registries that know conditions (RFC 9110, 13) tell before they are lost, and reading again tells after.
   */
  const update = (
    repository: Repository,
    subject: Digest.Digest,
    change: (manifests: ReadonlyArray<unknown>) => ReadonlyArray<unknown>
  ) => {
    const step = Effect.gen(function*() {
      const found = yield* tagged(repository, subject)
      const content = found === undefined
        ? { schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [] }
        : found.descriptor.mediaType === MediaType.imageIndex
        ? Option.getOrUndefined(decodeIndex(new TextDecoder().decode(found.bytes)))
        : undefined
      const before = content?.["manifests"] ?? []
      if (content === undefined || !Array.isArray(before)) {
        return yield* unexpected(repository, `the tag ${tagOf(subject)} is not the image index that lists referrers`)
      }
      const manifests = change(before)
      if (manifests === before) return true
      const condition = found === undefined
        ? { "if-none-match": "*" }
        : found.etag === undefined
        ? {}
        : { "if-match": found.etag }
      const put = (manifests: ReadonlyArray<unknown>) =>
        write(repository, subject, { ...content, manifests }, condition)
      yield* put(manifests).pipe(
        // registries that look whether a list is complete would refuse it for good over one entry that is gone
        Effect.catchReason(
          "RegistryError",
          "ManifestBlobUnknown",
          () =>
            Effect.flatMap(
              Effect.filter(manifests, (entry) => isThere(repository, entry), { concurrency: 6 }),
              put
            )
        ),
        Effect.catchIf(({ status }) => status === 412, () => Effect.void)
      )
      return false
    })
    const steps = (round: number): Effect.Effect<void, RegistryError.RegistryError> =>
      Effect.flatMap(step, (isDone) => {
        if (isDone) return Effect.void
        if (round === roundLimit) return unexpected(repository, "the list of referrers does not stay as it is written")
        // what was written is read at once; whoever writes at the same time gets out of step
        return Effect.andThen(round === 0 ? Effect.void : outOfStep(round), steps(round + 1))
      })
    return locked(`${repository}@${subject}`)(steps(0))
  }

  const isThere = (repository: Repository, entry: unknown) =>
    Option.match(decodeDescriptor(entry), {
      onNone: () => Effect.succeed(false),
      onSome: ({ digest }) =>
        requests.resolveManifest(repository, digest).pipe(
          Effect.as(true),
          Effect.catchReason("RegistryError", "ManifestUnknown", () => Effect.succeed(false))
        )
    })

  const write = Effect.fnUntraced(
    function*(
      repository: Repository,
      subject: Digest.Digest,
      index: typeof Index.Type,
      headers: Readonly<Record<string, string>>
    ) {
      const bytes = new TextEncoder().encode(yield* Effect.orDie(encodeIndex(index)))
      const digest = yield* Effect.orDie(Hasher.digest(bytes))
      yield* requests.put(repository, tagOf(subject), { mediaType: MediaType.imageIndex, bytes, digest }, {
        headers
      })
    }
  )

  return {
    list,
    pushed: Effect.fnUntraced(function*(repository, subject, referrer, listed) {
      // if the list cannot be read now, the answer to the push is believed
      if (listed && (yield* Effect.orElseSucceed(knowsReferrers(repository, subject), () => true))) return
      yield* update(
        repository,
        subject,
        (manifests) => manifests.some(isOf(referrer.digest)) ? manifests : [...manifests, referrer]
      )
    }),
    subjectToUpdate: Effect.fnUntraced(function*(repository, digest) {
      const { referrers } = yield* Ref.get(connection.capabilities)
      if (referrers === true) return undefined
      const { bytes, descriptor } = yield* requests.getManifest(repository, digest)
      const manifest = Manifest.decode(descriptor.mediaType, bytes)
      const subject = Result.isSuccess(manifest) ? manifest.success.content.subject?.digest : undefined
      const isListed = subject !== undefined &&
        // if the list cannot be read now, the tag shows whether there is anything to update
        (yield* Effect.orElseSucceed(knowsReferrers(repository, subject), () => false))
      return isListed ? undefined : subject
    }),
    removed: (repository, subject, digest) =>
      update(repository, subject, (manifests) => {
        const isRemoved = isOf(digest)
        return manifests.some(isRemoved) ? manifests.filter((entry) => !isRemoved(entry)) : manifests
      })
  }
}
