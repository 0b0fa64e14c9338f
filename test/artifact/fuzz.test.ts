/**
 * Archives of folders with random damage. Whatever they contain, nothing appears outside of the folder.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Artifact from "effect-oci/Artifact"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { gzipSync } from "node:zlib"
import * as Artifacts from "../utils/artifacts.ts"
import { type Member, tar } from "../utils/tars.ts"

const { folderLayer, pushTitled, read, reference, within, write } = Artifacts

const isLong = process.env["EFFECT_OCI_LONG"] !== undefined
const rounds = isLong ? 5_000 : 60

/** Numbers from 0 up to a limit, the same for every seed (mulberry32). */
const random = (seed: number) => {
  let state = seed
  return (limit: number): number => {
    state = state + 0x6d2b79f5 | 0
    let mixed = Math.imul(state ^ state >>> 15, 1 | state)
    mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed
    return Math.floor(((mixed ^ mixed >>> 14) >>> 0) / 2 ** 32 * limit)
  }
}

type Random = ReturnType<typeof random>

const pick = <A>(next: Random, values: readonly [A, ...ReadonlyArray<A>]): A => values[next(values.length)] ?? values[0]

const part = (next: Random) => pick(next, ["a", "b", "link", "..", ".", "", "dir", "c".repeat(next(120))])

const name = (next: Random) =>
  pick(next, ["dir/", "dir/", "dir/", "", "/", "../", "./dir/"]) +
  Array.from({ length: 1 + next(4) }, () => part(next)).join("/")

const member = (next: Random): Member => ({
  name: name(next).slice(0, 100),
  type: pick(next, ["0", "0", "0", "1", "2", "2", "5", "3", "6", "7", "x", "g", "L", "K", "S"]),
  link: pick(next, [name(next), "..", "../..", "a", "link", "link/../..", "/"]).slice(0, 100),
  content: "x".repeat(next(700))
})

/** Changes some bytes, or cuts off the end. */
const damage = (next: Random, bytes: Buffer): Buffer => {
  const copy = Buffer.from(bytes)
  for (let count = next(4); count > 0; count--) copy[next(copy.length)] = next(256)
  return next(4) === 0 ? copy.subarray(0, next(copy.length)) : copy
}

/** Follows every link below a folder, and checks that none leads out of it. */
const assertInside = (folder: string, message: string) => {
  for (const entry of Fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = Path.join(entry.parentPath, entry.name)
    if (!entry.isSymbolicLink()) continue
    // a link that leads nowhere, or in a circle, does not lead out
    const real = Fs.existsSync(path) ? Fs.realpathSync(path) : folder
    assert.isTrue(real === folder || real.startsWith(folder + Path.sep), `${message}: ${path} leads to ${real}`)
  }
}

describe("random archives", () => {
  const seeds = Array.from({ length: rounds }, (_, index) => index + 1)
  // the seed is in the message of a failure
  it.effect(
    `never leave their folder (seeds 1 to ${rounds})`,
    () =>
      Effect.forEach(seeds, (seed) =>
        within(({ folder, registry }) =>
          Effect.gen(function*() {
            write(folder, { "secret": "secret", "in/secret": "secret" })
            const next = random(seed)
            const whole = tar(...Array.from({ length: 1 + next(8) }, () => member(next)))
            const archive = next(2) === 0 ? damage(next, whole) : whole
            const content = next(4) === 0 ? damage(next, gzipSync(archive)) : gzipSync(archive)
            yield* pushTitled(registry, { ...folderLayer("dir", archive), content })
            const directory = Path.join(folder, "in", "out")
            const message = `seed ${seed}`
            const exit = yield* Effect.exit(Artifact.pull({ source: reference, directory }))
            // a refusal is an error, and never a defect
            if (exit._tag === "Failure") {
              assert.isTrue(exit.cause.reasons.every(({ _tag }) => _tag === "Fail"), message)
            }
            assert.deepStrictEqual(Fs.readdirSync(folder).sort(), ["in", "secret"], message)
            assert.deepStrictEqual(Fs.readdirSync(Path.join(folder, "in")).sort(), ["out", "secret"], message)
            assert.strictEqual(Fs.readFileSync(Path.join(folder, "secret"), "utf8"), "secret", message)
            const found = Fs.readdirSync(directory)
            assert.deepStrictEqual(found, exit._tag === "Success" ? ["dir"] : [], message)
            if (exit._tag === "Success") assertInside(Fs.realpathSync(Path.join(directory, "dir")), message)
            read(directory)
          })
        ), { discard: true }),
    isLong ? 600_000 : 60_000
  )
})
