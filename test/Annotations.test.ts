import { assert, describe, it } from "@effect/vitest"
import * as Annotations from "effect-oci/Annotations"

describe("Annotations", () => {
  it("has the keys of the image specification", () => {
    assert.strictEqual(Annotations.title, "org.opencontainers.image.title")
    assert.strictEqual(Annotations.created, "org.opencontainers.image.created")
    assert.strictEqual(new Set(Object.values(Annotations)).size, Object.keys(Annotations).length)
  })

  it("has the keys with which oras marks folders", () => {
    assert.strictEqual(Annotations.orasContentUnpack, "io.deis.oras.content.unpack")
    assert.strictEqual(Annotations.orasContentDigest, "io.deis.oras.content.digest")
  })
})
