/**
 * Media types of manifests, configs and layers of OCI and Docker.
 *
 * A media type is a plain string, because registries and clients have to accept types that they do not know.
 *
 * @since 0.1.0
 */

/**
 * OCI image manifest (image-spec, `manifest.md`).
 *
 * @category constants
 * @since 0.1.0
 */
export const imageManifest = "application/vnd.oci.image.manifest.v1+json"

/**
 * OCI image index (image-spec, `image-index.md`).
 *
 * @category constants
 * @since 0.1.0
 */
export const imageIndex = "application/vnd.oci.image.index.v1+json"

/**
 * OCI artifact manifest, withdrawn before image-spec 1.1 and still found in registries.
 *
 * @category constants
 * @since 0.1.0
 */
export const artifactManifest = "application/vnd.oci.artifact.manifest.v1+json"

/**
 * Docker image manifest, version 2, schema 2.
 *
 * @category constants
 * @since 0.1.0
 */
export const dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"

/**
 * Docker manifest list.
 *
 * @category constants
 * @since 0.1.0
 */
export const dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"

/**
 * OCI image config (image-spec, `config.md`).
 *
 * @category constants
 * @since 0.1.0
 */
export const imageConfig = "application/vnd.oci.image.config.v1+json"

/**
 * OCI layer: a tar archive, gzipped.
 *
 * @category constants
 * @since 0.1.0
 */
export const imageLayerGzip = "application/vnd.oci.image.layer.v1.tar+gzip"

/**
 * OCI layer: a tar archive.
 *
 * @category constants
 * @since 0.1.0
 */
export const imageLayer = "application/vnd.oci.image.layer.v1.tar"

/**
 * The empty JSON object `{}`, used as the config or layer of artifacts that have none (image-spec, `manifest.md`).
 *
 * @category constants
 * @since 0.1.0
 */
export const empty = "application/vnd.oci.empty.v1+json"

/**
 * Bytes of an unknown type.
 *
 * @category constants
 * @since 0.1.0
 */
export const octetStream = "application/octet-stream"

/**
 * Types of manifests that this package decodes, the common ones first. Clients send them as `Accept`.
 *
 * @category constants
 * @since 0.1.0
 */
export const manifests: ReadonlyArray<string> = [
  imageManifest,
  imageIndex,
  dockerManifest,
  dockerManifestList,
  artifactManifest
]

/**
 * Returns true if a type is one of {@link manifests}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isManifest = (mediaType: string): boolean => manifests.includes(mediaType)

/**
 * Returns true if a type is that of a manifest that lists other manifests.
 *
 * @category guards
 * @since 0.1.0
 */
export const isIndex = (mediaType: string): boolean => mediaType === imageIndex || mediaType === dockerManifestList

/**
 * Returns true if a type is that of a config or layer of OCI or Docker, and so not of a manifest.
 *
 * @category guards
 * @since 0.1.0
 */
export const isBlob = (mediaType: string): boolean =>
  mediaType === octetStream || mediaType === empty ||
  /^application\/vnd\.(oci\.image\.(config|layer)\.|docker\.(container\.image|image\.rootfs)\.)/.test(mediaType)

/**
 * Returns true if a type is that of a layer that its licence keeps out of registries, so that only the `urls` of its
 * descriptor have it.
 *
 * @category guards
 * @since 0.1.0
 */
export const isNonDistributable = (mediaType: string): boolean =>
  mediaType.startsWith("application/vnd.oci.image.layer.nondistributable.") ||
  mediaType === "application/vnd.docker.image.rootfs.foreign.diff.tar" ||
  mediaType === "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

/**
 * Returns true if a type does not describe the content, such as the default of a file server. Some registries send
 * manifests with such types; see `Manifest.mediaTypeOf`.
 *
 * @category guards
 * @since 0.1.0
 */
export const isGeneric = (mediaType: string): boolean =>
  mediaType === "" || mediaType.startsWith("text/") ||
  /^(?:application\/(?:json|octet-stream|x-octet-stream|xml|xhtml\+xml)|binary\/octet-stream)$/.test(mediaType)

/**
 * Returns a `Content-Type` without its parameters, in lower case, because types are case-insensitive (RFC 9110, 8.3.1).
 *
 * **Example** (Reading a header)
 *
 * ```ts import.meta.vitest
 * import * as MediaType from "effect-oci/MediaType"
 *
 * MediaType.fromContentType("Application/JSON; charset=utf-8") // => "application/json"
 * ```
 *
 * @category conversions
 * @since 0.1.0
 */
export const fromContentType = (header: string): string => (header.split(";", 1)[0] ?? "").trim().toLowerCase()
