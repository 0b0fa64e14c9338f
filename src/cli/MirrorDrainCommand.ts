/**
 * `effect-oci mirror drain -c FILE [PROCESS]`
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { MirrorJobs } from "../mirror/MirrorJobs.ts"
import * as Flags from "./Flags.ts"
import * as MirrorInput from "./MirrorInput.ts"
import * as Output from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"

/** Schema of the result. */
export const MirrorDrained = Schema.Struct({ process: Schema.String })

/** Returns the name of the process to drain: the given one, or the only one. */
const choose = Effect.fnUntraced(function*(jobs: MirrorJobs["Service"], given: Option.Option<string>) {
  const names = (yield* jobs.processes).map(({ name }) => name)
  const name = Option.getOrElse(given, () => names.length === 1 ? names[0] : undefined)
  if (name !== undefined && names.includes(name)) return name
  if (names.length === 0) return yield* new Output.Failure({ message: "no process keeps this mirror" })
  const problem = Option.isSome(given) ? `there is no process ${JSON.stringify(given.value)}` : "name a process"
  return yield* misuse(`${problem}; there are: ${names.join(", ")}`)
})

/** Waits until a process has ended. */
const gone = (jobs: MirrorJobs["Service"], process: string) =>
  Effect.repeat(jobs.processes, {
    until: (processes) => !processes.some(({ name }) => name === process),
    schedule: Schedule.spaced("500 millis")
  })

const { rule: _, ...flags } = MirrorInput.flags

export const MirrorDrainCommand = Command.make(
  "drain",
  {
    process: Argument.String("process").pipe(
      Argument.withDescription("Name of the process, as effect-oci mirror status shows it. Default: the only one"),
      Argument.optional
    ),
    ...flags,
    wait: Flags.onOff("wait", "Wait until the process has ended")
  },
  Effect.fnUntraced(function*({ process, wait, ...input }) {
    const opened = yield* MirrorInput.open({ ...input, rule: [] }, "read")
    if (opened.jobs === undefined) {
      return yield* misuse("the store is that of one process: end it with SIGTERM, and the next start continues")
    }
    const jobs = yield* opened.jobs
    const name = yield* choose(jobs, process)
    yield* jobs.drain(name)
    if (wait) yield* gone(jobs, name)
    yield* input.json
      ? Output.json(MirrorDrained, { process: name })
      : Output.line(wait ? `${name} has ended` : `${name} takes nothing more, and ends after what it has in flight`)
  }, Effect.scoped)
).pipe(
  Command.withShortDescription("Lets one of several processes end after its work"),
  Command.withDescription(
    "Lets a process of effect-oci mirror serve end, whose store others share: it takes nothing more, gives its runs to " +
      "the others, finishes the copies that it has in flight, and exits with 0."
  ),
  Command.withExamples([
    { command: "effect-oci mirror drain -c mirror.yml", description: "End the only process" },
    {
      command: "effect-oci mirror drain -c mirror.yml --wait node-2:4711:a1f0",
      description: "End one process, and wait for it"
    }
  ])
)
