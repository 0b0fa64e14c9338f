/**
 * `effect-oci copy SOURCE DESTINATION...`
 */
import * as Cause from "effect/Cause"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as Copy from "../copy/Copy.ts"
import { CopyError, isCopyError } from "../copy/CopyError.ts"
import { CopyReport } from "../copy/CopyReport.ts"
import * as Namespace from "../Namespace.ts"
import * as Advice from "./Advice.ts"
import * as Connection from "./Connection.ts"
import * as CopyFlags from "./CopyFlags.ts"
import * as Flags from "./Flags.ts"
import type * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"
import { plan } from "./PlanCommand.ts"
import * as Progress from "./Progress.ts"

const encodeReport = Schema.encodeEffect(CopyReport)
const encodeError = Schema.encodeEffect(CopyError)

interface Input extends CopyFlags.Input {
  readonly json: boolean
}

/** Copies an image to one destination, in sight. */
const copyOne = Effect.fnUntraced(
  function*(input: Input, options: Copy.Options, source: Locations.Location, destination: Locations.Location) {
    const namespace = yield* Namespace.Namespace
    const [elapsed, report] = yield* Effect.timed(
      Progress.shown(namespace.copyEvents({ ...options, source: source.end, destination: destination.end }))
    )
    const result = destination.format({ digest: report.root.digest })
    yield* Output.note(Progress.conclusion(report, elapsed))
    return input.json ? Output.json(yield* Effect.orDie(encodeReport(report))) : Output.line(result)
  }
)

// ---------------------------------------------------------------------------------------------------------------------
// several copies
// ---------------------------------------------------------------------------------------------------------------------

/** How one of several copies went. */
interface Ended extends CopyFlags.Pair {
  readonly exit: Exit.Exit<CopyReport, CopyError>
}

/** What is printed of a copy that has ended. */
interface Told {
  readonly line: string
  readonly json: {
    readonly source: string
    readonly destination: string
    readonly report?: unknown
    readonly error?: unknown
  }
}

/** Tells of a copy that has ended, on stderr. */
const tell = Effect.fnUntraced(
  function*(
    { destination, exit, source }: Ended,
    elapsed: Duration.Duration
  ): Effect.fn.Return<Told, never, FileSystem.FileSystem | Path.Path> {
    const names = { source: source.format(source.end), destination: destination.format(destination.end) }
    if (Exit.isSuccess(exit)) {
      yield* Output.note(`${names.destination}: ${Progress.conclusion(exit.value, elapsed)}`)
      const report = yield* Effect.orDie(encodeReport(exit.value))
      const { digest } = exit.value.root
      return { line: destination.format({ ...destination.end, digest }), json: { ...names, report } }
    }
    const error = Cause.squash(exit.cause)
    yield* Advice.complain(error)
    const details = isCopyError(error) ? yield* Effect.orDie(encodeError(error)) : {}
    return { line: "", json: { ...names, error: { ...details, message: Advice.messageOf(error) } } }
  }
)

/** Prints what came of several copies: none is held up by one that fails, which all the same is a failure. */
const conclude = Effect.fnUntraced(function*({ json }: Input, told: ReadonlyArray<Told>) {
  const failed = told.filter(({ json }) => json.error !== undefined)
  if (json) yield* Output.json(told.map(({ json }) => json))
  else yield* Output.lines(Stream.fromIterable(told.flatMap(({ line }) => line === "" ? [] : [line])))
  if (failed.length > 0) {
    return yield* new Output.Failure({ message: `${failed.length} of ${told.length} copies failed` })
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
      (destination, index) => tell({ source, destination, exit: exits[index] ?? Exit.interrupt() }, elapsed)
    )
  }
)

const copyTags = Effect.fnUntraced(function*(options: Copy.Options, pairs: ReadonlyArray<CopyFlags.Pair>) {
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
      return pair === undefined ? [] : [yield* tell({ ...pair, exit }, elapsed)]
    })),
    Stream.runCollect,
    Effect.map((told) => told.flat())
  )
})

/** Makes the copies that are asked for, and tells how to print what came of them: archives are in their files by then. */
const copy = Effect.fnUntraced(function*(input: Input, options: Copy.Options) {
  const namespace = yield* Namespace.Namespace
  if (input.allTags) {
    return conclude(input, yield* CopyFlags.useTags(namespace, input, (pairs) => copyTags(options, pairs)))
  }
  return yield* CopyFlags.useImage(
    input,
    Effect.fnUntraced(function*(source, destinations) {
      const [only, ...others] = destinations
      return only === undefined || others.length > 0
        ? conclude(input, yield* copyToMany(options, source, destinations))
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
        "What to make sure of afterwards: that the tags point there; that every manifest and blob is there, and referrers are " +
          "listed; that all of it is what its digest says, by reading it. none unless given"
      ),
      Flag.withDefault("none")
    ),
    dryRun: Flags.onOff("dry-run", "Copy nothing, and print what would be done, as plan does"),
    json: Flags.json,
    connection: Connection.copyFlags
  },
  Effect.fnUntraced(function*(input) {
    const options: Copy.Options = { ...yield* CopyFlags.options(input), verify: input.verify }
    if (input.dryRun) return yield* plan(input, options)
    yield* yield* copy(input, options)
  })
).pipe(
  Connection.provideCopyUnwatched,
  Command.withAlias("cp"),
  Command.withShortDescription("Copy an image from one registry, folder or archive to others"),
  Command.withDescription(
    "Copies an image, with all its platforms and all that refers to it, from one registry, folder or archive to another, or to " +
      "several at once. What is there already is not sent again. Prints where the destination has it now, by its digest."
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
      command:
        "effect-oci copy --platform linux/amd64 --platform linux/arm64 --index rewrite ghcr.io/team/app:1 127.0.0.1:5000/app:1",
      description: "Copy two platforms, in an index of these two"
    },
    {
      command: "effect-oci copy ghcr.io/team/app:1 oci:images:app",
      description: "Copy an image into an image layout in the folder images"
    },
    {
      command:
        "effect-oci copy --all-tags --semver \"^1.4\" --latest 3 ghcr.io/team/app registry.example.com/mirror/app",
      description: "Mirror the three newest versions of 1.x, from 1.4 on"
    },
    {
      command: "effect-oci copy ghcr.io/team/app:1 eu.example.com/app:1 us.example.com/app:1",
      description: "Copy to two registries, and read the source once"
    }
  ])
)
