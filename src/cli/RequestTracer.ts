/**
 * The tracer of `--debug`: it writes a message for each HTTP request that the command sends.
 */
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { isHttpClientError } from "effect/http/HttpClientError"
import * as Tracer from "effect/Tracer"
import { transport } from "../http/TransportFailure.ts"
import * as Messages from "./Messages.ts"

const textOf = (value: unknown): string => typeof value === "string" ? value : ""

/** Returns why a request has no response. The message of an HTTP client error is not used: it contains the address. */
const problemOf = (exit: Exit.Exit<unknown, unknown>): string | undefined => {
  if (Exit.isSuccess(exit)) return undefined
  if (Cause.hasInterruptsOnly(exit.cause)) return "interrupted"
  const error = Cause.squash(exit.cause)
  if (isHttpClientError(error)) return transport(error).message
  return error instanceof Error ? error.message : "no response"
}

/** A span that reports its request when it ends, which is when the headers of the response have arrived. */
class RequestSpan extends Tracer.NativeSpan {
  readonly #report: (message: Messages.Message) => void

  constructor(
    options: ConstructorParameters<typeof Tracer.NativeSpan>[0],
    report: (message: Messages.Message) => void
  ) {
    super(options)
    this.#report = report
  }

  override end(endTime: bigint, exit: Exit.Exit<unknown, unknown>): void {
    super.end(endTime, exit)
    const method = textOf(this.attributes.get("http.request.method"))
    const url = textOf(this.attributes.get("url.full"))
    const status = this.attributes.get("http.response.status_code")
    const problem = problemOf(exit)
    const milliseconds = Math.round(Number(endTime - this.startTime) / 1e6)
    this.#report({
      type: "request",
      method,
      url,
      ...typeof status === "number" ? { status } : {},
      ...problem === undefined ? {} : { problem },
      milliseconds,
      message: `${method} ${url}: ${problem ?? String(status)} after ${milliseconds} ms`
    })
  }
}

/** Makes the tracer, which writes to the console of the program. */
export const make: Effect.Effect<Tracer.Tracer> = Effect.gen(function*() {
  const console = yield* Console.Console
  const mode = yield* Messages.CurrentMode
  const report = (message: Messages.Message) => {
    const line = Messages.render(message, mode)
    if (line !== undefined) console.error(line)
  }
  return Tracer.make({
    span: (options) => options.kind === "client" ? new RequestSpan(options, report) : new Tracer.NativeSpan(options)
  })
})
