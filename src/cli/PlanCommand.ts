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

const encode = Schema.encodeEffect(Schema.Array(CopyPlan.CopyPlan))

/** Prints what a copy would do: a tree for each destination, and each tag. */
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
    const encoded = yield* Effect.orDie(encode(plans))
    yield* Output.json(input.allTags || plans.length > 1 ? encoded : encoded[0])
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
  Command.withShortDescription("What copy would do, as a tree, by reading alone"),
  Command.withDescription(
    "Tells what copy would do with the same flags, as a tree: for every manifest and blob what is to happen to it, why, and " +
      "how many bytes are to be sent. It only reads, so some of it are bounds: whether the destination mounts a blob is " +
      "known when it was tried."
  ),
  Command.withExamples([
    {
      command: "effect-oci plan ghcr.io/team/app:1 registry.example.com/mirror/app:1",
      description: "See what would be sent"
    },
    {
      command: "effect-oci plan --json --referrers skip ghcr.io/team/app:1 oci:images:app",
      description: "The same for another program to read"
    }
  ])
)
