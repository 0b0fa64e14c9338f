/**
 * `effect-oci diff LEFT RIGHT`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Digest } from "../Digest.ts"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Difference from "./Difference.ts"
import * as Flags from "./Flags.ts"
import * as Format from "./Format.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

// ---------------------------------------------------------------------------------------------------------------------
// text
// ---------------------------------------------------------------------------------------------------------------------

const indented = (lines: ReadonlyArray<string>): ReadonlyArray<string> => lines.map((line) => `  ${line}`)

const section = (title: string, lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.length === 0 ? [] : [title, ...indented(lines)]

const changed = ({ left, path, right }: Difference.Change): ReadonlyArray<string> =>
  ([["-", left], ["+", right]] as const).flatMap(([sign, value]) =>
    value === undefined ? [] : [`${sign} ${path}: ${JSON.stringify(value)}`]
  )

const marks = { both: " ", left: "-", right: "+" } as const

const layers = (layers: ReadonlyArray<Difference.LayerChange>): ReadonlyArray<string> =>
  layers.every((layer) => layer.in === "both")
    ? []
    : layers.map((each) => `${marks[each.in]} ${each.layer.digest}  ${Format.size(each.layer.size)}`)

const sides = (left: Digest | undefined, right: Digest | undefined, name = ""): ReadonlyArray<string> => [
  ...left === undefined ? [] : [`- ${name}${left}`],
  ...right === undefined ? [] : [`+ ${name}${right}`]
]

const member = ({ difference, left, name, right }: Difference.Member): ReadonlyArray<string> => {
  if (difference !== undefined) return [`~ ${name}`, ...indented(indented(lines(difference)))]
  return left === right ? [`  ${name}: the same`] : sides(left, right, `${name}  `)
}

const unlike = "only one of them is an index, or neither is an image: use --platform to compare an image of an index"

const lines = (difference: Difference.Difference): ReadonlyArray<string> => [
  ...sides(difference.left, difference.right),
  ...difference.types === undefined ? [] : changed({ path: "type", ...difference.types }),
  ...difference.layers === undefined && difference.manifests === undefined ? [unlike] : [],
  ...section("annotations", (difference.annotations ?? []).flatMap(changed)),
  ...section("config", (difference.config ?? []).flatMap(changed)),
  ...section("layers", layers(difference.layers ?? [])),
  ...section("manifests", (difference.manifests ?? []).flatMap(member))
]

const text = (difference: Difference.Difference): ReadonlyArray<string> =>
  difference.isSame ? [`the same: ${difference.left}`] : lines(difference)

// ---------------------------------------------------------------------------------------------------------------------
// the verb
// ---------------------------------------------------------------------------------------------------------------------

/** Schema of the result. */
export const Diff = Schema.Struct({
  references: Schema.Struct({ left: Schema.String, right: Schema.String }),
  ...Difference.fields
})

export const DiffCommand = Command.make(
  "diff",
  {
    left: Flags.place("left", "Image: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE"),
    right: Flags.place("right", "Image to compare it with"),
    platform: Flags.platform("Compare the images for this platform instead of the indexes").pipe(Flag.optional),
    exitCode: Flags.onOff("exit-code", "Exit with code 1 if they differ"),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ exitCode, json, left, platform, right }) {
    const namespace = yield* Namespace.Namespace
    const chosen = Option.isNone(platform) ? {} : { platform: platform.value }
    const side = (named: Locations.Named) => <A, E, R>(work: (side: Difference.Side) => Effect.Effect<A, E, R>) =>
      named.use(
        Locations.image,
        (place) => Effect.flatMap(namespace.getManifest(place.end, chosen), (manifest) => work({ place, manifest }))
      )
    const { difference, names } = yield* side(left)((left) =>
      side(right)((right) =>
        Effect.map(Difference.compare(namespace, left, right), (difference) => ({
          difference,
          names: {
            left: left.place.format(left.place.end),
            right: right.place.format(right.place.end)
          }
        }))
      )
    )
    yield* json
      ? Output.json(Diff, { references: names, ...difference })
      : Output.text(text(difference))
    if (exitCode && !difference.isSame) return yield* new Output.Reported({})
  })
).pipe(
  Connection.provide("left", "right"),
  Command.withShortDescription("Shows the differences between two images"),
  Command.withDescription(
    "Compares two images: their platforms, and the annotations, config and layers for each platform. Marks lines of " +
      "the first image with -, and lines of the second with +."
  ),
  Command.withExamples([
    {
      command: "effect-oci diff ghcr.io/team/app:1.4.1 ghcr.io/team/app:1.4.2",
      description: "Show the changes of a release"
    },
    {
      command: "effect-oci diff --exit-code ghcr.io/team/app:1 registry.example.com/mirror/app:1",
      description: "Check whether a mirror is up to date"
    }
  ])
)
