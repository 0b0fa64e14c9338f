/**
 * Spans of HTTP requests.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Tracer } from "effect"
import { HttpClientRequest, HttpClientResponse } from "effect/http"
import * as Spans from "../../src/http/Spans.ts"

// the attributes of this request cannot be computed
const request = HttpClientRequest.setUrl(HttpClientRequest.get("https://registry.test/v2/"), "not a URL")
const response = HttpClientResponse.fromWeb(request, new Response())
const traced = Spans.traced(request)(Effect.succeed(response))

describe("a request", () => {
  it.effect("has no span, and computes no attributes, unless a tracer collects spans", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* traced, response)
      const tracer = Tracer.make({ span: (options) => new Tracer.NativeSpan(options) })
      assert.strictEqual((yield* Effect.exit(Effect.withTracer(traced, tracer)))._tag, "Failure")
      assert.strictEqual(yield* Effect.withTracer(Effect.withTracerEnabled(traced, false), tracer), response)
    }))
})
