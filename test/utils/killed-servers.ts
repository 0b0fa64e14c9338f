/**
 * Servers of a folder that are killed while clients push to them.
 */
import { assert } from "@effect/vitest"
import { Effect, Schedule, Stream } from "effect"
import type * as Digest from "effect-oci/Digest"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import type { Registry } from "effect-oci/Registry"
import { pushImage, repository, tag } from "./images.ts"
import { start } from "./Program.ts"

export const app = repository("team/app")

/** Per moving tag: the digest of the last acknowledged push, and the one in flight. */
export type MovingTags = Map<string, { last: Digest.Digest | undefined; next: Digest.Digest }>

/** Starts `serve` in a folder. */
export const serve = Effect.fnUntraced(function*(directory: string, ...flags: ReadonlyArray<string>) {
  const server = yield* start("serve", "--port", "0", "--dir", directory, ...flags)
  const host = (yield* server.firstLine).replace("listening on http://", "")
  assert.notStrictEqual(host, "", "the server did not start")
  return { ...server, host }
})

/** Sends no request again, because the server does not come back. */
export const impatient = Effect.provideService(HttpRegistry.RetrySchedule, Schedule.recurs(0))

/** Moves one tag from image to image until the server is gone. No other writer moves that tag. */
export const moving = Effect.fnUntraced(function*(registry: Registry, name: string, tags: MovingTags) {
  let last: Digest.Digest | undefined
  for (let number = 0;; number++) {
    const { digest } = yield* pushImage(registry, app, [`${name} at ${number}`])
    tags.set(name, { last, next: digest })
    const { bytes, descriptor } = yield* registry.getManifest(app, digest)
    yield* registry.pushManifest(app, { mediaType: descriptor.mediaType, bytes }, [tag(name)])
    last = digest
    tags.set(name, { last, next: digest })
  }
})

/** Reads a blob to its end. The client verifies its digest. */
export const pull = (registry: Registry, digest: Digest.Digest) =>
  Effect.scoped(Effect.flatMap(registry.getBlob(app, digest), ({ stream }) => Stream.runDrain(stream)))

/**
 * Verifies that every tag points to the last acknowledged manifest or to the one in flight. Returns the manifests to
 * which they point.
 */
export const assertNoRollback = Effect.fnUntraced(function*(registry: Registry, tags: MovingTags) {
  const manifests: Array<Digest.Digest> = []
  for (const [name, { last, next }] of tags) {
    const found = yield* registry.resolveManifest(app, tag(name)).pipe(
      Effect.map(({ digest }): Digest.Digest | undefined => digest),
      Effect.catchReason("RegistryError", "ManifestUnknown", () => Effect.undefined)
    )
    assert(found === last || found === next, `${name} is ${found}, not ${last} or ${next}`)
    if (found !== undefined) manifests.push(found)
  }
  return manifests
})
