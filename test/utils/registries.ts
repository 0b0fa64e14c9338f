/**
 * Registries that watch, or misbehave.
 */
import { Effect, Stream } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Registry from "effect-oci/Registry"
import { type Reason, RegistryError } from "effect-oci/RegistryError"
import { Faults } from "effect-oci/testing"

/** A registry that answers some operations in its own way, and the others as another one does. */
export const override = (
  registry: Registry.Registry,
  operations: Partial<Omit<Registry.Registry, "~effect-oci/Registry">>
): Registry.Registry => Registry.make({ ...registry, ...operations })

/** Operations in the record of {@link recorded}: those of manifests and blobs, without reads of a stream. */
const recordable: ReadonlySet<Faults.Operation> = new Set([
  "getBlob",
  "resolveBlob",
  "getManifest",
  "resolveManifest",
  "pushBlob",
  "startUpload",
  "pushManifest"
])

const lineOf = ({ from, operation, reference, tags }: Faults.Call): string =>
  [operation, reference ?? "", ...from === undefined ? [] : [from], ...tags ?? []].join(" ")

/** A registry in memory, and the calls that reach it since the last `forget`: `operation digest-or-tag …`. */
export const recorded = Effect.fnUntraced(function*(name: string) {
  const { calls, registry } = yield* Faults.make(yield* MemoryRegistry.make({ name, deletableBlobs: "all" }))
  let forgotten = 0
  return {
    registry,
    get calls(): ReadonlyArray<string> {
      return calls.slice(forgotten).filter(({ operation }) => recordable.has(operation)).map(lineOf)
    },
    forget: () => {
      forgotten = calls.length
    }
  }
})

export const failing = (operation: string, reason: Reason) =>
  Effect.fail(new RegistryError({ operation, registry: "faulty", reason }))

/** Everything a registry has in a repository under a tag, by digest. */
export const listReferrers = (
  registry: Registry.Registry,
  ...[repository, digest]: Parameters<Registry.Registry["referrers"]>
) =>
  Effect.map(
    Stream.runCollect(registry.referrers(repository, digest)),
    (found) => Array.from(found, (descriptor) => descriptor.digest).sort()
  )
