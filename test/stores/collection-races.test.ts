/**
 * Garbage collection of a folder, with pushes and requests between its steps.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, type Scope } from "effect"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import { TestClock } from "effect/testing"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Files from "../utils/files.ts"
import { pushImage, pushIndex, pushManifest, repository, tag } from "../utils/images.ts"
import { blobPath, leaveInQuarantine, temporaryFolder } from "../utils/layouts.ts"

const app = repository("team/app")

/** Sets the clock to a time after the files that exist now. */
const later = (hours: number) => TestClock.setTime(Date.now() + Duration.toMillis(Duration.hours(hours)))

const collectible = { olderThan: "1 hour", untagged: "collect" } as const

const nameOf = (digest: string) => digest.replace(":", "-")

/** Returns true if a call moves a file to the quarantine, or only if it moves that of a digest. */
const isMove = ({ operation, to = "" }: Files.Call, digest: string = "") =>
  operation === "rename" && to.includes("collected") && to.includes(nameOf(digest))

const withNode = <A, E>(effect: Effect.Effect<A, E, NodeServices.NodeServices | Scope.Scope>) =>
  Effect.provide(Effect.scoped(effect), NodeServices.layer)

describe("a collection of a folder", () => {
  it.effect("keeps the blobs of a manifest that was pushed again after it was removed", () =>
    withNode(Effect.gen(function*() {
      const directory = yield* temporaryFolder
      // a process that may not change the times of files
      const other = yield* Files.askingRegistry(
        directory,
        (call) => call.operation === "utimes" ? Effect.fail(Files.refusal("EACCES", call)) : Effect.void
      )
      const image = yield* pushImage(other, app, ["layer"])
      const { bytes } = yield* other.getManifest(app, image.digest)
      const pushed = yield* Effect.cached(
        Effect.orDie(other.pushManifest(app, { mediaType: image.mediaType, bytes }, [tag("1")]))
      )
      const registry = yield* Files.askingRegistry(
        directory,
        (call) => isMove(call) && !isMove(call, image.digest) ? Effect.asVoid(pushed) : Effect.void
      )
      yield* later(2)
      const { removed } = yield* registry.collect(collectible)
      assert.deepStrictEqual(removed.map(({ digest }) => digest), [image.digest])
      const { config, layers } = JSON.parse(new TextDecoder().decode(bytes))
      for (const { digest } of [image, config, ...layers]) {
        assert.isTrue(Fs.existsSync(blobPath(Path.join(directory, app), digest)), digest)
      }
    })))

  it.effect("lists the children of an index that goes until they go themselves", () =>
    withNode(Effect.gen(function*() {
      const directory = yield* temporaryFolder
      const other = yield* LayoutRegistry.make({ directory, durability: "process-end" })
      // more than one batch
      const children = yield* Effect.forEach(
        Array.from({ length: 300 }, (_, name) => ({ mediaType: MediaType.imageIndex, manifests: [], name })),
        (manifest) => pushManifest(other, app, manifest),
        { concurrency: 50 }
      )
      const index = yield* pushIndex(other, app, children)
      yield* later(2)
      const wanted = [0, 299].flatMap((position) => children[position] ?? [])
      const find = Effect.forEach(wanted, ({ digest }) => other.resolveManifest(app, digest), { discard: true })
      const registry = yield* Files.askingRegistry(
        directory,
        (call) => isMove(call, index.digest) ? Effect.orDie(find) : Effect.void
      )
      assert.lengthOf((yield* registry.collect(collectible)).removed, 299)
      yield* find
      assert.sameMembers((yield* other.roots(app)).map(({ digest }) => digest), wanted.map(({ digest }) => digest))
    })))

  it.effect("removes the manifests in an index only if no push can need the index any more", () =>
    withNode(Effect.gen(function*() {
      const directory = yield* temporaryFolder
      const locks = Path.join(directory, app, ".effect-oci", "lock")
      const waiting = yield* Deferred.make<void>()
      let isPushing = false
      const other = yield* Files.askingRegistry(directory, ({ operation, path }) => {
        if (!isPushing || operation !== "readDirectoryEntries" || path !== locks) return Effect.void
        // it finds its own claim later
        isPushing = false
        const isHeld = Fs.readdirSync(locks).some((name) => /^[0-9]+$/.test(name))
        return isHeld ? Effect.asVoid(Deferred.succeed(waiting, undefined)) : Effect.void
      })
      const child = yield* pushManifest(other, app, { mediaType: MediaType.imageIndex, manifests: [] })
      const index = yield* pushIndex(other, app, [child])
      const push = yield* Effect.cached(Effect.forkIn(pushIndex(other, app, [index]), yield* Effect.scope))
      const registry = yield* Files.askingRegistry(
        directory,
        ({ operation, path }) =>
          operation === "remove" && path.includes("collected")
            ? Effect.flatMap(
              push,
              (fiber) => Effect.raceFirst(Deferred.await(waiting), Effect.asVoid(Fiber.await(fiber)))
            )
            : Effect.void
      )
      yield* later(2)
      isPushing = true
      yield* registry.collect(collectible)
      yield* TestClock.adjust("1 second")
      const pushed = yield* Fiber.await(yield* push)
      const isThere = Fs.existsSync(blobPath(Path.join(directory, app), child.digest))
      assert.strictEqual(isThere, Exit.isSuccess(pushed))
    })))

  it.effect("does not block a push while a manifest is read that is in quarantine", () =>
    withNode(Effect.gen(function*() {
      const directory = yield* temporaryFolder
      const layout = Path.join(directory, app)
      const other = yield* LayoutRegistry.make({ directory })
      const image = yield* pushImage(other, app, ["layer"])
      const [moving, reading] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      let seized = ""
      const seize = yield* Effect.cached(Effect.gen(function*() {
        const { digest } = yield* Effect.orDie(pushIndex(other, app, [image]))
        seized = leaveInQuarantine(layout, digest)
      }))
      const registry = yield* Files.askingRegistry(directory, (call) => {
        if (call.path === seized) return Effect.asVoid(Deferred.succeed(reading, undefined))
        // its draft is written after it has read the other manifests, and moved while it holds the lock
        if (call.operation === "open" && call.path.includes("uploads")) return seize
        const isMoved = call.operation === "rename" && call.to?.startsWith(Path.join(layout, "blobs")) === true
        return isMoved ? Effect.andThen(Deferred.succeed(moving, undefined), Deferred.await(reading)) : Effect.void
      })
      const read = yield* Effect.forkChild(
        Effect.andThen(Deferred.await(moving), registry.getManifest(app, image.digest))
      )
      yield* pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [] })
      assert.strictEqual((yield* Fiber.join(read)).descriptor.digest, image.digest)
    })))
})
