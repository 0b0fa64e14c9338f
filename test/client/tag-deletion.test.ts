/**
 * Deletion of tags at CNCF distribution 2.8, which deletes only manifests.
 */
import { assert, describe } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as MediaType from "effect-oci/MediaType"
import { available, make as dockerRegistry } from "../utils/DockerRegistry.ts"
import { bytesOf, pushImage, repository, tag } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { type Answer, connect, digestOf, make, reasonOf, type Script, type Seen } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const manifests = "/v2/team/app/manifests/"
const path = `${manifests}1`
const image = bytesOf({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [], annotations: { a: "b" } })
const invalid: Answer = { status: 400, body: { errors: [{ code: "DIGEST_INVALID" }] } }
const content: Answer = { headers: { "content-type": MediaType.imageIndex }, body: image }
const unsupported: Answer = { status: 405, body: { errors: [{ code: "UNSUPPORTED" }] } }

/** A registry that accepts every manifest. `deletions` are its responses to DELETE by digest. */
const script = (deletions: ReadonlyArray<Answer | ((seen: Seen) => Effect.Effect<Answer>)>): Script => {
  let count = 0
  const byDigest = (seen: Seen) =>
    Effect.suspend(() => {
      const answer = deletions[Math.min(count++, deletions.length - 1)] ?? {}
      return typeof answer === "function" ? answer(seen) : Effect.succeed(answer)
    })
  const known: Record<string, Script[string]> = {
    [`DELETE ${path}`]: invalid,
    [`GET ${path}`]: content,
    [`PUT ${path}`]: { status: 201 }
  }
  return new Proxy(known, {
    get: (lines, line: string) =>
      lines[line] ?? (line.startsWith("DELETE ") ? byDigest : line.startsWith("PUT ") ? { status: 201 } : undefined)
  })
}

const lines = (requests: ReadonlyArray<Seen>) =>
  requests.map(({ body, method, url }) =>
    `${method} ${url === path ? "tag" : "digest"}${
      method !== "PUT" ? "" : digestOf(body) === digestOf(image) ? " image" : " stub"
    }`
  )

const probe = ["DELETE tag", "GET tag", "PUT digest stub", "DELETE digest"]

describe("deleting a tag at a registry that finds its digest invalid", () => {
  it.effect("moves the tag to a stub and deletes that, after a first deletion has succeeded", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make(script([{ status: 202 }]))
      yield* registry.deleteTag(name, tag("1"))
      assert.deepStrictEqual(lines(requests), [...probe, "PUT tag stub", "DELETE digest"])
      const stub = requests[2]?.body ?? new Uint8Array()
      assert.strictEqual(requests[2]?.url, `${manifests}${digestOf(stub)}`)
      assert.deepStrictEqual(requests[4]?.body, stub)
      yield* registry.deleteTag(name, tag("1"))
      assert.notDeepEqual(requests[8]?.body, stub)
    }))

  it.effect("leaves the tag unchanged if the registry does not delete", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make(script([unsupported]))
      const error = yield* Effect.flip(registry.deleteTag(name, tag("1")))
      assert.deepStrictEqual([error.operation, error.reason._tag], ["deleteTag", "Unsupported"])
      assert.deepStrictEqual(lines(requests), probe)
    }))

  it.effect("restores the tag if the stub cannot be deleted", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make(script([{ status: 202 }, { status: 403 }]))
      assert.strictEqual((yield* reasonOf(registry.deleteTag(name, tag("1"))))._tag, "Denied")
      assert.deepStrictEqual(lines(requests), [...probe, "PUT tag stub", "DELETE digest", "PUT tag image"])
    }))

  it.effect("restores the tag if it is interrupted", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make(script([{ status: 202 }, () => Effect.never]))
      const fiber = yield* Effect.forkChild(registry.deleteTag(name, tag("1")))
      while (requests.length < probe.length + 2) yield* Effect.yieldNow
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(lines(requests), [...probe, "PUT tag stub", "DELETE digest", "PUT tag image"])
    }))

  it.effect("succeeds if the stub has been deleted already", () =>
    Effect.gen(function*() {
      const { registry } = yield* make(script([{ status: 202 }, { status: 404 }]))
      yield* registry.deleteTag(name, tag("1"))
    }))

  it.effect("fails if there is no such tag", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [`DELETE ${path}`]: invalid, [`GET ${path}`]: { status: 404 } })
      assert.strictEqual((yield* reasonOf(registry.deleteTag(name, tag("1"))))._tag, "ManifestUnknown")
      assert.lengthOf(sent(), 2)
    }))
})

describe("deleting a tag at a registry that does not delete", () => {
  it.effect("is one request", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [`DELETE ${path}`]: unsupported })
      assert.strictEqual((yield* reasonOf(registry.deleteTag(name, tag("1"))))._tag, "Unsupported")
      assert.lengthOf(sent(), 1)
    }))
})

describe("CNCF distribution", () => {
  it.live.skipIf(!available)("deletes a tag, and keeps its manifest under the others", () =>
    Effect.gen(function*() {
      const { host } = yield* dockerRegistry()
      const registry = yield* connect({ host })
      const { digest } = yield* pushImage(registry, name, ["layer"], { tags: [tag("1"), tag("2")] })
      yield* registry.deleteTag(name, tag("1"))
      assert.strictEqual((yield* reasonOf(registry.resolveManifest(name, tag("1"))))._tag, "ManifestUnknown")
      assert.strictEqual((yield* registry.resolveManifest(name, tag("2"))).digest, digest)
      yield* registry.deleteTag(name, tag("2"))
      assert.strictEqual((yield* registry.resolveManifest(name, digest)).digest, digest)
      assert.strictEqual((yield* reasonOf(registry.deleteTag(name, tag("2"))))._tag, "ManifestUnknown")
    }))

  it.live.skipIf(!available)("keeps a tag if deletion is disabled", () =>
    Effect.gen(function*() {
      const { host } = yield* dockerRegistry({ isDeleting: false })
      const registry = yield* connect({ host })
      const { digest } = yield* pushImage(registry, name, ["layer"], { tags: [tag("1")] })
      assert.strictEqual((yield* reasonOf(registry.deleteTag(name, tag("1"))))._tag, "Unsupported")
      assert.strictEqual((yield* registry.resolveManifest(name, tag("1"))).digest, digest)
    }))
})
