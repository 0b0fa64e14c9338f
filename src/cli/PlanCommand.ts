/**
 * `effect-oci plan SOURCE DESTINATION...`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Copy from "../copy/Copy.ts"
import * as CopyPlan from "../copy/CopyPlan.ts"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as CopyFlags from "./CopyFlags.ts"
import * as Flags from "./Flags.ts"
import * as Output from "./Output.ts"

/** Schema of the plans of several copies. */
export const CopyPlans = Schema.Array(CopyPlan.CopyPlan)

/** Prints the plan of a copy: a tree for each destination and tag. */
export const plan = Effect.fnUntraced(
  function*(input: CopyFlags.Input & { readonly json: boolean }, options: Copy.Options) {
    const namespace = yield* Namespace.Namespace
    const planPair = ({ destination, source }: CopyFlags.Pair) =>
      namespace.planCopy({ ...options, source: source.end, destination: destination.end })
    const plans = input.allTags
      ? yield* CopyFlags.useTags(namespace, input, (pairs) => Effect.forEach(pairs, planPair, { concurrency: 8 }))
      : yield* CopyFlags.useImage(
        input,
        (source, destinations) => Effect.forEach(destinations, (destination) => planPair({ source, destination }))
      )
    if (!input.json) return yield* Output.text(plans.map(CopyPlan.format).join("\n\n").split("\n"))
    const [only, ...others] = plans
    yield* only === undefined || input.allTags || others.length > 0
      ? Output.json(CopyPlans, plans)
      : Output.json(CopyPlan.CopyPlan, only)
  }
)

export const PlanCommand = Command.make(
  "plan",
  { ...CopyFlags.config, json: Flags.json, connection: Connection.copyFlags },
  Effect.fnUntraced(function*(input) {
    yield* plan(input, yield* CopyFlags.options(input))
  })
).pipe(
  Connection.provideCopy,
  Command.withShortDescription("Shows what copy would do, as a tree"),
  Command.withDescription(
    "Shows what copy would do with the same flags, as a tree: for every manifest and blob the action, the reason, " +
      "and the number of bytes to send. It only reads, so some byte counts are bounds: only an attempt shows whether " +
      "the destination mounts a blob."
  ),
  Command.withExamples([
    {
      command: "effect-oci plan ghcr.io/team/app:1 registry.example.com/mirror/app:1",
      description: "Show what would be sent"
    },
    {
      command: "effect-oci plan --json --referrers skip ghcr.io/team/app:1 oci:images:app",
      description: "The same as JSON"
    }
  ])
)
