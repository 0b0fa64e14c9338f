/**
 * Promises of the contract about lists of tags, repositories and referrers.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { Digest } from "../../Digest.ts"
import * as MediaType from "../../MediaType.ts"
import type { Repository } from "../../Reference.ts"
import type { Registry } from "../../Registry.ts"
import { pushImage, pushIndex, pushReferrer, repository, tag } from "../Images.ts"
import { type Case, promise } from "./Case.ts"
import * as Expect from "./Expect.ts"
import { fresh, nowhere } from "./Helpers.ts"

const tags: ReadonlyArray<Case> = [
  promise("tags are listed", ["tags"], function*(registry, origin) {
    const name = yield* fresh
    const tags = ["b", "a", "10", "1"].map(tag)
    yield* pushImage(origin, name, ["layer"], { tags })
    yield* Expect.members(yield* Stream.runCollect(registry.tags(name)), tags)
  }),
  promise("tags are listed in order", ["tags", "tagOrder"], function*(registry, origin) {
    const name = yield* fresh
    yield* pushImage(origin, name, ["layer"], { tags: ["b", "a", "10", "1"].map(tag) })
    yield* Expect.equal(yield* Stream.runCollect(registry.tags(name)), ["1", "10", "a", "b"].map(tag))
  }),
  promise("many tags are all listed, each once", ["tags"], function*(registry, origin) {
    const name = yield* fresh
    const tags = Array.from({ length: 120 }, (_, index) => tag(`v${index}`))
    yield* pushImage(origin, name, ["layer"], { tags })
    yield* Expect.members(yield* Stream.runCollect(registry.tags(name)), tags)
  }),
  promise("tags are listed after one of them", ["tags", "tagsAfter"], function*(registry, origin) {
    const name = yield* fresh
    yield* pushImage(origin, name, ["layer"], { tags: ["1", "2", "3"].map(tag) })
    yield* Expect.equal(yield* Stream.runCollect(registry.tags(name, { after: "1" })), ["2", "3"].map(tag))
  }),
  promise("tags are listed after an absent one", ["tags", "tagsAfter"], function*(registry, origin) {
    const name = yield* fresh
    yield* pushImage(origin, name, ["layer"], { tags: ["1", "3"].map(tag) })
    yield* Expect.equal(yield* Stream.runCollect(registry.tags(name, { after: "2" })), [tag("3")])
  }),
  promise("no tags are listed after the last one", ["tags", "tagsAfter"], function*(registry, origin) {
    const name = yield* fresh
    yield* pushImage(origin, name, ["layer"], { tags: ["1", "3"].map(tag) })
    yield* Expect.equal(yield* Stream.runCollect(registry.tags(name, { after: "3" })), [])
  }),
  promise("a reader may stop after any number of tags", ["tags"], function*(registry, origin) {
    const name = yield* fresh
    yield* pushImage(origin, name, ["layer"], { tags: ["1", "2", "3"].map(tag) })
    const glance = Stream.runCollect(Stream.take(registry.tags(name), 1))
    const found = yield* Effect.replicateEffect(glance, 20)
    yield* Expect.equal(found.map(({ length }) => length), found.map(() => 1))
  }),
  promise(
    "existing tags are listed while others are pushed, each once",
    ["tags", "push"],
    function*(registry) {
      const name = yield* fresh
      const before = ["a1", "m1", "z1"].map(tag)
      yield* pushImage(registry, name, ["layer"], { tags: before })
      const others = Array.from({ length: 20 }, (_, index) => tag(`${index % 2 === 0 ? "b" : "y"}${index}`))
      const pushing = yield* Effect.forkScoped(
        Effect.forEach(others, (tag) => pushImage(registry, name, [tag], { tags: [tag] }), { discard: true })
      )
      const found = yield* Stream.runCollect(Stream.tap(registry.tags(name), () => Effect.yieldNow))
      yield* Expect.members(new Set(found), found)
      yield* Expect.equal(found.filter((tag) => before.includes(tag)).length, before.length)
      yield* Fiber.join(pushing)
      yield* Expect.members(yield* Stream.runCollect(registry.tags(name)), [...before, ...others])
    }
  ),
  promise("listing the tags of an absent repository fails", ["tags", "repositories"], function*(registry) {
    yield* Expect.reason(Stream.runCollect(registry.tags(yield* fresh)), "NameUnknown")
  })
]

const repositories: ReadonlyArray<Case> = [
  promise("repositories are listed, each once", ["repositories"], function*(registry, origin) {
    const parent = yield* fresh
    const names = ["1", "2", "3"].map((name) => repository(`${parent}/${name}`))
    yield* Effect.forEach(names, (name) => pushImage(origin, name, ["layer"]))
    const listed = yield* Stream.runCollect(registry.repositories())
    yield* Expect.members(listed.filter((name) => name.startsWith(parent)), names)
  }),
  promise("repositories are listed after one of them", ["repositories"], function*(registry, origin) {
    const parent = yield* fresh
    const [one, two] = [repository(`${parent}/1`), repository(`${parent}/2`)]
    yield* pushImage(origin, one, ["layer"])
    yield* pushImage(origin, two, ["layer"])
    const listed = yield* Stream.runCollect(registry.repositories({ after: one }))
    yield* Expect.equal(listed.filter((name) => name.startsWith(parent)), [two])
  })
]

const referrersOf = (registry: Registry, name: Repository, digest: Digest, artifactType?: string) =>
  Stream.runCollect(registry.referrers(name, digest, artifactType === undefined ? {} : { artifactType }))

const digestsOf = (descriptors: Iterable<{ readonly digest: Digest }>) =>
  Array.from(descriptors, ({ digest }) => digest)

const referrers: ReadonlyArray<Case> = [
  promise("referrers of a manifest are listed", ["referrers"], function*(registry, origin) {
    const name = yield* fresh
    const image = yield* pushImage(origin, name, ["layer"])
    const one = yield* pushReferrer(origin, name, image, "one")
    const two = yield* pushReferrer(origin, name, image, "two")
    yield* Expect.members(digestsOf(yield* referrersOf(registry, name, image.digest)), [one.digest, two.digest])
  }),
  promise(
    "a referrer is listed with its type, artifact type, size and annotations",
    ["referrers"],
    function*(registry, origin) {
      const name = yield* fresh
      const image = yield* pushImage(origin, name, ["layer"])
      const { digest, size } = yield* pushReferrer(origin, name, image, "one")
      yield* Expect.equal(yield* referrersOf(registry, name, image.digest), [{
        mediaType: MediaType.imageManifest,
        digest,
        size,
        artifactType: "application/vnd.example.sbom",
        annotations: { "org.example.content": "one" }
      }])
    }
  ),
  promise("a referrer without an artifact type is listed with the type of its config", ["referrers"], function*(
    registry,
    origin
  ) {
    const name = yield* fresh
    const { digest, mediaType, size } = yield* pushImage(origin, name, ["layer"])
    yield* pushImage(origin, name, ["about it"], { extra: { subject: { digest, mediaType, size } } })
    const listed = yield* referrersOf(registry, name, digest)
    yield* Expect.equal(listed.map(({ artifactType }) => artifactType), [MediaType.imageConfig])
  }),
  promise("an index without an artifact type is listed without one", ["referrers"], function*(registry, origin) {
    const name = yield* fresh
    const { digest, mediaType, size } = yield* pushImage(origin, name, ["layer"])
    const index = yield* pushIndex(origin, name, [], { extra: { subject: { digest, mediaType, size } } })
    yield* Expect.equal(yield* referrersOf(registry, name, digest), [index])
  }),
  promise("a referrer of a referrer is listed for that one only", ["referrers"], function*(registry, origin) {
    const name = yield* fresh
    const image = yield* pushImage(origin, name, ["layer"])
    const sbom = yield* pushReferrer(origin, name, image, "an SBOM")
    const signature = yield* pushReferrer(origin, name, sbom, "its signature")
    yield* Expect.equal(digestsOf(yield* referrersOf(registry, name, sbom.digest)), [signature.digest])
    yield* Expect.equal(digestsOf(yield* referrersOf(registry, name, image.digest)), [sbom.digest])
  }),
  promise("referrers of an absent manifest are listed", ["referrers"], function*(registry, origin) {
    const name = yield* fresh
    const subject = { mediaType: MediaType.imageManifest, digest: nowhere, size: 1 }
    const { digest } = yield* pushReferrer(origin, name, subject, "about nothing")
    yield* Expect.equal(digestsOf(yield* referrersOf(registry, name, nowhere)), [digest])
  }),
  promise("a manifest without referrers has none", ["referrers"], function*(registry, origin) {
    const name = yield* fresh
    const { digest } = yield* pushImage(origin, name, ["layer"])
    yield* Expect.equal(yield* referrersOf(registry, name, digest), [])
  }),
  promise("a referrer of one manifest is not listed for another", ["referrers"], function*(registry, origin) {
    const name = yield* fresh
    const [one, two] = [yield* pushImage(origin, name, ["one"]), yield* pushImage(origin, name, ["two"])]
    yield* pushReferrer(origin, name, one, "about one")
    yield* Expect.equal(yield* referrersOf(registry, name, two.digest), [])
  }),
  promise(
    "a referrer in one repository is not listed in another",
    ["referrers", "repositories"],
    function*(registry, origin) {
      const [here, elsewhere] = [yield* fresh, yield* fresh]
      const image = yield* pushImage(origin, here, ["layer"])
      yield* pushImage(origin, elsewhere, ["layer"])
      yield* pushReferrer(origin, elsewhere, image, "about it")
      yield* Expect.equal(yield* referrersOf(registry, here, image.digest), [])
    }
  ),
  promise("an absent repository has no referrers", ["referrers"], function*(registry) {
    yield* Expect.equal(yield* referrersOf(registry, yield* fresh, nowhere), [])
  }),
  promise("referrers are filtered by artifact type", ["referrers"], function*(registry, origin) {
    const name = yield* fresh
    const { digest, mediaType, size } = yield* pushImage(origin, name, ["layer"])
    const subject = { digest, mediaType, size }
    const sbom = yield* pushReferrer(origin, name, subject, "an SBOM")
    yield* pushImage(origin, name, ["no SBOM"], { extra: { subject } })
    const listed = yield* referrersOf(registry, name, digest, "application/vnd.example.sbom")
    yield* Expect.equal(digestsOf(listed), [sbom.digest])
  }),
  promise("a filter that matches no referrer lists none", ["referrers"], function*(registry, origin) {
    const name = yield* fresh
    const image = yield* pushImage(origin, name, ["layer"])
    yield* pushReferrer(origin, name, image, "an SBOM")
    yield* Expect.equal(yield* referrersOf(registry, name, image.digest, "application/vnd.example.other"), [])
  }),
  promise("a referrer that is pushed twice is listed once", ["referrers", "push"], function*(registry) {
    const name = yield* fresh
    const image = yield* pushImage(registry, name, ["layer"])
    yield* pushReferrer(registry, name, image, "one")
    yield* pushReferrer(registry, name, image, "one")
    yield* Expect.equal((yield* referrersOf(registry, name, image.digest)).length, 1)
  }),
  promise("referrers that are pushed concurrently are all listed", ["referrers", "push"], function*(registry) {
    const name = yield* fresh
    const image = yield* pushImage(registry, name, ["layer"])
    const pushed = yield* Effect.forEach(
      ["one", "two", "three", "four"],
      (content) => pushReferrer(registry, name, image, content),
      { concurrency: "unbounded" }
    )
    yield* Expect.members(digestsOf(yield* referrersOf(registry, name, image.digest)), digestsOf(pushed))
  }),
  promise("a deleted referrer is not listed", ["referrers", "delete"], function*(registry, origin) {
    const name = yield* fresh
    const image = yield* pushImage(origin, name, ["layer"])
    const one = yield* pushReferrer(origin, name, image, "one")
    const two = yield* pushReferrer(origin, name, image, "two")
    yield* registry.deleteManifest(name, one.digest)
    yield* Expect.equal(digestsOf(yield* referrersOf(registry, name, image.digest)), [two.digest])
  }),
  promise("referrers stay after their subject is deleted", ["referrers", "delete"], function*(registry, origin) {
    const name = yield* fresh
    const image = yield* pushImage(origin, name, ["layer"])
    const sbom = yield* pushReferrer(origin, name, image, "an SBOM")
    yield* registry.deleteManifest(name, image.digest)
    yield* Expect.equal(digestsOf(yield* referrersOf(registry, name, image.digest)), [sbom.digest])
  })
]

export const lists: ReadonlyArray<Case> = [...tags, ...repositories, ...referrers]
