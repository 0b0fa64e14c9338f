import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as CopyError from "effect-oci/CopyError"
import * as RegistryError from "effect-oci/RegistryError"
import * as Advice from "../../src/cli/Advice.ts"

const withNode = Effect.provide(NodeServices.layer)

/** What is said is a line that a terminal prints as it is: what happened, and what to try. */
const assertSentence = (sentence: string, message: string) => {
  assert.isTrue(sentence.startsWith(message), sentence)
  assert.match(sentence.slice(message.length), /^; \S.*\S$/u)
  assert.notMatch(sentence, /[\p{Cc}\p{Zl}\p{Zp}]/u)
}

describe("a registry that is spoken to with the wrong scheme", () => {
  it.effect.each(
    [
      ["localhost:5000", "http", "; --tls localhost:5000"],
      ["127.0.0.1:5000", "http", "; --tls 127.0.0.1:5000"],
      ["registry.test:5000", "http", "; leave out --plain-http registry.test:5000"],
      ["registry.test:5000", "https", "; --plain-http registry.test:5000 if it is a registry in plain HTTP"]
    ] as const
  )("has the flag for the other one: %s, %s", ([registry, used, tip]) =>
    Effect.gen(function*() {
      const reason = new RegistryError.SchemeMismatch({ used })
      const error = new RegistryError.RegistryError({ operation: "ping", registry, reason })
      assert.isTrue((yield* Advice.sentence(error)).endsWith(tip))
    }).pipe(withNode))
})

describe("every reason has a sentence and something to try:", () => {
  for (const reason of RegistryError.Reason.members) {
    it.effect.prop(
      `RegistryError, ${reason.identifier}`,
      [Schema.Struct({ reason, error: RegistryError.RegistryError })],
      ([{ error, reason }]) =>
        Effect.gen(function*() {
          const failure = new RegistryError.RegistryError({ ...error, reason })
          assertSentence(yield* Advice.sentence(failure), Advice.messageOf(failure))
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
          assertSentence(yield* Advice.sentence(failure), Advice.messageOf(failure))
        }).pipe(withNode),
      { arbitrary: { runs: 5 } }
    )
  }
})
