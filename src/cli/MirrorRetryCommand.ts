/**
 * `effect-oci mirror retry -c FILE`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { plural } from "./Format.ts"
import * as MirrorInput from "./MirrorInput.ts"
import * as Output from "./Output.ts"

/** Schema of the result. */
export const MirrorRetried = Schema.Struct({ retried: Schema.Natural })

export const MirrorRetryCommand = Command.make(
  "retry",
  MirrorInput.flags,
  Effect.fnUntraced(function*(input) {
    const { state } = yield* MirrorInput.open(input)
    const rules = input.rule.length === 0 ? [undefined] : input.rule
    const counts = yield* Effect.forEach(rules, (rule) => state.retry({ rule }))
    const retried = counts.reduce((sum, count) => sum + count, 0)
    yield* input.json
      ? Output.json(MirrorRetried, { retried })
      : Output.line(`the next run tries ${plural(retried, "failed tag")} again`)
  }, Effect.scoped)
).pipe(
  Command.withShortDescription("Lets the next run try failed tags again at once"),
  Command.withDescription("Ends the pauses of tags that have failed, so that the next run tries them again at once."),
  Command.withExamples([
    { command: "effect-oci mirror retry -c mirror.yml", description: "Try all failed tags again with the next run" }
  ])
)
