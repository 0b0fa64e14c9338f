/**
 * `effect-oci copy SOURCE DESTINATION...`
 */
import * as Cause from "effect/Cause"
import type * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as Stream from "effect/Stream"
import type * as Copy from "../copy/Copy.ts"
import { type CopyError, isCopyError } from "../copy/CopyError.ts"
import type { CopyReport } from "../copy/CopyReport.ts"
import * as Namespace from "../Namespace.ts"
import { Observer } from "../Observer.ts"
import * as Advice from "./Advice.ts"
import * as Connection from "./Connection.ts"
import * as CopyDocuments from "./CopyDocuments.ts"
import * as CopyFlags from "./CopyFlags.ts"
import * as Flags from "./Flags.ts"
import type * as Locations from "./Locations.ts"
import * as Messages from "./Messages.ts"
import * as Output from "./Output.ts"
import { plan } from "./PlanCommand.ts"
import * as Progress from "./Progress.ts"
import { misuse } from "./ReferenceInput.ts"

interface Input extends CopyFlags.Input {
  readonly json: boolean
}

/** Returns true if stdout gets an archive, so that nothing else can be printed there. */
const isOnStdout = ({ destinations }: Input): boolean => destinations.some(({ isStdout }) => isStdout === true)

/** Fails unless at most one archive, and nothing else, is written to stdout. */
const checkStdout = (input: Input): Effect.Effect<void, CliError.ValidationError> => {
  if (!isOnStdout(input)) return Effect.void
  if (input.json) {
    return Effect.fail(misuse("--json prints to stdout, which gets the archive: name a file instead of -"))
  }
  return input.destinations.filter(({ isStdout }) => isStdout === true).length > 1
    ? Effect.fail(misuse("only one archive can be written to stdout"))
    : Effect.void
}

/** Copies an image to one destination, and reports the progress. */
const copyOne = Effect.fnUntraced(
  function*(input: Input, options: Copy.Options, source: Locations.Location, destination: Locations.Location) {
    const namespace = yield* Namespace.Namespace
    const [elapsed, report] = yield* Effect.timed(
      Progress.shown(namespace.copyEvents({ ...options, source: source.end, destination: destination.end }))
    )
    const result = destination.format({ digest: report.root.digest })
    yield* Messages.send(Progress.conclusion(report, elapsed))
    if (isOnStdout(input)) return Messages.note(result)
    return input.json ? Output.jsonPieces(CopyDocuments.report(report)) : Output.line(result)
  }
)

// ---------------------------------------------------------------------------------------------------------------------
// several copies
// ---------------------------------------------------------------------------------------------------------------------

/** A copy that has ended. */
interface Ended extends CopyFlags.Pair {
  readonly exit: Exit.Exit<CopyReport, CopyError>
}

/** Output about a copy that has ended. */
interface Printed {
  /** The reference of the copied image; absent after a failure. */
  readonly line?: string | undefined
  readonly result: CopyDocuments.CopyResult
}

/** Writes the messages about a copy that has succeeded. */
const reportSuccess = Effect.fnUntraced(function*(name: string, report: CopyReport, elapsed: Duration.Duration) {
  const { detail, format } = yield* Messages.CurrentMode
  if (format === "json" || detail === "debug") {
    yield* Effect.forEach(report.entries, (entry) => Messages.send(Progress.settled(entry, name)), { discard: true })
  }
  yield* Messages.send(Progress.conclusion(report, elapsed, `${name}: `))
})

/** Reports a copy that has ended on stderr, and returns what to print about it. */
const conclude = Effect.fnUntraced(
  function*(
    { destination, exit, source }: Ended,
    elapsed: Duration.Duration
  ): Effect.fn.Return<Printed, never, FileSystem.FileSystem | Path.Path> {
    const names = { source: source.format(source.end), destination: destination.format(destination.end) }
    if (Exit.isSuccess(exit)) {
      yield* reportSuccess(names.destination, exit.value, elapsed)
      const { digest } = exit.value.root
      return { line: destination.format({ ...destination.end, digest }), result: { ...names, report: exit.value } }
    }
    const error = Cause.squash(exit.cause)
    yield* Advice.complain(error)
    const message = Advice.messageOf(error)
    if (!isCopyError(error)) return { result: { ...names, error: { message } } }
    const { descriptor, end, operation, path, reason, reference } = error
    const details = {
      end,
      reference,
      ...operation === undefined ? {} : { operation },
      ...descriptor === undefined ? {} : { descriptor },
      path,
      reason
    }
    return { result: { ...names, error: { message, ...details } } }
  }
)

/** Prints the results of several copies. Fails if one of them has failed, after all have ended. */
const print = Effect.fnUntraced(function*(input: Input, printed: ReadonlyArray<Printed>) {
  const failed = printed.filter(({ result }) => result.error !== undefined)
  const lines = printed.flatMap(({ line }) => line ?? [])
  yield* isOnStdout(input)
    ? Effect.forEach(lines, Messages.note, { discard: true })
    : input.json
    ? Output.jsonPieces(CopyDocuments.results(printed.map(({ result }) => result)))
    : Output.text(lines)
  if (failed.length > 0) {
    return yield* new Output.Failure({ message: `${failed.length} of ${printed.length} copies failed` })
  }
})

const copyToMany = Effect.fnUntraced(
  function*(options: Copy.Options, source: Locations.Location, destinations: ReadonlyArray<Locations.Location>) {
    const namespace = yield* Namespace.Namespace
    const [elapsed, exits] = yield* Effect.timed(
      namespace.copyToMany({ ...options, source: source.end, destinations: destinations.map(({ end }) => end) })
    )
    return yield* Effect.forEach(
      destinations,
      (destination, index) => conclude({ source, destination, exit: exits[index] ?? Exit.interrupt() }, elapsed)
    )
  },
  Effect.provideService(Observer, Connection.observe)
)

const copyTags = Effect.fnUntraced(
  function*(options: Copy.Options, pairs: ReadonlyArray<CopyFlags.Pair>) {
    const namespace = yield* Namespace.Namespace
    const byEnd = new Map<Namespace.End, CopyFlags.Pair>(pairs.map((pair) => [pair.destination.end, pair]))
    const copies = pairs.map(({ destination, source }) => ({
      ...options,
      source: source.end,
      destination: destination.end
    }))
    const begun = yield* Clock.currentTimeMillis
    return yield* namespace.copyAll(Stream.fromIterable(copies)).pipe(
      Stream.mapEffect(Effect.fnUntraced(function*({ destination, exit }) {
        const pair = byEnd.get(destination)
        const elapsed = Duration.millis((yield* Clock.currentTimeMillis) - begun)
        return pair === undefined ? [] : [yield* conclude({ ...pair, exit }, elapsed)]
      })),
      Stream.runCollect,
      Effect.map((printed) => printed.flat())
    )
  },
  Effect.provideService(Observer, Connection.observe)
)

/** Makes the copies, and returns the effect that prints the results. It runs after archives have been written. */
const copy = Effect.fnUntraced(function*(input: Input, options: Copy.Options) {
  const namespace = yield* Namespace.Namespace
  if (input.allTags) {
    return print(input, yield* CopyFlags.useTags(namespace, input, (pairs) => copyTags(options, pairs)))
  }
  return yield* CopyFlags.useImage(
    input,
    Effect.fnUntraced(function*(source, destinations) {
      const [only, ...others] = destinations
      return only === undefined || others.length > 0
        ? print(input, yield* copyToMany(options, source, destinations))
        : yield* copyOne(input, options, source, only)
    })
  )
})

export const CopyCommand = Command.make(
  "copy",
  {
    ...CopyFlags.config,
    verify: Flag.Literals("verify", ["none", "digest", "children", "deep"]).pipe(
      Flag.withMetavar("none|digest|children|deep"),
      Flag.withDescription(
        "What to verify after the copy: that the tags have the digest (digest); that every manifest and blob exists " +
          "and referrers are listed (children); or all content, by reading it (deep). Default: none"
      ),
      Flag.withDefault("none")
    ),
    dryRun: Flags.onOff("dry-run", "Copy nothing, and print the plan, as plan does"),
    json: Flags.json,
    connection: Connection.copyFlags
  },
  Effect.fnUntraced(function*(input) {
    const options: Copy.Options = { ...yield* CopyFlags.options(input), verify: input.verify }
    if (input.dryRun) return yield* plan(input, options)
    yield* checkStdout(input)
    yield* yield* copy(input, options)
  })
).pipe(
  Connection.provideCopyUnwatched,
  Command.withAlias("cp"),
  Command.withShortDescription("Copies an image from one registry, folder or archive to others"),
  Command.withDescription(
    "Copies an image, with all its platforms and referrers, from one registry, folder or archive to another, or to " +
      "several at once. Content that the destination has already is not sent again. Prints the reference of the copy " +
      "by its digest."
  ),
  Command.withExamples([
    {
      command: "effect-oci copy ghcr.io/team/app:1 127.0.0.1:5000/mirror/app:1",
      description: "Copy a multi-platform image, with its signatures and SBOMs, into a registry on this machine"
    },
    {
      command: "effect-oci copy --platform linux/arm64 ghcr.io/team/app:1 127.0.0.1:5000/app:arm64",
      description: "Copy the image for one platform"
    },
    {
      command: "effect-oci copy --platform linux/amd64 --platform linux/arm64 --index rewrite ghcr.io/team/app:1 " +
        "127.0.0.1:5000/app:1",
      description: "Copy two platforms, with an index of these two"
    },
    {
      command: "effect-oci copy ghcr.io/team/app:1 oci:images:app",
      description: "Copy an image into an image layout in the folder images"
    },
    {
      command: "effect-oci copy ghcr.io/team/app:1 docker-archive:- | docker load",
      description: "Load an image into docker"
    },
    {
      command:
        "effect-oci copy --all-tags --semver \"^1.4\" --latest 3 ghcr.io/team/app registry.example.com/mirror/app",
      description: "Mirror the three newest versions of 1.x, from 1.4 on"
    },
    {
      command: "effect-oci copy ghcr.io/team/app:1 eu.example.com/app:1 us.example.com/app:1",
      description: "Copy to two registries, and read the source only once"
    }
  ])
)
