/**
 * A program that keeps writing images into a registry of layouts, and says of each on stdout that it was answered for:
 * `manifest REPOSITORY TAG DIGEST`, `session REPOSITORY ID BYTES`, `ended ID`.
 *
 * Its arguments are the folder, the prefix of its tags, and how many images it writes.
 */
import { NodeServices } from "@effect/platform-node"
import { Effect, Stream } from "effect"
import * as Descriptor from "effect-oci/Descriptor"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import type { Registry } from "effect-oci/Registry"
import { pathToFileURL } from "node:url"
import { bytesOf, pushImage, repository, tag } from "./images.ts"

export const repositories = ["team/app", "team/app/nested"].map(repository)

/** The content of upload sessions, of the given length and known beforehand. */
export const content = new Uint8Array(300_000).map((_, index) => index * index % 251)
const half = content.length / 2

const say = (...words: ReadonlyArray<string | number>) =>
  Effect.sync(() => process.stdout.write(words.join(" ") + "\n"))

const uploadInChunks = Effect.fnUntraced(function*(registry: Registry, name: Parameters<Registry["startUpload"]>[0]) {
  const upload = yield* registry.startUpload(name)
  if (upload._tag !== "Upload") return
  const id = yield* upload.id
  const chunk = (bytes: Uint8Array, offset: number) => ({ offset, stream: Stream.succeed(bytes) })
  yield* say("session", name, id, yield* upload.append(chunk(content.subarray(0, half), 0)))
  const { digest } = yield* Descriptor.fromBytes(content)
  // no longer to be taken up once this has begun
  yield* say("ended", id)
  yield* upload.commit(digest, chunk(content.subarray(half), half))
}, Effect.scoped)

const write = Effect.fnUntraced(function*(directory: string, prefix: string, count: number) {
  const registry = yield* LayoutRegistry.make({ directory })
  yield* Effect.forEach(
    Array.from({ length: count }, (_, index) => `${prefix}-${index}`),
    (label, index) =>
      Effect.gen(function*() {
        const name = repositories[index % repositories.length] ?? repository("other")
        if (index % 5 === 0) yield* uploadInChunks(registry, name)
        const layers = [bytesOf(label), bytesOf(label.repeat(5000)), "shared"]
        const { digest } = yield* pushImage(registry, name, layers, { tags: [tag(label)] })
        yield* say("manifest", name, label, digest)
      }),
    { concurrency: 8, discard: true }
  )
})

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const [, , directory = "", prefix = "", count = "0"] = process.argv
  void Effect.runPromise(Effect.provide(write(directory, prefix, Number(count)), NodeServices.layer))
}
