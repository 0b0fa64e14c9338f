/**
 * The command as an Effect: its verbs, what it says when something is wrong, and with which code it ends.
 */
import * as Cause from "effect/Cause"
import type * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as Runtime from "effect/Runtime"
import { isCopyError } from "../copy/CopyError.ts"
import { CopyCommand } from "./CopyCommand.ts"
import { ServeCommand } from "./ServeCommand.ts"

/** What `--version` says; the same as in `package.json`. */
const version = "0.1.0"

const root = Command.make("effect-oci").pipe(
  Command.withDescription("Copy images between OCI registries, and serve them"),
  Command.withSubcommands([CopyCommand, ServeCommand])
)

const oneLine = (text: string): string => text.replaceAll(/\s*\n\s*/g, " ").trim()

const complain = (message: string) => Console.error(`effect-oci: ${oneLine(message)}`)

// help goes to stdout when it was asked for; what is wrong is one line on stderr
const presenter: CliOutput.Presenter = {
  present: (event) => {
    if (event._tag === "Version" || event._tag === "Help" && event.reason === "Requested") {
      return CliOutput.defaultPresenter.present(event)
    }
    const [first] = event._tag === "Help" ? [] : event.errors
    return complain(`${first?.message ?? "what is to be done is missing"} (see ${event.commandPath.join(" ")} --help)`)
  }
}

const describe = (error: unknown): string => {
  const message = error instanceof Error ? error.message : String(error)
  const isPlain = isCopyError(error) && error.reason._tag === "Transport" &&
    error.reason.code?.startsWith("ERR_SSL_") === true
  return isPlain ? `${message} (--plain-http HOST:PORT)` : message
}

const isShown = (error: unknown): error is CliError.ShowHelp =>
  typeof error === "object" && error !== null && "_tag" in error && error._tag === "ShowHelp"

/** Runs the command with these arguments. Whatever fails has been said on stderr by the end. */
export const run = (args: ReadonlyArray<string>): Effect.Effect<void, unknown, Command.Environment> =>
  Command.runWith(root, { version })(args).pipe(
    Effect.tapCause((cause) => {
      if (Cause.hasInterruptsOnly(cause)) return Effect.void
      const error = Cause.squash(cause)
      return isShown(error) ? Effect.void : complain(describe(error))
    }),
    Effect.onInterrupt(() => complain("interrupted")),
    Effect.provideService(CliOutput.Presenter, presenter),
    // nobody looks at the spans of a command
    Effect.withTracerEnabled(false),
    Effect.provideService(Logger.LogToStderr, true)
  )

/** 0 done, 1 failed, 2 misused, 130 interrupted. */
export const exitCode = (exit: Exit.Exit<unknown, unknown>): number => {
  if (Exit.isSuccess(exit)) return 0
  if (Cause.hasInterruptsOnly(exit.cause)) return 130
  const error = Cause.squash(exit.cause)
  return isShown(error) ? 2 : Runtime.getErrorExitCode(error)
}
