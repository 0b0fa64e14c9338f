import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Artifact from "effect-oci/Artifact"
import * as CopyError from "effect-oci/CopyError"
import * as ImageError from "effect-oci/ImageError"
import * as RegistryError from "effect-oci/RegistryError"
import * as Advice from "../../src/cli/Advice.ts"
import * as Messages from "../../src/cli/Messages.ts"

const withNode = Effect.provide(NodeServices.layer)

/** Returns the line about an error. */
const sentenceOf = (error: unknown) =>
  Effect.map(
    Advice.describe(error),
    (message) => Messages.render(message, { format: "text", detail: "normal", isTerminal: false }) ?? ""
  )

/** Asserts that a line is printable, and consists of what happened and advice. */
const assertSentence = (sentence: string, error: unknown) => {
  const message = `effect-oci: ${Advice.messageOf(error)}`
  assert.isTrue(sentence.startsWith(message), sentence)
  assert.match(sentence.slice(message.length), /^; \S.*\S$/u)
  assert.notMatch(sentence, /[\p{Cc}\p{Zl}\p{Zp}]/u)
}

describe("the advice about a wrong scheme", () => {
  it.effect.each(
    [
      ["localhost:5000", "http", "; use --tls localhost:5000"],
      ["127.0.0.1:5000", "http", "; use --tls 127.0.0.1:5000"],
      ["registry.test:5000", "http", "; omit --plain-http registry.test:5000"],
      ["registry.test:5000", "https", "; use --plain-http registry.test:5000 if the registry uses plain HTTP"]
    ] as const
  )("names the flag for the other scheme: %s, %s", ([registry, used, tip]) =>
    Effect.gen(function*() {
      const reason = new RegistryError.SchemeMismatch({ used })
      const error = new RegistryError.RegistryError({ operation: "ping", registry, reason })
      assert.isTrue((yield* sentenceOf(error)).endsWith(tip))
    }).pipe(withNode))
})

describe("the advice about a response that is not HTTP", () => {
  it.effect.each<readonly [registry: string, code: string, tip: string]>([
    ["127.0.0.1:5000", "HPE_INVALID_CONSTANT", "; use --tls 127.0.0.1:5000 if the registry uses HTTPS"],
    ["registry.test", "HPE_INVALID_CONSTANT", "; use --plain-http registry.test if the registry uses plain HTTP"],
    ["registry.test", "HPE_UNEXPECTED_CONTENT_LENGTH", "; try again"]
  ])(
    "names the flag for the other scheme only if it does not begin as HTTP: %s, %s",
    ([registry, code, tip]) =>
      Effect.gen(function*() {
        const reason = new RegistryError.Transport({ code })
        const sentence = yield* sentenceOf(new RegistryError.RegistryError({ operation: "ping", registry, reason }))
        assert.isTrue(sentence.endsWith(tip), sentence)
      }).pipe(withNode)
  )
})

describe("the advice about a layer that cannot be used", () => {
  it.effect.each<readonly [layer: string, tip: string]>([
    ["./app.tar", "; name a tar archive, a folder, or FOLDER:/TARGET"],
    [`sha256:${"0".repeat(64)}`, "; check the layer: effect-oci validate reads all layers of an image"]
  ])("depends on whether it is a file or a layer of an image: %s", ([layer, tip]) =>
    Effect.gen(function*() {
      const reason = new ImageError.InvalidLayer({ layer, problem: "it is empty" })
      const sentence = yield* sentenceOf(new ImageError.ImageError({ reference: "a.test/app:1", reason }))
      assert.isTrue(sentence.endsWith(tip), sentence)
    }).pipe(withNode))
})

describe("every reason has a message and advice:", () => {
  for (const reason of RegistryError.Reason.members) {
    it.effect.prop(
      `RegistryError, ${reason.identifier}`,
      [Schema.Struct({ reason, error: RegistryError.RegistryError })],
      ([{ error, reason }]) =>
        Effect.gen(function*() {
          const failure = new RegistryError.RegistryError({ ...error, reason })
          assertSentence(yield* sentenceOf(failure), failure)
        }).pipe(withNode),
      { arbitrary: { runs: 5 } }
    )
  }
  for (const reason of Artifact.Reason.members) {
    it.effect.prop(
      `ArtifactError, ${reason.identifier}`,
      [Schema.Struct({ reason, error: Artifact.ArtifactError })],
      ([{ error, reason }]) =>
        Effect.gen(function*() {
          const failure = new Artifact.ArtifactError({ ...error, reason })
          assertSentence(yield* sentenceOf(failure), failure)
        }).pipe(withNode),
      { arbitrary: { runs: 5 } }
    )
  }
  for (const reason of CopyError.Reason.members) {
    it.effect.prop(
      `CopyError, ${reason.identifier}`,
      [Schema.Struct({ reason, error: CopyError.CopyError })],
      ([{ error, reason }]) =>
        Effect.gen(function*() {
          const failure = new CopyError.CopyError({ ...error, reason })
          assertSentence(yield* sentenceOf(failure), failure)
        }).pipe(withNode),
      { arbitrary: { runs: 5 } }
    )
  }
})

describe("the advice after a refused deletion depends on the reason:", () => {
  const advice = (operation: string, reason: RegistryError.Reason) =>
    Effect.map(
      sentenceOf(new RegistryError.RegistryError({ operation, registry: "registry.test", reason })),
      (sentence) => sentence.slice(sentence.lastIndexOf("; ") + 2)
    )

  it.effect("deletion of manifests or tags is disabled", () =>
    Effect.gen(function*() {
      const reason = new RegistryError.Unsupported({ status: 405 })
      assert.include(
        yield* advice("deleteManifest", reason),
        "ask the administrator of the registry to enable deletion"
      )
      assert.include(yield* advice("deleteTag", reason), "effect-oci manifest delete with the digest")
    }).pipe(withNode))

  it.effect("the user may not delete", () =>
    Effect.gen(function*() {
      const reason = new RegistryError.Denied({ status: 403 })
      assert.notInclude(
        yield* sentenceOf(
          new RegistryError.RegistryError({ operation: "getBlob", registry: "registry.test", reason })
        ),
        "deleting requires"
      )
      assert.include(
        yield* sentenceOf(
          new RegistryError.RegistryError({ operation: "deleteTag", registry: "registry.test", reason })
        ),
        "deleting requires a separate permission"
      )
    }).pipe(withNode))

  it.effect("the content is in use", () =>
    Effect.gen(function*() {
      const reason = new RegistryError.UnexpectedResponse({ status: 409 })
      assert.include(
        yield* advice("deleteManifest", reason),
        "check whether it is protected, or whether an image index refers to it"
      )
    }).pipe(withNode))
})
