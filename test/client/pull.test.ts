import { assert, describe } from "@effect/vitest"
import { Effect, Schedule, Stream } from "effect"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as Registry from "effect-oci/Registry"
import { HttpClientRequest } from "effect/http"
import { bytesOf, repository, tag } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { digestOf, make, reasonOf, transportError } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const content = bytesOf("0123456789")
const digest = digestOf(content)
const blob = `/v2/team/app/blobs/${digest}`

const inChunks = (...chunks: ReadonlyArray<string>) => Stream.fromIterable(chunks.map(bytesOf)).pipe(Stream.rechunk(1))

describe("reading a blob", () => {
  it.effect("returns the bytes and their number", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [`GET ${blob}`]: { body: content } })
      const { descriptor, stream } = yield* registry.getBlob(name, digest)
      assert.deepStrictEqual(descriptor, { mediaType: MediaType.octetStream, digest, size: 10 })
      assert.deepStrictEqual(yield* Stream.mkUint8Array(stream), content)
      assert.deepStrictEqual(sent(), [`GET ${blob}`])
    }))

  it.effect("fails before the last chunk when a byte is flipped (C11)", () =>
    Effect.gen(function*() {
      const big = new Uint8Array(90_000)
      const chunks = [big.subarray(0, 30_000), big.subarray(30_000, 60_000).with(7, 1), big.subarray(60_000)]
      const { registry } = yield* make({
        [`GET /v2/team/app/blobs/${digestOf(big)}`]: {
          headers: { "content-length": `${big.length}` },
          body: Stream.rechunk(Stream.fromIterable(chunks), 1)
        }
      })
      const { stream } = yield* registry.getBlob(name, digestOf(big))
      const read: Array<Uint8Array> = []
      const reason = yield* reasonOf(Stream.runForEach(stream, (chunk) => Effect.sync(() => read.push(chunk))))
      assert.strictEqual(reason._tag, "DigestMismatch")
      assert.deepStrictEqual(read, chunks.slice(0, 2))
    }))

  it.effect("fails as a whole when a byte of a small one is flipped (C11)", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ [`GET ${blob}`]: { body: "01234X6789" } })
      const { stream } = yield* registry.getBlob(name, digest)
      assert.strictEqual((yield* reasonOf(Stream.runDrain(stream)))._tag, "DigestMismatch")
    }))

  it.effect.each([["01234", 5], ["0123456789a", 11]] as const)(
    "fails if the body has another length than the registry said: %s",
    ([body, actual]) =>
      Effect.gen(function*() {
        const { registry } = yield* make({ [`GET ${blob}`]: { headers: { "content-length": "10" }, body } })
        const { stream } = yield* registry.getBlob(name, digest)
        const reason = yield* reasonOf(Stream.runDrain(stream))
        assert.deepInclude(reason, { _tag: "SizeMismatch", expected: 10, actual })
      })
  )

  it.effect("asks by HEAD if GET does not say the size", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        [`GET ${blob}`]: { headers: { "content-length": null }, body: content },
        [`HEAD ${blob}`]: { body: content }
      })
      const { descriptor, stream } = yield* registry.getBlob(name, digest)
      assert.strictEqual(descriptor.size, 10)
      assert.deepStrictEqual(yield* Stream.mkUint8Array(stream), content)
      assert.deepStrictEqual(sent(), [`GET ${blob}`, `HEAD ${blob}`, `GET ${blob}`])
    }))

  const silent = { headers: { "content-length": null }, body: content }

  it.effect("has the size that the caller says if nothing else says it", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [`GET ${blob}`]: silent, [`HEAD ${blob}`]: silent })
      const { descriptor, stream } = yield* registry.getBlob(name, digest, { size: 10 })
      assert.strictEqual(descriptor.size, 10)
      assert.deepStrictEqual(yield* Stream.mkUint8Array(stream), content)
      assert.strictEqual((yield* registry.resolveBlob(name, digest, { size: 10 })).size, 10)
      assert.deepStrictEqual(sent(), [`GET ${blob}`, `HEAD ${blob}`])
    }))

  it.effect("fails if the caller says another size", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ [`GET ${blob}`]: silent })
      const { stream } = yield* registry.getBlob(name, digest, { size: 9 })
      assert.strictEqual((yield* reasonOf(Stream.runDrain(stream)))._tag, "SizeMismatch")
    }))

  it.effect("has the size that a range says if HEAD does not say it", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        [`GET ${blob}`]: {
          status: 206,
          headers: { "content-range": "bytes 0-0/10", "content-length": null },
          body: "0"
        },
        [`HEAD ${blob}`]: silent
      })
      assert.strictEqual((yield* registry.resolveBlob(name, digest)).size, 10)
      assert.strictEqual(requests[1]?.headers["range"], "bytes=0-0")
    }))

  it.effect("counts the bytes if nothing says the size", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ [`GET ${blob}`]: silent, [`HEAD ${blob}`]: silent })
      const { descriptor, stream } = yield* registry.getBlob(name, digest)
      assert.strictEqual(descriptor.size, 10)
      assert.deepStrictEqual(yield* Stream.mkUint8Array(stream), content)
    }))

  it.effect("of an empty blob without a size finds no first byte", () =>
    Effect.gen(function*() {
      const empty = `/v2/team/app/blobs/${digestOf("")}`
      const { registry } = yield* make({
        [`GET ${empty}`]: { status: 416 },
        [`HEAD ${empty}`]: { headers: { "content-length": null } }
      })
      assert.strictEqual((yield* registry.resolveBlob(name, digestOf(""))).size, 0)
    }))

  it.effect("resumes where it breaks, with the length that the caller knows", () =>
    Effect.gen(function*() {
      const broken = Stream.concat(
        Stream.succeed(content.subarray(0, 4)),
        Stream.fail(transportError(HttpClientRequest.get("https://registry.test/"), "broken"))
      )
      const { registry, requests } = yield* make({
        [`GET ${blob}`]: [
          { headers: { "content-length": null }, body: broken },
          { status: 206, headers: { "content-range": "bytes 4-9/10", "content-length": null }, body: "456789" }
        ]
      })
      const { stream } = yield* registry.getBlob(name, digest, { size: 10 })
      const read = Stream.mkUint8Array(stream).pipe(
        Effect.provideService(HttpRegistry.RetrySchedule, Schedule.recurs(1))
      )
      assert.deepStrictEqual(yield* read, content)
      assert.strictEqual(requests[1]?.headers["range"], "bytes=4-")
    }))

  it.effect("follows a redirect to where the content is (C2)", () =>
    Effect.gen(function*() {
      const elsewhere = "https://cdn.test/content?signature=a%2Bb"
      const { registry, sent } = yield* make({
        [`GET ${blob}`]: { status: 307, headers: { location: elsewhere } },
        [`GET ${elsewhere}`]: { body: content }
      })
      const { stream } = yield* registry.getBlob(name, digest)
      assert.deepStrictEqual(yield* Stream.mkUint8Array(stream), content)
      assert.deepStrictEqual(sent(), [`GET ${blob}`, `GET ${elsewhere}`])
    }))

  it.effect("aborts a redirect that leads in a circle", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({ [`GET ${blob}`]: { status: 307, headers: { location: blob } } })
      const reason = yield* reasonOf(registry.getBlob(name, digest))
      assert.deepInclude(reason, { _tag: "UnexpectedResponse", status: 307 })
      assert.strictEqual(requests.length, 11)
    }))
})

describe("reading a range of a blob (C13)", () => {
  const read = Effect.fnUntraced(function*(
    answer: Parameters<typeof make>[0][string],
    range: { readonly offset: number; readonly length?: number }
  ) {
    const { registry, requests } = yield* make({ [`GET ${blob}`]: answer, [`HEAD ${blob}`]: { body: content } })
    const outcome = registry.getBlob(name, digest, { range }).pipe(
      Effect.flatMap(({ descriptor, stream }) =>
        Effect.map(Stream.mkUint8Array(stream), (bytes) => [new TextDecoder().decode(bytes), descriptor.size] as const)
      )
    )
    return { outcome, requests }
  })
  const partial = (range: string, body: string) =>
    ({ status: 206, headers: { "content-range": `bytes ${range}` }, body }) as const

  it.effect("requests it, and returns the body of 206", () =>
    Effect.gen(function*() {
      const { outcome, requests } = yield* read(partial("3-6/10", "3456"), { offset: 3, length: 4 })
      assert.deepStrictEqual(yield* outcome, ["3456", 10])
      assert.strictEqual(requests[0]?.headers["range"], "bytes=3-6")
    }))

  it.effect("requests the rest of the blob without a length", () =>
    Effect.gen(function*() {
      const { outcome, requests } = yield* read(partial("7-9/10", "789"), { offset: 7 })
      assert.deepStrictEqual(yield* outcome, ["789", 10])
      assert.strictEqual(requests[0]?.headers["range"], "bytes=7-")
    }))

  it.effect("accepts one that is cut at the end of the blob", () =>
    Effect.gen(function*() {
      const { outcome } = yield* read(partial("7-9/10", "789"), { offset: 7, length: 100 })
      assert.deepStrictEqual(yield* outcome, ["789", 10])
    }))

  it.effect("asks by HEAD for the size if 206 does not say it", () =>
    Effect.gen(function*() {
      const { outcome } = yield* read(partial("7-9/*", "789"), { offset: 7 })
      assert.deepStrictEqual(yield* outcome, ["789", 10])
    }))

  it.effect("cuts it out of the whole blob after 200", () =>
    Effect.gen(function*() {
      const whole = { headers: { "content-length": "10" }, body: inChunks("012", "3456", "789") }
      const { outcome } = yield* read(whole, { offset: 2, length: 3 })
      assert.deepStrictEqual(yield* outcome, ["234", 10])
    }))

  it.effect("fails beyond the end of the whole blob after 200", () =>
    Effect.gen(function*() {
      const { outcome } = yield* read({ body: content }, { offset: 10 })
      assert.strictEqual((yield* reasonOf(outcome))._tag, "RangeNotSatisfiable")
    }))

  it.effect("cuts a range that is longer than the requested one", () =>
    Effect.gen(function*() {
      const { outcome } = yield* read(partial("3-9/10", "3456789"), { offset: 3, length: 4 })
      assert.deepStrictEqual(yield* outcome, ["3456", 10])
    }))

  it.effect.each(["2-5/10", "0-9/10", "4-7/10", "3-5/10", "3-6/2", "10-3/10", "nonsense"])(
    "refuses another range than the requested one: %s",
    (range) =>
      Effect.gen(function*() {
        const { outcome } = yield* read(partial(range, "3456"), { offset: 3, length: 4 })
        assert.deepInclude(yield* reasonOf(outcome), { _tag: "UnexpectedResponse", status: 206 })
      })
  )

  it.effect("refuses 206 without Content-Range", () =>
    Effect.gen(function*() {
      const { outcome } = yield* read({ status: 206, body: "3456" }, { offset: 3, length: 4 })
      assert.strictEqual((yield* reasonOf(outcome))._tag, "UnexpectedResponse")
    }))

  it.effect("fails if the registry answers 416", () =>
    Effect.gen(function*() {
      const { outcome } = yield* read({ status: 416 }, { offset: 12 })
      assert.deepInclude(yield* reasonOf(outcome), { _tag: "RangeNotSatisfiable", status: 416 })
    }))

  it.effect.each([{ offset: -1 }, { offset: 3, length: 0 }])(
    "does not request an impossible range: %j",
    (range) =>
      Effect.gen(function*() {
        const { outcome, requests } = yield* read({ body: content }, range)
        assert.strictEqual((yield* reasonOf(outcome))._tag, "RangeNotSatisfiable")
        assert.deepStrictEqual(requests, [])
      })
  )
})

describe("reading a manifest", () => {
  const manifest = bytesOf({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [] })
  const manifestDigest = digestOf(manifest)
  const path = "/v2/team/app/manifests/latest"
  const byDigest = `/v2/team/app/manifests/${manifestDigest}`
  const descriptor = { mediaType: MediaType.imageIndex, digest: manifestDigest, size: manifest.length }
  const headers = { "content-type": MediaType.imageIndex, "docker-content-digest": manifestDigest }

  it.effect("returns its bytes unchanged", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ [`GET ${path}`]: { headers, body: manifest } })
      assert.deepStrictEqual(yield* registry.getManifest(name, tag("latest")), { descriptor, bytes: manifest })
    }))

  it.effect("sends the types that it understands (C7)", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({ [`GET ${path}`]: { headers }, [`HEAD ${path}`]: { headers } })
      yield* Effect.ignore(registry.getManifest(name, tag("latest")))
      yield* registry.resolveManifest(name, tag("latest"))
      for (const { headers } of requests) {
        for (const mediaType of MediaType.manifests) assert.include(headers["accept"] ?? "", mediaType)
      }
    }))

  it.effect("ignores parameters of its type (C8)", () =>
    Effect.gen(function*() {
      const answer = {
        headers: { ...headers, "content-type": `${MediaType.imageIndex}; charset=utf-8` },
        body: manifest
      }
      const { registry } = yield* make({ [`GET ${path}`]: answer, [`HEAD ${path}`]: answer })
      assert.deepStrictEqual((yield* registry.getManifest(name, tag("latest"))).descriptor, descriptor)
      assert.deepStrictEqual(yield* registry.resolveManifest(name, tag("latest")), descriptor)
    }))

  it.effect("warns if the registry says another digest for a tag, and uses that of the bytes (C10)", () =>
    Effect.gen(function*() {
      const told = digestOf("another")
      const { registry } = yield* make({
        [`GET ${path}`]: { headers: { ...headers, "docker-content-digest": told }, body: manifest }
      })
      const warnings: Array<string> = []
      const { descriptor } = yield* registry.getManifest(name, tag("latest")).pipe(
        Effect.provideService(Registry.Observer, (event) =>
          Effect.sync(() => {
            if (event._tag === "Warning") warnings.push(event.text)
          }))
      )
      assert.strictEqual(descriptor.digest, manifestDigest)
      assert.deepStrictEqual(warnings, [`team/app:latest has the digest ${manifestDigest}, the answer says ${told}`])
    }))

  it.effect("fails if a signed manifest of Docker's schema 1 has another digest than the registry says (C10)", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`GET ${path}`]: {
          headers: {
            "content-type": "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "docker-content-digest": digestOf("another")
          },
          body: { schemaVersion: 1, fsLayers: [] }
        }
      })
      assert.strictEqual((yield* reasonOf(registry.getManifest(name, tag("latest"))))._tag, "DigestMismatch")
    }))

  it.effect("fails if its digest is not the requested one, whatever the registry says (C11)", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ [`GET ${byDigest}`]: { headers, body: "{}" } })
      const reason = yield* reasonOf(registry.getManifest(name, manifestDigest))
      assert.deepInclude(reason, { _tag: "DigestMismatch", expected: manifestDigest, actual: digestOf("{}") })
    }))

  it.effect("accepts a digest of another algorithm for a tag (C10)", () =>
    Effect.gen(function*() {
      const sha512 = digestOf(manifest, "sha512")
      const { registry } = yield* make({
        [`GET ${path}`]: { headers: { ...headers, "docker-content-digest": sha512 }, body: manifest },
        [`GET ${byDigest}`]: { headers: { ...headers, "docker-content-digest": sha512 }, body: manifest }
      })
      assert.strictEqual((yield* registry.getManifest(name, tag("latest"))).descriptor.digest, sha512)
      assert.strictEqual((yield* registry.getManifest(name, manifestDigest)).descriptor.digest, manifestDigest)
    }))

  it.effect("stops at the limit", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ [`GET ${path}`]: { headers, body: manifest } })
      const read = (limit: number) =>
        Effect.provideService(registry.getManifest(name, tag("latest")), HttpRegistry.ManifestLimit, limit)
      const reason = yield* reasonOf(read(manifest.length - 1))
      assert.deepInclude(reason, { _tag: "ContentTooLarge", limit: manifest.length - 1 })
      assert.deepStrictEqual((yield* read(manifest.length)).descriptor, descriptor)
    }))

  it.effect("needs no GET if HEAD says digest and size", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [`HEAD ${path}`]: { headers, body: manifest } })
      assert.deepStrictEqual(yield* registry.resolveManifest(name, tag("latest")), descriptor)
      assert.deepStrictEqual(sent(), [`HEAD ${path}`])
    }))

  it.effect.each(["docker-content-digest", "content-length"])(
    "needs GET if HEAD does not say %s (C12)",
    (missing) =>
      Effect.gen(function*() {
        const { registry, sent } = yield* make({
          [`HEAD ${path}`]: { headers: { ...headers, [missing]: null }, body: manifest },
          [`GET ${path}`]: { headers: { "content-type": MediaType.imageIndex }, body: manifest }
        })
        assert.deepStrictEqual(yield* registry.resolveManifest(name, tag("latest")), descriptor)
        assert.deepStrictEqual(sent(), [`HEAD ${path}`, `GET ${path}`])
      })
  )
})

describe("reading a manifest", () => {
  const image = "application/vnd.oci.image.manifest.v1+json"

  it.effect("fails if its mediaType field contradicts its Content-Type (C9)", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        "GET /v2/team/app/manifests/1": {
          headers: { "content-type": MediaType.imageIndex },
          body: { mediaType: image }
        }
      })
      assert.strictEqual((yield* reasonOf(registry.getManifest(name, tag("1"))))._tag, "UnexpectedResponse")
    }))

  it.effect.each([null, "text/plain; charset=utf-8", "application/octet-stream", "application/json", "text/html"])(
    "uses the type that the document says or shows if its Content-Type is %s",
    (type) =>
      Effect.gen(function*() {
        const answerOf = (body: object) => ({ headers: { "content-type": type }, body })
        const { registry } = yield* make({
          "GET /v2/team/app/manifests/1": answerOf({ mediaType: image }),
          "GET /v2/team/app/manifests/2": answerOf({ schemaVersion: 2, manifests: [] }),
          "HEAD /v2/team/app/manifests/2": { headers: { "content-type": type, "docker-content-digest": digestOf("") } }
        })
        assert.strictEqual((yield* registry.getManifest(name, tag("1"))).descriptor.mediaType, image)
        assert.strictEqual((yield* registry.resolveManifest(name, tag("2"))).mediaType, MediaType.imageIndex)
      })
  )

  it.effect("accepts any type if it is read by digest", () =>
    Effect.gen(function*() {
      const body = bytesOf("any content")
      const { registry } = yield* make({
        [`GET /v2/team/app/manifests/${digestOf(body)}`]: { headers: { "content-type": "a/b" }, body }
      })
      assert.strictEqual((yield* registry.getManifest(name, digestOf(body))).descriptor.mediaType, "a/b")
    }))

  it.effect.each([{ mediaType: image }, { schemaVersion: 2 }, "no JSON"])(
    "uses its Content-Type if the document does not contradict: %j (C9)",
    (body) =>
      Effect.gen(function*() {
        const { registry } = yield* make({
          "GET /v2/team/app/manifests/1": { headers: { "content-type": image }, body }
        })
        assert.strictEqual((yield* registry.getManifest(name, tag("1"))).descriptor.mediaType, image)
      })
  )
})
