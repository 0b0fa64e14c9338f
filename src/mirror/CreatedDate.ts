/**
 * Dates of images, from their annotations or configs.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type Descriptor, inlineContent } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type * as Namespace from "../Namespace.ts"
import { type Place, reference } from "./Unit.ts"

const decodeConfig = Schema.decodeUnknownOption(
  Schema.fromJsonString(Schema.Struct({ created: Schema.optionalKey(Schema.DateTimeUtcFromString) }))
)

const decodeDate = Schema.decodeUnknownOption(Schema.DateTimeUtcFromString)

const annotation = "org.opencontainers.image.created"

// maximum size of a config that is read, in bytes
const limit = 4 * 1024 * 1024

/** Returns a date, unless it is that of a reproducible build, which is 1970. */
const useful = (date: DateTime.Utc | undefined): DateTime.Utc | undefined =>
  date === undefined || DateTime.toEpochMillis(date) <= 0 ? undefined : date

const ofConfig = Effect.fnUntraced(function*(
  namespace: Namespace.Namespace["Service"],
  place: Place,
  config: Descriptor
) {
  if (config.size > limit) return undefined
  const bytes = (yield* inlineContent(config)) ??
    (yield* namespace.getBlob(reference(place, { digest: config.digest }), { size: config.size }).pipe(
      Effect.flatMap(({ stream }) => Stream.mkUint8Array(stream)),
      Effect.scoped
    ))
  return useful(Option.getOrUndefined(decodeConfig(new TextDecoder().decode(bytes)))?.created)
})

/**
 * Returns when an image was created: by its annotation, or else by its config, or by that of the first image of an
 * index. Returns `undefined` if it has no date.
 */
export const of: (
  namespace: Namespace.Namespace["Service"],
  place: Place,
  digest: Digest
) => Effect.Effect<DateTime.Utc | undefined, Namespace.NamespaceError> = Effect.fnUntraced(
  function*(namespace, place, digest) {
    const { bytes, descriptor } = yield* namespace.getManifest(reference(place, { digest }))
    const manifest = Manifest.decode(descriptor.mediaType, bytes)
    if (Result.isFailure(manifest)) return undefined
    const { content } = manifest.success
    const annotated = useful(Option.getOrUndefined(decodeDate(content.annotations?.[annotation])))
    if (annotated !== undefined) return annotated
    if ("config" in content) return yield* ofConfig(namespace, place, content.config)
    const [first] = "manifests" in content ? content.manifests : []
    return first === undefined || MediaType.isIndex(first.mediaType)
      ? undefined
      : yield* of(namespace, place, first.digest)
  }
)
