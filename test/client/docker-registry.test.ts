import { assert, describe, it, layer } from "@effect/vitest"
import { Effect, Redacted, Stream } from "effect"
import * as Credentials from "effect-oci/Credentials"
import * as MediaType from "effect-oci/MediaType"
import * as Namespace from "effect-oci/Namespace"
import * as NodeNamespace from "effect-oci/NodeNamespace"
import { Contract } from "effect-oci/testing"
import { available, DockerRegistry, layer as dockerRegistry, make, user } from "../utils/DockerRegistry.ts"
import { bytesOf, pushBlob, pushImage, pushReferrer, pushSample, repository, tag } from "../utils/images.ts"
import { connect, digestOf, reasonOf } from "../utils/ScriptedServer.ts"
import * as TokenServer from "../utils/TokenServer.ts"

/** Needs of the contract that docker-registry 2.8 does not meet. */
const lacks: ReadonlyArray<Contract.Need> = [
  "sha512Manifests",
  "offsets",
  "partialChunks",
  "kinds",
  "nonDistributable",
  "mediaTypes",
  "sizes",
  "tagOrder",
  "tagsAfter"
]

const registry = Effect.flatMap(DockerRegistry, ({ host }) => connect({ host }))

const chunk = (offset: number, content: string) => ({
  offset,
  size: content.length,
  stream: Stream.succeed(bytesOf(content))
})

describe.skipIf(!available)("CNCF distribution", () => {
  layer(dockerRegistry, { excludeTestServices: true })("as a registry", (it) => {
    for (const { effect, name, needs = [] } of Contract.cases) {
      it.effect.skipIf(needs.some((need) => lacks.includes(need)))(name, () => Effect.flatMap(registry, effect))
    }
  })

  layer(dockerRegistry, { excludeTestServices: true })("on the wire", (it) => {
    it.effect("accepts no blob in one POST: the session that it opens is used, and the next blob starts with a session", () =>
      Effect.gen(function*() {
        const docker = yield* registry
        const name = repository("wire/post")
        yield* pushBlob(docker, name, "one")
        assert.deepInclude(yield* docker.capabilities, { singlePost: false })
        const { digest } = yield* pushBlob(docker, name, "two")
        assert.strictEqual((yield* docker.resolveBlob(name, digest)).size, 3)
      }))

    it.effect("mounts a blob from another repository, and opens a session for an absent one", () =>
      Effect.gen(function*() {
        const docker = yield* registry
        const [from, to] = [repository("wire/from"), repository("wire/to")]
        const { digest } = yield* pushBlob(docker, from, "in two places")
        const mounted = yield* Effect.scoped(docker.startUpload(to, { mount: { digest, from } }))
        assert.strictEqual(mounted._tag, "Mounted")
        assert.strictEqual((yield* docker.resolveBlob(to, digest)).size, 13)
        const declined = yield* docker.startUpload(to, { mount: { digest: digestOf("nowhere"), from } })
        assert.strictEqual(declined._tag, "Upload")
      }))

    it.effect("accepts a blob in chunks, and reports the offset", () =>
      Effect.gen(function*() {
        const docker = yield* registry
        const name = repository("wire/chunks")
        const upload = yield* docker.startUpload(name)
        assert(upload._tag === "Upload")
        assert.strictEqual(yield* upload.status, 0)
        assert.strictEqual(yield* upload.append(chunk(0, "0123")), 4)
        assert.strictEqual(yield* upload.status, 4)
        yield* upload.commit(digestOf("0123456789"), chunk(4, "456789"))
        assert.strictEqual((yield* docker.resolveBlob(name, digestOf("0123456789"))).size, 10)
      }))

    it.effect("stores a blob of 20 MiB, and returns it", () =>
      Effect.gen(function*() {
        const docker = yield* registry
        const name = repository("wire/large")
        const bytes = new Uint8Array(20 * 1024 * 1024).map((_, index) => index * 7)
        const { digest } = yield* pushBlob(docker, name, bytes)
        const { stream } = yield* docker.getBlob(name, digest)
        assert.strictEqual(yield* Stream.runFold(stream, () => 0, (sum, { length }) => sum + length), bytes.length)
      }))

    it.effect("lists no referrers: the tag in place of the list is written, and this is remembered", () =>
      Effect.gen(function*() {
        const docker = yield* registry
        const name = repository("wire/referrers")
        const image = yield* pushImage(docker, name, ["layer"])
        const one = yield* pushReferrer(docker, name, image, "one")
        assert.deepStrictEqual(
          (yield* Stream.runCollect(docker.referrers(name, image.digest))).map(({ digest }) => digest),
          [one.digest]
        )
        assert.deepInclude(yield* docker.capabilities, { referrers: false })
        const list = yield* docker.getManifest(name, tag(image.digest.replace(":", "-")))
        assert.strictEqual(list.descriptor.mediaType, MediaType.imageIndex)
        yield* docker.deleteManifest(name, one.digest)
        assert.deepStrictEqual(yield* Stream.runCollect(docker.referrers(name, image.digest)), [])
      }))

    it.effect("is both ends of a copy in a namespace of Node", () =>
      Effect.gen(function*() {
        const { host } = yield* DockerRegistry
        const docker = yield* registry
        const { index } = yield* pushSample(docker, repository("wire/source"), [tag("1")])
        yield* Effect.flatMap(Namespace.Namespace, (namespace) =>
          namespace.copyManifest({ source: `${host}/wire/source:1`, destination: `${host}/wire/copy:1` })).pipe(
            Effect.provide(NodeNamespace.layer)
          )
        assert.strictEqual((yield* docker.resolveManifest(repository("wire/copy"), tag("1"))).digest, index.digest)
        const listed = yield* Stream.runCollect(docker.referrers(repository("wire/copy"), index.digest))
        assert.lengthOf(listed, 1)
      }))
  })

  it.live("requires credentials, and accepts Basic authentication", () =>
    Effect.gen(function*() {
      const { host } = yield* make({ basicAuth: true })
      const name = repository("team/app")
      assert.strictEqual((yield* reasonOf((yield* connect({ host })).ping))._tag, "Unauthorized")
      const password = (text: string) => Credentials.basic(user.username, Redacted.make(text))
      const wrong = yield* connect({ host, credentials: password("wrong") })
      assert.strictEqual((yield* reasonOf(wrong.ping))._tag, "Unauthorized")
      const right = yield* connect({ host, credentials: password(user.password) })
      yield* pushImage(right, name, ["layer"], { tags: [tag("1")] })
      assert.deepStrictEqual(yield* Stream.runCollect(right.tags(name)), [tag("1")])
    }))

  it.live("is pushed to, pulled from, mounted in and copied within by Basic authentication", () =>
    Effect.gen(function*() {
      const { host } = yield* make({ basicAuth: true })
      const credentials = Credentials.basic(user.username, Redacted.make(user.password))
      const registry = yield* connect({ host, credentials })
      const [from, to] = [repository("team/from"), repository("team/to")]
      const large = new Uint8Array(200_000).map((_, index) => index * 7)
      const { digest, size } = yield* pushBlob(registry, from, large)
      const { stream } = yield* registry.getBlob(from, digest)
      assert.strictEqual(digestOf(yield* Stream.mkUint8Array(stream)), digest)

      const mounted = yield* Effect.scoped(registry.startUpload(to, { mount: { digest, from } }))
      assert.strictEqual(mounted._tag, "Mounted")
      assert.strictEqual((yield* registry.resolveBlob(to, digest)).size, size)

      const { arm64, index, onChild } = yield* pushSample(registry, from, [tag("1")])
      yield* Effect.flatMap(
        Namespace.Namespace,
        (namespace) => namespace.copyManifest({ source: `${host}/team/from:1`, destination: `${host}/team/copy:1` })
      ).pipe(
        Effect.provide(NodeNamespace.layerOptions({ credentials }))
      )
      const copied = repository("team/copy")
      assert.strictEqual((yield* registry.resolveManifest(copied, tag("1"))).digest, index.digest)
      const listed = yield* Stream.runCollect(registry.referrers(copied, arm64.digest))
      assert.deepStrictEqual(listed.map(({ digest }) => digest), [onChild.digest])
    }))

  describe("with a token service", () => {
    const guarded = Effect.gen(function*() {
      const service = yield* TokenServer.make(user)
      const { host } = yield* make({ realm: service.realm })
      const credentials = Credentials.basic(user.username, Redacted.make(user.password))
      return { ...service, host, credentials, registry: yield* connect({ host, credentials }) }
    })

    it.live("is pushed to, pulled from and deleted from", () =>
      Effect.gen(function*() {
        const { asked, registry } = yield* guarded
        const name = repository("team/app")
        const large = new Uint8Array(200_000).map((_, index) => index * 7)
        const { digest } = yield* pushImage(registry, name, ["small layer", large], { tags: [tag("1")] })
        assert.strictEqual((yield* registry.resolveManifest(name, tag("1"))).digest, digest)
        const { stream } = yield* registry.getBlob(name, digestOf(large))
        assert.strictEqual(digestOf(yield* Stream.mkUint8Array(stream)), digestOf(large))
        assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(name)), [tag("1")])
        // one token for all of it
        assert.deepStrictEqual(asked.map(({ scopes }) => scopes), [["repository:team/app:pull,push"]])
        yield* registry.deleteManifest(name, digest)
        assert.strictEqual((yield* reasonOf(registry.resolveManifest(name, tag("1"))))._tag, "ManifestUnknown")
        assert.deepStrictEqual(yield* Stream.runCollect(registry.repositories()), [name])
        assert.deepStrictEqual(asked.slice(1).map(({ scopes }) => scopes), [
          ["repository:team/app:delete"],
          ["registry:catalog:*"]
        ])
      }))

    it.live("mounts across repositories, by a token for both", () =>
      Effect.gen(function*() {
        const { asked, registry } = yield* guarded
        const [from, to] = [repository("team/from"), repository("team/to")]
        const { digest } = yield* pushBlob(registry, from, "in two places")
        const mounted = yield* Effect.scoped(registry.startUpload(to, { mount: { digest, from } }))
        assert.strictEqual(mounted._tag, "Mounted")
        assert.deepStrictEqual(asked.at(-1)?.scopes, ["repository:team/from:pull", "repository:team/to:pull,push"])
      }))

    it.live("is both ends of a copy", () =>
      Effect.gen(function*() {
        const { credentials, host, registry } = yield* guarded
        const { index } = yield* pushSample(registry, repository("team/source"), [tag("1")])
        yield* Effect.flatMap(Namespace.Namespace, (namespace) =>
          namespace.copyManifest({ source: `${host}/team/source:1`, destination: `${host}/team/copy:1` })).pipe(
            Effect.provide(NodeNamespace.layerOptions({ credentials }))
          )
        assert.strictEqual((yield* registry.resolveManifest(repository("team/copy"), tag("1"))).digest, index.digest)
      }))

    it.live("distinguishes unknown users from users without permission", () =>
      Effect.gen(function*() {
        const { host, registry } = yield* guarded
        const open = repository("public/app")
        const closed = repository("team/app")
        for (const name of [open, closed]) yield* pushImage(registry, name, ["layer"], { tags: [tag("1")] })
        const anonymous = yield* connect({ host })
        yield* anonymous.resolveManifest(open, tag("1"))
        assert.strictEqual((yield* reasonOf(anonymous.resolveManifest(closed, tag("1"))))._tag, "Unauthorized")
        assert.strictEqual((yield* reasonOf(Effect.scoped(anonymous.startUpload(open))))._tag, "Unauthorized")
        const wrong = yield* connect({ host, credentials: Credentials.basic(user.username, Redacted.make("wrong")) })
        assert.include(
          (yield* reasonOf(wrong.resolveManifest(open, tag("1")))).message,
          "does not accept the credentials"
        )
      }))
  })
})
