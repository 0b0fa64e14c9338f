import { assert, describe, it } from "@effect/vitest"
import { DateTime, Deferred, Effect, Redacted, Stream } from "effect"
import * as Authentication from "effect-oci/Authentication"
import type { Digest } from "effect-oci/Digest"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import { Storage } from "effect-oci/RegistryError"
import { TestClock } from "effect/testing"
import { noise } from "../utils/BadNetwork.ts"
import { pushBlob, pushImage, pushIndex, pushManifest, repository, tag } from "../utils/images.ts"
import { hostile } from "../utils/mirror-page.ts"
import { failing, override } from "../utils/registries.ts"
import { docs, secret, serve, served, shop } from "../utils/registry-page.ts"
import { connect, send } from "../utils/Served.ts"
import { basicHeader } from "../utils/serving.ts"

const authentication = Authentication.basic({
  check: Authentication.passwords({ ada: Redacted.make("a"), bob: Redacted.make("b") }),
  authorize: (user, { action, name, type }) =>
    Effect.succeed(
      type === "registry" && user !== undefined || name.startsWith("public/") && action === "pull" ||
        user === "ada" && name.startsWith("team/") || user === "bob" && name.startsWith("team/") && action === "pull"
    )
})

const [ada, bob] = [basicHeader("ada:a"), basicHeader("bob:b")]

const shortOf = (digest: Digest): string => digest.slice(0, 19)

describe("the page of a registry", () => {
  it.live("answers requests that accept HTML by name, and leaves the others to the server", () =>
    Effect.gen(function*() {
      const { ask, host } = yield* served()
      const statusOf = (line: string, accept: string) =>
        Effect.map(send(host, line, { headers: { accept } }), (r) => r.status)
      for (const accept of ["*/*", "text/*", "application/json", "text/html;q=0", "text/htmlx"]) {
        assert.strictEqual(yield* statusOf("GET /", accept), 404, accept)
        assert.strictEqual(yield* statusOf("GET /ui/team/shop", accept), 404, accept)
      }
      assert.strictEqual((yield* send(host, "GET /")).status, 404)
      for (const accept of ["text/html", "application/xml, TEXT/HTML;charset=utf-8;q=0.3"]) {
        assert.strictEqual(yield* statusOf("GET /", accept), 200, accept)
      }
      const head = yield* ask("HEAD /")
      assert.deepStrictEqual([head.status, head.text], [200, ""])
      assert.strictEqual((yield* ask("POST /")).status, 404)
      assert.strictEqual((yield* ask("GET /v2/")).text, "{}")
      assert.strictEqual((yield* ask("GET /other")).status, 404)
    }))

  it.live("sends headers with which a browser runs nothing, and keeps nothing", () =>
    Effect.gen(function*() {
      const { ask } = yield* served()
      for (const path of ["/", "/ui/-/space", "/ui/team/shop", "/ui/team/shop:1.0", "/ui/team/nothing"]) {
        const { headers } = yield* ask(`GET ${path}`)
        assert.match(`${headers["content-security-policy"]}`, /default-src 'none'; style-src 'self'/, path)
        assert.strictEqual(headers["cache-control"], "no-store", path)
        assert.strictEqual(headers["vary"], "accept", path)
        assert.strictEqual(headers["x-content-type-options"], "nosniff", path)
      }
    }))

  it.live("escapes what the registry holds in every view, and shortens it", () =>
    Effect.gen(function*() {
      const { amd64, ask, referrer } = yield* served()
      const views = [
        "/",
        "/ui/-/space",
        "/ui/team/shop",
        "/ui/team/shop:1.0",
        `/ui/team/shop@${amd64.digest}`,
        `/ui/team/shop@${referrer.digest}`,
        "/ui/public/docs",
        "/ui/public/docs:odd",
        `/?prefix=${encodeURIComponent(hostile)}`,
        `/ui/team/shop?prefix=${encodeURIComponent(hostile)}&after=${encodeURIComponent(hostile)}`
      ]
      for (const view of views) {
        const { status, text } = yield* ask(`GET ${view}`)
        assert.strictEqual(status, 200, view)
        assert.notMatch(text, /<script|<img|onerror=alert\(2\)>|\u202e/, view)
        assert.notMatch(text, /href="javascript/, view)
        assert.notInclude(text, "x".repeat(1000), view)
      }
      assert.include((yield* ask("GET /ui/public/docs:odd")).text, "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;")
    }))

  it.live("answers unknown names, and names that are none, with a page of status 404", () =>
    Effect.gen(function*() {
      const { ask } = yield* served()
      const absent = `sha256:${"0".repeat(64)}`
      for (const path of ["/ui/none", "/ui/team/shop:none", `/ui/team/shop@${absent}`]) {
        const { headers, status, text } = yield* ask(`GET ${path}`)
        assert.deepStrictEqual([status, headers["content-type"]], [404, "text/html; charset=utf-8"], path)
        assert.include(text, "Not found", path)
      }
      for (const path of ["/ui", "/ui/", "/ui/UPPER", "/ui/%2e%2e/etc", "/ui/team/shop@", "/ui/a:b:c", "/ui/%zz"]) {
        assert.strictEqual((yield* ask(`GET ${path}`)).status, 404, path)
      }
    }))

  it.live("reports that the registry failed, without what it said", () =>
    Effect.gen(function*() {
      const registry = override(yield* MemoryRegistry.make(), {
        tags: () => Stream.fromEffect(failing("tags", new Storage({ path: "/private/path", problem: "it is broken" })))
      })
      const { ask } = yield* serve(registry)
      const { status, text } = yield* ask("GET /ui/team/shop")
      assert.strictEqual(status, 500)
      assert.notInclude(text, "/private/path")
    }))

  it.live("refuses requests for other hosts, and from other sites", () =>
    Effect.gen(function*() {
      const { ask } = yield* served({ allowedHosts: [] })
      assert.strictEqual((yield* ask("GET /", { headers: { host: "evil.test" } })).status, 403)
      assert.strictEqual((yield* ask("GET /", { headers: { origin: "http://evil.test" } })).status, 403)
      assert.strictEqual((yield* ask("GET /", { headers: { "sec-fetch-site": "cross-site" } })).status, 403)
      assert.strictEqual((yield* ask("GET /")).status, 200)
    }))

  it.live("follows links of other sites", () =>
    Effect.gen(function*() {
      const { ask } = yield* served({ allowedHosts: [] })
      const headers = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" }
      assert.strictEqual((yield* ask("GET /", { headers })).status, 200)
      assert.strictEqual((yield* ask("GET /", { headers: { ...headers, "sec-fetch-dest": "iframe" } })).status, 403)
      assert.strictEqual((yield* ask("GET /", { headers: { ...headers, host: "evil.test" } })).status, 403)
    }))

  it.effect("counts requests with wrong passwords for the limit of their address, and others for that of the user", () =>
    Effect.gen(function*() {
      const { ask, submit } = yield* served({ authentication, changes: "all", clientRequestRate: 3 })
      const wrong = basicHeader("ada:wrong")
      const digest = `sha256:${"0".repeat(64)}`
      const fields = { token: "", repository: "team/shop", digest, tag: "1.0" }
      for (const _ of [1, 2, 3]) assert.strictEqual((yield* ask("GET /", { headers: ada })).status, 200)
      assert.strictEqual((yield* ask("GET /", { headers: wrong })).status, 401)
      assert.strictEqual((yield* ask("GET /ui/team/shop", { headers: wrong })).status, 401)
      assert.strictEqual((yield* submit("delete-tag", fields, wrong)).status, 401)
      const views = [ask("GET /", { headers: wrong }), submit("delete-tag", fields, wrong)]
      for (const { headers, status, text } of yield* Effect.all(views)) {
        assert.strictEqual(status, 429)
        assert.match(String(headers["retry-after"]), /^[1-9]\d*$/)
        assert.include(text, "Too many requests")
      }
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* ask("GET /", { headers: wrong })).status, 401)
    }))

  it.live("refuses pages while too many are being made", () =>
    Effect.gen(function*() {
      const registry = override(yield* MemoryRegistry.make(), {
        tags: () => Stream.fromEffect(Effect.never)
      })
      const { ask } = yield* serve(registry)
      const asked = Array.from({ length: 40 }, () => ask("GET /ui/a"))
      const { headers, status } = yield* Effect.raceAllFirst(asked)
      assert.deepStrictEqual([status, headers["retry-after"]], [503, "5"])
    }))
})

describe("the list of repositories", () => {
  const many = Effect.gen(function*() {
    const registry = yield* MemoryRegistry.make()
    for (let number = 100; number < 220; number++) yield* pushImage(registry, repository(`app-${number}`), [])
    return yield* serve(registry)
  })

  const namesIn = (text: string) => Array.from(text.matchAll(/href="\/ui\/(app-\d+)"/g), ([, name]) => name)

  it.live("has pages of fifty, one after another", () =>
    Effect.gen(function*() {
      const { ask } = yield* many
      const names: Array<string | undefined> = []
      let address: string | undefined = "/"
      while (address !== undefined) {
        const { text }: { readonly text: string } = yield* ask(`GET ${address}`)
        const found = namesIn(text)
        assert.isAtMost(found.length, 50)
        names.push(...found)
        address = /<a href="([^"]+)" rel="next">/.exec(text)?.[1]?.replaceAll("&amp;", "&")
      }
      assert.deepStrictEqual(names, Array.from({ length: 120 }, (_, index) => `app-${100 + index}`))
    }))

  it.live("can be searched by the beginning of names", () =>
    Effect.gen(function*() {
      const { ask } = yield* many
      assert.deepStrictEqual(namesIn((yield* ask("GET /?prefix=app-21")).text).length, 10)
      assert.include((yield* ask("GET /?prefix=none")).text, "No repository begins with <b>none</b>.")
      const { text } = yield* ask("GET /?prefix=app-1")
      assert.include(text, "/?prefix=app-1&amp;after=app-149")
    }))

  it.live("reads a limited number of names, also of repositories that a viewer may not see", () =>
    Effect.gen(function*() {
      let read = 0
      const registry = override(yield* MemoryRegistry.make(), {
        repositories: () =>
          Stream.map(Stream.range(0, 1_000_000), (number) => {
            read++
            return repository(`hidden-${number}`)
          })
      })
      const { ask } = yield* serve(registry, { authentication })
      const { text } = yield* ask("GET /", { headers: bob })
      assert.include(text, "The list is too long to be searched to its end.")
      assert.isBelow(read, 200_000)
    }))

  it.live("shows the result of a scrub", () =>
    Effect.gen(function*() {
      const problem = { repository: "team/shop", tag: "1.0", message: hostile, outcome: "quarantined" as const }
      const check = Effect.map(
        DateTime.now,
        (endedAt) => ({ endedAt, manifests: 3, blobs: 5, bytes: 2048, problems: [problem] })
      )
      const { ask } = yield* served({ check })
      const { text } = yield* ask("GET /")
      assert.include(text, "3 manifests and 5 blobs with 2 KiB were read. <span class=\"bad\">1 problem</span>")
      assert.include(text, "<a href=\"/ui/team/shop:1.0\">team/shop:1.0</a>")
      assert.include((yield* ask("GET /ui/team/shop")).text, "Problems that the last scrub found")
      assert.notInclude((yield* ask("GET /ui/public/docs")).text, "Problems that the last scrub found")
    }))
})

describe("the view of a repository", () => {
  it.live("shows tags with their platforms, and what they share", () =>
    Effect.gen(function*() {
      const { ask, index } = yield* served()
      const { text } = yield* ask("GET /ui/team/shop")
      assert.include(text, "<a href=\"/ui/team/shop:1.0\">1.0</a>")
      assert.include(text, shortOf(index.digest))
      assert.include(text, "<span class=\"chip\">linux/amd64</span>")
      assert.include(text, "2 tags with 166.02 KiB of layers, each counted once.")
      assert.include(text, "166.02 KiB, of which other tags have 166.02 KiB")
    }))

  it.live("shows a tag that cannot be read among the others", () =>
    Effect.gen(function*() {
      const { registry } = yield* served()
      const broken = override(registry, {
        getManifest: (name, reference) =>
          reference === "latest"
            ? failing("getManifest", new Storage({ path: "x", problem: "it is broken" }))
            : registry.getManifest(name, reference)
      })
      const { ask } = yield* serve(broken)
      const { text } = yield* ask("GET /ui/team/shop")
      assert.include(text, "cannot be read")
      assert.include(text, "linux/amd64")
    }))
})

describe("the view of an image", () => {
  it.live("shows the platforms of an index, their layers and referrers", () =>
    Effect.gen(function*() {
      const { amd64, ask, index, referrer } = yield* served()
      const { text } = yield* ask("GET /ui/team/shop:1.0")
      assert.include(text, `<a href="/ui/team/shop@${amd64.digest}">linux/amd64</a>`)
      assert.include(text, "3 layers, 166.02 KiB")
      assert.strictEqual(Array.from(text.matchAll(/class="bar shared"/g)).length, 2)
      assert.include(text, "Shared layers")
      assert.include(text, `<a href="/ui/team/shop@${referrer.digest}">application/vnd.example.sbom</a>`)
      assert.include(text, index.digest)
    }))

  it.live("shows layers with their commands, config and history of one platform", () =>
    Effect.gen(function*() {
      const { amd64, ask, host } = yield* served()
      const { text } = yield* ask(`GET /ui/team/shop@${amd64.digest}`)
      for (const part of ["ADD file:1234 in /", "58.59 KiB", "Exposed ports", "8080/tcp", "no layer", "PATH"]) {
        assert.include(text, part)
      }
      assert.include(text, `docker pull ${host}/team/shop@${amd64.digest}`)
    }))

  it.live("shows the subject of a referrer, and the files of an artifact", () =>
    Effect.gen(function*() {
      const { ask, index, referrer } = yield* served()
      const { text } = yield* ask(`GET /ui/team/shop@${referrer.digest}`)
      assert.include(text, `<a href="/ui/team/shop@${index.digest}">`)
      assert.include(text, "Files")
      assert.include(text, "oras pull")
      assert.notInclude(text, "docker pull")
    }))

  it.live("names the host of the request in its commands, and only that of a host", () =>
    Effect.gen(function*() {
      const { ask } = yield* served({ isSecure: true })
      const commands = (host: string) =>
        Effect.map(ask("GET /ui/team/shop:1.0", { headers: { host } }), ({ text }) => text)
      assert.include(yield* commands("registry.example.com"), "crane pull registry.example.com/team/shop:1.0 shop.tar")
      assert.notInclude(yield* commands("a;rm -rf"), "rm -rf")
      const { ask: askPlain } = yield* served()
      const { text } = yield* askPlain("GET /ui/team/shop:1.0", { headers: { host: "registry.test:5000" } })
      assert.include(text, "crane pull --insecure registry.test:5000/team/shop:1.0 shop.tar")
      assert.include(text, "effect-oci copy --plain-http registry.test:5000 registry.test:5000/team/shop:1.0")
    }))

  it.live("is short for an index of very many images, and for a manifest that is too large", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const image = yield* pushImage(registry, shop, [])
      const children = Array.from({ length: 3000 }, (_, number) => ({
        ...image,
        annotations: { number: `${number}` }
      }))
      yield* pushIndex(registry, shop, children, { tags: [tag("many")] })
      const large = { mediaType: MediaType.imageIndex, manifests: [], annotations: { text: "x".repeat(1_100_000) } }
      yield* pushManifest(registry, shop, large, [tag("large")])
      const { ask } = yield* serve(registry)
      const many = (yield* ask("GET /ui/team/shop:many")).text
      assert.isBelow(many.length, 200_000)
      assert.include(many, "and 2,968 more")
      assert.include((yield* ask("GET /ui/team/shop:large")).text, "it is too large to be shown")
    }))

  it.live("is short for an index of images with very many layers, of which every second one is shared", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const config = yield* pushBlob(registry, shop, "{}", MediaType.imageConfig)
      const push = (text: string) => pushBlob(registry, shop, text.padStart(8), MediaType.imageLayerGzip)
      const children = yield* Effect.forEach(["a", "b"], (name) =>
        Effect.gen(function*() {
          const numbers = Array.from({ length: 1000 }, (_, number) => number)
          const layers = yield* Effect.forEach(numbers, (number) => push(`${number % 2 === 0 ? "" : name}${number}`))
          return yield* pushManifest(registry, shop, { mediaType: MediaType.imageManifest, config, layers })
        }))
      yield* pushIndex(registry, shop, children, { tags: [tag("many")] })
      const { ask } = yield* serve(registry)
      assert.isBelow((yield* ask("GET /ui/team/shop:many")).text.length, 200_000)
    }))

  it.live("does not read a config that is too large", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const config = yield* pushBlob(registry, shop, noise(1_100_000), MediaType.imageConfig)
      yield* pushManifest(registry, shop, { mediaType: MediaType.imageManifest, config, layers: [] }, [tag("1")])
      const counted = override(registry, { getBlob: () => assert.fail("it was read") })
      const { ask } = yield* serve(counted)
      assert.include((yield* ask("GET /ui/team/shop:1")).text, "It cannot be shown: it is too large to be shown.")
      assert.strictEqual((yield* ask("GET /ui/team/shop")).status, 200)
    }))
})

describe("what takes space", () => {
  it.live("lists the largest repositories and blobs, each blob once", () =>
    Effect.gen(function*() {
      const { ask } = yield* served()
      const { text } = yield* ask("GET /ui/-/space")
      assert.include(text, "in 3 repositories")
      assert.isBelow(text.indexOf("/ui/team/shop"), text.indexOf("/ui/public/docs"))
    }))

  it.live("is computed once for many viewers", () =>
    Effect.gen(function*() {
      const { registry } = yield* served()
      let lists = 0
      const counted = override(registry, {
        repositories: (options) => {
          lists++
          return registry.repositories(options)
        }
      })
      const { ask } = yield* serve(counted)
      yield* Effect.all(Array.from({ length: 20 }, () => ask("GET /ui/-/space")), { concurrency: 20 })
      assert.strictEqual(lists, 1)
    }))

  it.live("is computed again after a change that came while it was being computed", () =>
    Effect.gen(function*() {
      const { index, registry } = yield* served()
      const [begun, goOn] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      let lists = 0
      const slow = override(registry, {
        repositories: (options) => {
          lists++
          const waits = Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(goOn))
          return Stream.unwrap(Effect.as(waits, registry.repositories(options)))
        }
      })
      const { ask, formToken, submit } = yield* serve(slow, { changes: "all" })
      const token = yield* formToken("/ui/team/shop:1.0")
      yield* ask("GET /ui/-/space")
      yield* Deferred.await(begun)
      assert.strictEqual(
        (yield* submit("tag", { token, repository: shop, digest: index.digest, tag: "2" })).status,
        303
      )
      yield* Deferred.succeed(goOn, undefined)
      yield* ask("GET /ui/-/space")
      yield* ask("GET /ui/-/space")
      assert.strictEqual(lists, 2)
    }))

  it.live("is announced while it is being computed", () =>
    Effect.gen(function*() {
      const { registry } = yield* served()
      const slow = override(registry, { tags: () => Stream.fromEffect(Effect.never) })
      const { ask } = yield* serve(slow)
      assert.include((yield* ask("GET /")).text, "Sizes are being computed")
      assert.include((yield* ask("GET /ui/-/space")).text, "The content is being measured")
    }))
})

describe("the page of a registry with users", () => {
  it.live("asks for a password, and shows a viewer what that viewer may pull", () =>
    Effect.gen(function*() {
      const { ask } = yield* served({ authentication })
      const anonymous = yield* ask("GET /")
      assert.strictEqual(anonymous.status, 401)
      assert.match(`${anonymous.headers["www-authenticate"]}`, /^Basic realm="registry"/)
      assert.strictEqual((yield* ask("GET /", { headers: basicHeader("ada:wrong") })).status, 401)
      for (const path of ["/", "/ui/-/space"]) {
        const { text } = yield* ask(`GET ${path}`, { headers: bob })
        assert.include(text, `href="/ui/${shop}"`, path)
        assert.include(text, `href="/ui/${docs}"`, path)
        assert.notInclude(text, secret, path)
        assert.include(text, "signed in as bob", path)
      }
      for (const path of [`/ui/${secret}`, `/ui/${secret}:1`]) {
        assert.strictEqual((yield* ask(`GET ${path}`)).status, 401, path)
        assert.strictEqual((yield* ask(`GET ${path}`, { headers: bob })).status, 403, path)
      }
      const open = yield* ask(`GET /ui/${docs}`)
      assert.strictEqual(open.status, 200)
      assert.include(open.text, "Sign in")
    }))

  it.live("signs in on request", () =>
    Effect.gen(function*() {
      const { ask } = yield* served({ authentication })
      assert.strictEqual((yield* ask("GET /ui/-/sign-in")).status, 401)
      const { headers, status } = yield* ask("GET /ui/-/sign-in", { headers: bob })
      assert.deepStrictEqual([status, headers["location"]], [303, "/"])
    }))

  it.live("shows no problems of what a viewer may not pull", () =>
    Effect.gen(function*() {
      const problem = { repository: secret, message: "it is broken", outcome: "reported" as const }
      const check = Effect.map(
        DateTime.now,
        (endedAt) => ({ endedAt, manifests: 1, blobs: 1, bytes: 1, problems: [problem] })
      )
      const { ask } = yield* served({ authentication, check })
      const { text } = yield* ask("GET /", { headers: bob })
      assert.include(text, "Nothing is broken.")
    }))

  it.live("takes passwords also if other clients use tokens", () =>
    Effect.gen(function*() {
      const { authorize, check } = authentication
      const { ask } = yield* served({
        authentication: Authentication.bearer({ service: "registry.test", authorize, check })
      })
      const { headers, status } = yield* ask("GET /")
      assert.deepStrictEqual([status, headers["www-authenticate"]], [
        401,
        "Basic realm=\"registry.test\", charset=\"UTF-8\""
      ])
      assert.strictEqual((yield* ask("GET /", { headers: ada })).status, 200)
    }))
})

describe("changes by the page of a registry", () => {
  const address = "/ui/team/shop:1.0"

  it.live("are off by default", () =>
    Effect.gen(function*() {
      const { ask, index, submit } = yield* served()
      assert.notInclude((yield* ask(`GET ${address}`)).text, "<form class=\"change\"")
      const fields = { token: "x", repository: shop, digest: index.digest, tag: "1.0" }
      for (const change of ["tag", "delete-tag", "delete-manifest"]) {
        assert.strictEqual((yield* submit(change, fields)).status, 404, change)
      }
    }))

  it.live("add and move a tag, and delete tags and manifests", () =>
    Effect.gen(function*() {
      const { amd64, ask, formToken, index, registry, submit } = yield* served({ changes: "all" })
      const token = yield* formToken(address)
      const digestOf = (name: string) => Effect.map(registry.resolveManifest(shop, tag(name)), ({ digest }) => digest)
      const added = yield* submit("tag", { token, repository: shop, digest: amd64.digest, tag: "amd64" })
      assert.deepStrictEqual([added.status, added.headers["location"]], [303, "/ui/team/shop:amd64?done=tag"])
      assert.include((yield* ask("GET /ui/team/shop:amd64?done=tag")).text, "The tag points at this manifest.")
      assert.strictEqual(yield* digestOf("amd64"), amd64.digest)
      const moved = { token, repository: shop, digest: amd64.digest, tag: "latest" }
      assert.strictEqual((yield* submit("tag", moved)).status, 409)
      assert.strictEqual(yield* digestOf("latest"), index.digest)
      assert.strictEqual((yield* submit("tag", { ...moved, move: "yes" })).status, 303)
      assert.strictEqual(yield* digestOf("latest"), amd64.digest)
      // it points at another manifest than the page has shown
      const stale = { token, repository: shop, digest: index.digest, tag: "latest" }
      assert.strictEqual((yield* submit("delete-tag", stale)).status, 409)
      assert.strictEqual((yield* submit("delete-tag", { ...stale, digest: amd64.digest })).status, 303)
      assert.strictEqual(
        (yield* submit("delete-manifest", { token, repository: shop, digest: index.digest })).status,
        303
      )
      assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(shop)), [tag("amd64")])
    }))

  it.live("do not delete unless deletion is allowed", () =>
    Effect.gen(function*() {
      const { ask, formToken, index, submit } = yield* served({ changes: "no-deletes" })
      assert.notInclude((yield* ask(`GET ${address}`)).text, "Delete the tag")
      const token = yield* formToken(address)
      const fields = { token, repository: shop, digest: index.digest, tag: "1.0" }
      assert.strictEqual((yield* submit("delete-tag", fields)).status, 404)
      assert.strictEqual((yield* submit("tag", { ...fields, tag: "2" })).status, 303)
    }))

  it.live("need the token of the form, of the same user", () =>
    Effect.gen(function*() {
      const { formToken, index, registry, submit } = yield* served({ changes: "all", authentication })
      const fields = { repository: shop, digest: index.digest, tag: "1.0" }
      const own = yield* formToken(address, ada)
      const other = yield* formToken(address, bob)
      assert.strictEqual(other, "")
      assert.strictEqual((yield* submit("delete-tag", fields, ada)).status, 403)
      assert.strictEqual((yield* submit("delete-tag", { ...fields, token: `${own}x` }, ada)).status, 403)
      assert.strictEqual((yield* submit("delete-tag", { ...fields, token: own })).status, 401)
      assert.strictEqual((yield* submit("delete-tag", { ...fields, token: own }, bob)).status, 403)
      assert.strictEqual(
        (yield* submit("delete-tag", { ...fields, token: own }, { ...ada, origin: "http://evil.test" })).status,
        403
      )
      yield* registry.resolveManifest(shop, tag("1.0"))
      assert.strictEqual((yield* submit("delete-tag", { ...fields, token: own }, ada)).status, 303)
    }))

  it.live("do not keep viewers waiting for forms that do not arrive", () =>
    Effect.gen(function*() {
      const { ask, host } = yield* served({ changes: "all" })
      const head = `POST /ui/-/tag HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 9\r\nExpect: 100-continue\r\n` +
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
      for (let number = 0; number < 36; number++) {
        const { read, write } = yield* connect(host)
        yield* write(head)
        assert.include(yield* read(/Continue/), "100 Continue")
      }
      assert.strictEqual((yield* ask("GET /")).status, 200)
    }))

  it.live("refuse what is not a form, and names that are none", () =>
    Effect.gen(function*() {
      const { formToken, index, submit } = yield* served({ changes: "all" })
      const token = yield* formToken(address)
      const fields = { token, repository: shop, digest: index.digest, tag: "1.0" }
      assert.strictEqual((yield* submit("tag", fields, { "content-type": "text/plain" })).status, 415)
      assert.strictEqual((yield* submit("tag", { ...fields, tag: "a b" })).status, 400)
      assert.strictEqual((yield* submit("tag", { ...fields, repository: "../x" })).status, 400)
      assert.strictEqual((yield* submit("tag", { ...fields, tag: "x".repeat(20_000) })).status, 400)
    }))
})
