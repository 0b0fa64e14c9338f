/**
 * Deletions of a run whose copies other processes make.
 */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Stream } from "effect"
import type { SharedRun } from "effect-oci/MirrorRunner"
import * as MirrorState from "effect-oci/MirrorState"
import { Namespace } from "effect-oci/Namespace"
import * as RunSession from "../../src/mirror/RunSession.ts"
import { repository, tag } from "../utils/images.ts"
import { configOf, imagesOf, setup } from "../utils/mirrors.ts"

const config = configOf({
  name: "apps",
  from: "one.local/app",
  to: "two.local/copy",
  referrers: false,
  prune: { policy: "gone", after: 1, max: "100%" }
})

const failed = { requests: 0, events: [{ _tag: "Problem", rule: "apps", problem: "the copy failed" }] } as const

/** Runs the rule after a tag of the source was deleted and another one was pushed. Returns the tags that are left. */
const tagsAfter = (shared: Partial<SharedRun>) =>
  Effect.gen(function*() {
    const { destination, namespace, push, run, source, state } = yield* setup()
    for (const name of ["1", "2"]) yield* push(name, name)
    yield* run(config, { prune: true })
    yield* source.memory.deleteTag(repository("app"), tag("2"))
    yield* push("3", "3")
    const none: SharedRun = {
      id: "run",
      startedAt: yield* DateTime.now,
      former: Effect.succeed([]),
      run: () => Effect.succeed({ requests: 0, events: [] }),
      isOpen: Effect.succeed(true)
    }
    yield* Stream.runDrain(RunSession.events(config, { prune: true }, { ...none, ...shared })).pipe(
      Effect.provideService(Namespace, namespace),
      Effect.provideService(MirrorState.MirrorState, state)
    )
    return Object.keys(yield* imagesOf(destination.memory, "copy"))
  }).pipe(Effect.provide(MirrorState.layerMemory))

describe("a run whose copies others make deletes", () => {
  it.effect("tags that are gone", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* tagsAfter({}), ["1"])
    }))

  it.effect("nothing where a copy had a problem", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* tagsAfter({ run: () => Effect.succeed(failed) }), ["1", "2"])
    }))

  it.effect("nothing if a copy that an earlier process has shared had a problem", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* tagsAfter({ former: Effect.succeed([failed]) }), ["1", "2"])
    }))
})
