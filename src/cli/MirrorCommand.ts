/**
 * `effect-oci mirror …`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"

// each verb is loaded when it is needed
const verbs = {
  serve: Effect.map(Effect.promise(() => import("./MirrorServeCommand.ts")), (_) => _.MirrorServeCommand)
}

const parent = Command.make("mirror").pipe(
  Command.withShortDescription("Copies what a file says belongs where"),
  Command.withDescription("Keeps repositories as a file declares them.")
)

const isVerb = (word: string | undefined): word is keyof typeof verbs =>
  word !== undefined && Object.hasOwn(verbs, word)

/** Loads the command with one of its verbs, or with all of them. */
export const make = Effect.fnUntraced(function*(verb: string | undefined) {
  if (isVerb(verb)) return parent.pipe(Command.withSubcommands([yield* verbs[verb]]))
  const all = yield* Effect.all(verbs)
  return parent.pipe(Command.withSubcommands([all.serve]))
})
