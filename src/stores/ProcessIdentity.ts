/**
 * Identifies this process, so that other processes can detect that it has ended. Detection works on Linux only.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"

export interface ProcessIdentity {
  /** Name of this process, on one line. */
  readonly name: string
  /** Returns true if the process of this name has certainly ended. */
  readonly isGone: (name: string) => Effect.Effect<boolean>
}

/** Returns the state and the start time of a process: the 3rd and the 22nd field of `/proc/PID/stat` (proc(5)). */
const statusOf = (stat: string) => {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  return { state: fields[0] ?? "", start: fields[19] ?? "" }
}

const ended = new Set(["Z", "X"])

export const make: Effect.Effect<ProcessIdentity, never, FileSystem.FileSystem> = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem

  const self = Effect.gen(function*() {
    const pid = yield* fs.readLink("/proc/self")
    const { start } = statusOf(yield* fs.readFileString("/proc/self/stat"))
    const boot = (yield* fs.readFileString("/proc/sys/kernel/random/boot_id")).trim()
    const namespace = yield* fs.readLink("/proc/self/ns/pid")
    // with the user, because processes of other users may be hidden without having ended
    const user = Option.getOrElse((yield* fs.stat("/proc/self")).uid, () => "")
    return { world: `${boot} ${namespace} ${user}`, pid, start }
  })

  return yield* Effect.match(self, {
    onFailure: () => ({ name: "", isGone: () => Effect.succeed(false) }),
    onSuccess: ({ pid, start, world }) => ({
      name: `${world} ${pid} ${start}`,
      isGone: (name: string) => {
        const [, pid, start] = name.startsWith(`${world} `) ? /^ (\d+) (\d+)$/.exec(name.slice(world.length)) ?? [] : []
        if (pid === undefined) return Effect.succeed(false)
        return Effect.match(fs.readFileString(`/proc/${pid}/stat`), {
          onFailure: ({ reason }) => reason._tag === "NotFound",
          onSuccess: (stat) => {
            const status = statusOf(stat)
            return status.start !== start || ended.has(status.state)
          }
        })
      }
    })
  })
})
