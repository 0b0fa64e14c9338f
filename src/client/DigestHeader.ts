/**
 * The `Docker-Content-Digest` header: the digest of the content that a registry stores or returns. It may be absent,
 * and must be correct otherwise (distribution-spec, "Pulling manifests", "Pushing Manifests").
 */
import * as Effect from "effect/Effect"
import * as Digest from "../Digest.ts"
import { DigestMismatch } from "../Hasher.ts"
import type { RegistryError } from "../RegistryError.ts"
import type * as Connection from "./Connection.ts"

type Headers = Connection.Received["headers"]

/** Returns the digest in the headers, if they contain a valid one. */
export const read = (headers: Headers): Digest.Digest | undefined => {
  const digest = headers["docker-content-digest"]
  return Digest.isDigest(digest) ? digest : undefined
}

/** Fails if the headers contain another digest of the same algorithm. One of another algorithm may be correct. */
export const agree = (
  connection: Connection.Connection,
  call: Connection.Call,
  expected: Digest.Digest,
  headers: Headers
): Effect.Effect<void, RegistryError> => {
  const actual = read(headers)
  return actual !== undefined && actual !== expected && Digest.algorithm(actual) === Digest.algorithm(expected)
    ? Effect.fail(connection.error(call, new DigestMismatch({ expected, actual })))
    : Effect.void
}
