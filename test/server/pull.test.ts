import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as MediaType from "effect-oci/MediaType"
import { digestOf } from "../utils/digests.ts"
import { pushBlob, pushImage, pushManifest, repository, tag } from "../utils/images.ts"
import { override } from "../utils/registries.ts"
import { memory, send, serve } from "../utils/Served.ts"

const app = repository("team/app")
const content = Uint8Array.from({ length: 2048 }, (_, index) => index * 7)
const digest = digestOf(content)
const nowhere = digestOf("nowhere")

/** Serves a registry with one blob of 2048 bytes. */
const withBlob = Effect.gen(function*() {
  const served = yield* memory()
  yield* pushBlob(served.registry, app, content)
  return served
})

describe("the path /v2/", () => {
  it.live("answers 200", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      assert.strictEqual((yield* ask("GET /v2/")).status, 200)
    }))

  it.live("works without its slash too", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      assert.strictEqual((yield* ask("GET /v2")).status, 200)
    }))

  it.live("names the version of the API for old clients", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      assert.strictEqual((yield* ask("GET /v2/")).headers["docker-distribution-api-version"], "registry/2.0")
    }))
})

describe("a blob", () => {
  it.live("is sent as it was pushed, with its length and digest", () =>
    Effect.gen(function*() {
      const { ask } = yield* withBlob
      const { bytes, headers, status } = yield* ask(`GET /v2/team/app/blobs/${digest}`)
      assert.strictEqual(status, 200)
      assert.deepStrictEqual(bytes, content)
      assert.deepInclude(headers, {
        "content-length": "2048",
        "content-type": "application/octet-stream",
        "docker-content-digest": digest,
        "accept-ranges": "bytes",
        etag: `"${digest}"`
      })
    }))

  it.live("has the same headers by HEAD as by GET, without a body", () =>
    Effect.gen(function*() {
      const { ask } = yield* withBlob
      const got = yield* ask(`GET /v2/team/app/blobs/${digest}`)
      const told = yield* ask(`HEAD /v2/team/app/blobs/${digest}`)
      assert.strictEqual(told.status, 200)
      assert.strictEqual(told.bytes.length, 0)
      assert.deepStrictEqual({ ...told.headers, date: "" }, { ...got.headers, date: "" })
    }))

  it.live("is found if the colon of its digest is encoded", () =>
    Effect.gen(function*() {
      const { ask } = yield* withBlob
      assert.strictEqual((yield* ask(`GET /v2/team/app/blobs/${digest.replace(":", "%3A")}`)).status, 200)
    }))

  it.live("without bytes has the length 0", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      yield* pushBlob(registry, app, "")
      for (const method of ["GET", "HEAD"]) {
        const { headers, status } = yield* ask(`${method} /v2/team/app/blobs/${digestOf("")}`)
        assert.deepStrictEqual([status, headers["content-length"]], [200, "0"])
      }
    }))

  it.live("under a sha512 digest has that digest in responses", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const sha512 = digestOf(content, "sha512")
      yield* ask(`POST /v2/team/app/blobs/uploads/?digest=${sha512}`, { body: content })
      const { bytes, headers } = yield* ask(`GET /v2/team/app/blobs/${sha512}`)
      assert.strictEqual(headers["docker-content-digest"], sha512)
      assert.deepStrictEqual(bytes, content)
    }))

  it.live("is sent unchanged to a client that accepts compression", () =>
    Effect.gen(function*() {
      const { ask } = yield* withBlob
      const { bytes, headers } = yield* ask(`GET /v2/team/app/blobs/${digest}`, {
        headers: { "accept-encoding": "gzip" }
      })
      assert.isUndefined(headers["content-encoding"])
      assert.deepStrictEqual(bytes, content)
    }))

  for (const method of ["GET", "HEAD"]) {
    it.live(`that is absent is 404 to ${method}`, () =>
      Effect.gen(function*() {
        const { ask } = yield* withBlob
        assert.strictEqual((yield* ask(`${method} /v2/team/app/blobs/${nowhere}`)).status, 404)
      }))

    it.live(`of another repository is 404 to ${method}`, () =>
      Effect.gen(function*() {
        const { ask, registry } = yield* withBlob
        yield* pushBlob(registry, repository("other"), "something else")
        assert.strictEqual((yield* ask(`${method} /v2/other/blobs/${digest}`)).status, 404)
      }))

    it.live(`of an absent repository is 404 to ${method}`, () =>
      Effect.gen(function*() {
        const { ask } = yield* withBlob
        assert.strictEqual((yield* ask(`${method} /v2/no/such/blobs/${digest}`)).status, 404)
      }))

    it.live(`with a URL elsewhere redirects ${method} there`, () =>
      Effect.gen(function*() {
        const { registry } = yield* withBlob
        const urls = ["oci://nonsense", "https://cdn.example.com/blob?sig=a%2Bb"]
        const { host } = yield* serve(override(registry, {
          getBlob: (...args) =>
            Effect.map(registry.getBlob(...args), (blob) => ({ ...blob, descriptor: { ...blob.descriptor, urls } })),
          resolveBlob: (...args) => Effect.map(registry.resolveBlob(...args), (descriptor) => ({ ...descriptor, urls }))
        }))
        const { bytes, headers, status } = yield* send(host, `${method} /v2/team/app/blobs/${digest}`)
        assert.deepStrictEqual([status, headers.location, bytes.length], [307, urls[1], 0])
        assert.strictEqual(headers["docker-content-digest"], digest)
      }))
  }

  it.live("is not redirected to a URL that a header cannot contain", () =>
    Effect.gen(function*() {
      const { registry } = yield* withBlob
      const urls = ["https://cdn.example.com/\r\nset-cookie: a=b", "javascript:alert(1)", "/elsewhere", "https://["]
      const { host } = yield* serve(override(registry, {
        getBlob: (...args) =>
          Effect.map(registry.getBlob(...args), (blob) => ({ ...blob, descriptor: { ...blob.descriptor, urls } }))
      }))
      assert.deepStrictEqual((yield* send(host, `GET /v2/team/app/blobs/${digest}`)).bytes, content)
    }))

  it.live("that breaks off in the registry breaks the connection, so that it does not seem complete", () =>
    Effect.gen(function*() {
      const { registry } = yield* withBlob
      const { host } = yield* serve(override(registry, {
        getBlob: (...args) =>
          Effect.map(
            registry.getBlob(...args),
            (blob) => ({ ...blob, stream: Stream.concat(Stream.take(blob.stream, 0), Stream.die("lost")) })
          )
      }))
      const outcome = yield* Effect.exit(send(host, `GET /v2/team/app/blobs/${digest}`))
      assert.strictEqual(outcome._tag, "Failure")
    }))
})

describe("a range of a blob", () => {
  const ranges: ReadonlyArray<readonly [range: string, first: number, last: number]> = [
    ["bytes=0-0", 0, 0],
    ["bytes=500-1499", 500, 1499],
    ["bytes=500-", 500, 2047],
    ["bytes=-500", 1548, 2047],
    ["bytes=-5000", 0, 2047],
    ["bytes=2000-5000", 2000, 2047],
    ["bytes=2047-2047", 2047, 2047],
    ["bytes=0-99999999999999999999999", 0, 2047],
    ["bytes=-99999999999999999999999", 0, 2047],
    ["Bytes = 1-2", 1, 2]
  ]
  it.live.each(ranges)("%s is %i-%i of 2048 bytes", ([range, first, last]) =>
    Effect.gen(function*() {
      const { ask } = yield* withBlob
      const { bytes, headers, status } = yield* ask(`GET /v2/team/app/blobs/${digest}`, { headers: { range } })
      assert.strictEqual(status, 206)
      assert.deepStrictEqual(bytes, content.slice(first, last + 1))
      assert.deepInclude(headers, {
        "content-range": `bytes ${first}-${last}/2048`,
        "content-length": `${last - first + 1}`,
        "docker-content-digest": digest
      })
    }))

  const unsatisfiable = ["bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=-0", "bytes=99999999999999999999999-"]
  it.live.each(unsatisfiable)("%s is unsatisfiable for 2048 bytes", (range) =>
    Effect.gen(function*() {
      const { ask } = yield* withBlob
      const { headers, status } = yield* ask(`GET /v2/team/app/blobs/${digest}`, { headers: { range } })
      assert.deepStrictEqual([status, headers["content-range"]], [416, "bytes */2048"])
    }))

  // RFC 9110, 14.2: a server may ignore ranges that it does not support
  const ignored = ["bytes=1-2,4-5", "bytes=0-9,5-14", "items=1-2", "bytes=", "bytes=-", "bytes=a-b", "bytes=--5", "1-2"]
  it.live.each(ignored)("%s is ignored: the whole blob is sent", (range) =>
    Effect.gen(function*() {
      const { ask } = yield* withBlob
      const { bytes, headers, status } = yield* ask(`GET /v2/team/app/blobs/${digest}`, { headers: { range } })
      assert.deepStrictEqual([status, headers["content-range"]], [200, undefined])
      assert.deepStrictEqual(bytes, content)
    }))

  it.live("is unsatisfiable for an empty blob", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      yield* pushBlob(registry, app, "")
      for (const range of ["bytes=0-", "bytes=-1"]) {
        const { status } = yield* ask(`GET /v2/team/app/blobs/${digestOf("")}`, { headers: { range } })
        assert.strictEqual(status, 416)
      }
    }))

  it.live("does not affect HEAD", () =>
    Effect.gen(function*() {
      const { ask } = yield* withBlob
      const { headers, status } = yield* ask(`HEAD /v2/team/app/blobs/${digest}`, { headers: { range: "bytes=1-2" } })
      assert.deepStrictEqual([status, headers["content-length"]], [200, "2048"])
    }))

  it.live("is sent if the blob matches If-Range", () =>
    Effect.gen(function*() {
      const { ask } = yield* withBlob
      const headers = { range: "bytes=1-2", "if-range": `"${digest}"` }
      assert.strictEqual((yield* ask(`GET /v2/team/app/blobs/${digest}`, { headers })).status, 206)
    }))

  it.live("is ignored if If-Range names another blob", () =>
    Effect.gen(function*() {
      const { ask } = yield* withBlob
      const headers = { range: "bytes=1-2", "if-range": `"${nowhere}"` }
      assert.strictEqual((yield* ask(`GET /v2/team/app/blobs/${digest}`, { headers })).status, 200)
    }))

  it.live("of an absent blob is 404", () =>
    Effect.gen(function*() {
      const { ask } = yield* withBlob
      for (const range of ["bytes=1-2", "bytes=-2", "bytes=2-1"]) {
        assert.strictEqual((yield* ask(`GET /v2/team/app/blobs/${nowhere}`, { headers: { range } })).status, 404)
      }
    }))
})

describe("a manifest", () => {
  const withImage = Effect.gen(function*() {
    const served = yield* memory()
    const image = yield* pushImage(served.registry, app, ["layer"], { tags: [tag("1.0")] })
    const { bytes } = yield* served.registry.getManifest(app, image.digest)
    return { ...served, image, bytes }
  })

  it.live("is sent by tag and by digest, to the byte, with its type, length and digest", () =>
    Effect.gen(function*() {
      const { ask, bytes, image } = yield* withImage
      for (const reference of ["1.0", image.digest]) {
        const got = yield* ask(`GET /v2/team/app/manifests/${reference}`)
        assert.strictEqual(got.status, 200)
        assert.deepStrictEqual(got.bytes, bytes)
        assert.deepInclude(got.headers, {
          "content-length": `${bytes.length}`,
          "content-type": MediaType.imageManifest,
          "docker-content-digest": image.digest
        })
      }
    }))

  it.live("has the same headers by HEAD as by GET, without a body", () =>
    Effect.gen(function*() {
      const { ask } = yield* withImage
      const got = yield* ask("GET /v2/team/app/manifests/1.0")
      const told = yield* ask("HEAD /v2/team/app/manifests/1.0")
      assert.strictEqual(told.bytes.length, 0)
      assert.deepStrictEqual({ ...told.headers, date: "" }, { ...got.headers, date: "" })
    }))

  it.live("is sent unchanged, whatever a client accepts", () =>
    Effect.gen(function*() {
      const { ask, bytes } = yield* withImage
      const headers = { accept: [MediaType.dockerManifest, MediaType.imageIndex] }
      assert.deepStrictEqual((yield* ask("GET /v2/team/app/manifests/1.0", { headers })).bytes, bytes)
    }))

  it.live("under a sha512 digest has that digest in responses, also by tag", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      const bytes = new TextEncoder().encode(`{"schemaVersion":2,"manifests":[]}`)
      const sha512 = digestOf(bytes, "sha512")
      yield* registry.pushManifest(app, { mediaType: MediaType.imageIndex, bytes, digest: sha512 }, [tag("long")])
      for (const reference of [sha512, "long"]) {
        const { headers } = yield* ask(`HEAD /v2/team/app/manifests/${reference}`)
        assert.strictEqual(headers["docker-content-digest"], sha512)
      }
    }))

  it.live("of any type keeps its type", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      yield* pushManifest(registry, app, { mediaType: "application/vnd.example+json" }, [tag("1")])
      const { headers } = yield* ask("GET /v2/team/app/manifests/1")
      assert.strictEqual(headers["content-type"], "application/vnd.example+json")
    }))

  for (const method of ["GET", "HEAD"]) {
    it.live(`that is absent is 404 to ${method}`, () =>
      Effect.gen(function*() {
        const { ask } = yield* withImage
        for (const path of [`app/manifests/2.0`, `app/manifests/${nowhere}`, `other/manifests/1.0`]) {
          assert.strictEqual((yield* ask(`${method} /v2/team/${path}`)).status, 404)
        }
      }))

    it.live(`under an invalid tag is 404 to ${method}`, () =>
      Effect.gen(function*() {
        const { ask } = yield* withImage
        for (const reference of [".hidden", "-", "a".repeat(129), "a%20b"]) {
          assert.strictEqual((yield* ask(`${method} /v2/team/app/manifests/${reference}`)).status, 404)
        }
      }))
  }

  it.live("under an invalid digest is 400", () =>
    Effect.gen(function*() {
      const { ask } = yield* withImage
      for (const reference of ["sha256:baddigeststring", `sha256:${"A".repeat(64)}`, "sha512:00", ":", "a:b:c"]) {
        const { code, status } = yield* ask(`GET /v2/team/app/manifests/${reference}`)
        assert.deepStrictEqual([status, code], [400, "DIGEST_INVALID"])
      }
    }))

  it.live("under a digest of an unknown algorithm is 404", () =>
    Effect.gen(function*() {
      const { ask } = yield* withImage
      assert.strictEqual((yield* ask("GET /v2/team/app/manifests/blake3:abc123")).status, 404)
    }))
})
