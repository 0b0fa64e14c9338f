/**
 * A proxy in front of a registry, that can watch, change and hold what passes.
 */
import { Effect } from "effect"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { Transform } from "node:stream"

export interface Options {
  /** Called for each request; `false` keeps it from ever being answered, and a status is the answer. */
  readonly onRequest?: (method: string, url: string) => false | number | void
  /** Called for each response, before its body. */
  readonly onHeaders?: (method: string, url: string, headers: Http.IncomingHttpHeaders) => void
  /** Changes the body of a response, chunk by chunk. */
  readonly onAnswer?: (method: string, url: string) => ((chunk: Buffer) => Buffer) | undefined
}

/** Starts one for a host; it tells its own host and port. */
export const make = (target: string, options: Options) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<Http.Server>((resume) => {
        const server = Http.createServer((request, response) => {
          const { headers, method = "", url = "" } = request
          const answer = options.onRequest?.(method, url)
          if (answer === false) return
          if (answer !== undefined) return request.resume().on("end", () => response.writeHead(answer).end())
          // the registry makes its Locations from this, so that they lead through the proxy
          const onward = Http.request(`http://${target}${url}`, { method, headers }, (answer) => {
            options.onHeaders?.(method, url, answer.headers)
            response.writeHead(answer.statusCode ?? 502, answer.headers)
            const change = options.onAnswer?.(method, url)
            if (change === undefined) return answer.pipe(response)
            answer.pipe(new Transform({ transform: (chunk, _, done) => done(null, change(chunk)) })).pipe(response)
          })
          onward.on("error", () => response.destroy())
          request.on("aborted", () => onward.destroy())
          request.pipe(onward)
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    ),
    (server) => `127.0.0.1:${(server.address() as AddressInfo).port}` // it listens on TCP
  )
