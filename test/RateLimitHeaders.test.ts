import { assert, describe, it } from "@effect/vitest"
import * as RateLimitHeaders from "../src/RateLimitHeaders.ts"

const now = Date.UTC(2026, 10, 27, 12)

const cases: ReadonlyArray<
  readonly [name: string, headers: Record<string, string>, budget: Partial<RateLimitHeaders.Budget> | undefined]
> = [
  ["none", { "content-type": "text/plain" }, undefined],
  ["those of Docker Hub", {
    "ratelimit-limit": "100;w=21600",
    "ratelimit-remaining": "76;w=21600",
    "docker-ratelimit-source": "192.0.2.1"
  }, { remaining: 76, limit: 100, window: 21_600_000 }],
  ["those of GitHub, with a time", {
    "x-ratelimit-limit": "5000",
    "x-ratelimit-remaining": "4987",
    "x-ratelimit-reset": `${now / 1000 + 90}`,
    "x-ratelimit-used": "13"
  }, { remaining: 4987, limit: 5000, reset: 90_000 }],
  ["a time by the clock of the registry", {
    "date": "Fri, 27 Nov 2026 12:01:00 GMT",
    "x-ratelimit-remaining": "1",
    "x-ratelimit-reset": `${now / 1000 + 90}`
  }, { remaining: 1, reset: 30_000 }],
  ["those of GitLab", {
    "ratelimit-limit": "60",
    "ratelimit-observed": "10",
    "ratelimit-remaining": "50",
    "ratelimit-reset": `${now / 1000 + 60}`,
    "ratelimit-resettime": "Fri, 27 Nov 2026 12:01:00 GMT"
  }, { remaining: 50, limit: 60, reset: 60_000 }],
  ["an early draft, with seconds and policies", {
    "ratelimit-limit": "10, 10;w=1, 50;w=60",
    "ratelimit-remaining": "9",
    "ratelimit-reset": "7"
  }, { remaining: 9, limit: 10, reset: 7000, window: 1000 }],
  ["a draft with one field of parameters", {
    "ratelimit": "limit=100, remaining=50, reset=30"
  }, { remaining: 50, limit: 100, reset: 30_000 }],
  ["a later draft", {
    "ratelimit": "\"default\";r=50;t=30",
    "ratelimit-policy": "\"default\";q=100;w=60"
  }, { remaining: 50, limit: 100, reset: 30_000, window: 60_000 }],
  ["a later draft, of whose budgets the smallest counts", {
    "ratelimit": "\"hour\";r=300;t=3000, \"minute\";r=5;t=10",
    "ratelimit-policy": "\"hour\";q=1000;w=3600, \"minute\";q=20;w=60"
  }, { remaining: 5, limit: 20, reset: 10_000, window: 60_000 }],
  ["a reset that has passed", {
    "x-ratelimit-remaining": "0",
    "x-ratelimit-reset": `${now / 1000 - 5}`
  }, { remaining: 0, reset: 0 }],
  ["a time in milliseconds", {
    "x-ratelimit-remaining": "0",
    "x-ratelimit-reset": `${now + 1500}`
  }, { remaining: 0, reset: 1500 }],
  ["what is no number", { "ratelimit-remaining": "many", "ratelimit-limit": "100" }, undefined],
  ["a negative number", { "ratelimit-remaining": "-1" }, undefined],
  ["a word that begins with a number", { "ratelimit-remaining": "12abc" }, undefined]
]

describe("RateLimit headers", () => {
  it.each(cases)("are read: %s", (_, headers, expected) => {
    const found = RateLimitHeaders.parse(headers, now)
    const rest = { limit: undefined, reset: undefined, window: undefined }
    assert.deepStrictEqual(found, expected === undefined ? undefined : { remaining: 0, ...rest, ...expected })
  })
})
