/**
 * The command of `onRepositoryMissing`, which creates a repository that a destination lacks.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Stream from "effect/Stream"
import * as Mirror from "../mirror/Mirror.ts"
import { excerpt } from "../Text.ts"

// longest time that the command may take
const timeout = Duration.seconds(60)

// number of bytes of its messages that are read
const maximumText = 4096

/**
 * Makes the hooks of a mirror: one that runs a command, without a shell. `{registry}` and `{repository}` in its
 * arguments are replaced; the environment has them as `MIRROR_REGISTRY` and `MIRROR_REPOSITORY`. The copy is refused
 * unless the command exits with 0 within a minute.
 */
export const hooks = Effect.fnUntraced(function*(command: ReadonlyArray<string> | undefined) {
  if (command === undefined) return yield* Mirror.Hooks
  const [program = "", ...args] = command
  const spawner = yield* ChildProcessSpawner
  const run = Effect.fnUntraced(function*(registry: string, repository: string) {
    const replaced = args.map((arg) =>
      arg.replaceAll(/\{(registry|repository)\}/g, (_, name) => name === "registry" ? registry : repository)
    )
    const child = yield* spawner.spawn(ChildProcess.make(program, replaced, {
      env: { MIRROR_REGISTRY: registry, MIRROR_REPOSITORY: repository },
      extendEnv: true,
      stdin: "ignore",
      stdout: "ignore",
      forceKillAfter: "1 second"
    }))
    let text = ""
    const messages = Stream.runForEach(Stream.decodeText(child.stderr), (part) =>
      Effect.sync(() => {
        text = (text + part).slice(0, maximumText)
      }))
    const [code] = yield* Effect.all([child.exitCode, messages], { concurrency: 2 })
    return { code, text: excerpt(text) }
  }, Effect.scoped)
  const refused = (problem: string) => new Mirror.Refused({ reason: `onRepositoryMissing: ${program} ${problem}` })

  const onRepositoryMissing: Mirror.Hooks["onRepositoryMissing"] = (registry, repository) =>
    run(registry, repository).pipe(
      Effect.timeout(timeout),
      Effect.catchTag("TimeoutError", () => Effect.fail(refused(`did not end within ${Duration.format(timeout)}`))),
      Effect.catchTag(
        "PlatformError",
        ({ reason }) =>
          Effect.fail(refused(reason._tag === "NotFound" ? "is not on the PATH" : `cannot be run (${reason._tag})`))
      ),
      Effect.flatMap(({ code, text }) =>
        code === 0 ? Effect.void : Effect.fail(refused(`has exited with ${code}${text === "" ? "" : `: ${text}`}`))
      )
    )
  return { ...yield* Mirror.Hooks, onRepositoryMissing } satisfies Mirror.Hooks
})
