/**
 * The digest that a registry tells of what it took or has: `Docker-Content-Digest`, which may be left aside, and if it is
 * not must be true (distribution-spec, "Pulling manifests", "Pushing Manifests").
 */
import * as Effect from "effect/Effect"
import * as Digest from "../Digest.ts"
import { DigestMismatch } from "../Hasher.ts"
import type { RegistryError } from "../RegistryError.ts"
import type * as Connection from "./Connection.ts"

type Headers = Connection.Received["headers"]

/** The digest, where one is told. */
export const read = (headers: Headers): Digest.Digest | undefined => {
  const told = headers["docker-content-digest"]
  return Digest.isDigest(told) ? told : undefined
}

/** Fails where another digest of the same algorithm is told. One of another algorithm may be of the same content. */
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
