/**
 * `effect-oci rebase SOURCE [DESTINATION]`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as ImageEdit from "../artifact/ImageEdit.ts"
import * as Connection from "./Connection.ts"
import * as EditFlags from "./EditFlags.ts"
import * as EditPlaces from "./EditPlaces.ts"
import * as Flags from "./Flags.ts"
import { readReference } from "./ReferenceInput.ts"

const base = (name: string, description: string) =>
  Flags.parsed(name, "IMAGE", description, readReference).pipe(Flag.optional)

export const RebaseCommand = Command.make(
  "rebase",
  {
    ...EditPlaces.places,
    oldBase: base(
      "old-base",
      "Current base: host/repository with a tag or a digest. Default: that of the annotations of the image, by digest"
    ),
    newBase: base(
      "new-base",
      "New base: host/repository with a tag or a digest. Default: that of the annotations of the image, by name"
    ),
    ...EditFlags.common,
    connection: Connection.copyFlags
  },
  Effect.fnUntraced(function*({ newBase, oldBase, ...input }) {
    yield* yield* EditPlaces.use(input, (source, destination) =>
      EditFlags.push(
        input,
        source.format(source.end),
        destination,
        ImageEdit.rebaseEvents({
          ...EditFlags.optionsOf(input, destination),
          source: source.end,
          oldBase: Option.getOrUndefined(oldBase),
          newBase: Option.getOrUndefined(newBase)
        })
      ))
  })
).pipe(
  Connection.provideCopyUnwatched,
  Command.withShortDescription("Exchanges the base of an image"),
  Command.withDescription(
    "Makes an image whose lowest layers are those of a new base instead of the old one, and pushes it. Nothing is built or " +
      "run, so that the upper layers must fit the new base. The bases come from the annotations " +
      "org.opencontainers.image.base.name and .digest, which append --set-base sets, unless flags name them. Prints the " +
      "reference of the image by its digest."
  ),
  Command.withExamples([
    {
      command: "effect-oci rebase ghcr.io/team/app:1 ghcr.io/team/app:1-patched",
      description: "Put an image on the current version of its base"
    },
    {
      command: "effect-oci rebase --old-base debian:12.1 --new-base debian:12.5 ghcr.io/team/app:1 ghcr.io/team/app:2",
      description: "Name both bases"
    }
  ])
)
