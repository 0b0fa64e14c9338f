/**
 * Models and schemas of manifests, and the error about bytes that are not a manifest. `Manifest` exports all of them.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Descriptor } from "./Descriptor.ts"
import * as Digest from "./Digest.ts"
import * as OtherFields from "./OtherFields.ts"
import { printable } from "./Text.ts"

const noDescriptors: Effect.Effect<ReadonlyArray<Descriptor>> = Effect.succeed([])

// Go writes null for a list without elements, or omits it
const Descriptors = Schema.Array(Descriptor).pipe(Schema.withDecodingDefaultTypeKey(noDescriptors))

/**
 * The subject of a manifest: another manifest that it refers to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Subject {
  readonly digest: Digest.Digest
  readonly mediaType?: string | undefined
  /** Size of the manifest, in bytes. */
  readonly size?: number | undefined
}

const DeclaredSubject = Schema.Struct({
  digest: Digest.Digest,
  mediaType: Schema.optional(Schema.String),
  size: Schema.optional(Schema.Natural)
})

/**
 * Schema of a subject. Only the digest is required, because some tools (cosign) omit the rest.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Subject: Schema.Codec<Subject, typeof DeclaredSubject.Encoded> = Schema.StructWithRest(
  DeclaredSubject,
  OtherFields.kept
)

/** Fields that manifests of all types have. */
interface Common {
  readonly schemaVersion?: number | undefined
  readonly mediaType?: string | undefined
  readonly artifactType?: string | undefined
  readonly subject?: Subject | undefined
  readonly annotations?: Readonly<Record<string, string>> | undefined
}

const common = {
  schemaVersion: Schema.optional(Schema.Int),
  mediaType: Schema.optional(Schema.String),
  artifactType: Schema.optional(Schema.String),
  subject: Schema.optional(Subject),
  annotations: Schema.optional(Schema.Record(Schema.String, Schema.String))
}

/**
 * An image manifest, of OCI or Docker. Fields of other names survive decoding and encoding, as in manifests of all
 * types: `Manifest.otherFields` returns them.
 *
 * @category models
 * @since 0.1.0
 */
export interface ImageManifest extends Common {
  readonly config: Descriptor
  readonly layers: ReadonlyArray<Descriptor>
}

/** Declared fields of an image manifest. */
export const DeclaredImage = Schema.Struct({ ...common, config: Descriptor, layers: Descriptors })

/**
 * Schema of an image manifest, of OCI or Docker. An image without layers may omit their list.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ImageManifest: Schema.Codec<ImageManifest, typeof DeclaredImage.Encoded> = Schema.StructWithRest(
  DeclaredImage,
  OtherFields.kept
)

/**
 * An image index, or Docker manifest list.
 *
 * @category models
 * @since 0.1.0
 */
export interface ImageIndex extends Common {
  readonly manifests: ReadonlyArray<Descriptor>
}

/** Declared fields of an image index. */
export const DeclaredIndex = Schema.Struct({ ...common, manifests: Descriptors })

/**
 * Schema of an image index, or Docker manifest list. An index without manifests may omit their list.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ImageIndex: Schema.Codec<ImageIndex, typeof DeclaredIndex.Encoded> = Schema.StructWithRest(
  DeclaredIndex,
  OtherFields.kept
)

/**
 * An OCI artifact manifest.
 *
 * @category models
 * @since 0.1.0
 */
export interface ArtifactManifest extends Common {
  readonly blobs?: ReadonlyArray<Descriptor> | undefined
}

/** Declared fields of an artifact manifest. */
export const DeclaredArtifact = Schema.Struct({ ...common, blobs: Schema.optional(Schema.Array(Descriptor)) })

/**
 * Schema of an OCI artifact manifest.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ArtifactManifest: Schema.Codec<ArtifactManifest, typeof DeclaredArtifact.Encoded> = Schema.StructWithRest(
  DeclaredArtifact,
  OtherFields.kept
)

/**
 * A decoded manifest. `bytes` is the document from which it was decoded.
 *
 * @category models
 * @since 0.1.0
 */
export type Manifest =
  & { readonly mediaType: string; readonly bytes: Uint8Array }
  & (
    | { readonly _tag: "Image"; readonly content: ImageManifest }
    | { readonly _tag: "Index"; readonly content: ImageIndex }
    | { readonly _tag: "Artifact"; readonly content: ArtifactManifest }
  )

/**
 * Bytes are not a manifest of the type they came as: the type is none that is understood here (`UnknownMediaType`), or
 * the document does not fit its type (`Malformed`).
 *
 * @category errors
 * @since 0.1.0
 */
export class ManifestError extends Schema.TaggedError<ManifestError>("effect-oci/Manifest/ManifestError")(
  "ManifestError",
  { kind: Schema.Literals(["UnknownMediaType", "Malformed"]), mediaType: Schema.String, problem: Schema.String }
) {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    const mediaType = JSON.stringify(this.mediaType.slice(0, 100))
    return printable(
      this.kind === "UnknownMediaType"
        ? `${mediaType} is not a known type of manifest`
        : `not a manifest of type ${mediaType}: ${this.problem}`
    )
  }
}
