/**
 * `effect-oci mirror bundle export -c FILE PATH`
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Bundle from "../mirror/Bundle.ts"
import * as BundleInput from "./BundleInput.ts"
import * as Flags from "./Flags.ts"
import * as Messages from "./Messages.ts"
import * as MirrorFlags from "./MirrorFlags.ts"
import * as Output from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"

const linesOf = ({ assumed, base, bytes, carried, digest, list, pieces, tags }: Bundle.ExportReport) => [
  `${tags} tags, ${carried} blobs and manifests, ${assumed} expected at the destination, ${bytes} bytes`,
  ...base.map((id) => `based on ${id}`),
  ...pieces.length > 1 ? [`${pieces.length} pieces, from ${pieces[0]} to ${pieces.at(-1)}`] : [],
  `${list}`,
  `${digest}`
]

export const BundleExportCommand = Command.make(
  "export",
  {
    path: Argument.String("path").pipe(
      Argument.withMetavar("path"),
      Argument.withDescription("File that ends with .tar, or a folder, that gets the bundle")
    ),
    config: MirrorFlags.config,
    ...MirrorFlags.foreign,
    since: Flag.String("since").pipe(
      Flag.withMetavar("PATH"),
      Flag.withDescription(
        "Bundle, its list of contents, or inventory, that says what the other side has. May be repeated, oldest first. " +
          "Default: a full bundle"
      ),
      Flag.atLeast(0)
    ),
    maxSize: Flags.parsed(
      "max-size",
      "SIZE",
      "Write pieces of this size, such as 4GiB. Default: one folder or file",
      Flags.readSize
    ).pipe(Flag.optional),
    rule: BundleInput.rule,
    omitFailed: Flags.onOff(
      "omit-failed",
      "Write the bundle without the tags that fail, and list them. Default: fail, and continue when run again"
    ),
    copies: Flags.positive("copies", "Maximum number of tags that are copied at the same time. Default: 8").pipe(
      Flag.optional
    ),
    json: Flags.json
  },
  Effect.fnUntraced(function*({ config: flag, copies, json, maxSize, omitFailed, path, rule, since, ...foreign }) {
    if (path === "-") return yield* misuse("a bundle is not written to stdout: name a file or a folder")
    const file = yield* MirrorFlags.nameOf(Option.none(), flag)
    const config = yield* BundleInput.load(file, foreign, rule)
    const report = yield* Bundle.exportTo(path, config, {
      since,
      maximumSize: Option.getOrUndefined(maxSize),
      rules: BundleInput.chosen(rule),
      onFailure: omitFailed ? "omit" : "fail",
      copies: Option.getOrUndefined(copies),
      progress: BundleInput.progress
    }).pipe(BundleInput.connected(Option.some(config)))
    for (const { name, problem, tag } of report.omitted) yield* Messages.warn(`omitted ${name}:${tag}: ${problem}`)
    yield* json ? Output.json(Bundle.ExportReport, report) : Output.text(linesOf(report))
    if (report.omitted.length > 0) return yield* new Output.Reported({ exitCode: 1 })
  }, Effect.scoped)
).pipe(
  Command.withShortDescription("Writes what the rules select to a file or a folder"),
  Command.withDescription(
    "Writes an image layout with what the rules select, with signatures and other referrers as the rules say, and a " +
      "list of contents, bundle.json. With --since, it has only what the other side lacks. An export that was " +
      "interrupted continues when it is run again with the same path. Prints the digest of bundle.json last."
  ),
  Command.withExamples([
    { command: "effect-oci mirror bundle export -c mirror.yml monday.tar", description: "Write a full bundle" },
    {
      command: "effect-oci mirror bundle export -c mirror.yml --since monday.tar tuesday.tar",
      description: "Write what has changed since an earlier bundle"
    },
    {
      command: "effect-oci mirror bundle export -c mirror.yml --since have.json --max-size 4GiB /media/disk/bundle",
      description: "Write what an inventory lacks, in pieces, to a folder"
    }
  ])
)
