import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as MediaType from "effect-oci/MediaType"
import * as Registry from "effect-oci/Registry"
import { NameUnknown, type Reason, Unsupported } from "effect-oci/RegistryError"
import { digestOf } from "../utils/digests.ts"
import { pushImage, pushManifest, pushReferrer, repository, tag } from "../utils/images.ts"
import { failing, override } from "../utils/registries.ts"
import { connect } from "../utils/ScriptedServer.ts"
import { memory, type Response, send, serve } from "../utils/Served.ts"

type Ask = (line: string) => Effect.Effect<Response>

const app = repository("team/app")
const nowhere = digestOf("nowhere")

const next = ({ headers: { link } }: Response): string | undefined =>
  /^<([^>]*)>; rel="next"$/.exec(typeof link === "string" ? link : "")?.[1]

/** Returns all pages of a list, beginning with the one at a path. */
const pagesFrom = (ask: Ask, path: string): Effect.Effect<ReadonlyArray<Response>> =>
  Effect.flatMap(ask(`GET ${path}`), (page) => {
    const following = next(page)
    return following === undefined
      ? Effect.succeed([page])
      : Effect.map(pagesFrom(ask, following), (pages) => [page, ...pages])
  })

const json = ({ text }: Response) => JSON.parse(text) as Readonly<Record<string, ReadonlyArray<string>>>

describe("a list of tags", () => {
  const withTags = Effect.fnUntraced(function*(names: ReadonlyArray<string>, pageSize = 1000) {
    const served = yield* memory({ pageSize })
    if (names.length > 0) yield* pushImage(served.registry, app, ["layer"], { tags: names.map(tag) })
    return (query: string) => served.ask(`GET /v2/team/app/tags/list${query}`)
  })

  it.live("has the name of the repository, and all tags in the order of ASCII", () =>
    Effect.gen(function*() {
      const list = yield* withTags(["b", "a", "B", "10", "1", "_", "1.0"])
      const page = yield* list("")
      assert.deepStrictEqual([page.status, page.headers["content-type"]], [200, "application/json"])
      assert.deepStrictEqual(json(page), {
        name: "team/app",
        tags: ["1", "1.0", "10", "B", "_", "a", "b"]
      } as never)
      assert.isUndefined(next(page))
    }))

  it.live("is empty in a repository without tags", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      yield* pushImage(registry, app, ["layer"])
      assert.deepStrictEqual(json(yield* ask("GET /v2/team/app/tags/list")).tags, [])
    }))

  it.live("of an absent repository is 404", () =>
    Effect.gen(function*() {
      const list = yield* withTags([])
      for (const query of ["", "?n=0", "?n=2", "?last=a"]) {
        const { code, status } = yield* list(query)
        assert.deepStrictEqual([status, code], [404, "NAME_UNKNOWN"])
      }
    }))

  const tags = ["1", "2", "3", "4", "5"]
  it.live.each(
    [
      ["?n=2", ["1", "2"], "/v2/team/app/tags/list?n=2&last=2"],
      ["?n=4", ["1", "2", "3", "4"], "/v2/team/app/tags/list?n=4&last=4"],
      ["?n=5", tags, undefined],
      ["?n=6", tags, undefined],
      ["?n=99999999999999999999", tags, undefined],
      ["?n=0", [], undefined],
      ["?last=2", ["3", "4", "5"], undefined],
      ["?last=25", ["3", "4", "5"], undefined],
      ["?last=5", [], undefined],
      ["?last=zzz", [], undefined],
      ["?last=", tags, undefined],
      ["?n=2&last=2", ["3", "4"], "/v2/team/app/tags/list?n=2&last=4"],
      ["?n=2&last=3", ["4", "5"], undefined],
      ["?n=0&last=3", [], undefined]
    ] as const
  )("of five, with %s, is %j, and then %s", ([query, expected, following]) =>
    Effect.gen(function*() {
      const page = yield* (yield* withTags(tags))(query)
      assert.deepStrictEqual([page.status, json(page).tags, next(page)], [200, expected, following])
    }))

  it.live.each(["?n=-1", "?n=x", "?n=", "?n=1.5", "?n=1e3"])("with %s is refused", (query) =>
    Effect.gen(function*() {
      const { code, status } = yield* (yield* withTags(tags))(query)
      assert.deepStrictEqual([status, code], [400, "UNSUPPORTED"])
    }))

  it.live("has at most one page of entries, and a link to the next", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory({ pageSize: 2 })
      yield* pushImage(registry, app, ["layer"], { tags: tags.map(tag) })
      for (const query of ["", "?n=100"]) {
        const pages = yield* pagesFrom(ask, `/v2/team/app/tags/list${query}`)
        assert.deepStrictEqual(pages.map((page) => json(page).tags), [["1", "2"], ["3", "4"], ["5"]])
      }
    }))

  it.live("has every tag once for every page size", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      const names = Array.from({ length: 23 }, (_, index) => `v${index}`)
      yield* pushImage(registry, app, ["layer"], { tags: names.map(tag) })
      for (const n of [1, 2, 7, 22, 23, 24]) {
        const pages = yield* pagesFrom(ask, `/v2/team/app/tags/list?n=${n}`)
        assert.deepStrictEqual(pages.flatMap((page) => json(page).tags), names.toSorted())
        assert.strictEqual(pages.length, Math.ceil(23 / n))
      }
    }))

  it.live("has no body in a response to HEAD", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      const { bytes, headers, status } = yield* ask("HEAD /v2/team/app/tags/list")
      assert.deepStrictEqual([status, headers["content-length"], bytes.length], [200, "32", 0])
    }))
})

describe("the catalog", () => {
  it.live("has all repositories, in pages", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      for (const name of ["b", "a/b", "a", "c/d/e"]) yield* pushImage(registry, repository(name), ["layer"])
      assert.deepStrictEqual(json(yield* ask("GET /v2/_catalog")).repositories, ["a", "a/b", "b", "c/d/e"])
      const pages = yield* pagesFrom(ask, "/v2/_catalog?n=3")
      assert.deepStrictEqual(pages.map((page) => json(page).repositories), [["a", "a/b", "b"], ["c/d/e"]])
    }))

  it.live("of an empty registry is empty", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      assert.deepStrictEqual(json(yield* ask("GET /v2/_catalog")).repositories, [])
    }))

  it.live("is 405 if the registry has none", () =>
    Effect.gen(function*() {
      const { registry } = yield* memory()
      const { host } = yield* serve(override(registry, {
        repositories: () => Stream.fromEffect(failing("repositories", new Unsupported({})))
      }))
      const { code, status } = yield* send(host, "GET /v2/_catalog")
      assert.deepStrictEqual([status, code], [405, "UNSUPPORTED"])
    }))
})

describe("a list of referrers", () => {
  const digestsIn = (page: Response) =>
    (JSON.parse(page.text) as { readonly manifests: ReadonlyArray<{ readonly digest: string }> }).manifests
      .map(({ digest }) => digest)

  const withReferrers = Effect.fnUntraced(function*(count: number, options = {}) {
    const served = yield* memory(options)
    const image = yield* pushImage(served.registry, app, ["layer"])
    const referrers = yield* Effect.forEach(
      Array.from({ length: count }, (_, index) => index),
      (index) => pushReferrer(served.registry, app, image, `about it: ${index}`)
    )
    const path = `/v2/team/app/referrers/${image.digest}`
    return { ...served, image, path, digests: referrers.map(({ digest }) => digest).sort() }
  })

  it.live("is an image index of the manifests that refer to a digest", () =>
    Effect.gen(function*() {
      const { ask, digests, path } = yield* withReferrers(3)
      const page = yield* ask(`GET ${path}`)
      assert.deepStrictEqual([page.status, page.headers["content-type"]], [200, MediaType.imageIndex])
      assert.deepInclude(JSON.parse(page.text), { schemaVersion: 2, mediaType: MediaType.imageIndex })
      assert.deepStrictEqual(digestsIn(page), digests)
    }))

  it.live("is in the order of digests over all pages, in whichever order the registry lists them", () =>
    Effect.gen(function*() {
      const digests = Array.from({ length: 5_000 }, (_, index) => digestOf(`${index}`))
      const listed = digests.map((digest) => ({ mediaType: MediaType.imageManifest, digest, size: 1 }))
      const { host } = yield* serve(Registry.make({ name: "long", referrers: () => Stream.fromIterable(listed) }))
      const found: Array<string> = []
      let path: string | undefined = `/v2/team/app/referrers/${nowhere}`
      while (path !== undefined) {
        const page: Response = yield* send(host, `GET ${path}`)
        assert.isAtMost(digestsIn(page).length, 1_000)
        found.push(...digestsIn(page))
        path = /^<([^>]+)>/.exec(`${page.headers.link}`)?.[1]
      }
      assert.deepStrictEqual(found, digests.toSorted())
    }))

  it.live("has the type, size, artifact type and annotations of each", () =>
    Effect.gen(function*() {
      const { ask, digests, path, registry } = yield* withReferrers(1)
      const [digest] = digests
      assert(digest !== undefined)
      const { size } = yield* registry.resolveManifest(app, digest)
      assert.deepStrictEqual(JSON.parse((yield* ask(`GET ${path}`)).text).manifests, [{
        mediaType: MediaType.imageManifest,
        digest,
        size,
        artifactType: "application/vnd.example.sbom",
        annotations: { "org.example.content": "about it: 0" }
      }])
    }))

  it.live("is empty without referrers, without the manifest, and without the repository", () =>
    Effect.gen(function*() {
      const { ask, digests } = yield* withReferrers(1)
      for (const path of [`app/referrers/${digests[0]}`, `app/referrers/${nowhere}`, `other/referrers/${nowhere}`]) {
        const page = yield* ask(`GET /v2/team/${path}`)
        assert.deepStrictEqual([page.status, page.headers["content-type"]], [200, MediaType.imageIndex])
        assert.deepStrictEqual(JSON.parse(page.text).manifests, [])
      }
    }))

  it.live("is empty if the registry reports an unknown repository", () =>
    Effect.gen(function*() {
      const { registry } = yield* memory()
      const { host } = yield* serve(override(registry, {
        referrers: () => Stream.fromEffect(failing("referrers", new NameUnknown({})))
      }))
      const { status, text } = yield* send(host, `GET /v2/team/app/referrers/${nowhere}`)
      assert.deepStrictEqual([status, JSON.parse(text).manifests], [200, []])
    }))

  it.live("is 404 if the registry lists none, so that clients use the tag schema", () =>
    Effect.gen(function*() {
      const { registry } = yield* memory()
      const { host } = yield* serve(override(registry, {
        referrers: () => Stream.fromEffect(failing("referrers", new Unsupported({})))
      }))
      const { code, status } = yield* send(host, `GET /v2/team/app/referrers/${nowhere}`)
      assert.deepStrictEqual([status, code], [404, "UNSUPPORTED"])
    }))

  it.live.each(["nonsense", "sha256:12", `sha256:${"A".repeat(64)}`, ""])(
    "of %j is refused",
    (digest) =>
      Effect.gen(function*() {
        const { ask } = yield* memory()
        const { code, status } = yield* ask(`GET /v2/team/app/referrers/${digest}`)
        assert.deepStrictEqual([status, code], [400, "DIGEST_INVALID"])
      })
  )

  it.live("is filtered by artifact type, and the response says so", () =>
    Effect.gen(function*() {
      const { ask, digests, image, path, registry } = yield* withReferrers(2)
      const { digest, mediaType, size } = image
      const index = { mediaType: MediaType.imageIndex, manifests: [], subject: { digest, mediaType, size } }
      const other = yield* pushManifest(registry, app, { ...index, artifactType: "application/vnd.example+json" })
      assert.strictEqual(digestsIn(yield* ask(`GET ${path}`)).length, 3)
      for (
        const [query, expected] of [
          ["application/vnd.example.sbom", digests],
          ["application%2Fvnd.example.sbom", digests],
          ["application%2Fvnd.example%2Bjson", [other.digest]],
          ["application/vnd.example+json", [other.digest]],
          ["application/none", []]
        ] satisfies ReadonlyArray<readonly [query: string, digests: Array<string>]>
      ) {
        const page = yield* ask(`GET ${path}?artifactType=${query}`)
        assert.deepStrictEqual(digestsIn(page), expected)
        assert.strictEqual(page.headers["oci-filters-applied"], "artifactType")
      }
    }))

  it.live("has no header for a filter without one", () =>
    Effect.gen(function*() {
      const { ask, path } = yield* withReferrers(1)
      assert.isUndefined((yield* ask(`GET ${path}`)).headers["oci-filters-applied"])
    }))

  it.live("has pages that are indexes, filtered or not", () =>
    Effect.gen(function*() {
      const { ask, digests, path } = yield* withReferrers(5, { pageSize: 2 })
      for (const query of ["", "?artifactType=application/vnd.example.sbom"]) {
        const pages = yield* pagesFrom(ask, path + query)
        assert.deepStrictEqual(pages.map((page) => digestsIn(page).length), [2, 2, 1])
        assert.deepStrictEqual(pages.flatMap(digestsIn), digests)
        for (const page of pages) {
          assert.strictEqual(page.headers["content-type"], MediaType.imageIndex)
          assert.strictEqual(page.headers["oci-filters-applied"], query === "" ? undefined : "artifactType")
        }
      }
    }))

  it.live("omits none and repeats none if it changes between pages", () =>
    Effect.gen(function*() {
      const { ask, digests, image, path, registry } = yield* withReferrers(5, { pageSize: 2 })
      const first = yield* ask(`GET ${path}`)
      for (const digest of digestsIn(first)) {
        yield* ask(`DELETE /v2/team/app/manifests/${digest}`)
      }
      const rest = yield* pagesFrom(ask, next(first) ?? "")
      assert.deepStrictEqual(rest.flatMap(digestsIn), digests.slice(2))
      yield* pushReferrer(registry, app, image, "one more")
    }))

  it.live("has pages of at most a megabyte", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      const { digest, mediaType, size } = yield* pushImage(registry, app, ["layer"])
      const annotations = { "org.example.long": "x".repeat(600_000) }
      const push = (index: number) =>
        pushManifest(registry, app, {
          mediaType: MediaType.imageIndex,
          manifests: [],
          subject: { digest, mediaType, size },
          annotations: { ...annotations, index: `${index}` }
        })
      yield* Effect.forEach([0, 1, 2], push)
      const pages = yield* pagesFrom(ask, `/v2/team/app/referrers/${digest}`)
      assert.deepStrictEqual(pages.map((page) => digestsIn(page).length), [1, 1, 1])
    }))

  it.live("has referrers that were pushed to a registry with the tag schema only", () =>
    Effect.gen(function*() {
      const { registry } = yield* memory()
      const before = yield* serve(registry, { quirks: ["noReferrers"] })
      const client = yield* connect({ host: before.host })
      const image = yield* pushImage(client, app, ["layer"])
      const { digest } = yield* pushReferrer(client, app, image, "about it")
      const after = yield* serve(registry)
      assert.deepStrictEqual(
        digestsIn(yield* send(after.host, `GET /v2/team/app/referrers/${image.digest}`)),
        [digest]
      )
    }))
})

describe("a list that fails in the registry", () => {
  const lists: Readonly<Record<string, (reason: Reason) => Partial<Omit<Registry.Registry, "~effect-oci/Registry">>>> =
    {
      "/v2/team/app/tags/list": (reason) => ({ tags: () => Stream.fromEffect(failing("tags", reason)) }),
      "/v2/_catalog": (reason) => ({ repositories: () => Stream.fromEffect(failing("repositories", reason)) })
    }
  for (const [path, broken] of Object.entries(lists)) {
    it.live(`fails without a part of it: ${path}`, () =>
      Effect.gen(function*() {
        const { registry } = yield* memory()
        const { host } = yield* serve(override(registry, broken(new NameUnknown({}))))
        assert.strictEqual((yield* send(host, `GET ${path}`)).status, 404)
      }))
  }
})
