/**
 * `effect-oci mirror …`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"

// each verb is loaded when it is needed
const verbs = {
  plan: Effect.map(Effect.promise(() => import("./MirrorPlanCommand.ts")), (_) => _.MirrorPlanCommand),
  run: Effect.map(Effect.promise(() => import("./MirrorRunCommand.ts")), (_) => _.MirrorRunCommand),
  serve: Effect.map(Effect.promise(() => import("./MirrorServeCommand.ts")), (_) => _.MirrorServeCommand),
  status: Effect.map(Effect.promise(() => import("./MirrorStatusCommand.ts")), (_) => _.MirrorStatusCommand),
  drain: Effect.map(Effect.promise(() => import("./MirrorDrainCommand.ts")), (_) => _.MirrorDrainCommand),
  retry: Effect.map(Effect.promise(() => import("./MirrorRetryCommand.ts")), (_) => _.MirrorRetryCommand),
  bundle: Effect.map(Effect.promise(() => import("./MirrorBundleCommand.ts")), (_) => _.MirrorBundleCommand),
  state: Effect.map(Effect.promise(() => import("./MirrorStateCommand.ts")), (_) => _.MirrorStateCommand),
  check: Effect.map(Effect.promise(() => import("./MirrorCheckCommand.ts")), (_) => _.MirrorCheckCommand),
  convert: Effect.map(Effect.promise(() => import("./MirrorConvertCommand.ts")), (_) => _.MirrorConvertCommand)
}

const parent = Command.make("mirror").pipe(
  Command.withShortDescription("Copies what a file says belongs where"),
  Command.withDescription(
    "Keeps repositories as a file declares them. Also reads the files of regsync, skopeo sync, image-syncer and ocync. " +
      "examples/mirror.yml shows every field of the file; effect-oci schema mirror prints its JSON Schema."
  )
)

const isVerb = (word: string | undefined): word is keyof typeof verbs =>
  word !== undefined && Object.hasOwn(verbs, word)

/** Loads the command with one of its verbs, or with all of them. */
export const make = Effect.fnUntraced(function*(verb: string | undefined) {
  if (isVerb(verb)) return parent.pipe(Command.withSubcommands([yield* verbs[verb]]))
  const all = yield* Effect.all(verbs)
  return parent.pipe(
    Command.withSubcommands([
      all.plan,
      all.run,
      all.serve,
      all.status,
      all.drain,
      all.retry,
      all.state,
      all.bundle,
      all.check,
      all.convert
    ])
  )
})
