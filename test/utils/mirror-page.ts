/**
 * A served mirror with something to see in every part of its page.
 */
import { DateTime, Effect } from "effect"
import * as MirrorService from "effect-oci/MirrorService"
import { MirrorState } from "effect-oci/MirrorState"
import * as MirrorWeb from "effect-oci/MirrorWeb"
import * as mirrors from "./mirror-services.ts"
import { send, type Sent, serveApp } from "./Served.ts"

/** Text that would run a script, close an attribute or an element, or reverse the page, if it was not escaped. */
export const hostile = `</td><script>alert("1")</script>'"><img src=x onerror=alert(2)>&amp;\u202e\u0007`

/** Starts a mirror with a rule that runs, one that failed and one that waits, and serves it. */
export const served = Effect.fnUntraced(function*(options: Partial<MirrorWeb.Options> = {}) {
  const now = yield* DateTime.now
  const ago = (minutes: number) => DateTime.subtract(now, { minutes })
  const run = (rule: string, minutes: number, settings: Parameters<typeof mirrors.runState>[2] = {}) =>
    mirrors.runState(rule, ago(minutes), { endedAt: ago(minutes - 2), ...settings })
  const state = yield* mirrors.state([
    mirrors.failed("bases", "3.20", {
      error: "mirror.test: pushBlob: 503 the registry is overloaded",
      retryAt: DateTime.add(now, { minutes: 12 })
    }),
    mirrors.failed("bases", "3.21", { error: hostile, source: `source.test/${hostile}` }),
    mirrors.failed("tools", "v1.4.0", { error: "source.test: getManifest: the token has expired" }),
    ...Array.from({ length: 40 }, (_, index) => mirrors.failed("bases", `2.${index}`, { status: "copied" }))
  ], [
    ...Array.from({ length: 30 }, (_, index) =>
      run(index % 2 === 0 ? "bases" : "tools", 45 * (index + 1), {
        planned: 12,
        copied: index * 7 % 12,
        bytes: index * 37_000_000 % 211_000_000,
        requests: 250 + index
      })),
    run("bases", 15, { planned: 40, copied: 38, failed: 2, bytes: 1_234_567_890, requests: 1024 }),
    run("tools", 30, { error: hostile })
  ])
  const budget = { remaining: 30, limit: 100, resetAt: DateTime.toEpochMillis(now) + 700_000 }
  const runner = mirrors.runner([
    { host: "docker.io", rate: 20, concurrency: 16, budget: { ...budget, pausedUntil: budget.resetAt } },
    {
      host: "ghcr.io",
      rate: undefined,
      concurrency: 24,
      budget: { ...budget, remaining: 4987, limit: 5000, pausedUntil: undefined }
    },
    { host: "mirror.test", rate: undefined, concurrency: Infinity, budget: undefined }
  ])
  const service = yield* MirrorService.make(
    mirrors.config([
      mirrors.every("bases", "6 hours"),
      mirrors.every("tools", "1 hour"),
      mirrors.every("large", "1 day", { atStart: "all" }),
      mirrors.rule("by-hand"),
      { ...mirrors.every("odd", "1 hour"), name: hostile }
    ]),
    { runner: runner.make }
  ).pipe(Effect.provideService(MirrorState, state))
  const app = yield* MirrorWeb.make(service, { isLocal: true, ...options })
  const { host } = yield* serveApp(app)
  const ask = (line: string, sent?: Sent) => send(host, line, sent)
  /** Returns the token in the forms of the page. */
  const formToken = Effect.map(ask("GET /"), ({ text }) => /name="token" value="([0-9a-f]+)"/.exec(text)?.[1])
  return { ...runner, ask, formToken, host, service, state }
})
