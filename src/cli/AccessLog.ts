/**
 * The access log of `serve`: one message on stderr for each request.
 */
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { App } from "../server/RegistryServer.ts"
import * as Messages from "./Messages.ts"

/**
 * Creates a middleware that writes a message for each request after its response has ended or broken off. Messages of
 * about the same time are written together, in a fiber of their own, so that requests do not wait for stderr. Default
 * of the format: that of other messages.
 */
export const make = Effect.fnUntraced(function*(
  format: "text" | "json" | "off" | undefined
): Effect.fn.Return<(app: App) => App, never, Scope.Scope> {
  const current = yield* Messages.CurrentMode
  if (current.detail === "quiet" || format === "off") return identity
  const mode = format === undefined ? current : { ...current, format }
  const lines = yield* Queue.unbounded<string>()
  const write = (ready: ReadonlyArray<string>) => Console.error(ready.join("\n"))

  yield* Effect.addFinalizer(() =>
    Effect.flatMap(Queue.clear(lines), (last) => last.length === 0 ? Effect.void : write(last))
  )
  yield* Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.takeAll(lines), write)))

  return (app) =>
    Effect.gen(function*() {
      const { method, remoteAddress, url } = yield* HttpServerRequest.HttpServerRequest
      const began = yield* Clock.currentTimeMillis
      let status: number | undefined
      yield* Effect.addFinalizer((exit) =>
        Effect.flatMap(Clock.currentTimeMillis, (ended) => {
          const time = DateTime.formatIso(DateTime.makeUnsafe(began))
          const client = Option.getOrUndefined(remoteAddress)
          const milliseconds = ended - began
          const isComplete = Exit.isSuccess(exit)
          const line = Messages.render({
            type: "access",
            time,
            ...client === undefined ? {} : { client },
            method,
            url,
            ...status === undefined ? {} : { status },
            isComplete,
            milliseconds,
            message: [
              time,
              client ?? "-",
              method,
              url,
              status ?? "-",
              `${milliseconds}ms`,
              ...isComplete ? [] : ["broke off"]
            ].join(" ")
          }, mode)
          return line === undefined ? Effect.void : Queue.offer(lines, line)
        })
      )
      const response = yield* app
      status = response.status
      return response
    })
})
