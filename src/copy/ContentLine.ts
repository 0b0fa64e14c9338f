/**
 * Text about a manifest or blob, in plans and in reports.
 */
import * as ByteSize from "effect/ByteSize"
import type { Descriptor } from "../Descriptor.ts"

/** Formats a number of bytes, such as `3.2 MiB`. */
export const size = (bytes: number): string => ByteSize.format(ByteSize.bytes(bytes))

/** Formats content with its role, digest, size and media type. */
export const format = ({ descriptor, role }: { readonly descriptor: Descriptor; readonly role: string }): string => {
  const type = descriptor.mediaType === "" ? "" : `, ${descriptor.mediaType}`
  return `${role} ${descriptor.digest} (${size(descriptor.size)}${type})`
}
