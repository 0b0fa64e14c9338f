/**
 * The command as an Effect: its verbs, what it says when something is wrong, and with which code it ends.
 */
import * as Cause from "effect/Cause"
import * as CliConfig from "effect/cli/CliConfig"
import { isCliError } from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import { hasProperty } from "effect/Predicate"
import * as Ref from "effect/Ref"
import * as Runtime from "effect/Runtime"
import * as Stdio from "effect/Stdio"
import * as Terminal from "effect/Terminal"
import * as CredentialSearch from "./CredentialSearch.ts"
import { oneLine } from "./Format.ts"
import * as Help from "./Help.ts"
import { version } from "./version.ts"

// ---------------------------------------------------------------------------------------------------------------------
// verbs
// ---------------------------------------------------------------------------------------------------------------------

// each is loaded when it is needed
const verbs = {
  copy: Effect.map(Effect.promise(() => import("./CopyCommand.ts")), ({ CopyCommand }) => CopyCommand),
  plan: Effect.map(Effect.promise(() => import("./PlanCommand.ts")), ({ PlanCommand }) => PlanCommand),
  resolve: Effect.map(Effect.promise(() => import("./ResolveCommand.ts")), ({ ResolveCommand }) => ResolveCommand),
  manifest: Effect.map(Effect.promise(() => import("./ManifestCommand.ts")), ({ ManifestCommand }) => ManifestCommand),
  blob: Effect.map(Effect.promise(() => import("./BlobCommand.ts")), ({ BlobCommand }) => BlobCommand),
  tree: Effect.map(Effect.promise(() => import("./TreeCommand.ts")), ({ TreeCommand }) => TreeCommand),
  diff: Effect.map(Effect.promise(() => import("./DiffCommand.ts")), ({ DiffCommand }) => DiffCommand),
  referrers: Effect.map(
    Effect.promise(() => import("./ReferrersCommand.ts")),
    ({ ReferrersCommand }) => ReferrersCommand
  ),
  tags: Effect.map(Effect.promise(() => import("./TagsCommand.ts")), ({ TagsCommand }) => TagsCommand),
  catalog: Effect.map(Effect.promise(() => import("./CatalogCommand.ts")), ({ CatalogCommand }) => CatalogCommand),
  tag: Effect.map(Effect.promise(() => import("./TagCommand.ts")), ({ TagCommand }) => TagCommand),
  delete: Effect.map(Effect.promise(() => import("./DeleteCommand.ts")), ({ DeleteCommand }) => DeleteCommand),
  serve: Effect.map(Effect.promise(() => import("./ServeCommand.ts")), ({ ServeCommand }) => ServeCommand),
  login: Effect.map(Effect.promise(() => import("./LoginCommand.ts")), ({ LoginCommand }) => LoginCommand),
  logout: Effect.map(Effect.promise(() => import("./LogoutCommand.ts")), ({ LogoutCommand }) => LogoutCommand),
  completions: Effect.map(
    Effect.promise(() => import("./CompletionsCommand.ts")),
    ({ make }) => make(completed)
  )
}

const completed: Effect.Effect<Command.Command.Any> = Effect.suspend(() => whole)

const root = Command.make("effect-oci").pipe(
  Command.withDescription(
    "Copies, looks at and changes OCI images and artifacts: in registries, in folders (oci:DIR) and in archives " +
      "(oci-archive:FILE, docker-archive:FILE). Serves them, too."
  ),
  Command.withExamples([
    { command: "effect-oci copy --help", description: "What there is to say about a verb" },
    { command: "effect-oci copy ghcr.io/team/app:1 127.0.0.1:5000/mirror/app:1", description: "Copy an image" }
  ])
)

const isVerb = (word: string | undefined): word is keyof typeof verbs =>
  word !== undefined && Object.hasOwn(verbs, word)

/** The command with all its verbs. */
const whole = Effect.gen(function*() {
  const all = yield* Effect.all(verbs)
  return root.pipe(
    Command.withSubcommands([
      { group: "Copying", commands: [all.copy, all.plan] },
      {
        group: "Looking",
        commands: [all.resolve, all.tags, all.catalog, all.tree, all.referrers, all.diff, all.manifest, all.blob]
      },
      { group: "Changing", commands: [all.tag, all.delete] },
      { group: "Serving", commands: [all.serve] },
      { group: "Setting up", commands: [all.login, all.logout, all.completions] }
    ])
  )
})

// ---------------------------------------------------------------------------------------------------------------------
// what is shown
// ---------------------------------------------------------------------------------------------------------------------

/** How wide help may be: the terminal, up to what is pleasant to read. */
const helpWidth = Effect.gen(function*() {
  const { stdoutIsTerminal } = yield* Stdio.Stdio
  const { columns } = yield* Terminal.Terminal
  return (yield* stdoutIsTerminal) ? Math.max(40, Math.min(100, (yield* columns) || 100)) : 100
})

// help goes to stdout when it was asked for; what is wrong is one line on stderr
const presenter = (width: number): CliOutput.Presenter => ({
  present: (event) => {
    switch (event._tag) {
      case "Version":
        return Console.log(`${event.name} v${event.version}`)
      case "Help":
        if (event.reason === "Requested") return Console.log(Help.format(event.helpDoc, width))
    }
    const [first] = event._tag === "Help" ? [] : event.errors
    const problem = first === undefined ? "what is to be done is missing" : Help.complaint(first)
    return Console.error(`effect-oci: ${oneLine(problem)} (see ${event.commandPath.join(" ")} --help)`)
  }
})

const isTagged = (u: unknown): u is { readonly _tag: unknown } => hasProperty(u, "_tag")

/** Runs the command with these arguments. Whatever fails has been said on stderr by the end. */
export const run = Effect.fnUntraced(
  function*(args: ReadonlyArray<string>) {
    const [first] = args
    const width = yield* helpWidth
    const command = isVerb(first)
      ? root.pipe(Command.withSubcommands([yield* verbs[first]]))
      : yield* whole
    yield* Command.runWith(command, { version })(args).pipe(
      Effect.provideService(CliOutput.Presenter, presenter(width)),
      Effect.provideService(CliConfig.CliConfig, { builtIns: [GlobalFlag.Help, GlobalFlag.Version] })
    )
  },
  Effect.tapCause((cause) => {
    if (Cause.hasInterruptsOnly(cause)) return Effect.void
    const error = Cause.squash(cause)
    if (isTagged(error) && (error._tag === "ShowHelp" || error._tag === "Reported")) return Effect.void
    return Effect.flatMap(Effect.promise(() => import("./Advice.ts")), ({ complain }) => complain(error))
  }),
  Effect.onInterrupt(() => Console.error("effect-oci: interrupted")),
  Effect.provideServiceEffect(CredentialSearch.CredentialSearch, Ref.make(CredentialSearch.initial)),
  // nobody looks at the spans of a command
  Effect.withTracerEnabled(false),
  Effect.provideService(Logger.LogToStderr, true)
)

/** Was the command called in a way that makes no sense? */
const isMisuse = (error: unknown): boolean => {
  if (isCliError(error)) return true
  const reason = hasProperty(error, "reason") ? error.reason : undefined
  return isTagged(reason) && (reason._tag === "InvalidReference" || reason._tag === "UnfitReference")
}

/** 0 done, 1 failed, 2 misused, 130 interrupted. */
export const exitCode = (exit: Exit.Exit<unknown, unknown>): number => {
  if (Exit.isSuccess(exit)) return 0
  if (Cause.hasInterruptsOnly(exit.cause)) return 130
  const error = Cause.squash(exit.cause)
  return isMisuse(error) ? 2 : Runtime.getErrorExitCode(error)
}
