/**
 * `effect-oci mirror bundle import PATH`
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Digest from "../Digest.ts"
import * as Bundle from "../mirror/Bundle.ts"
import * as BundleInput from "./BundleInput.ts"
import * as Flags from "./Flags.ts"
import * as Messages from "./Messages.ts"
import * as MirrorFlags from "./MirrorFlags.ts"
import * as Output from "./Output.ts"

const noForeign: MirrorFlags.ForeignValues = { to: Option.none(), scoped: false, auth: Option.none() }

const outcomes = ["set", "unchanged", "kept", "refused", "failed"] as const

const linesOf = ({ bytes, mounted, tags }: Bundle.ImportReport) => {
  const counts = outcomes.flatMap((outcome) => {
    const count = tags.filter((tag) => tag.outcome === outcome).length
    return count === 0 ? [] : [`${count} ${outcome}`]
  })
  return [`${counts.length === 0 ? "no tags" : counts.join(", ")}; ${bytes} bytes sent, ${mounted} blobs mounted`]
}

/** Reports tags that were not set, and those that pointed at an unexpected image. */
const reportProblems = Effect.fnUntraced(function*({ omitted, tags }: Bundle.ImportReport) {
  for (const { name, outcome, problem } of tags) {
    if (problem === undefined) continue
    const text = `${name}: ${outcome}: ${problem}`
    yield* outcome === "failed" || outcome === "refused"
      ? Messages.send({ type: "error", message: text })
      : Messages.warn(text)
  }
  for (const { name, problem, tag } of omitted) yield* Messages.warn(`the bundle omits ${name}:${tag}: ${problem}`)
})

export const BundleImportCommand = Command.make(
  "import",
  {
    path: Argument.String("path").pipe(
      Argument.withMetavar("path"),
      Argument.withDescription("The bundle: its file, its folder, or its list of contents")
    ),
    config: MirrorFlags.config,
    to: Flag.String("to").pipe(
      Flag.withMetavar("HOST/PREFIX"),
      Flag.withDescription("Registry that replaces those of the rules. Default: the destinations of the rules"),
      Flag.optional
    ),
    digest: Flags.parsed(
      "digest",
      "DIGEST",
      "Digest that bundle.json must have, as the export printed it",
      (text) => Result.mapError(Digest.parse(text), ({ message }) => ({ message }))
    ).pipe(Flag.optional),
    rule: BundleInput.rule,
    copies: Flags.positive("copies", "Maximum number of tags that are copied at the same time. Default: 8").pipe(
      Flag.optional
    ),
    json: Flags.json
  },
  Effect.fnUntraced(function*({ config: flag, copies, digest, json, path, rule, to }) {
    const config = Option.isNone(flag)
      ? Option.none()
      : Option.some(yield* BundleInput.load(flag.value, noForeign, rule))
    const policies = new Map(
      Option.match(config, { onNone: () => [], onSome: ({ rules }) => rules }).map((rule) => [rule.name, rule])
    )
    const report = yield* Bundle.importFrom(path, {
      to: Option.getOrUndefined(to),
      digest: Option.getOrUndefined(digest),
      onTagMoved: (rule) => policies.get(rule)?.onTagMoved,
      rules: BundleInput.chosen(rule),
      copies: Option.getOrUndefined(copies),
      progress: BundleInput.progress
    }).pipe(BundleInput.connected(config))
    yield* reportProblems(report)
    yield* json ? Output.json(Bundle.ImportReport, report) : Output.text(linesOf(report))
    if (report.hasFailures) return yield* new Output.Reported({ exitCode: 1 })
  }, Effect.scoped)
).pipe(
  Command.withShortDescription("Copies a bundle to its destinations, and sets the tags"),
  Command.withDescription(
    "Verifies the whole bundle, and that the destination has what the bundle expects there, before it sets a tag. " +
      "Content that the destination has is not sent, or mounted from another of its repositories. An import may be " +
      "interrupted and run again. With --config, the registries and onTagMoved are those of that file."
  ),
  Command.withExamples([
    {
      command: "effect-oci mirror bundle import --to registry.inside:5000 /media/disk/bundle",
      description: "Import a bundle to one registry"
    },
    {
      command: "effect-oci mirror bundle import -c inside.yml monday.tar",
      description: "Import to the destinations of the rules, with the credentials and policies of a file"
    }
  ])
)
