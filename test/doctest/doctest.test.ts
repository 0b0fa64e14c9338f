import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { vi } from "vitest"
import { type Example, examples, examplesIn, read, run, sources } from "./examples.ts"

vi.mock("@effect/platform-node", async (original) => {
  const { httpServer, runMain } = await import("./world.ts")
  return {
    ...await original<object>(),
    NodeHttpServer: httpServer,
    NodeRuntime: { runMain }
  }
})
vi.mock("../../src/node/NodeHttp.ts", async (original) => (await import("./world.ts")).nodeHttp(await original()))

const { end, fetch, files, settled } = await import("./world.ts")
vi.stubGlobal("fetch", fetch)

const directory = mkdtempSync(join(tmpdir(), "effect-oci-doctest-"))
const home = process.cwd()
beforeAll(() => {
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content)
  process.chdir(directory)
})
afterAll(async () => {
  process.chdir(home)
  rmSync(directory, { recursive: true })
  await Effect.runPromise(end)
})

const isSuite = ({ code }: Example): boolean => /^import .* from "@effect\/vitest"$/m.test(code)

// one after the other: what is started is that of one example
describe("examples", { concurrent: false }, () => {
  for (const example of examples()) {
    const name = `${example.file}:${example.line}`
    if (isSuite(example)) describe(name, () => run(example).then(() => {}))
    else it(name, () => run(example).then(settled))
  }
})

it("every example is one of them", () => {
  assert.deepStrictEqual(sources().filter((file) => /^[ *]*```(?:ts|js|tsx)$/m.test(read(file))), [])
})

it.effect("a wrong example fails", () =>
  Effect.gen(function*() {
    const failures = yield* Effect.forEach(
      examplesIn("test/doctest/wrong.md"),
      (example) => Effect.flip(Effect.tryPromise({ try: () => run(example), catch: String }))
    )
    assert.deepStrictEqual(failures, ["AssertionError: expected some(2), got some(1)"])
  }))
