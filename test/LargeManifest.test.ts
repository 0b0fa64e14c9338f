import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import * as Manifest from "effect-oci/Manifest"
import * as MediaType from "effect-oci/MediaType"
import * as LargeManifest from "../src/LargeManifest.ts"
import { bytesOf } from "./utils/images.ts"
import { digestOf } from "./utils/ScriptedServer.ts"

const descriptor = (index: number) => ({
  mediaType: MediaType.imageManifest,
  digest: digestOf(`${index}`),
  size: index,
  annotations: { [`a "quoted" ] , }`]: `\\ "${index}" [ { , \\` }
})

const list = (length: number) => JSON.stringify(Array.from({ length }, (_, index) => descriptor(index)))

const config = JSON.stringify(descriptor(0))

const largeConfig = JSON.stringify({ ...descriptor(0), more: "x".repeat(100_000) })

const documents: ReadonlyArray<readonly [name: string, mediaType: string, text: string]> = [
  ["an index", MediaType.imageIndex, `{"schemaVersion":2,"manifests":${list(2000)},"annotations":{"a":"b"}}`],
  ["an index, indented", MediaType.imageIndex, `{ "manifests": ${JSON.stringify(JSON.parse(list(2000)), null, 2)} }`],
  ["an image", MediaType.imageManifest, `{"config":${config},"layers":${list(1000)}}`],
  ["an artifact", MediaType.artifactManifest, `{"blobs":${list(1000)},"subject":${config}}`],
  ["an artifact that names its list twice", MediaType.artifactManifest, `{"blobs":${list(1000)},"blobs":null}`],
  ["an index that names its list twice", MediaType.imageIndex, `{"manifests":${list(1000)},"manifests":${list(2)}}`],
  [
    "an index that names its list twice, then as null",
    MediaType.imageIndex,
    `{"manifests":${list(1000)},"manifests":null}`
  ],
  [
    "an index that names its list twice, first as null",
    MediaType.imageIndex,
    `{"manifests":null,"manifests":${list(1000)}}`
  ],
  ["an image with a large config", MediaType.imageManifest, `{"config":${largeConfig},"layers":${list(1000)}}`],
  ["half a character", MediaType.imageIndex, `{"manifests":${list(1000).replace("[ {", "\ud800")}}`],
  [
    "an index that names its list twice, once with an escape",
    MediaType.imageIndex,
    `{"manifests":${list(1000)},"\\u006danifests":${list(2)}}`
  ],
  [
    "an index that escapes the name of its list",
    MediaType.imageIndex,
    `{"\\u006danifests":${list(1000)},"annotations":{"a":"b"}}`
  ],
  ["an index with a large list that is none of its own", MediaType.imageIndex, `{"manifests":[],"x":${list(1000)}}`],
  ["an index with much else", MediaType.imageIndex, `{"manifests":${list(900)},"x":${list(800)}}`],
  ["a small index", MediaType.imageIndex, `{"manifests":${list(1)}}`],
  ["a comma too many", MediaType.imageIndex, `{"manifests":${list(1000).slice(0, -1)},]}`],
  [
    "a comma too many after a long entry",
    MediaType.imageIndex,
    `{"manifests":[${JSON.stringify({ ...descriptor(1), annotations: { long: "x".repeat(100_000) } })},]}`
  ],
  ["a comma too few", MediaType.imageIndex, `{"manifests":${list(1000).replace("},{", "}{")}}`],
  ["a list that does not end", MediaType.imageIndex, `{"manifests":${list(1000).slice(0, -1)}`],
  ["a string that does not end", MediaType.imageIndex, `{"manifests":${list(1000)},"x":"`],
  ["more after the end", MediaType.imageIndex, `{"manifests":${list(1000)}}]`],
  ["a wrong entry", MediaType.imageIndex, `{"manifests":${list(1000).replace(digestOf("700"), "sha256:12")}}`],
  ["another type", MediaType.imageIndex, `{"manifests":${list(1000)},"mediaType":"text/plain"}`],
  ["an index that is an image too", MediaType.imageIndex, `{"manifests":${list(1000)},"layers":[]}`],
  ["a type that is not known", "text/html", `{"manifests":${list(1000)}}`],
  ["no object", MediaType.imageIndex, list(1000)]
]

describe("a large manifest", () => {
  it.effect.each(documents)("reads as it does in one piece: %s", ([, mediaType, text]) =>
    Effect.gen(function*() {
      const bytes = bytesOf(text)
      const [whole, pieces] = [
        Manifest.decode(mediaType, bytes),
        yield* Effect.result(LargeManifest.decode(mediaType, bytes))
      ]
      if (Result.isSuccess(whole)) assert.deepStrictEqual(Result.getOrThrow(pieces), whole.success)
      else assert.deepStrictEqual(Result.getOrThrow(Result.flip(pieces)).message, whole.failure.message)
    }))

  it.effect("says where it is wrong as it does in one piece, though it is very large", () =>
    Effect.gen(function*() {
      const bytes = bytesOf(`{"manifests":${list(5000).replace(digestOf("4321"), "sha256:12")}}`)
      const { message } = yield* Effect.flip(LargeManifest.decode(MediaType.imageIndex, bytes))
      assert.include(message, `["manifests"][4321]["digest"]`)
      assert.strictEqual(
        message,
        Result.getOrThrow(Result.flip(Manifest.decode(MediaType.imageIndex, bytes))).message
      )
    }))

  it.effect("lets others run while it is read", () =>
    Effect.gen(function*() {
      let turns = 0
      const other = yield* Effect.forkChild(
        Effect.forever(Effect.andThen(Effect.yieldNow, Effect.sync(() => turns++)))
      )
      yield* LargeManifest.decode(MediaType.imageIndex, bytesOf(`{"manifests":${list(5000)}}`))
      yield* Fiber.interrupt(other)
      // about one for each 64 KiB
      assert.isAtLeast(turns, 5)
    }))
})
