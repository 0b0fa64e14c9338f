import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Result, Schema } from "effect"
import * as Digest from "effect-oci/Digest"
import * as Reference from "effect-oci/Reference"
import * as Endpoint from "../../src/server/Endpoint.ts"
import * as Ranges from "../../src/server/Ranges.ts"
import { digestOf } from "../utils/digests.ts"

const names = Arbitrary.schema(Reference.Repository)
const tags = Arbitrary.schema(Reference.Tag)
const digests = Arbitrary.map(Arbitrary.schema(Schema.String), (text) => digestOf(text))

/** Targets of requests, valid and invalid. */
const anything = Arbitrary.array(Arbitrary.schema(Schema.Union([
  Schema.Literals([
    "/",
    "/v2/",
    "blobs",
    "uploads",
    "manifests",
    "tags/list",
    "referrers",
    "..",
    "%2e",
    "%2f",
    "%",
    "%00",
    "?",
    "#",
    "=",
    digestOf("")
  ]),
  Schema.String
]))).pipe(Arbitrary.map((parts) => parts.join("")))
const methods = Schema.Literals(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "nonsense"])

const parse = (method: string, target: string) => Result.map(Endpoint.parse(method, target), ({ endpoint }) => endpoint)

describe("the path of a request", () => {
  it.prop("names each endpoint of every valid repository", [names, tags, digests], ([name, tag, digest]) => {
    const repository = Reference.Repository.make(name)
    const at = (method: string, path: string) => Result.getOrThrow(parse(method, `/v2/${name}/${path}`))
    assert.deepStrictEqual(at("GET", "tags/list?n=1"), { _tag: "Tags", repository })
    assert.deepStrictEqual(at("PUT", `manifests/${tag}`), { _tag: "Manifest", repository, reference: tag })
    assert.deepStrictEqual(at("GET", `manifests/${digest}`), { _tag: "Manifest", repository, reference: digest })
    assert.deepStrictEqual(at("GET", `blobs/${digest}`), { _tag: "Blob", repository, digest })
    assert.deepStrictEqual(at("GET", `referrers/${digest}?artifactType=a`), { _tag: "Referrers", repository, digest })
    assert.deepStrictEqual(at("POST", "blobs/uploads/?digest=a"), { _tag: "Uploads", repository })
    assert.deepStrictEqual(at("PATCH", `blobs/uploads/${tag}`), { _tag: "Upload", repository, id: tag })
  })

  it.prop("means the same if all characters are percent-encoded", [names, digests], ([name, digest]) => {
    const encoded = (text: string) =>
      text.replaceAll(/[^/]/g, (character) => `%${character.charCodeAt(0).toString(16).padStart(2, "0")}`)
    assert.deepStrictEqual(
      parse("GET", `/v2/${encoded(name)}/blobs/${encoded(digest)}`),
      parse("GET", `/v2/${name}/blobs/${digest}`)
    )
  })

  it.prop("never yields an invalid repository, digest, tag or id", [methods, anything], ([method, target]) => {
    const parsed = parse(method, target)
    if (Result.isFailure(parsed)) return assert.oneOf(parsed.failure.status, [400, 404, 405])
    const endpoint = parsed.success
    if ("repository" in endpoint) assert.isTrue(Schema.is(Reference.Repository)(endpoint.repository))
    if ("digest" in endpoint) assert.isTrue(Digest.isDigest(endpoint.digest))
    if (endpoint._tag === "Manifest") {
      assert.isTrue(Digest.isDigest(endpoint.reference) || Schema.is(Reference.Tag)(endpoint.reference))
    }
    if (endpoint._tag === "Upload") assert.notInclude(endpoint.id, "/")
  })
})

describe("a Range", () => {
  const numbers = Arbitrary.schema(Schema.Natural)

  it.prop("is parsed as it was formatted", [numbers, numbers], ([first, length]) => {
    const last = first + length
    assert.deepStrictEqual(Ranges.parse(`bytes=${first}-${last}`), { _tag: "From", offset: first, length: length + 1 })
    assert.deepStrictEqual(Ranges.parse(`bytes=${first}-`), { _tag: "From", offset: first })
    assert.deepStrictEqual(
      Ranges.parse(`bytes=-${length}`),
      length === 0 ? { _tag: "Unsatisfiable" } : { _tag: "Last", length }
    )
    if (length > 0) assert.deepStrictEqual(Ranges.parse(`bytes=${last}-${first}`), { _tag: "Unsatisfiable" })
  })

  it.prop("never has a length below 1 or an unsafe integer", [anything], ([text]) => {
    for (const header of [text, `bytes=${text}`, `bytes=${text}-${text}`]) {
      const wanted = Ranges.parse(header)
      if (wanted?._tag === "From") assert.isTrue(Number.isSafeInteger(wanted.offset))
      if (wanted !== undefined && "length" in wanted) assert.isAtLeast(wanted.length ?? 1, 1)
    }
  })
})

describe("a Content-Range", () => {
  const numbers = Arbitrary.schema(Schema.Natural)

  it.prop(
    "is parsed as it was formatted, and the Range of an upload is formatted",
    [numbers, numbers],
    ([offset, more]) => {
      const length = more + 1
      const header = `${offset}-${offset + length - 1}`
      assert.deepStrictEqual(Ranges.parseContent(header), { offset, length })
      assert.strictEqual(Ranges.format(offset + length), `0-${offset + length - 1}`)
    }
  )

  it.prop("never has a length below 1", [anything], ([text]) => {
    for (const header of [text, `${text}-${text}`, `9-${text}`]) {
      assert.isAtLeast(Ranges.parseContent(header)?.length ?? 1, 1)
    }
  })
})
