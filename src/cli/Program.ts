/**
 * The command as an Effect: its verbs, its errors and its exit codes.
 */
import * as Cause from "effect/Cause"
import * as CliConfig from "effect/cli/CliConfig"
import { isCliError } from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import { hasProperty } from "effect/Predicate"
import * as Ref from "effect/Ref"
import * as References from "effect/References"
import * as Runtime from "effect/Runtime"
import * as Stdio from "effect/Stdio"
import * as Terminal from "effect/Terminal"
import * as CredentialSearch from "./CredentialSearch.ts"
import { oneLine } from "./Format.ts"
import * as Help from "./Help.ts"
import * as Messages from "./Messages.ts"
import * as Mode from "./Mode.ts"
import { misuse } from "./ReferenceInput.ts"
import { version } from "./version.ts"

// ---------------------------------------------------------------------------------------------------------------------
// verbs
// ---------------------------------------------------------------------------------------------------------------------

// each verb is loaded when it is needed
const verbs = {
  copy: Effect.map(Effect.promise(() => import("./CopyCommand.ts")), ({ CopyCommand }) => CopyCommand),
  plan: Effect.map(Effect.promise(() => import("./PlanCommand.ts")), ({ PlanCommand }) => PlanCommand),
  push: Effect.map(Effect.promise(() => import("./PushCommand.ts")), ({ PushCommand }) => PushCommand),
  attach: Effect.map(Effect.promise(() => import("./AttachCommand.ts")), ({ AttachCommand }) => AttachCommand),
  pull: Effect.map(Effect.promise(() => import("./PullCommand.ts")), ({ PullCommand }) => PullCommand),
  index: Effect.map(Effect.promise(() => import("./IndexCommand.ts")), ({ IndexCommand }) => IndexCommand),
  resolve: Effect.map(Effect.promise(() => import("./ResolveCommand.ts")), ({ ResolveCommand }) => ResolveCommand),
  manifest: Effect.map(Effect.promise(() => import("./ManifestCommand.ts")), ({ ManifestCommand }) => ManifestCommand),
  blob: Effect.map(Effect.promise(() => import("./BlobCommand.ts")), ({ BlobCommand }) => BlobCommand),
  tree: Effect.map(Effect.promise(() => import("./TreeCommand.ts")), ({ TreeCommand }) => TreeCommand),
  diff: Effect.map(Effect.promise(() => import("./DiffCommand.ts")), ({ DiffCommand }) => DiffCommand),
  referrers: Effect.map(
    Effect.promise(() => import("./ReferrersCommand.ts")),
    ({ ReferrersCommand }) => ReferrersCommand
  ),
  config: Effect.map(Effect.promise(() => import("./ConfigCommand.ts")), ({ ConfigCommand }) => ConfigCommand),
  files: Effect.map(Effect.promise(() => import("./FilesCommand.ts")), ({ FilesCommand }) => FilesCommand),
  validate: Effect.map(Effect.promise(() => import("./ValidateCommand.ts")), ({ ValidateCommand }) => ValidateCommand),
  append: Effect.map(Effect.promise(() => import("./AppendCommand.ts")), ({ AppendCommand }) => AppendCommand),
  mutate: Effect.map(Effect.promise(() => import("./MutateCommand.ts")), ({ MutateCommand }) => MutateCommand),
  rebase: Effect.map(Effect.promise(() => import("./RebaseCommand.ts")), ({ RebaseCommand }) => RebaseCommand),
  tags: Effect.map(Effect.promise(() => import("./TagsCommand.ts")), ({ TagsCommand }) => TagsCommand),
  catalog: Effect.map(Effect.promise(() => import("./CatalogCommand.ts")), ({ CatalogCommand }) => CatalogCommand),
  tag: Effect.map(Effect.promise(() => import("./TagCommand.ts")), ({ TagCommand }) => TagCommand),
  delete: Effect.map(Effect.promise(() => import("./DeleteCommand.ts")), ({ DeleteCommand }) => DeleteCommand),
  mirror: Effect.flatMap(Effect.promise(() => import("./MirrorCommand.ts")), ({ make }) => make(undefined)),
  serve: Effect.map(Effect.promise(() => import("./ServeCommand.ts")), ({ ServeCommand }) => ServeCommand),
  gc: Effect.map(Effect.promise(() => import("./GcCommand.ts")), ({ GcCommand }) => GcCommand),
  login: Effect.map(Effect.promise(() => import("./LoginCommand.ts")), ({ LoginCommand }) => LoginCommand),
  logout: Effect.map(Effect.promise(() => import("./LogoutCommand.ts")), ({ LogoutCommand }) => LogoutCommand),
  schema: Effect.map(Effect.promise(() => import("./SchemaCommand.ts")), ({ SchemaCommand }) => SchemaCommand),
  completions: Effect.map(
    Effect.promise(() => import("./CompletionsCommand.ts")),
    ({ make }) => make(completed)
  )
}

const completed: Effect.Effect<Command.Command.Any> = Effect.suspend(() => whole)

const onOff = (flag: Flag.Flag<boolean>, description: string) =>
  flag.pipe(Flag.withDescription(description), Flag.withoutNegation, Flag.withDefault(false))

// the mode is read from the arguments (see Mode.ts): these make the parser accept the flags and the help list them
const quiet = GlobalFlag.Setting("quiet")({
  flag: onOff(Flag.Boolean("quiet").pipe(Flag.withAlias("q")), "Print no progress and no warnings; errors remain")
})
const debug = GlobalFlag.Setting("debug")({
  flag: onOff(Flag.Boolean("debug"), "Print requests and the decisions of a copy on stderr, without secrets")
})

const root = Command.make("effect-oci").pipe(
  Command.withGlobalFlags([quiet, debug]),
  Command.withDescription(
    "Copies, inspects, changes and serves OCI images and artifacts in registries, in folders (oci:DIR) and in " +
      "archives (oci-archive:FILE, docker-archive:FILE)."
  ),
  Command.withExamples([
    { command: "effect-oci copy --help", description: "Show the help of a verb" },
    { command: "effect-oci copy ghcr.io/team/app:1 127.0.0.1:5000/mirror/app:1", description: "Copy an image" }
  ])
)

/** Loads a verb. Of the verbs below `mirror`, only the one that the arguments name is loaded. */
const load = (verb: keyof typeof verbs, args: ReadonlyArray<string>) =>
  verb === "mirror"
    ? Effect.flatMap(Effect.promise(() => import("./MirrorCommand.ts")), ({ make }) => make(args[1]))
    : verbs[verb]

const isVerb = (word: string | undefined): word is keyof typeof verbs =>
  word !== undefined && Object.hasOwn(verbs, word)

/** The command with all its verbs. */
export const whole = Effect.gen(function*() {
  const all = yield* Effect.all(verbs)
  return root.pipe(
    Command.withSubcommands([
      { group: "Copying", commands: [all.copy, all.plan, all.mirror] },
      {
        group: "Reading",
        commands: [
          all.resolve,
          all.tags,
          all.catalog,
          all.tree,
          all.referrers,
          all.diff,
          all.config,
          all.files,
          all.validate,
          all.manifest,
          all.blob
        ]
      },
      { group: "Files", commands: [all.push, all.attach, all.pull] },
      { group: "Changing", commands: [all.tag, all.index, all.append, all.mutate, all.rebase, all.delete] },
      { group: "Serving", commands: [all.serve, all.gc] },
      { group: "Setting up", commands: [all.login, all.logout, all.schema, all.completions] }
    ])
  )
})

// ---------------------------------------------------------------------------------------------------------------------
// output
// ---------------------------------------------------------------------------------------------------------------------

/** Width of the help, in columns: that of the terminal, from 40 to 100. */
const helpWidth = Effect.gen(function*() {
  const { stdoutIsTerminal } = yield* Stdio.Stdio
  const { columns } = yield* Terminal.Terminal
  return (yield* stdoutIsTerminal) ? Math.max(40, Math.min(100, (yield* columns) || 100)) : 100
})

// requested help goes to stdout; an error of the parser is one line on stderr
const presenter = (width: number): CliOutput.Presenter => ({
  present: (event) => {
    switch (event._tag) {
      case "Version":
        return Console.log(`${event.name} v${event.version}`)
      case "Help":
        if (event.reason === "Requested") return Console.log(Help.format(event.helpDoc, width))
    }
    const [first] = event._tag === "Help" ? [] : event.errors
    return Messages.send({
      type: "error",
      message: oneLine(first === undefined ? "missing verb" : Help.complaint(first)),
      help: `${event.commandPath.join(" ")} --help`
    })
  }
})

const isTagged = (u: unknown): u is { readonly _tag: unknown } => hasProperty(u, "_tag")

const runVerb = Effect.fnUntraced(function*(args: ReadonlyArray<string>) {
  const [first] = args
  if (Mode.isContradictory(args)) return yield* misuse("--quiet and --debug contradict each other")
  const width = yield* helpWidth
  const command = isVerb(first)
    ? root.pipe(Command.withSubcommands([yield* load(first, args)]))
    : yield* whole
  yield* Command.runWith(command, { version })(args).pipe(
    Effect.provideService(CliOutput.Presenter, presenter(width)),
    Effect.provideService(CliConfig.CliConfig, { builtIns: [GlobalFlag.Help, GlobalFlag.Version] })
  )
})

/** Writes logs of the library as messages. */
const jsonLogger = (mode: Mode.Mode) =>
  Logger.make<unknown, void>(({ cause, fiber, logLevel, message }) => {
    const line = Messages.render({
      type: "log",
      level: logLevel.toLowerCase(),
      message: oneLine((Array.isArray(message) ? message : [message]).map(String).join(" ")),
      annotations: Object.fromEntries(
        Object.entries(fiber.getRef(References.CurrentLogAnnotations)).map(([key, value]) => [key, String(value)])
      ),
      ...cause.reasons.length === 0 ? {} : { cause: Cause.pretty(cause) }
    }, mode)
    if (line !== undefined) fiber.getRef(Console.Console).error(line)
  })

/** Runs an effect so that it traces and logs as the mode says. */
const inMode = <A, E, R>(self: Effect.Effect<A, E, R>, mode: Mode.Mode): Effect.Effect<A, E, R> => {
  const minimum = { quiet: "Error", normal: "Info", debug: "Debug" } as const
  const traced = mode.detail !== "debug"
    // the command does not export spans
    ? Effect.withTracerEnabled(self, false)
    : Effect.promise(() => import("./RequestTracer.ts")).pipe(
      Effect.flatMap(({ make }) => make),
      Effect.flatMap((tracer) => Effect.withTracer(self, tracer))
    )
  return traced.pipe(
    Effect.provideService(References.MinimumLogLevel, minimum[mode.detail]),
    Effect.provideService(Logger.LogToStderr, true),
    mode.format === "json"
      ? Effect.provideService(Logger.CurrentLoggers, new Set([jsonLogger(mode)]))
      : (effect) => effect,
    Effect.provideService(Messages.CurrentMode, mode)
  )
}

/** Runs the command with these arguments. Every failure has been reported on stderr when it ends. */
export const run = Effect.fnUntraced(function*(args: ReadonlyArray<string>) {
  const { stderrIsTerminal } = yield* Stdio.Stdio
  const mode = Mode.fromArguments(args, yield* stderrIsTerminal)
  const running = runVerb(args).pipe(
    Effect.tapCause((cause) => {
      if (Cause.hasInterruptsOnly(cause)) return Effect.void
      const error = Cause.squash(cause)
      if (isTagged(error) && (error._tag === "ShowHelp" || error._tag === "Reported")) return Effect.void
      return Effect.flatMap(Effect.promise(() => import("./Advice.ts")), ({ complain }) => complain(error))
    }),
    Effect.onInterrupt(() => Messages.send({ type: "error", message: "interrupted" })),
    Effect.provideServiceEffect(CredentialSearch.CredentialSearch, Ref.make(CredentialSearch.initial))
  )
  yield* inMode(running, mode)
})

/** Returns true if the arguments do not make sense. */
const isMisuse = (error: unknown): boolean => {
  if (isCliError(error)) return true
  const reason = hasProperty(error, "reason") ? error.reason : undefined
  return isTagged(reason) && (reason._tag === "InvalidReference" || reason._tag === "UnfitReference")
}

/** Returns the exit code: 0 done, 1 failed, 2 misused, 130 interrupted. */
export const exitCode = (exit: Exit.Exit<unknown, unknown>): number => {
  if (Exit.isSuccess(exit)) return 0
  if (Cause.hasInterruptsOnly(exit.cause)) return 130
  const error = Cause.squash(exit.cause)
  return isMisuse(error) ? 2 : Runtime.getErrorExitCode(error)
}
