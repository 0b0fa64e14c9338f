import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import { Contract } from "effect-oci/testing"
import { connect } from "../utils/ScriptedServer.ts"
import { serve } from "../utils/Served.ts"
import { folder, views } from "../utils/subjects.ts"

describe("a registry in memory that is served over HTTP meets the contract:", () => {
  for (const { effect, name } of Contract.cases) {
    it.live(name, () =>
      Effect.gen(function*() {
        const { host } = yield* serve(yield* MemoryRegistry.make())
        yield* effect(yield* connect({ host }))
      }))
  }
})

describe("over HTTP, the contract is met by", () => {
  // variants take a second or two each, and test the view more than the server
  const subjects = views.filter(({ isVariant = false }) => !isVariant || process.env["EFFECT_OCI_LONG"] !== undefined)
  for (const { lacks = [], make, name } of [folder, ...subjects]) {
    it.live(name, () =>
      Effect.gen(function*() {
        const { origin, registry } = yield* make
        const client = yield* Effect.flatMap(serve(registry), connect)
        const cases = Contract.without(...lacks)
        assert.deepStrictEqual(
          yield* Contract.violations(client, { cases, ...origin === undefined ? {} : { origin } }),
          []
        )
      }), 120_000)
  }

  it.live("a server of a client of a server", () =>
    Effect.gen(function*() {
      const behind = yield* serve(yield* MemoryRegistry.make())
      const { host } = yield* serve(yield* connect(behind))
      assert.deepStrictEqual(yield* Contract.violations(yield* connect({ host })), [])
    }), 60_000)
})
