import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import { contract } from "../utils/contract.ts"
import { connect } from "../utils/ScriptedServer.ts"
import { serve } from "../utils/Served.ts"

describe("a registry in memory that is served over HTTP meets the contract:", () => {
  for (const { effect, name } of contract) {
    it.live(name, () =>
      Effect.gen(function*() {
        const { host } = yield* serve(yield* MemoryRegistry.make())
        yield* effect(yield* connect({ host }))
      }))
  }
})

describe("a registry in memory that is served over HTTP, and served again from there, meets the contract:", () => {
  for (const { effect, name } of contract) {
    it.live(name, () =>
      Effect.gen(function*() {
        const behind = yield* serve(yield* MemoryRegistry.make())
        const { host } = yield* serve(yield* connect(behind))
        yield* effect(yield* connect({ host }))
      }))
  }
})
