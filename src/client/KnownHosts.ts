/**
 * Capabilities of well-known hosts that their responses do not show in time. Options override them.
 *
 * - GitHub's registry stores only the first of several chunks, without an error, so that blobs are sent whole. Google's
 *   two registries refuse chunks.
 * - Azure's registry refuses more than 20 MB of a blob in one request.
 */
import type { Capabilities } from "../Registry.ts"

const known: ReadonlyArray<readonly [host: RegExp, capabilities: Capabilities]> = [
  [/^(?:ghcr\.io|containers\.pkg\.github\.com)$/, { chunks: false }],
  [/^(?:(?:[a-z]+\.)?gcr\.io|[a-z0-9-]+-docker\.pkg\.dev)$/, { chunks: false }],
  [/\.azurecr\.(?:io|cn|us)$/, { maximumChunk: 20_000_000 }]
]

/** Returns the capabilities of a host that are known before the first request. */
export const capabilities = (host: string): Capabilities =>
  known.find(([pattern]) => pattern.test(host.toLowerCase()))?.[1] ?? {}
