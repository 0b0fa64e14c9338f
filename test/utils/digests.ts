/**
 * Digests of content, computed by Node instead of by the library under test.
 */
import * as Digest from "effect-oci/Digest"
import * as Crypto from "node:crypto"
import { bytesOf } from "./images.ts"

/** Returns the digest of some content. */
export const digestOf = (
  content: string | object | Uint8Array,
  algorithm: "sha256" | "sha512" = "sha256"
): Digest.Digest => {
  const bytes = content instanceof Uint8Array ? content : bytesOf(content)
  return Digest.fromHash(algorithm, Crypto.createHash(algorithm).update(bytes).digest())
}
