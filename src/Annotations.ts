/**
 * Keys of annotations: those that the image specification defines (image-spec, `annotations.md`), and those with which
 * oras marks folders.
 *
 * @since 0.1.0
 */

/**
 * Date and time at which the image was built, as in RFC 3339.
 *
 * @category constants
 * @since 0.1.0
 */
export const created = "org.opencontainers.image.created"

/**
 * Contact details of the people or organization responsible for the image.
 *
 * @category constants
 * @since 0.1.0
 */
export const authors = "org.opencontainers.image.authors"

/**
 * URL of more information about the image.
 *
 * @category constants
 * @since 0.1.0
 */
export const url = "org.opencontainers.image.url"

/**
 * URL of the documentation of the image.
 *
 * @category constants
 * @since 0.1.0
 */
export const documentation = "org.opencontainers.image.documentation"

/**
 * URL of the source code from which the image was built.
 *
 * @category constants
 * @since 0.1.0
 */
export const source = "org.opencontainers.image.source"

/**
 * Version of the packaged software.
 *
 * @category constants
 * @since 0.1.0
 */
export const version = "org.opencontainers.image.version"

/**
 * Revision of the packaged software in source control.
 *
 * @category constants
 * @since 0.1.0
 */
export const revision = "org.opencontainers.image.revision"

/**
 * Name of the distributing entity.
 *
 * @category constants
 * @since 0.1.0
 */
export const vendor = "org.opencontainers.image.vendor"

/**
 * Licenses of the packaged software, as an SPDX expression.
 *
 * @category constants
 * @since 0.1.0
 */
export const licenses = "org.opencontainers.image.licenses"

/**
 * Name of a manifest in the `index.json` of an image layout.
 *
 * @category constants
 * @since 0.1.0
 */
export const refName = "org.opencontainers.image.ref.name"

/**
 * Title of content for people. On a layer of an artifact, it is the name of its file.
 *
 * @category constants
 * @since 0.1.0
 */
export const title = "org.opencontainers.image.title"

/**
 * Description of the packaged software for people.
 *
 * @category constants
 * @since 0.1.0
 */
export const description = "org.opencontainers.image.description"

/**
 * Digest of the image that this image is based on.
 *
 * @category constants
 * @since 0.1.0
 */
export const baseDigest = "org.opencontainers.image.base.digest"

/**
 * Reference of the image that this image is based on.
 *
 * @category constants
 * @since 0.1.0
 */
export const baseName = "org.opencontainers.image.base.name"

/**
 * Digest of the tar archive in a compressed layer of oras that holds a folder.
 *
 * @category constants
 * @since 0.1.0
 */
export const orasContentDigest = "io.deis.oras.content.digest"

/**
 * Mark of a layer of oras that holds a folder. The layer is unpacked if the value is `true`.
 *
 * @category constants
 * @since 0.1.0
 */
export const orasContentUnpack = "io.deis.oras.content.unpack"
