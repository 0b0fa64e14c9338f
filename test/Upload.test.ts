import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import type * as Digest from "effect-oci/Digest"
import {
  BlobUploadInvalid,
  BlobUploadUnknown,
  DigestInvalid,
  type Reason,
  RegistryError,
  Transport,
  Unauthorized,
  Unsupported
} from "effect-oci/RegistryError"
import * as Upload from "effect-oci/Upload"
import { bytesOf } from "./utils/images.ts"
import { digestOf, whileTimeFlies } from "./utils/ScriptedServer.ts"

const content = "0123456789"
const digest = digestOf(content)

const failure = (reason: Reason) => new RegistryError({ operation: "append", registry: "mock", reason })

interface Fault {
  /** At which byte of the blob the session fails, once. */
  readonly at: number
  readonly reason: Reason
  /** Number of bytes that the session reports. Default: all that it received. */
  readonly kept?: number
}

/** A session that keeps its bytes, records its calls, and fails at the given points. */
const session = (
  options: Partial<Upload.Upload> & { readonly faults?: ReadonlyArray<Fault>; readonly log?: Array<string> } = {}
) => {
  const { faults = [], log = [], ...fields } = options
  const pending = [...faults]
  let held = ""
  const take = Effect.fnUntraced(function*<E>({ offset, stream }: Upload.Chunk<E>) {
    if (offset !== held.length) return yield* failure(new BlobUploadInvalid({}))
    yield* Stream.runForEach(stream, (bytes) => {
      const text = held + new TextDecoder().decode(bytes)
      const fault = pending[0]
      if (fault === undefined || text.length <= fault.at) {
        held = text
        return Effect.void
      }
      pending.shift()
      held = text.slice(0, fault.kept ?? fault.at)
      return Effect.fail(failure(fault.reason))
    })
  })
  const upload: Upload.Upload = {
    _tag: "Upload",
    id: Effect.succeed("1"),
    minimumChunk: 0,
    maximumChunk: Infinity,
    resumable: true,
    status: Effect.sync(() => {
      log.push(`status ${held.length}`)
      return held.length
    }),
    append: Effect.fnUntraced(function*(chunk) {
      log.push(`append ${chunk.offset}+${chunk.size}`)
      yield* take(chunk)
      return held.length
    }),
    commit: Effect.fnUntraced(function*<E>(_: Digest.Digest, last?: Upload.Chunk<E>) {
      log.push(last === undefined ? "commit" : `commit ${last.offset}+${last.size}`)
      if (last !== undefined) yield* take(last)
      return { mediaType: "application/octet-stream", digest, size: held.length }
    }),
    ...fields
  }
  return { log, upload, held: () => held }
}

/** One digit a chunk. */
const digits = (text: string = content) =>
  BlobSource.make(
    text.length,
    (offset) => Stream.map(Stream.fromIterable(text.slice(offset), { chunkSize: 1 }), (digit) => bytesOf(digit))
  )

const none = Effect.die("no other session is opened")

const large = Effect.provideService(Upload.ResumptionThreshold, 10)

const reset = new Transport({ code: "ECONNRESET" })

describe("writing a blob into a session", () => {
  it.effect("sends it with the commit", () =>
    Effect.gen(function*() {
      const { held, log, upload } = session()
      yield* Upload.write(upload, digest, digits(), none)
      assert.deepStrictEqual([held(), log], [content, ["commit 0+10"]])
    }))

  it.effect("sends a large one so that it can go on, and commits it then", () =>
    Effect.gen(function*() {
      const { held, log, upload } = session()
      yield* large(Upload.write(upload, digest, digits(), none))
      assert.deepStrictEqual([held(), log], [content, ["append 0+10", "commit"]])
    }))

  it.effect.each(
    [
      ["cannot go on", { resumable: false }, digits()],
      ["has a source that is read once", {}, BlobSource.fromStream(10, digits().open(0))]
    ] as const
  )("sends a large one with the commit where it %s", ([, fields, source]) =>
    Effect.gen(function*() {
      const { log, upload } = session(fields)
      yield* large(Upload.write(upload, digest, source, none))
      assert.deepStrictEqual(log, ["commit 0+10"])
    }))

  it.effect.each([["any", digits()], ["once", BlobSource.fromStream(10, digits().open(0))]] as const)(
    "cuts it where the registry takes no more, from one reading of its source: %s",
    ([, source]) =>
      Effect.gen(function*() {
        let opened = 0
        const { held, log, upload } = session({ maximumChunk: 4 })
        yield* Upload.write(upload, digest, {
          ...source,
          open: (offset) => {
            opened++
            return source.open(offset)
          }
        }, none)
        assert.deepStrictEqual([held(), log], [content, ["append 0+4", "append 4+4", "append 8+2", "commit"]])
        assert.strictEqual(opened, 1)
      })
  )

  it.effect("cuts it into no smaller pieces than the registry wants", () =>
    Effect.gen(function*() {
      const { log, upload } = session({ maximumChunk: 4, minimumChunk: 6 })
      yield* Upload.write(upload, digest, digits(), none)
      assert.deepStrictEqual(log, ["append 0+6", "append 6+4", "commit"])
    }))

  it.effect.each([9, 11])(
    "lets a session find out that there are other than 10 bytes: %i",
    (size) =>
      Effect.gen(function*() {
        const { held, upload } = session({ maximumChunk: 4 })
        yield* Upload.write(upload, digest, { ...digits("0123456789X".slice(0, size)), size: 10 }, none)
        assert.strictEqual(held().length, size)
      })
  )
})

describe("a session that breaks", () => {
  it.effect("goes on where it is, in chunks", () =>
    Effect.gen(function*() {
      const { held, log, upload } = session({ faults: [{ at: 6, reason: reset }, { at: 8, reason: reset, kept: 7 }] })
      yield* whileTimeFlies(large(Upload.write(upload, digest, digits(), none)))
      assert.strictEqual(held(), content)
      assert.deepStrictEqual(log, ["append 0+10", "status 6", "append 6+4", "status 7", "append 7+3", "commit"])
    }))

  it.effect("goes on where it is, with the commit", () =>
    Effect.gen(function*() {
      const { held, log, upload } = session({ faults: [{ at: 6, reason: reset }] })
      yield* whileTimeFlies(Upload.write(upload, digest, digits(), none))
      assert.deepStrictEqual([held(), log], [content, ["commit 0+10", "status 6", "commit 6+4"]])
    }))

  it.effect("fails where its source can be read only once", () =>
    Effect.gen(function*() {
      const { log, upload } = session({ faults: [{ at: 6, reason: reset }] })
      const source = BlobSource.fromStream(10, digits().open(0))
      assert.strictEqual(
        yield* Effect.flip(Upload.write(upload, digest, source, none)).pipe(Effect.map(tagOf)),
        "Transport"
      )
      assert.deepStrictEqual(log, ["commit 0+10"])
    }))

  it.effect("fails after the schedule of retries has ended", () =>
    Effect.gen(function*() {
      const { log, upload } = session({ faults: Array.from({ length: 10 }, () => ({ at: 6, reason: reset })) })
      const error = yield* whileTimeFlies(Effect.flip(Upload.write(upload, digest, digits(), none)))
      assert.strictEqual(tagOf(error), "Transport")
      assert.strictEqual(log.filter((line) => line.startsWith("commit")).length, 5)
    }))

  it.effect("is asked once where it is when it disputes the offset, and not for ever", () =>
    Effect.gen(function*() {
      const disputed = { at: 6, reason: new BlobUploadInvalid({}) }
      const { log, upload } = session({ faults: [disputed] })
      yield* whileTimeFlies(large(Upload.write(upload, digest, digits(), none)))
      assert.deepStrictEqual(log, ["append 0+10", "status 6", "append 6+4", "commit"])
      const other = session()
      const again = session({ faults: [disputed, disputed] })
      yield* whileTimeFlies(large(Upload.write(again.upload, digest, digits(), Effect.succeed(other.upload))))
      assert.deepStrictEqual(again.log, ["append 0+10", "status 6", "append 6+4"])
      assert.deepStrictEqual([other.held(), other.log], [content, ["append 0+10", "commit"]])
    }))

  it.effect("resumes without asking for its status after the registry only refused the token", () =>
    Effect.gen(function*() {
      const { held, log, upload } = session({
        maximumChunk: 4,
        faults: [{ at: 4, reason: new Unauthorized({}) }]
      })
      yield* Upload.write(upload, digest, digits(), none)
      assert.deepStrictEqual([held(), log], [
        content,
        ["append 0+4", "append 4+4", "append 4+4", "append 8+2", "commit"]
      ])
    }))

  it.effect("fails with what the registry has against the content", () =>
    Effect.gen(function*() {
      const { log, upload } = session({ faults: [{ at: 9, reason: new DigestInvalid({}) }] })
      assert.strictEqual(tagOf(yield* Effect.flip(Upload.write(upload, digest, digits(), none))), "DigestInvalid")
      assert.lengthOf(log, 1)
    }))

  it.effect("fails with the failure of its source, whatever that is", () =>
    Effect.gen(function*() {
      class Broken extends Data.TaggedError("Broken") {}
      for (const error of [new Broken(), failure(reset)]) {
        const { log, upload } = session()
        const source = BlobSource.make(10, (offset) =>
          Stream.concat(Stream.take(digits().open(offset), 3), Stream.fail(error)))
        assert.strictEqual(yield* Effect.flip(Upload.write(upload, digest, source, none)), error)
        assert.deepStrictEqual(log, ["commit 0+10"])
      }
    }))
})

describe("a session that is lost", () => {
  const gone = { at: 6, reason: new BlobUploadUnknown({}) }

  it.effect.each([gone, { at: 6, reason: new Unsupported({}) }])(
    "is opened again, from its beginning: $reason._tag",
    (fault) =>
      Effect.gen(function*() {
        const other = session()
        yield* large(Upload.write(session({ faults: [fault] }).upload, digest, digits(), Effect.succeed(other.upload)))
        assert.deepStrictEqual([other.held(), other.log], [content, ["append 0+10", "commit"]])
      })
  )

  it.effect("is opened again where it cannot go on", () =>
    Effect.gen(function*() {
      const other = session()
      const { upload } = session({ resumable: false, faults: [{ at: 6, reason: reset }] })
      yield* Upload.write(upload, digest, digits(), Effect.succeed(other.upload))
      assert.strictEqual(other.held(), content)
    }))

  it.effect.each([["large", 10, 1], ["small", 11, 5]] as const)(
    "is opened again as often as it is worth: %s",
    ([, threshold, count]) =>
      Effect.gen(function*() {
        let opened = 0
        const reopen = Effect.sync(() => {
          opened++
          return session({ faults: [gone] }).upload
        })
        const writing = Upload.write(session({ faults: [gone] }).upload, digest, digits(), reopen)
        const error = yield* whileTimeFlies(
          Effect.flip(Effect.provideService(writing, Upload.ResumptionThreshold, threshold))
        )
        assert.deepStrictEqual([tagOf(error), opened], ["BlobUploadUnknown", count])
      })
  )

  it.effect("is not opened again where the blob turns out to be there", () =>
    Effect.gen(function*() {
      const { upload } = session({ faults: [gone] })
      yield* Upload.write(upload, digest, digits(), Effect.succeed({ _tag: "Mounted", digest }))
    }))
})

const tagOf = (error: unknown) => error instanceof RegistryError ? error.reason._tag : error
