/**
 * What cannot be learnt from a registry's answers in time, of the few where it matters. Options override it.
 *
 * - GitHub's registry takes only the first of several chunks, and is silent about it: a blob goes there whole. Google's
 *   two registries refuse chunks.
 * - Azure's refuses more than 20 MB of a blob in one request.
 */
import type { Capabilities } from "../Registry.ts"

const known: ReadonlyArray<readonly [host: RegExp, capabilities: Capabilities]> = [
  [/^(?:ghcr\.io|containers\.pkg\.github\.com)$/, { chunks: false }],
  [/^(?:(?:[a-z]+\.)?gcr\.io|[a-z0-9-]+-docker\.pkg\.dev)$/, { chunks: false }],
  [/\.azurecr\.(?:io|cn|us)$/, { maximumChunk: 20_000_000 }]
]

/** What is known of a host before it was spoken to. */
export const capabilities = (host: string): Capabilities =>
  known.find(([pattern]) => pattern.test(host.toLowerCase()))?.[1] ?? {}
