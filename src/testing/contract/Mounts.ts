/**
 * Promises of the contract about mounts.
 */
import * as Effect from "effect/Effect"
import * as Descriptor from "../../Descriptor.ts"
import { bytesOf, pushBlob } from "../Images.ts"
import { type Case, promise } from "./Case.ts"
import * as Expect from "./Expect.ts"
import { chunk, fresh, read, session } from "./Helpers.ts"

export const mounts: ReadonlyArray<Case> = [
  promise("a blob is mounted from another repository", ["sessions", "mount"], function*(registry, origin) {
    const [from, to] = [yield* fresh, yield* fresh]
    const { digest } = yield* pushBlob(origin, from, "to be mounted")
    const started = yield* registry.startUpload(to, { mount: { digest, from } })
    yield* Expect.equal(started._tag, "Mounted")
    yield* Expect.equal(yield* read(registry, to, digest), "to be mounted")
  }),
  promise("a mount returns the digest of the blob", ["sessions", "mount"], function*(registry, origin) {
    const [from, to] = [yield* fresh, yield* fresh]
    const { digest } = yield* pushBlob(origin, from, "to be mounted")
    const mounted = yield* registry.startUpload(to, { mount: { digest, from } })
    yield* Expect.equal("digest" in mounted ? mounted.digest : undefined, digest)
  }),
  promise("a mounted blob stays in its source repository", ["sessions", "mount"], function*(registry, origin) {
    const [from, to] = [yield* fresh, yield* fresh]
    const { digest } = yield* pushBlob(origin, from, "in two places")
    yield* registry.startUpload(to, { mount: { digest, from } })
    yield* Expect.equal(yield* read(registry, from, digest), "in two places")
  }),
  promise(
    "a mounted blob stays after its source repository deletes it",
    ["sessions", "mount", "delete", "repositories"],
    function*(registry, origin) {
      const [from, to] = [yield* fresh, yield* fresh]
      const { digest } = yield* pushBlob(origin, from, "in one place")
      yield* registry.startUpload(to, { mount: { digest, from } })
      yield* registry.deleteBlob(from, digest)
      yield* Expect.equal(yield* read(registry, to, digest), "in one place")
    }
  ),
  promise("a mount without a source repository succeeds or opens a session", ["sessions"], function*(
    registry,
    origin
  ) {
    const name = yield* fresh
    const { digest } = yield* pushBlob(origin, yield* fresh, "anywhere")
    const started = yield* registry.startUpload(name, { mount: { digest } })
    if (started._tag === "Upload") yield* started.commit(digest, chunk(0, "anywhere"))
    yield* Expect.equal(yield* read(registry, name, digest), "anywhere")
  }),
  promise("a declined mount opens a session", ["sessions"], function*(registry, origin) {
    const [from, to] = [yield* fresh, yield* fresh]
    yield* pushBlob(origin, from, "another")
    // content that no other repository has, because some registries mount from any repository
    const content = `not in ${from}`
    const { digest } = yield* Descriptor.fromBytes(bytesOf(content))
    const upload = yield* session(registry.startUpload(to, { mount: { digest, from } }))
    yield* upload.commit(digest, chunk(0, content))
    yield* Expect.equal(yield* read(registry, to, digest), content)
  }),
  promise("a mount from an absent repository opens a session", ["sessions"], function*(registry) {
    const [from, to] = [yield* fresh, yield* fresh]
    const content = `not in ${from}`
    const { digest } = yield* Descriptor.fromBytes(bytesOf(content))
    const upload = yield* session(registry.startUpload(to, { mount: { digest, from } }))
    yield* upload.commit(digest, chunk(0, content))
    yield* Expect.equal(yield* read(registry, to, digest), content)
  }),
  promise("the session of a declined mount ends with its scope", ["sessions"], function*(registry) {
    const [from, to] = [yield* fresh, yield* fresh]
    const { digest } = yield* Descriptor.fromBytes(bytesOf(`not in ${from}`))
    const started = session(registry.startUpload(to, { mount: { digest, from } }))
    const id = yield* Effect.scoped(Effect.flatMap(started, ({ id }) => id))
    yield* Expect.reason(registry.resumeUpload(to, id), "BlobUploadUnknown")
  }),
  promise(
    "a registry mounts without a source repository if its capabilities say so, and only then",
    ["sessions", "mount"],
    function*(
      registry,
      origin
    ) {
      const [from, to] = [yield* fresh, yield* fresh]
      const { digest } = yield* pushBlob(origin, from, `somewhere: ${from}`)
      const started = yield* registry.startUpload(to, { mount: { digest } })
      const { anonymousMount } = yield* registry.capabilities
      yield* Expect.equal(anonymousMount ?? started._tag === "Mounted", started._tag === "Mounted")
    }
  ),
  promise(
    "a registry mounts from the same repository if its capabilities say so, and only then",
    ["sessions", "mount"],
    function*(
      registry,
      origin
    ) {
      const name = yield* fresh
      const { digest } = yield* pushBlob(origin, name, "here already")
      const started = yield* registry.startUpload(name, { mount: { digest, from: name } })
      const { selfMount } = yield* registry.capabilities
      yield* Expect.equal(selfMount ?? started._tag === "Mounted", started._tag === "Mounted")
    }
  )
]
