/**
 * A line on stderr for each request to a server.
 */
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { App } from "../server/RegistryServer.ts"
import { printable } from "../Text.ts"

/**
 * Makes what has a line written for each request when it has been answered, or has broken off. Lines that come at about
 * the same time are written together, apart from the requests that they are about.
 */
export const make: Effect.Effect<(app: App) => App, never, Scope.Scope> = Effect.gen(function*() {
  const lines = yield* Queue.unbounded<string>()
  const write = (ready: ReadonlyArray<string>) => Console.error(ready.map(printable).join("\n"))

  yield* Effect.addFinalizer(() =>
    Effect.flatMap(Queue.clear(lines), (last) => last.length === 0 ? Effect.void : write(last))
  )
  yield* Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.takeAll(lines), write)))

  return (app) =>
    Effect.gen(function*() {
      const { method, remoteAddress, url } = yield* HttpServerRequest.HttpServerRequest
      const began = yield* Clock.currentTimeMillis
      let status = "-"
      yield* Effect.addFinalizer((exit) =>
        Effect.flatMap(Clock.currentTimeMillis, (ended) =>
          Queue.offer(
            lines,
            [
              DateTime.formatIso(DateTime.makeUnsafe(began)),
              Option.getOrElse(remoteAddress, () => "-"),
              method,
              url,
              status,
              `${ended - began}ms`,
              ...Exit.isSuccess(exit) ? [] : ["broke off"]
            ].join(" ")
          ))
      )
      const response = yield* app
      status = `${response.status}`
      return response
    })
})
