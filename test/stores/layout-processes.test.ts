import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope, Stream } from "effect"
import * as Descriptor from "effect-oci/Descriptor"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { pushManifest, repository, tag } from "../utils/images.ts"
import { content, repositories } from "../utils/layout-writer.ts"
import { assertComplete, assertValid, filesOf, temporaryFolder } from "../utils/layouts.ts"

const program = fileURLToPath(new URL("../utils/layout-writer.ts", import.meta.url))

interface Writer {
  /** Lines that it has printed so far, by their first word. */
  readonly said: (word: string) => ReadonlyArray<ReadonlyArray<string>>
  /** Waits until it has printed that many lines. */
  readonly lines: (count: number) => Effect.Effect<void>
  readonly kill: Effect.Effect<void>
  readonly ended: Effect.Effect<number | null>
}

/** Starts a process that writes. It is killed if it outlives the scope. */
const start = (directory: string, prefix: string, count: number): Effect.Effect<Writer, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() =>
        ChildProcess.spawn(
          process.execPath,
          ["--conditions=effect-oci:source", program, directory, prefix, `${count}`],
          { stdio: ["ignore", "pipe", "inherit"] }
        )
      ),
      (child) => Effect.sync(() => void child.kill("SIGKILL"))
    ),
    (child) => {
      let text = ""
      let listener = () => {}
      child.stdout.setEncoding("utf8").on("data", (more: string) => {
        text += more
        listener()
      })
      const ended = new Promise<number | null>((resolve) => child.once("close", resolve))
      // a line that is cut off does not count
      const words = () => text.split("\n").slice(0, -1).map((line) => line.split(" "))
      return {
        said: (word) => words().filter(([first]) => first === word).map(([, ...rest]) => rest),
        lines: (count) =>
          Effect.callback<void>((resume) => {
            listener = () => {
              if (words().length >= count) resume(Effect.void)
            }
            child.once("close", () => resume(Effect.void))
            listener()
          }),
        kill: Effect.andThen(Effect.sync(() => child.kill("SIGKILL")), Effect.promise(() => ended)),
        ended: Effect.promise(() => ended)
      }
    }
  )

const assertAllValid = (directory: string): void => {
  for (const file of filesOf(directory)) {
    if (file.endsWith("oci-layout")) assertValid(Path.join(directory, Path.dirname(file)))
  }
}

/** Checks that every acknowledged manifest exists, under its tag and complete. */
const assertKept = Effect.fnUntraced(function*(directory: string, manifests: ReadonlyArray<ReadonlyArray<string>>) {
  const registry = yield* LayoutRegistry.make({ directory })
  for (const [name = "", label = "", digest] of manifests) {
    const found = yield* registry.resolveManifest(repository(name), tag(label))
    assert.strictEqual(found.digest, digest)
    assertComplete(Path.join(directory, name), found)
  }
})

/** Resumes every open session, and checks that it becomes the intended blob. */
const assertResumable = Effect.fnUntraced(
  function*(
    directory: string,
    sessions: ReadonlyArray<ReadonlyArray<string>>,
    ended: ReadonlyArray<ReadonlyArray<string>>
  ) {
    const registry = yield* LayoutRegistry.make({ directory })
    const { digest } = yield* Descriptor.fromBytes(content)
    for (const [name = "", id = "", bytes] of sessions) {
      if (ended.some(([other]) => other === id)) continue
      const upload = yield* registry.resumeUpload(repository(name), id)
      const offset = yield* upload.status
      assert.strictEqual(offset, Number(bytes))
      yield* upload.commit(digest, { offset, stream: Stream.succeed(content.subarray(offset)) })
      assert.strictEqual((yield* registry.resolveBlob(repository(name), digest)).size, content.length)
    }
  },
  Effect.scoped
)

/** Changes every index. */
const writeToAll = Effect.fnUntraced(function*(directory: string) {
  const registry = yield* LayoutRegistry.make({ directory })
  for (const name of repositories) {
    yield* pushManifest(registry, name, { mediaType: MediaType.imageIndex, manifests: [] }, [tag("after")])
    yield* registry.deleteTag(name, tag("after"))
  }
})

describe("processes that share a registry of layouts", () => {
  it.live("lose nothing of what each other writes", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryFolder
      const writers = yield* Effect.forEach(["a", "b"], (prefix) => start(directory, prefix, 60))
      const codes = yield* Effect.forEach(writers, ({ ended }) => ended, { concurrency: 2 })
      assert.deepStrictEqual(codes, [0, 0])
      const manifests = writers.flatMap(({ said }) => said("manifest"))
      assert.lengthOf(manifests, 120)
      yield* assertKept(directory, manifests)
      assertAllValid(directory)
    }).pipe(Effect.provide(NodeServices.layer)))

  const rounds = process.env["EFFECT_OCI_LONG"] === undefined ? 3 : 50

  it.live(`may be killed at any time: ${rounds} times`, () =>
    Effect.gen(function*() {
      const directory = yield* temporaryFolder
      const manifests: Array<ReadonlyArray<string>> = []
      let locked = 0
      for (let round = 0; round < rounds; round++) {
        const writer = yield* start(directory, `round-${round}`, 1000)
        // from before the first layout exists to well into the work
        yield* writer.lines(round * 7 % 40)
        yield* Effect.sleep(round * 13 % 50)
        yield* writer.kill
        locked += filesOf(directory).some((file) => /lock\/[0-9]+$/.test(file)) ? 1 : 0
        manifests.push(...writer.said("manifest"))
        assertAllValid(directory)
        yield* assertKept(directory, manifests)
        yield* assertResumable(directory, writer.said("session"), writer.said("ended"))
        // other processes continue without waiting for the killed one if the system can detect that
        if (Fs.existsSync("/proc/self/stat")) yield* Effect.timeout(writeToAll(directory), "5 seconds")
      }
      assert.isAbove(manifests.length, rounds)
      if (rounds > 10) assert.isAbove(locked, 0)
    }).pipe(Effect.provide(NodeServices.layer)), 600_000)
})
