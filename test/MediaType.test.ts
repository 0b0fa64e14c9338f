import { assert, describe, it } from "@effect/vitest"
import * as MediaType from "effect-oci/MediaType"

describe("MediaType", () => {
  it("asks for the common types of manifest first", () => {
    assert.deepStrictEqual(MediaType.manifests, [
      "application/vnd.oci.image.manifest.v1+json",
      "application/vnd.oci.image.index.v1+json",
      "application/vnd.docker.distribution.manifest.v2+json",
      "application/vnd.docker.distribution.manifest.list.v2+json",
      "application/vnd.oci.artifact.manifest.v1+json"
    ])
  })

  it.each([
    [MediaType.imageManifest, "manifest"],
    [MediaType.imageIndex, "index"],
    [MediaType.dockerManifest, "manifest"],
    [MediaType.dockerManifestList, "index"],
    [MediaType.artifactManifest, "manifest"],
    [MediaType.imageConfig, "blob"],
    [MediaType.imageLayer, "blob"],
    [MediaType.imageLayerGzip, "blob"],
    [MediaType.empty, "blob"],
    [MediaType.octetStream, "blob"],
    ["application/vnd.oci.image.layer.v1.tar+zstd", "blob"],
    ["application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "blob"],
    ["application/vnd.docker.container.image.v1+json", "blob"],
    ["application/vnd.docker.image.rootfs.diff.tar.gzip", "blob"],
    ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "blob"],
    ["application/vnd.docker.distribution.manifest.v1+prettyjws", "unknown"],
    ["application/vnd.example.sbom", "unknown"],
    ["application/json", "unknown"],
    ["", "unknown"]
  ])("knows %j as %s", (mediaType, kind) => {
    assert.strictEqual(MediaType.isManifest(mediaType), kind === "manifest" || kind === "index")
    assert.strictEqual(MediaType.isIndex(mediaType), kind === "index")
    assert.strictEqual(MediaType.isBlob(mediaType), kind === "blob")
  })

  it.each([
    ["application/vnd.oci.image.layer.nondistributable.v1.tar", true],
    ["application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", true],
    ["application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", true],
    ["application/vnd.docker.image.rootfs.foreign.diff.tar", true],
    ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", true],
    ["application/vnd.docker.image.rootfs.diff.tar.gzip", false],
    [MediaType.imageLayer, false],
    [MediaType.imageLayerGzip, false]
  ])("knows whether %s may be distributed", (mediaType, nonDistributable) => {
    assert.strictEqual(MediaType.isNonDistributable(mediaType), nonDistributable)
  })

  it.each([
    ["application/json", "application/json"],
    ["application/json; charset=utf-8", "application/json"],
    [" Application/VND.OCI.image.index.v1+JSON ;q=1;x=y", MediaType.imageIndex],
    [";", ""],
    ["", ""]
  ])("reads the Content-Type %j without parameters, in lower case", (header, mediaType) => {
    assert.strictEqual(MediaType.fromContentType(header), mediaType)
  })
})
