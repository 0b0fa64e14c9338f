import { assert, describe } from "@effect/vitest"
import { Clock, Effect, Stream } from "effect"
import * as Digest from "effect-oci/Digest"
import * as MediaType from "effect-oci/MediaType"
import * as Registry from "effect-oci/Registry"
import { tagOf } from "../../src/client/ReferrersTag.ts"
import { KnownTags } from "../../src/KnownTags.ts"
import { longestStretch } from "../utils/EventLoop.ts"
import { bytesOf, repository } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { type Answer, digestOf, keeping, make, reasonOf, type Script, whileTimeFlies } from "../utils/ScriptedServer.ts"

const isLong = process.env["EFFECT_OCI_LONG"] !== undefined

const name = repository("team/app")
const subject = { mediaType: MediaType.imageManifest, digest: digestOf("the subject"), size: 11 }
const api = `GET /v2/team/app/referrers/${subject.digest}`
const fallback = `/v2/team/app/manifests/${tagOf(subject.digest)}`
const put = (digest: string) => `PUT /v2/team/app/manifests/${digest}`

const descriptor = (content: string, artifactType = "application/vnd.example.sbom") => ({
  mediaType: MediaType.imageManifest,
  digest: digestOf(content),
  size: content.length,
  artifactType
})
const [one, two] = [descriptor("one"), descriptor("two", "application/vnd.example.signature")]

const index = (...manifests: ReadonlyArray<object>): Answer => ({
  headers: { "content-type": MediaType.imageIndex },
  body: { schemaVersion: 2, mediaType: MediaType.imageIndex, manifests }
})
const missing: Answer = { status: 404, body: "404 page not found\n" }

const list = (script: Script, artifactType?: string) =>
  Effect.gen(function*() {
    const { registry, sent } = yield* make(script)
    const options = artifactType === undefined ? {} : { artifactType }
    const found = yield* Stream.runCollect(registry.referrers(name, subject.digest, options))
    return { found: found.map(({ digest }) => digest), sent: sent(), ...yield* registry.capabilities }
  })

describe("the tag of a list of referrers (C38)", () => {
  it.each([
    [`sha256:${"a".repeat(64)}`, `sha256-${"a".repeat(64)}`],
    [`sha512:${"b".repeat(128)}`, `sha512-${"b".repeat(64)}`],
    [`multi+part.alg_o-rithm:${"C=".repeat(40)}`, `multi-part.alg_o-rithm-${"C-".repeat(32)}`],
    [`${"x".repeat(40)}:a`, `${"x".repeat(32)}-a`]
  ])("of %s is %s", (digest, tag) => {
    assert.isTrue(Digest.isDigest(digest) && tagOf(digest) === tag)
  })
})

describe("listing referrers", () => {
  it.effect("asks the registry, page by page (C41)", () =>
    Effect.gen(function*() {
      const link = `</v2/team/app/referrers/${subject.digest}?page=2>; rel="next"`
      const { found, referrers, sent } = yield* list({
        [`${api}?page=2`]: index(two),
        [api]: { ...index(one), headers: { "content-type": MediaType.imageIndex, link } }
      })
      assert.deepStrictEqual(found, [one.digest, two.digest])
      assert.deepStrictEqual(sent, [api, `${api}?page=2`])
      assert.isTrue(referrers)
    }))

  it.effect("requests one type", () =>
    Effect.gen(function*() {
      const { found, sent } = yield* list({
        [api]: { ...index(one), headers: { "oci-filters-applied": "artifactType" } }
      }, one.artifactType)
      assert.deepStrictEqual(found, [one.digest])
      assert.deepStrictEqual(sent, [`${api}?artifactType=application%2Fvnd.example.sbom`])
    }))

  it.effect("omits other types if the registry does not (C40)", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* list({ [api]: index(one, two) }, two.artifactType)).found, [two.digest])
    }))

  it.effect("reads the tag if the registry does not list them (C39)", () =>
    Effect.gen(function*() {
      const { found, referrers, sent } = yield* list({ [api]: missing, [`GET ${fallback}`]: index(one, two) })
      assert.deepStrictEqual(found, [one.digest, two.digest])
      assert.deepStrictEqual(sent, [api, `GET ${fallback}`])
      assert.isFalse(referrers)
    }))

  it.effect("reads no tag that a recent list of the repository lacks", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [api]: missing, [`GET ${fallback}`]: index(one, two) })
      const now = yield* Clock.currentTimeMillis
      const knowing = (tags: ReadonlyArray<string>, listedAt: number) =>
        Effect.provideService(Stream.runCollect(registry.referrers(name, subject.digest)), KnownTags, [
          { registry: registry.name, repository: name, tags: new Set(tags), listedAt }
        ])
      assert.deepStrictEqual(yield* knowing(["1"], now), [])
      assert.deepStrictEqual(sent(), [api])
      assert.deepStrictEqual(yield* knowing(["1", tagOf(subject.digest)], now), [one, two])
      assert.deepStrictEqual(yield* knowing(["1"], now - 30_000), [one, two])
    }))

  it.effect("does not ask again at a registry that does not list them", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [api]: missing, [`GET ${fallback}`]: index(one, two) })
      yield* Stream.runDrain(registry.referrers(name, subject.digest))
      const found = yield* Stream.runCollect(
        registry.referrers(name, subject.digest, { artifactType: one.artifactType })
      )
      assert.deepStrictEqual(found, [one])
      assert.deepStrictEqual(sent(), [api, `GET ${fallback}`, `GET ${fallback}`])
    }))

  it.effect.each(
    [
      ["nothing", missing],
      ["an image", {
        headers: { "content-type": MediaType.imageManifest },
        body: { mediaType: MediaType.imageManifest, layers: [] }
      }],
      ["nonsense", { ...index(), body: "nonsense" }]
    ] as const
  )("finds none where behind the tag is %s (C39)", ([, answer]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* list({ [api]: missing, [`GET ${fallback}`]: answer })).found, [])
    }))

  it.effect("learns nothing from an absent repository", () =>
    Effect.gen(function*() {
      const body = { errors: [{ code: "NAME_UNKNOWN", message: "no such repository" }] }
      const { found, referrers } = yield* list({ [api]: { status: 404, body }, [`GET ${fallback}`]: missing })
      assert.deepStrictEqual(found, [])
      assert.isUndefined(referrers)
    }))

  it.effect.each(
    [[401, "Unauthorized"], [403, "Denied"], [429, "TooManyRequests"], [500, "UnexpectedResponse"]] as const
  )(
    "fails if the registry answers %i, which is not an absence (C39)",
    ([status, expected]) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* reasonOf(list({ [api]: { status } })))._tag, expected)
        const behindTag = { [api]: missing, [`GET ${fallback}`]: { status } }
        assert.strictEqual((yield* reasonOf(list(behindTag)))._tag, expected)
      })
  )

  const page = { headers: { "content-type": "text/html; charset=utf-8" }, body: "<!doctype html><title>app</title>" }

  it.effect.each(
    [
      ["400", { status: 400 }],
      ["405", { status: 405 }],
      ["406", { status: 406 }],
      ["501", { status: 501 }],
      ["405 and a code", { status: 405, body: { errors: [{ code: "UNSUPPORTED", message: "no" }] } }],
      ["a web page", page],
      ["a list that is no index", { body: "[]" }],
      ["an object that is no index", { body: { errors: [] } }],
      ["a redirect that leads nowhere", { status: 302 }]
    ] as const
  )("looks behind the tag after %s, and remembers it", ([, answer]) =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [api]: answer, [`GET ${fallback}`]: index(one) })
      for (const _ of [1, 2]) {
        assert.deepStrictEqual(yield* Stream.runCollect(registry.referrers(name, subject.digest)), [one])
      }
      assert.deepStrictEqual(sent(), [api, `GET ${fallback}`, `GET ${fallback}`])
      assert.deepInclude(yield* registry.capabilities, { referrers: false })
    }))

  it.effect("reads the tag after a redirect to a web page", () =>
    Effect.gen(function*() {
      const { found, referrers } = yield* list({
        [api]: { status: 302, headers: { location: "https://www.test/login" } },
        "GET https://www.test/login": page,
        [`GET ${fallback}`]: index(one)
      })
      assert.deepStrictEqual(found, [one.digest])
      assert.isFalse(referrers)
    }))

  it.effect("reads the tag for a digest that the registry finds invalid, and asks the registry for others", () =>
    Effect.gen(function*() {
      const body = { errors: [{ code: "DIGEST_INVALID" }] }
      const { found, referrers } = yield* list({ [api]: { status: 400, body }, [`GET ${fallback}`]: index(one) })
      assert.deepStrictEqual(found, [one.digest])
      assert.isUndefined(referrers)
    }))

  it.effect("accepts an index without manifests as an empty one", () =>
    Effect.gen(function*() {
      const { found, referrers } = yield* list({ [api]: { body: { schemaVersion: 2 } } })
      assert.deepStrictEqual(found, [])
      assert.isTrue(referrers)
    }))

  it.effect.each([["the API", index], ["the tag", index]] as const)(
    "skips invalid entries, and lists repeated entries once: from %s",
    ([from, indexOf]) =>
      Effect.gen(function*() {
        const warnings: Array<string> = []
        const answer = indexOf(one, { digest: "nonsense" }, two, one, {})
        const script: Script = from === "the API"
          ? { [api]: answer }
          : { [api]: missing, [`GET ${fallback}`]: answer }
        const { found } = yield* list(script).pipe(Effect.provideService(Registry.Observer, (event) =>
          Effect.sync(() => {
            if (event._tag === "Warning") warnings.push(event.text)
          })))
        assert.deepStrictEqual(found, [one.digest, two.digest])
        assert.deepStrictEqual(warnings, [
          `referrers of ${subject.digest}: 2 invalid entries skipped: {"digest":"nonsense"}`
        ])
      })
  )

  it.live("does not block the event loop, however long the list is", () =>
    Effect.gen(function*() {
      const count = isLong ? 100_000 : 20_000
      const body = JSON.stringify({
        schemaVersion: 2,
        manifests: Array.from({ length: count }, (_, number) => ({
          ...one,
          digest: `sha256:${number.toString(16).padStart(64, "0")}`
        }))
      })
      const { registry } = yield* make({ [api]: { ...index(), body: bytesOf(body) } })
      const listing = Stream.runCount(registry.referrers(name, subject.digest))
      assert.strictEqual(yield* listing, count)
      assert.isBelow(yield* longestStretch(listing), 100)
    }))
})

describe("pushing a referrer", () => {
  const manifest = (extra: object, mediaType: string = MediaType.imageManifest) => {
    const bytes = bytesOf({ schemaVersion: 2, mediaType, subject, ...extra })
    return { mediaType, bytes, digest: digestOf(bytes), size: bytes.length }
  }
  const config = { mediaType: "application/vnd.example.config", digest: digestOf("{}"), size: 2 }
  const sbom = manifest({ artifactType: "application/vnd.example.sbom", config, layers: [], annotations: { a: "b" } })
  const listed = {
    mediaType: sbom.mediaType,
    digest: sbom.digest,
    size: sbom.size,
    artifactType: "application/vnd.example.sbom",
    annotations: { a: "b" }
  }
  const created = { status: 201 }
  const indexed = (body: Uint8Array | undefined): Record<string, unknown> & { manifests: ReadonlyArray<unknown> } =>
    JSON.parse(new TextDecoder().decode(body))

  it.effect("needs no other request if the registry lists it (C30)", () =>
    Effect.gen(function*() {
      const headers = { "oci-subject": subject.digest }
      const { registry, sent } = yield* make({ [put(sbom.digest)]: { status: 201, headers }, [api]: index(listed) })
      yield* registry.pushManifest(name, sbom)
      yield* registry.pushManifest(name, sbom)
      // one request finds out that it does
      assert.deepStrictEqual(sent(), [put(sbom.digest), api, put(sbom.digest)])
      assert.deepInclude(yield* registry.capabilities, { referrers: true })
    }))

  it.effect.each([["no API", missing], ["nonsense", { body: "<html>" }]] as const)(
    "updates the tag if the registry claims to list it and has %s (ECR)",
    ([, answer]) =>
      Effect.gen(function*() {
        const { registry } = yield* make({
          [put(sbom.digest)]: { status: 201, headers: { "oci-subject": subject.digest } },
          [api]: answer,
          ...keeping(fallback)
        })
        yield* registry.pushManifest(name, sbom)
        const { bytes } = yield* registry.getManifest(name, tagOf(subject.digest))
        assert.deepStrictEqual(indexed(bytes).manifests, [listed])
      })
  )

  it.effect.each([400, 405, 406, 501])(
    "updates the tag if the registry claims to list it and answers %i to the list",
    (status) =>
      Effect.gen(function*() {
        const { registry } = yield* make({
          [put(sbom.digest)]: { status: 201, headers: { "oci-subject": subject.digest } },
          [api]: { status },
          ...keeping(fallback)
        })
        yield* registry.pushManifest(name, sbom)
        const { bytes } = yield* registry.getManifest(name, tagOf(subject.digest))
        assert.deepStrictEqual(indexed(bytes).manifests, [listed])
      })
  )

  it.effect.each([401, 403, 429, 500])(
    "relies on a registry that claims to list it and answers %i to the list",
    (status) =>
      Effect.gen(function*() {
        const { registry, sent } = yield* make({
          [put(sbom.digest)]: { status: 201, headers: { "oci-subject": subject.digest } },
          [api]: { status }
        })
        yield* registry.pushManifest(name, sbom)
        assert.deepStrictEqual(sent(), [put(sbom.digest), api])
      })
  )

  it.effect("keeps invalid entries of the index of the tag", () =>
    Effect.gen(function*() {
      const odd = { digest: "nonsense", size: -1 }
      const { registry, requests } = yield* make({ [put(sbom.digest)]: created, ...keeping(fallback, index(odd, one)) })
      yield* registry.pushManifest(name, sbom)
      assert.deepStrictEqual(indexed(requests[2]?.body).manifests, [odd, one, listed])
    }))

  it.effect("creates the index of the tag if it is absent (C31, C33, C35, C36)", () =>
    Effect.gen(function*() {
      const { registry, requests, sent } = yield* make({
        [put(sbom.digest)]: created,
        ...keeping(fallback)
      })
      yield* registry.pushManifest(name, sbom)
      assert.deepStrictEqual(sent(), [put(sbom.digest), `GET ${fallback}`, `PUT ${fallback}`, `GET ${fallback}`])
      assert.strictEqual(requests[2]?.headers["content-type"], MediaType.imageIndex)
      assert.deepStrictEqual(indexed(requests[2]?.body), {
        schemaVersion: 2,
        mediaType: MediaType.imageIndex,
        manifests: [listed]
      })
    }))

  it.effect.each(
    [
      ["that of the manifest", sbom, "application/vnd.example.sbom"],
      ["for an image without one that of its config", manifest({ config, layers: [] }), config.mediaType],
      ["for an image with an empty one too", manifest({ artifactType: "", config, layers: [] }), config.mediaType],
      ["for an index without one none", manifest({ manifests: [] }, MediaType.imageIndex), undefined]
    ] as const
  )("lists it with an artifact type: %s (C35)", ([, referrer, expected]) =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        [put(referrer.digest)]: created,
        ...keeping(fallback)
      })
      yield* registry.pushManifest(name, referrer)
      const [entry] = indexed(requests[2]?.body).manifests
      if (expected === undefined) assert.notProperty(entry, "artifactType")
      else assert.deepInclude(entry, { artifactType: expected })
    }))

  it.effect("keeps the entries and all fields of the index (C36)", () =>
    Effect.gen(function*() {
      const content = { schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [one], "org.example": { a: [1] } }
      const { registry, requests } = yield* make({
        [put(sbom.digest)]: created,
        ...keeping(fallback, { ...index(), body: content })
      })
      yield* registry.pushManifest(name, sbom)
      assert.deepStrictEqual(indexed(requests[2]?.body), { ...content, manifests: [one, listed] })
    }))

  it.effect("does not list it twice (C34)", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [put(sbom.digest)]: created, [`GET ${fallback}`]: index(listed) })
      yield* registry.pushManifest(name, sbom)
      assert.deepStrictEqual(sent(), [put(sbom.digest), `GET ${fallback}`])
    }))

  it.effect("fails if the tag points at something else (C32)", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        [put(sbom.digest)]: created,
        [`GET ${fallback}`]: { ...index(), headers: { "content-type": MediaType.imageManifest } }
      })
      assert.strictEqual((yield* reasonOf(registry.pushManifest(name, sbom)))._tag, "UnexpectedResponse")
      assert.deepStrictEqual(sent(), [put(sbom.digest), `GET ${fallback}`])
    }))

  it.effect("loses none of two concurrent pushes (C37)", () =>
    Effect.gen(function*() {
      const other = manifest({ config, layers: [config] })
      const { registry } = yield* make({
        ...keeping(fallback, index(one)),
        [api]: missing,
        [put(sbom.digest)]: created,
        [put(other.digest)]: created
      })
      yield* Effect.all([registry.pushManifest(name, sbom), registry.pushManifest(name, other)], {
        concurrency: "unbounded"
      })
      const found = yield* Stream.runCollect(registry.referrers(name, subject.digest))
      assert.sameMembers(found.map(({ digest }) => digest), [one.digest, sbom.digest, other.digest])
    }))

  it.effect("loses none of two concurrent pushes of two clients if the registry supports conditions (C37)", () =>
    Effect.gen(function*() {
      const other = manifest({ config, layers: [config] })
      const script = {
        ...keeping(fallback, index(one), { etag: true }),
        [api]: missing,
        [put(sbom.digest)]: created,
        [put(other.digest)]: created
      }
      const [first, second] = [yield* make(script), yield* make(script)]
      yield* whileTimeFlies(
        Effect.all([first.registry.pushManifest(name, sbom), second.registry.pushManifest(name, other)], {
          concurrency: "unbounded"
        })
      )
      const found = yield* Stream.runCollect(first.registry.referrers(name, subject.digest))
      assert.sameMembers(found.map(({ digest }) => digest), [one.digest, sbom.digest, other.digest])
      const puts = [...first.requests, ...second.requests].filter(({ url, method }) =>
        method === "PUT" && url === fallback
      )
      assert.isTrue(puts.every(({ headers }) => headers["if-match"] !== undefined))
      assert.isAbove(puts.length, 2)
    }))

  it.effect("is repeated if another client has overwritten the list (C37)", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        [put(sbom.digest)]: created,
        [`GET ${fallback}`]: [missing, index(one), index(one, listed)],
        [`PUT ${fallback}`]: created
      })
      yield* whileTimeFlies(registry.pushManifest(name, sbom))
      assert.deepStrictEqual(
        requests.filter(({ method, url }) => method === "PUT" && url === fallback).map(({ body }) =>
          indexed(body).manifests.length
        ),
        [1, 2]
      )
    }))

  it.effect("fails if the list does not stay as it is written", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [put(sbom.digest)]: created,
        [`GET ${fallback}`]: index(one),
        [`PUT ${fallback}`]: created
      })
      const reason = yield* whileTimeFlies(reasonOf(registry.pushManifest(name, sbom)))
      assert.deepInclude(reason, {
        _tag: "UnexpectedResponse",
        detail: "the list of referrers does not stay as it is written"
      })
    }))

  const byDigest = `/v2/team/app/manifests/${sbom.digest}`
  const content = { headers: { "content-type": sbom.mediaType }, body: sbom.bytes }

  it.effect("is undone by its deletion: the index of the tag no longer lists it (C42)", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        ...keeping(fallback, index(one, listed)),
        [api]: missing,
        [`GET ${byDigest}`]: content,
        [`DELETE ${byDigest}`]: { status: 202 }
      })
      yield* registry.deleteManifest(name, sbom.digest)
      assert.deepStrictEqual(yield* Stream.runCollect(registry.referrers(name, subject.digest)), [one])
    }))

  it.effect("leaves the tag unchanged when it is deleted if the registry lists referrers (C42)", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        [api]: index(listed),
        [`GET ${byDigest}`]: content,
        [`DELETE ${byDigest}`]: { status: 202 }
      })
      yield* registry.deleteManifest(name, sbom.digest)
      yield* registry.deleteManifest(name, sbom.digest)
      assert.deepStrictEqual(sent(), [`GET ${byDigest}`, api, `DELETE ${byDigest}`, `DELETE ${byDigest}`])
    }))
})
