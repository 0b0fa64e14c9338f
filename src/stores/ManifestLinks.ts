/**
 * The content that a manifest needs, for decisions on what may be removed.
 *
 * Everything that a manifest may refer to counts: if its type is unknown or it is not well-formed, these are all
 * digests in its text.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as LargeManifest from "../LargeManifest.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"

export interface ManifestLinks {
  /** Manifests that it contains. Some may be blobs, because their type is unknown. */
  readonly manifests: ReadonlyArray<Descriptor>
  /** Digests of all content that it needs, including those of the manifests. */
  readonly needs: ReadonlyArray<Digest.Digest>
  readonly subject?: Digest.Digest | undefined
}

/** Links of content that refers to nothing. */
export const none: ManifestLinks = { manifests: [], needs: [] }

const pattern = /[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]{32,}/g

/** Returns all digests in a text. */
export const mentions = function*(text: string): Generator<Digest.Digest> {
  for (const [found] of text.matchAll(pattern)) if (Digest.isDigest(found)) yield found
}

const scanned = (bytes: Uint8Array): ManifestLinks => {
  const text = new TextDecoder().decode(bytes)
  return { manifests: [], needs: Array.from(new Set(mentions(text))) }
}

/** Returns the links of a manifest that is decoded. */
const fromManifest = (manifest: Manifest.Manifest): ManifestLinks => {
  const { blobs, manifests } = Manifest.references(manifest)
  const subject = manifest.content.subject?.digest
  return {
    manifests,
    needs: [...blobs, ...manifests].map(({ digest }) => digest),
    ...subject === undefined ? {} : { subject }
  }
}

/** Returns the links of a manifest. */
export const make = (mediaType: string, bytes: Uint8Array): Effect.Effect<ManifestLinks> =>
  MediaType.isManifest(mediaType)
    ? Effect.map(
      Effect.option(LargeManifest.decode(mediaType, bytes)),
      Option.match({ onNone: () => scanned(bytes), onSome: fromManifest })
    )
    : Effect.sync(() => scanned(bytes))
