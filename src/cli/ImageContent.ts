/**
 * The content of an image: its manifest, nested manifests, configs, layers and referrers.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { Descriptor } from "../Descriptor.ts"
import { Digest } from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type * as Namespace from "../Namespace.ts"
import { Platform } from "../Platform.ts"
import type { ManifestBytes } from "../Registry.ts"
import * as Locations from "./Locations.ts"

/** A manifest with its content and referrers. */
export interface ImageContent extends Pick<Descriptor, "mediaType" | "digest" | "size" | "artifactType" | "platform"> {
  /**
   * Reason why its content is omitted: it is listed above (`repeated`), absent, for example from an index of which some
   * platforms were copied (`missing`), of an unknown type (`unknown`), or nested too deep (`deep`).
   */
  readonly ends?: "repeated" | "missing" | "unknown" | "deep" | undefined
  readonly annotations?: Readonly<Record<string, string>> | undefined
  readonly config?: Descriptor | undefined
  readonly layers?: ReadonlyArray<Descriptor> | undefined
  readonly manifests?: ReadonlyArray<ImageContent> | undefined
  readonly referrers?: ReadonlyArray<ImageContent> | undefined
}

const nested = Schema.Array(Schema.suspend((): Schema.Codec<ImageContent, unknown> => ImageContent))

/** The fields of the schema of the content of an image. */
export const fields = {
  mediaType: Schema.String,
  digest: Digest,
  size: Schema.Natural,
  artifactType: Schema.optionalKey(Schema.String),
  platform: Schema.optionalKey(Platform),
  ends: Schema.optionalKey(Schema.Literals(["repeated", "missing", "unknown", "deep"])),
  annotations: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
  config: Schema.optionalKey(Descriptor),
  layers: Schema.optionalKey(Schema.Array(Descriptor)),
  manifests: Schema.optionalKey(nested),
  referrers: Schema.optionalKey(nested)
}

const ImageContent = Schema.Struct(fields).annotate({ identifier: "ImageContent" })

// maximum depth of nested indexes and of referrers of referrers
const depthLimit = 16

const requestsAtOnce = 8

/** A manifest that was read, or `undefined` if its type is unknown, and the list of its referrers. */
interface Loaded {
  readonly manifest?: Manifest.Manifest | undefined
  readonly referrers: ReadonlyArray<Descriptor>
}

/** Reads a manifest, and all nested manifests and referrers once each. Returns them by digest. */
const load = Effect.fnUntraced(function*(
  namespace: Namespace.Namespace["Service"],
  place: Locations.Location,
  root: ManifestBytes,
  referrersOf: (digest: Digest) => Effect.Effect<ReadonlyArray<Descriptor>, Namespace.NamespaceError>
) {
  const loaded = new Map<Digest, Loaded | "blob" | undefined>()
  // limits the requests of all levels together, because each level branches
  const limited = Semaphore.makeUnsafe(requestsAtOnce).withPermit
  const endOf = (digest: Digest) => Locations.withPart(place, { digest }).end

  const note = (found: ManifestBytes, depth: number): Effect.Effect<void, Namespace.NamespaceError> =>
    Effect.gen(function*() {
      const { digest, mediaType } = found.descriptor
      const decoded = Manifest.decode(mediaType, found.bytes)
      const referrers = yield* limited(referrersOf(digest))
      if (Result.isFailure(decoded)) return void loaded.set(digest, { referrers })
      const manifest = decoded.success
      loaded.set(digest, { manifest, referrers })
      yield* Effect.forEach(
        [...Manifest.references(manifest).manifests, ...referrers],
        (descriptor) => visit(descriptor, depth + 1),
        { concurrency: requestsAtOnce, discard: true }
      )
    })
  const visit = ({ digest, mediaType }: Descriptor, depth: number): Effect.Effect<void, Namespace.NamespaceError> =>
    Effect.suspend(() => {
      if (loaded.has(digest) || depth > depthLimit) return Effect.void
      loaded.set(digest, undefined)
      const found = Effect.catchReason(
        limited(namespace.getManifest(endOf(digest))),
        "RegistryError",
        "ManifestUnknown",
        () => Effect.undefined
      )
      // content of an unknown type may be a blob
      const isBlob = (found: ManifestBytes | undefined) =>
        !MediaType.isManifest(mediaType) && (found === undefined || !Manifest.isDocument(found.bytes))
      return Effect.flatMap(found, (found) => {
        if (isBlob(found)) return Effect.sync(() => loaded.set(digest, "blob"))
        return found === undefined ? Effect.void : note(found, depth)
      })
    })
  yield* note(root, 0)
  return loaded
})

const given = <K extends string, A>(key: K, value: A | undefined) =>
  // the type of a computed key cannot express that the key may be absent
  (value === undefined ? {} : { [key]: value }) as { readonly [k in K]?: A }

/** Assembles the content that was read, in the order in which it is listed. */
const assemble = (loaded: ReadonlyMap<Digest, Loaded | "blob" | undefined>, root: Descriptor): ImageContent => {
  const seen = new Set<Digest>()
  const content = (descriptor: Descriptor, depth: number): ImageContent => {
    const { artifactType, digest, mediaType, platform, size } = descriptor
    const own = { mediaType, digest, size, ...given("platform", platform) }
    const listed = { ...own, ...given("artifactType", artifactType) }
    if (seen.has(digest)) return { ...listed, ends: "repeated" }
    seen.add(digest)
    const here = loaded.get(digest)
    if (here === undefined || here === "blob") return { ...listed, ends: depth > depthLimit ? "deep" : "missing" }
    const all = (descriptors: ReadonlyArray<Descriptor>) =>
      descriptors.length === 0 ? undefined : descriptors.map((descriptor) => content(descriptor, depth + 1))
    const { manifest, referrers } = here
    if (manifest === undefined) return { ...listed, ends: "unknown", ...given("referrers", all(referrers)) }
    const references = Manifest.references(manifest)
    const isBlob = ({ digest }: Descriptor) => loaded.get(digest) === "blob"
    const blobs = [...references.blobs, ...references.manifests.filter(isBlob)]
    const manifests = references.manifests.filter((child) => !isBlob(child))
    const isImage = manifest._tag === "Image"
    return {
      ...own,
      ...given("artifactType", artifactType ?? manifest.content.artifactType),
      ...given("annotations", manifest.content.annotations),
      ...isImage ? { config: manifest.content.config, layers: manifest.content.layers } : {},
      ...!isImage && blobs.length > 0 ? { layers: blobs } : {},
      ...given("manifests", all(manifests)),
      ...given("referrers", all(referrers))
    }
  }
  return content(root, 0)
}

/** Reads the content of the image at a place. */
export const read = Effect.fnUntraced(function*(
  namespace: Namespace.Namespace["Service"],
  place: Locations.Location,
  options: Namespace.ForPlatform & {
    /** Selects the referrers that are shown. Default: none, which needs fewer requests. */
    readonly referrers?: ((referrer: Descriptor) => boolean) | undefined
  }
) {
  const { referrers: isWanted } = options
  const root = yield* namespace.getManifest(place.end, options)
  const referrersOf = (digest: Digest) =>
    isWanted === undefined
      ? Effect.succeed([])
      : Stream.runCollect(
        Stream.filter(namespace.referrers(Locations.withPart(place, { digest }).end), isWanted)
      )
  return assemble(yield* load(namespace, place, root, referrersOf), root.descriptor)
})
