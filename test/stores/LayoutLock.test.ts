import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, FileSystem, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Files from "../../src/stores/Files.ts"
import * as LayoutLock from "../../src/stores/LayoutLock.ts"
import * as ProcessIdentity from "../../src/stores/ProcessIdentity.ts"
import { asking, refusal } from "../utils/files.ts"
import { temporaryFolder } from "../utils/layouts.ts"

const temporary = (folder: string) => Effect.sync(() => Path.join(folder, crypto.randomUUID()))

/** Creates a folder for a lock, and counts how often its folder is listed and its claim is touched. */
const setUp = Effect.gen(function*() {
  const root = yield* temporaryFolder
  const fs = yield* FileSystem.FileSystem
  const counts = { looks: 0, touches: 0 }
  const watched = FileSystem.FileSystem.of({
    ...fs,
    readDirectoryEntries: (path) => {
      counts.looks++
      return fs.readDirectoryEntries(path)
    },
    utimes: (...args) => Effect.tap(fs.utimes(...args), () => Effect.sync(() => counts.touches++))
  })
  const files = yield* Effect.provideService(
    Files.make(root, { isDurable: false }),
    FileSystem.FileSystem,
    watched
  )
  const owner = yield* ProcessIdentity.make
  const folder = Path.join(root, "lock")
  const acquire = LayoutLock.acquire({ files, owner, folder, temporary: temporary(root) })
  return {
    acquire,
    claims: () => Fs.readdirSync(folder).sort(),
    counts,
    folder,
    owner,
    waiting: Effect.forkChild(Effect.scoped(acquire))
  }
})

/** Advances the time in steps of 0.1 s, with a turn of the event loop after each. Returns the time at the end. */
const pass = Effect.fnUntraced(function*(until: (now: number) => boolean, eachTime: () => void = () => {}) {
  let now = yield* Clock.currentTimeMillis
  while (!until(now)) {
    yield* Effect.promise(() => new Promise(setImmediate))
    eachTime()
    yield* TestClock.adjust("100 millis")
    now = yield* Clock.currentTimeMillis
  }
  return now
})

/** Waits while no time passes. */
const turns = Effect.fnUntraced(function*(until: () => boolean) {
  while (!until()) yield* Effect.promise(() => new Promise(setImmediate))
})

/** Creates a claim of a process of this name. */
const claim = (folder: string, name: string, number = 1) => {
  Fs.mkdirSync(folder, { recursive: true })
  Fs.writeFileSync(Path.join(folder, `${number}`), name)
}

/** Starts a process, which prints its own name. */
const nameOf = (command: string) => {
  const script = `
    import { NodeServices } from "@effect/platform-node"
    import { Effect } from "effect"
    import * as ProcessIdentity from "./src/stores/ProcessIdentity.ts"
    Effect.runPromise(Effect.provide(ProcessIdentity.make, NodeServices.layer)).then(({ name }) => {
      console.log(name)
      ${command}
    })`
  const child = ChildProcess.spawn(process.execPath, [
    "--conditions=effect-oci:source",
    "--input-type=module",
    "--eval",
    script
  ])
  return Effect.callback<{ readonly child: ChildProcess.ChildProcess; readonly name: string }>((resume) => {
    child.stdout.once("data", (data: Buffer) => resume(Effect.succeed({ child, name: data.toString().trim() })))
  })
}

const ended = (child: ChildProcess.ChildProcess) =>
  Effect.callback<void>((resume) => {
    child.once("exit", () => resume(Effect.void))
    child.kill("SIGKILL")
  })

describe("a lock", () => {
  it.live("is held by one fiber at a time", () =>
    Effect.gen(function*() {
      const { acquire } = yield* setUp
      let inside = 0
      let most = 0
      const work = Effect.scoped(Effect.gen(function*() {
        yield* acquire
        most = Math.max(most, ++inside)
        yield* Effect.yieldNow
        inside--
      }))
      yield* Effect.all(Array.from({ length: 12 }, () => work), { concurrency: "unbounded" })
      assert.deepStrictEqual([most, inside], [1, 0])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("never has a claim without the name of its process", () =>
    Effect.gen(function*() {
      const { folder, owner } = yield* setUp
      const fs = yield* FileSystem.FileSystem
      const names = new Set<string>()
      const look = Effect.sync(() => {
        const claim = Path.join(folder, "1")
        if (Fs.existsSync(claim)) names.add(Fs.readFileSync(claim, "utf8"))
      })
      const root = Path.dirname(folder)
      const files = yield* Files.make(root, { isDurable: false }).pipe(
        Effect.provideService(FileSystem.FileSystem, asking(fs, () => look))
      )
      yield* Effect.scoped(LayoutLock.acquire({ files, owner, folder, temporary: temporary(root) }))
      assert.deepStrictEqual(names, new Set([owner.name]))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("is taken on file systems without links as well", () =>
    Effect.gen(function*() {
      const { claims, folder } = yield* setUp
      const fs = yield* FileSystem.FileSystem
      const root = Path.dirname(folder)
      const files = yield* Files.make(root, { isDurable: false }).pipe(
        Effect.provideService(
          FileSystem.FileSystem,
          asking(fs, (call) => call.operation === "link" ? Effect.fail(refusal("EPERM", call)) : Effect.void)
        )
      )
      const owner = yield* ProcessIdentity.make
      yield* LayoutLock.acquire({ files, owner, folder, temporary: temporary(root) })
      assert.deepStrictEqual(claims(), ["1"])
      assert.deepStrictEqual(Fs.readdirSync(root), ["lock"])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("leaves one small file behind", () =>
    Effect.gen(function*() {
      const { acquire, claims } = yield* setUp
      yield* Effect.scoped(acquire)
      yield* Effect.scoped(acquire)
      assert.deepStrictEqual(claims(), ["2.free"])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("waits for a process that has not ended", () =>
    Effect.gen(function*() {
      const { counts, folder, owner, waiting } = yield* setUp
      claim(folder, owner.name)
      const fiber = yield* waiting
      yield* pass(() => counts.looks >= 3)
      assert.isUndefined(fiber.pollUnsafe())
      Fs.renameSync(Path.join(folder, "1"), Path.join(folder, "1.free"))
      yield* pass(() => fiber.pollUnsafe() !== undefined)
      yield* Fiber.join(fiber)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect.skipIf(!Fs.existsSync("/proc/self/stat"))(
    "of a killed process is taken without waiting",
    () =>
      Effect.gen(function*() {
        const { acquire, claims, folder } = yield* setUp
        const { child, name } = yield* nameOf("setInterval(() => {}, 1000)")
        yield* ended(child)
        claim(folder, name)
        yield* Effect.scoped(acquire)
        assert.deepStrictEqual(claims(), ["2.free"])
      }).pipe(Effect.provide(NodeServices.layer))
  )

  for (const name of ["", "another machine"]) {
    it.effect(`of a process without a sign of life is taken after 10 seconds: ${JSON.stringify(name)}`, () =>
      Effect.gen(function*() {
        const { folder, waiting } = yield* setUp
        claim(folder, name)
        const fiber = yield* waiting
        assert.isAtLeast(yield* pass(() => fiber.pollUnsafe() !== undefined), 10_000)
        yield* Fiber.join(fiber)
      }).pipe(Effect.provide(NodeServices.layer)))
  }

  /** Touches the claim of another machine. */
  const touch = (folder: string) => {
    let second = 0
    return () => Fs.utimesSync(Path.join(folder, "1"), ++second, second)
  }

  it.effect("of a process with signs of life is not taken", () =>
    Effect.gen(function*() {
      const { folder, waiting } = yield* setUp
      claim(folder, "another machine")
      const fiber = yield* waiting
      yield* pass((now) => now >= 50_000, touch(folder))
      assert.isUndefined(fiber.pollUnsafe())
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("fails after a minute of waiting", () =>
    Effect.gen(function*() {
      const { acquire, folder } = yield* setUp
      claim(folder, "another machine")
      const fiber = yield* Effect.forkChild(Effect.flip(Effect.scoped(acquire)))
      assert.isAtLeast(yield* pass(() => fiber.pollUnsafe() !== undefined, touch(folder)), 60_000)
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error.message, `${folder}: other processes have been writing for 1m`)
      assert.isTrue("isRetryable" in error && error.isRetryable)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("reports that it is held", () =>
    Effect.gen(function*() {
      const { acquire, counts, folder } = yield* setUp
      yield* acquire
      assert.isAtLeast(yield* pass(() => counts.touches >= 2), 5000)
      assert.isAtLeast(Fs.statSync(Path.join(folder, "1")).mtimeMs, 5000)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("reports that it is lost after another process took over", () =>
    Effect.gen(function*() {
      const { acquire, folder } = yield* setUp
      const scope = yield* Scope.make()
      const { isHeld } = yield* Scope.provide(acquire, scope)
      assert.isTrue(yield* isHeld)
      claim(folder, "another machine", 2)
      assert.isFalse(yield* isHeld)
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(Fs.existsSync(Path.join(folder, "2")))
    }).pipe(Effect.provide(NodeServices.layer)))

  // claims that a process finds when it continues after a long suspension
  for (const later of ["7", "6.free", "7.free"]) {
    it.effect(`is not taken by a process that was suspended, if there is a claim ${later}`, () =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        const folder = Path.join(root, "lock")
        Fs.mkdirSync(folder)
        Fs.writeFileSync(Path.join(folder, "5.free"), "")
        const fs = yield* FileSystem.FileSystem
        const claimed: Array<string> = []
        let looks = 0
        const stopped = FileSystem.FileSystem.of({
          ...fs,
          link: (from, to) => {
            claimed.push(Path.basename(to))
            return fs.link(from, to)
          },
          readDirectoryEntries: (path) =>
            Effect.tap(fs.readDirectoryEntries(path), () =>
              Effect.sync(() => {
                if (looks++ > 0) return
                Fs.rmSync(Path.join(folder, "5.free"))
                Fs.writeFileSync(Path.join(folder, later), "another machine")
              }))
        })
        const files = yield* Files.make(root, { isDurable: false }).pipe(
          Effect.provideService(FileSystem.FileSystem, stopped)
        )
        const waiting = yield* Effect.forkChild(LayoutLock.acquire({
          files,
          owner: yield* ProcessIdentity.make,
          folder,
          temporary: temporary(root)
        }))
        yield* pass(() => looks >= 3)
        if (later === "7") {
          assert.deepStrictEqual([claimed, Fs.readdirSync(folder)], [["6"], ["7"]])
          assert.isUndefined(waiting.pollUnsafe())
        } else {
          const next = `${Number.parseInt(later) + 1}`
          yield* Fiber.join(waiting)
          assert.deepStrictEqual([claimed, Fs.readdirSync(folder)], [["6", next], [next]])
        }
      }).pipe(Effect.provide(NodeServices.layer)))
  }
})

describe("a lock that another process wants", () => {
  it.effect("is not taken again at once by the process that had it", () =>
    Effect.gen(function*() {
      const { acquire, claims, folder } = yield* setUp
      const scope = yield* Scope.make()
      const held = yield* Scope.provide(acquire, scope)
      assert.isTrue(yield* held.isHeld)
      assert.isFalse(held.isWanted())
      // by the clock of the system, so that the pause of the other one does not end meanwhile
      const other = yield* Effect.forkChild(TestClock.withLive(Effect.scoped(acquire)))
      yield* turns(() => Fs.existsSync(Path.join(folder, "wanted")))
      assert.isTrue(yield* held.isHeld)
      assert.isTrue(held.isWanted())
      const closing = yield* Effect.forkChild(Effect.andThen(Scope.close(scope, Exit.void), acquire))
      yield* turns(() => other.pollUnsafe() !== undefined)
      assert.isUndefined(closing.pollUnsafe())
      yield* pass(() => closing.pollUnsafe() !== undefined)
      assert.deepStrictEqual(claims(), ["3"])
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
})

describe.skipIf(!Fs.existsSync("/proc/self/stat"))("a process", () => {
  it.live("is alive while it runs, and gone after it was killed", () =>
    Effect.gen(function*() {
      const owner = yield* ProcessIdentity.make
      const { child, name } = yield* nameOf("setInterval(() => {}, 1000)")
      assert.isFalse(yield* owner.isGone(name))
      yield* ended(child)
      assert.isTrue(yield* owner.isGone(name))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("whose number belongs to another process now is gone", () =>
    Effect.gen(function*() {
      const owner = yield* ProcessIdentity.make
      assert.isFalse(yield* owner.isGone(owner.name))
      assert.isTrue(yield* owner.isGone(owner.name.replace(/\d+$/, (start) => `${Number(start) - 1}`)))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("of another machine, container or user never counts as gone", () =>
    Effect.gen(function*() {
      const owner = yield* ProcessIdentity.make
      const gone = owner.name.replace(/ \d+ \d+$/, " 4194305 1")
      assert.isTrue(yield* owner.isGone(gone))
      for (const word of [0, 1, 2]) {
        const other = gone.split(" ").map((part, index) => index === word ? `${part}0` : part).join(" ")
        assert.isFalse(yield* owner.isGone(other), other)
      }
      for (const name of ["", "1", gone.slice(1), `${gone} more`]) assert.isFalse(yield* owner.isGone(name), name)
    }).pipe(Effect.provide(NodeServices.layer)))
})
