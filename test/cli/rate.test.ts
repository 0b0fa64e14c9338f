import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import * as Command from "../utils/Command.ts"
import { pushImage, repository, tag } from "../utils/images.ts"
import { run } from "../utils/Program.ts"
import * as Served from "../utils/Served.ts"

describe("--rate", () => {
  it.live("limits the requests per second to each registry", () =>
    Effect.gen(function*() {
      const { host, registry } = yield* Served.memory()
      yield* pushImage(registry, repository("team/app"), ["layer"], { tags: [tag("1")] })
      const began = yield* Clock.currentTimeMillis
      const { code, stderr } = yield* run("copy", `${host}/team/app:1`, `${host}/copies/app:1`, "--rate", "2/s", "-q")
      assert.strictEqual(code, 0, stderr)
      // at least six requests, of which the first needs no wait
      assert.isAtLeast((yield* Clock.currentTimeMillis) - began, 2500)
    }))

  it.effect("must be a number of requests in a second, a minute or an hour", () =>
    Effect.gen(function*() {
      for (const rate of ["0", "fast", "10/day"]) {
        const { code, stderr } = yield* Command.run("tags", "a.test/b", "--rate", rate)
        assert.deepStrictEqual([code, stderr.includes("is not a rate, such as 20/s")], [2, true])
      }
    }))
})
