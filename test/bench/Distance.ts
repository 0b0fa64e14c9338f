/**
 * A host that is far away: a proxy that holds back what passes, by half a round trip in each direction, and a new
 * connection by a whole one.
 */
import { Effect } from "effect"
import * as Net from "node:net"

/** Starts one for a host; it tells its own host and port. */
export const make = (target: string, roundTrip: number) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<Net.Server>((resume) => {
        const [host = "", port] = target.split(":")
        const server = Net.createServer({ allowHalfOpen: true }, (near) => {
          const far = Net.connect({ host, port: Number(port), allowHalfOpen: true })
          /** Hands on what comes, in order, each piece when its time has come. */
          const later = (from: Net.Socket, to: Net.Socket, first: number) => {
            const begun = performance.now()
            const queue: Array<{ readonly at: number; readonly act: () => void }> = []
            const run = () => {
              for (let next = queue[0]; next !== undefined; next = queue[0]) {
                const wait = next.at - performance.now()
                if (wait > 0) return void setTimeout(run, wait)
                queue.shift()
                next.act()
              }
            }
            const put = (act: () => void) => {
              queue.push({ at: Math.max(begun + first, performance.now()) + roundTrip / 2, act })
              if (queue.length === 1) run()
            }
            from.on("data", (chunk) => put(() => void (to.write(chunk) || from.pause())))
            to.on("drain", () => from.resume())
            from.on("end", () => put(() => void to.end()))
            from.on("error", () => to.destroy())
          }
          near.setNoDelay()
          far.setNoDelay()
          later(near, far, roundTrip)
          later(far, near, 0)
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) => Effect.sync(() => void server.close())
    ),
    (server) => {
      const address = server.address()
      return `127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`
    }
  )
