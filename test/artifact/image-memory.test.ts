import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import type * as Digest from "effect-oci/Digest"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import { createHash, randomBytes } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Zlib from "node:zlib"
import { app } from "../utils/image-layers.ts"
import { pushBlob, pushManifest, tag } from "../utils/images.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import { run } from "../utils/Program.ts"
import { end, header } from "../utils/tars.ts"

/** Unpacked size of the layer, in MiB. */
const size = process.env["EFFECT_OCI_LONG"] === "1" ? 2048 : 128

/** Writes a compressed layer of files of 1 MiB, one member of gzip for each header and each body. */
const writeLayer = (path: string) => {
  const body = Buffer.concat(Array.from({ length: 64 }, () => randomBytes(256))).toString("base64").repeat(48)
    .slice(0, 1024 * 1024)
  const packedBody = Zlib.gzipSync(body)
  const [digest, diffId] = [createHash("sha256"), createHash("sha256")]
  const file = Fs.openSync(path, "w")
  const write = (packed: Buffer, content: Buffer | string) => {
    Fs.writeSync(file, packed)
    digest.update(packed)
    diffId.update(content)
  }
  for (let index = 0; index < size; index++) {
    const block = header({ name: `folder/file-${index}`, size: body.length })
    write(Zlib.gzipSync(block), block)
    write(packedBody, body)
  }
  write(Zlib.gzipSync(end), end)
  Fs.closeSync(file)
  const text = (hash: ReturnType<typeof createHash>) => `sha256:${hash.digest("hex")}` as Digest.Digest
  return { digest: text(digest), diffId: text(diffId), size: Fs.statSync(path).size }
}

describe("an image", () => {
  it.live(`with a layer of ${size} MiB is listed with less than 200 MiB`, () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const path = Path.join(folder, "layer")
      const { diffId, ...layer } = writeLayer(path)
      const directory = Path.join(folder, "images")
      const registry = yield* LayoutRegistry.make({ directory, form: "layout" })
      yield* registry.pushBlob(app, layer, BlobSource.fromBytes(Fs.readFileSync(path)))
      const content = { os: "linux", architecture: "amd64", rootfs: { type: "layers", diff_ids: [diffId] } }
      const config = yield* pushBlob(registry, app, JSON.stringify(content), MediaType.imageConfig)
      const layers = [{ mediaType: MediaType.imageLayerGzip, ...layer }]
      yield* pushManifest(registry, app, { mediaType: MediaType.imageManifest, config, layers }, [tag("1")])

      const { code, memory, stderr, stdout } = yield* run("files", "ls", `oci:${directory}:1`)
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.lengthOf(stdout.trim().split("\n"), size)
      assert.isBelow(memory, 200 * 1024 * 1024)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)), 300_000)
})
