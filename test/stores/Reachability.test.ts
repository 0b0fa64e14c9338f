import { assert, describe, it } from "@effect/vitest"
import { Digest } from "effect-oci/Digest"
import * as MediaType from "effect-oci/MediaType"
import * as Reachability from "../../src/stores/Reachability.ts"
import * as Steps from "../../src/stores/Steps.ts"

const digest = (digit: string) => Digest.make(`sha256:${digit.repeat(64)}`)

const node = (own: string, ...needs: ReadonlyArray<string>): Reachability.Node => ({
  digest: digest(own),
  mediaType: MediaType.imageManifest,
  size: 1,
  names: [],
  isYoung: false,
  needs: needs.map(digest),
  subject: undefined
})

describe("Reachability", () => {
  it("keeps what a manifest needs that was kept before it was read", () => {
    const reachability = Reachability.make({ untagged: "collect" })
    const keep = () => Steps.runSync(reachability.keep(digest("a")))
    keep()
    reachability.add(node("a", "b"))
    keep()
    assert.isTrue(reachability.isKept(digest("b")))
  })
})
