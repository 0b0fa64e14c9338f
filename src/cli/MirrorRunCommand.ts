/**
 * `effect-oci mirror run -c FILE`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Mirror from "../mirror/Mirror.ts"
import * as MirrorReport from "../mirror/MirrorReport.ts"
import * as Flags from "./Flags.ts"
import * as Messages from "./Messages.ts"
import * as MirrorInput from "./MirrorInput.ts"
import * as MirrorProgress from "./MirrorProgress.ts"
import * as Output from "./Output.ts"

/** Says how the failed tags are tried again. */
const adviseOn = (report: MirrorReport.MirrorReport, file: string) => {
  const isWaiting = report.rules.some(({ failures }) => failures.some(({ retryAt }) => retryAt !== undefined))
  return isWaiting
    ? Messages.note(
      `failed tags are tried again by a run after their pause; to try them now: effect-oci mirror retry -c ${file}`
    )
    : Effect.void
}

export const MirrorRunCommand = Command.make(
  "run",
  {
    ...MirrorInput.flags,
    prune: Flags.onOff(
      "prune",
      "Let the rules with a prune policy delete tags. The state remembers it until a policy changes"
    ),
    copies: Flags.positive("copies", "Maximum number of tags that are copied at the same time. Default: 16").pipe(
      Flag.optional
    )
  },
  Effect.fnUntraced(function*({ copies, json, prune, ...input }) {
    const opened = yield* MirrorInput.open({ ...input, json })
    const report = yield* MirrorProgress.shown(
      Mirror.run(opened.config, {
        rules: opened.isChosen,
        prune,
        copies: Option.getOrUndefined(copies),
        by: "effect-oci mirror run"
      })
    ).pipe(MirrorInput.connected(opened))
    yield* json
      ? Output.json(MirrorReport.MirrorReport, report)
      : Output.text(MirrorReport.format(report).split("\n"))
    yield* adviseOn(report, opened.file)
    if (report.hasFailures) return yield* new Output.Reported({ exitCode: 1 })
  }, Effect.scoped)
).pipe(
  Command.withShortDescription("Copies what changed, once"),
  Command.withDescription(
    "Compares the sources with what the state says that the destinations have, copies what changed, and prints a " +
      "report. A tag that fails does not stop the others; it is tried again by a later run, after a pause that grows. " +
      "A run that was interrupted is continued by the next one. The exit code is 1 if a tag has failed."
  ),
  Command.withExamples([
    { command: "effect-oci mirror run -c mirror.yml", description: "Apply a file" },
    { command: "effect-oci mirror run -c mirror.yml --rule bases --json", description: "Apply one rule" },
    { command: "effect-oci mirror run -c mirror.yml --prune", description: "Let the rules delete tags" }
  ])
)
