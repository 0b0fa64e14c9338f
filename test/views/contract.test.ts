import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Contract } from "effect-oci/testing"
import { views } from "../utils/subjects.ts"

for (const { lacks = [], make, name } of views) {
  describe(`${name} does what every registry must do:`, () => {
    it.effect.each(Contract.without(...lacks))(
      "$name",
      ({ effect }) => Effect.flatMap(make, ({ origin, registry }) => effect(registry, origin))
    )
  })
}
