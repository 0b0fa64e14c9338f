/**
 * `effect-oci mirror plan -c FILE`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Mirror from "../mirror/Mirror.ts"
import * as MirrorPlan from "../mirror/MirrorPlan.ts"
import { Observer } from "../Observer.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as MirrorInput from "./MirrorInput.ts"
import * as Output from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"

/** Schema of the differences from an earlier plan. */
export const MirrorChanges = Schema.Struct({ changes: Schema.Array(MirrorPlan.Change) })

const decodePlan = Schema.decodeEffect(Schema.fromJsonString(Schema.toCodecJson(MirrorPlan.MirrorPlan)))

/** Reads an earlier plan. */
const readPlan = Effect.fnUntraced(function*(file: string) {
  const fs = yield* FileSystem.FileSystem
  const text = yield* Effect.mapError(
    fs.readFileString(file),
    ({ reason }) => new Output.Failure({ message: `--compare: cannot read ${file} (${reason._tag})` })
  )
  return yield* Effect.mapError(
    decodePlan(text),
    () => misuse(`--compare: ${file} is not a plan that mirror plan --json has printed`)
  )
})

const lineOf = ({ after, before, destination, tag }: MirrorPlan.Change): string =>
  `${destination}:${tag}: ${before ?? "not in the plan"} before, now ${after ?? "not in the plan"}`

/** Prints the differences from an earlier plan. */
const printChanges = Effect.fnUntraced(function*(plan: MirrorPlan.MirrorPlan, file: string, isJson: boolean) {
  const changes = MirrorPlan.compare(plan, yield* readPlan(file))
  if (isJson) return yield* Output.json(MirrorChanges, { changes })
  yield* Output.text(changes.length === 0 ? ["no differences"] : changes.map(lineOf))
})

export const MirrorPlanCommand = Command.make(
  "plan",
  {
    ...MirrorInput.flags,
    why: Flags.onOff("why", "Also list tags that do not change, and tags that the rules do not select, with reasons"),
    deep: Flags.onOff("deep", "Plan each copy, for the numbers of bytes. Costs more requests"),
    prune: Flags.onOff("prune", "Plan as if the rules with a prune policy had been confirmed"),
    compare: Flag.String("compare").pipe(
      Flag.withMetavar("FILE"),
      Flag.withDescription("Print only the differences from an earlier plan, which was printed with --json"),
      Flag.optional
    )
  },
  Effect.fnUntraced(function*({ compare, deep, json, prune, why, ...input }) {
    const opened = yield* MirrorInput.open({ ...input, json })
    const plan = yield* Mirror.plan(opened.config, {
      rules: opened.isChosen,
      prune,
      detail: deep ? "deep" : "tags"
    }).pipe(MirrorInput.connected(opened), Effect.provideService(Observer, Connection.observe))
    if (Option.isSome(compare)) yield* printChanges(plan, compare.value, json)
    else {
      yield* json
        ? Output.json(MirrorPlan.MirrorPlan, plan)
        : Output.text(MirrorPlan.format(plan, { detail: why ? "all" : "changes" }).split("\n"))
    }
    if (plan.hasProblems) return yield* new Output.Reported({ exitCode: 1 })
    if (plan.hasWork) return yield* new Output.Reported({ exitCode: 3 })
  }, Effect.scoped)
).pipe(
  Command.withShortDescription("Shows what a run would do, and why"),
  Command.withDescription(
    "Shows for each tag what a run would do, and why: deletions first. It only reads, and changes nothing, not even " +
      "the state. The exit code is 0 if there is nothing to do, 3 if there is, and 1 if something cannot be planned."
  ),
  Command.withExamples([
    { command: "effect-oci mirror plan -c mirror.yml", description: "Show what would change" },
    { command: "effect-oci mirror plan -c mirror.yml --why", description: "Show the reason for every tag" },
    {
      command: "effect-oci mirror plan -c mirror.yml --compare yesterday.json",
      description: "Show the differences from an earlier plan"
    }
  ])
)
