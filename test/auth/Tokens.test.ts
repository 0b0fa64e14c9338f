import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Redacted } from "effect"
import { HttpClient, HttpClientRequest, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import * as Credentials from "../../src/auth/Credentials.ts"
import * as Secrets from "../../src/auth/Secrets.ts"
import * as Tokens from "../../src/auth/Tokens.ts"
import * as TokenScope from "../../src/TokenScope.ts"

const challenge = "Bearer realm=\"https://auth.test/token\",service=\"s\""
const pull = TokenScope.repository("team/app", "pull")
const push = TokenScope.repository("team/app", "pull", "push")

/**
 * Tokens of a service that issues them one after another, and refuses if the answer has none, and the scopes that were
 * requested.
 */
const make = Effect.fnUntraced(function*(answer: Effect.Effect<object>, credentials = Credentials.anonymous) {
  const asked: Array<string> = []
  const client = HttpClient.make((request, url) =>
    Effect.suspend(() => {
      asked.push(url.searchParams.getAll("scope").join(" "))
      return Effect.map(answer, (body) => {
        const status = "token" in body ? 200 : 400
        return HttpClientResponse.fromWeb(request, Response.json(body, { status }))
      })
    })
  )
  const registry = new URL("https://registry.test")
  const tokens = yield* Tokens.make({
    host: "registry.test",
    registry,
    client,
    credentials,
    secrets: Secrets.make(),
    tokenRealms: "https"
  })
  const said = (authorization: Tokens.Authorization | undefined) =>
    authorization?.(HttpClientRequest.get("https://registry.test/v2/")).headers["authorization"]
  return {
    asked,
    begin: (scope: TokenScope.TokenScope) => tokens.begin({ scope }),
    opening: (scope: TokenScope.TokenScope) => Effect.map(tokens.begin({ scope }).opening, said),
    reply: (scope: TokenScope.TokenScope) => Effect.map(tokens.begin({ scope }).reply(challenge), said)
  }
})

describe("Tokens", () => {
  it.effect("sends nothing before the registry requires it", () =>
    Effect.gen(function*() {
      const { asked, opening } = yield* make(
        Effect.succeed({ token: "t" }),
        Credentials.basic("ada", Redacted.make("secret"))
      )
      assert.isUndefined(yield* opening(pull))
      assert.deepStrictEqual(asked, [])
    }))

  it.effect("waits for a token with a sufficient scope that is being fetched", () =>
    Effect.gen(function*() {
      const open = yield* Deferred.make<object>()
      const { asked, reply } = yield* make(Deferred.await(open))
      const wide = yield* Effect.forkChild(reply(push), { startImmediately: true })
      const narrow = yield* Effect.forEach(
        Array.from({ length: 500 }),
        () => Effect.forkChild(reply(pull), { startImmediately: true })
      )
      yield* Deferred.succeed(open, { token: "t" })
      assert.strictEqual(yield* Fiber.join(wide), "Bearer t")
      for (const fiber of narrow) assert.strictEqual(yield* Fiber.join(fiber), "Bearer t")
      assert.deepStrictEqual(asked, ["repository:team/app:pull,push"])
    }))

  it.effect("requests a token again if all waiting fibers were interrupted", () =>
    Effect.gen(function*() {
      const answers = [Effect.never, Effect.succeed({ token: "t" })]
      const { asked, reply } = yield* make(Effect.suspend(() => answers.shift() ?? Effect.never))
      yield* Fiber.interrupt(yield* Effect.forkChild(reply(pull), { startImmediately: true }))
      assert.strictEqual(yield* reply(pull), "Bearer t")
      assert.lengthOf(asked, 2)
    }))

  it.effect("caches a token for each of many scopes", () =>
    Effect.gen(function*() {
      let count = 0
      const { asked, opening, reply } = yield* make(Effect.sync(() => ({ token: `${count++}` })))
      const scopes = Array.from({ length: 200 }, (_, index) => TokenScope.repository(`team/${index}`, "pull"))
      for (const scope of scopes) yield* reply(scope)
      for (const [index, scope] of scopes.entries()) assert.strictEqual(yield* opening(scope), `Bearer ${index}`)
      assert.lengthOf(asked, scopes.length)
    }))

  it.effect("requests the wanted scope at once, and reuses that token", () =>
    Effect.gen(function*() {
      const { asked, opening, reply } = yield* make(Effect.succeed({ token: "t" }))
      yield* Effect.provideService(reply(pull), TokenScope.Wanted, () => push)
      assert.strictEqual(yield* opening(push), "Bearer t")
      assert.deepStrictEqual(asked, ["repository:team/app:pull,push"])
    }))

  it.effect("requests a smaller scope if the former one is refused", () =>
    Effect.gen(function*() {
      const answers = [{ token: "wide" }, {}, { token: "narrow" }]
      const { asked, opening, reply } = yield* make(Effect.sync(() => answers.shift() ?? {}))
      yield* reply(push)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* opening(pull), "Bearer narrow")
      assert.deepStrictEqual(asked, [TokenScope.format(push), TokenScope.format(push), TokenScope.format(pull)])
    }))

  it.effect("stops at a registry that refuses every authorization", () =>
    Effect.gen(function*() {
      let count = 0
      const { asked, begin } = yield* make(Effect.sync(() => ({ token: `${count++}` })))
      const conversation = begin(pull)
      let replies = 0
      while ((yield* conversation.reply(`${challenge},scope="another:${replies}:one"`)) !== undefined) replies++
      assert.isAtMost(replies, 3)
      assert.lengthOf(asked, replies)
      assert.isFalse(conversation.isKnown())
    }))
})
