import { NodeServices } from "@effect/platform-node"
import { describe, it } from "@effect/vitest"
import { Effect, FileSystem } from "effect"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import { contract } from "../utils/contract.ts"

const make = Effect.fnUntraced(function*(form: "registry" | "layout") {
  const fs = yield* FileSystem.FileSystem
  const directory = yield* fs.makeTempDirectoryScoped()
  return yield* LayoutRegistry.make({ directory, form })
})

describe("LayoutRegistry", () => {
  describe("as a registry does what every registry must do:", () => {
    it.effect.each(contract)(
      "$name",
      ({ effect }) => Effect.provide(Effect.flatMap(make("registry"), effect), NodeServices.layer)
    )
  })

  describe("as a single layout does what every registry must do:", () => {
    const cases = contract.filter(({ needs = [] }) => !needs.includes("repositories"))
    it.effect.each(cases)(
      "$name",
      ({ effect }) => Effect.provide(Effect.flatMap(make("layout"), effect), NodeServices.layer)
    )
  })
})
