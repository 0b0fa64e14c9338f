/**
 * `effect-oci completions SHELL`
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Completions from "effect/cli/Completions"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Output from "./Output.ts"

/** Makes the verb, which prints completions of `whole`. */
export const make = <E, R>(whole: Effect.Effect<Command.Command.Any, E, R>) =>
  Command.make(
    "completions",
    {
      shell: Argument.Literals("shell", ["bash", "zsh", "fish", "powershell"]).pipe(
        Argument.withMetavar("shell"),
        Argument.withDescription("bash, zsh, fish or powershell")
      )
    },
    Effect.fnUntraced(function*({ shell }) {
      const command = yield* whole
      const script = Completions.generate(command.name, shell, Completions.fromCommand(command))
      yield* Output.to(Option.none(), Stream.encodeText(Stream.make(script, "\n")))
    })
  ).pipe(
    Command.withShortDescription("Prints a completion script for a shell"),
    Command.withDescription("Prints a script with which a shell completes the verbs and flags of this command."),
    Command.withExamples([
      {
        command: "effect-oci completions bash > ~/.local/share/bash-completion/completions/effect-oci",
        description: "Install the completions for Bash"
      },
      {
        command: "effect-oci completions zsh > \"${fpath[1]}/_effect-oci\"",
        description: "Install the completions for Zsh"
      },
      {
        command: "effect-oci completions fish > ~/.config/fish/completions/effect-oci.fish",
        description: "Install the completions for Fish"
      }
    ])
  )
