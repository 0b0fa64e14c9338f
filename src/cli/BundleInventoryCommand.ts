/**
 * `effect-oci mirror bundle inventory`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Bundle from "../mirror/Bundle.ts"
import * as BundleInput from "./BundleInput.ts"
import * as Flags from "./Flags.ts"
import * as MirrorFlags from "./MirrorFlags.ts"
import * as Output from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"

export const BundleInventoryCommand = Command.make(
  "inventory",
  {
    config: MirrorFlags.config,
    ...MirrorFlags.foreign,
    from: Flag.String("from").pipe(
      Flag.withMetavar("HOST/PREFIX"),
      Flag.withDescription(
        "List the repositories in the catalog of this registry instead of the destinations of the rules. May be repeated"
      ),
      Flag.atLeast(0)
    ),
    rule: BundleInput.rule,
    output: Flags.output
  },
  Effect.fnUntraced(function*({ config: flag, from, output, rule, ...foreign }) {
    if (Option.isNone(flag) && from.length === 0) {
      return yield* misuse("missing file or registry: use --config FILE or --from HOST")
    }
    if (from.length > 0 && rule.length > 0) return yield* misuse("--from contradicts --rule")
    const config = Option.isNone(flag) ? Option.none() : Option.some(yield* BundleInput.load(flag.value, foreign, rule))
    const rules = Option.match(config, { onNone: () => [], onSome: ({ rules }) => rules })
    const bytes = Bundle.inventory(
      from.length > 0 ? { registries: from } : { rules: rules.filter(BundleInput.chosen(rule)) }
    )
    yield* Effect.gen(function*() {
      yield* Output.to(output, bytes)
    }).pipe(BundleInput.connected(config))
  }, Effect.scoped)
).pipe(
  Command.withShortDescription("Lists what a destination has, for the next export"),
  Command.withDescription(
    "Writes a file with the tags of the destinations and the digests of everything below them, for --since of an " +
      "export on the other side. It has one JSON object in each line, and a checksum in the last."
  ),
  Command.withExamples([
    { command: "effect-oci mirror bundle inventory -c mirror.yml -o have.json", description: "List the destinations" },
    {
      command: "effect-oci mirror bundle inventory --from registry.inside:5000/team -o have.json",
      description: "List the repositories of a registry below team"
    }
  ])
)
