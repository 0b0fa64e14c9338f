/**
 * Registries that watch, or misbehave.
 */
import { Effect, Stream } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Registry from "effect-oci/Registry"
import { type Reason, RegistryError } from "effect-oci/RegistryError"

/** A registry that answers some operations in its own way, and the others as another one does. */
export const override = (
  registry: Registry.Registry,
  operations: Partial<Omit<Registry.Registry, "~effect-oci/Registry">>
): Registry.Registry => Registry.make({ ...registry, ...operations })

/** A memory registry, and the calls that reach it: `operation digest-or-tag …`. */
export const recorded = Effect.fnUntraced(function*(name: string) {
  const registry = yield* MemoryRegistry.make({ name })
  const calls: Array<string> = []
  const call = (...words: ReadonlyArray<string>) => void calls.push(words.join(" "))
  return {
    calls,
    registry: override(registry, {
      getBlob: (repository, digest, options) => {
        call("getBlob", digest)
        return registry.getBlob(repository, digest, options)
      },
      resolveBlob: (repository, digest) => {
        call("resolveBlob", digest)
        return registry.resolveBlob(repository, digest)
      },
      getManifest: (repository, reference) => {
        call("getManifest", reference)
        return registry.getManifest(repository, reference)
      },
      resolveManifest: (repository, reference) => {
        call("resolveManifest", reference)
        return registry.resolveManifest(repository, reference)
      },
      pushBlob: (repository, descriptor, source) => {
        call("pushBlob", descriptor.digest)
        return registry.pushBlob(repository, descriptor, source)
      },
      startUpload: (repository, options) => {
        call("startUpload", options?.mount?.digest ?? "", options?.mount?.from ?? "")
        return registry.startUpload(repository, options)
      },
      pushManifest: (repository, manifest, tags = []) => {
        call("pushManifest", manifest.digest ?? "", ...tags)
        return registry.pushManifest(repository, manifest, tags)
      }
    })
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
