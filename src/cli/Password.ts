/**
 * The flags for the name and password at a registry.
 */
import * as Flag from "effect/cli/Flag"
import * as Prompt from "effect/cli/Prompt"
import { TerminalCapabilities } from "effect/cli/TerminalCapabilities"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Flags from "./Flags.ts"
import { Failure } from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"

/** Prefix of the names of flags. It is blank for verbs that use one registry. */
export type Prefix = "" | "from-" | "to-"

/** The source of a password. */
export interface Source {
  readonly passwordStdin: boolean
  readonly passwordFile: Option.Option<string>
}

/** A user name, and the source of its password. */
export interface Given extends Source {
  readonly username: Option.Option<string>
}

/** Makes the flags for the source of a password. Their names begin with `prefix`. */
export const sourceFlags = (prefix: Prefix) => ({
  passwordStdin: Flags.onOff(
    `${prefix}password-stdin`,
    "Read the password from stdin. Default: prompt for it on a terminal"
  ),
  passwordFile: Flag.String(`${prefix}password-file`).pipe(
    Flag.withMetavar("FILE"),
    Flag.withDescription("Read the password from this file"),
    Flag.optional
  )
})

/** Makes the flags for a registry. Their names begin with `prefix`, and their descriptions name the registry. */
export const flags = (prefix: Prefix, registry: string) => ({
  username: Flag.String(`${prefix}username`).pipe(
    Flag.withMetavar("NAME"),
    Flag.withDescription(
      `User name at ${registry}, instead of stored credentials; <token> if the password is an identity token`
    ),
    Flag.optional
  ),
  ...sourceFlags(prefix)
})

/** Returns true if a password is read from stdin or from a file. */
export const isGiven = ({ passwordFile, passwordStdin }: Source): boolean =>
  passwordStdin || Option.isSome(passwordFile)

const prompts: Readonly<Record<Prefix, string>> = {
  "": "Password",
  "from-": "Password at the source",
  "to-": "Password at the destination"
}

/** Reads a password, without a line break at its end. Prompts for it if there is no other source. */
export const read = Effect.fnUntraced(function*({ passwordFile, passwordStdin }: Source, prefix: Prefix = "") {
  if (passwordStdin && Option.isSome(passwordFile)) {
    return yield* misuse(`--${prefix}password-stdin and --${prefix}password-file contradict each other`)
  }
  if (passwordStdin || Option.isSome(passwordFile)) {
    const source = Option.getOrElse(passwordFile, () => "stdin")
    const { stdin } = yield* Stdio.Stdio
    const fs = yield* FileSystem.FileSystem
    const text = yield* (Option.isSome(passwordFile)
      ? fs.readFileString(passwordFile.value)
      : Stream.mkString(Stream.decodeText(stdin))).pipe(
        Effect.mapError(({ reason }) =>
          new Failure({ message: `cannot read the password from ${source} (${reason._tag})` })
        )
      )
    const password = text.replace(/\r?\n$/, "")
    return password === "" ? yield* misuse(`the password in ${source} is empty`) : Redacted.make(password)
  }
  const { canPrompt } = yield* TerminalCapabilities
  if (!canPrompt) {
    return yield* misuse(
      `cannot prompt for a password without a terminal: use --${prefix}password-stdin or --${prefix}password-file`
    )
  }
  return yield* Prompt.run(Prompt.Hidden({ message: prompts[prefix] }))
})
