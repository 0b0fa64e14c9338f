/**
 * `effect-oci mutate SOURCE [DESTINATION]`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as ImageEdit from "../artifact/ImageEdit.ts"
import * as Connection from "./Connection.ts"
import * as EditFlags from "./EditFlags.ts"
import * as EditPlaces from "./EditPlaces.ts"

export const MutateCommand = Command.make(
  "mutate",
  {
    ...EditPlaces.places,
    ...EditFlags.changes,
    ...EditFlags.common,
    connection: Connection.copyFlags
  },
  Effect.fnUntraced(function*(input) {
    yield* yield* EditPlaces.use(input, (source, destination) =>
      EditFlags.push(
        input,
        source.format(source.end),
        destination,
        ImageEdit.editEvents({
          ...EditFlags.optionsOf(input, destination),
          ...EditFlags.changesOf(input),
          source: source.end
        })
      ))
  })
).pipe(
  Connection.provideCopyUnwatched,
  Command.withShortDescription("Changes the config and the annotations of an image"),
  Command.withDescription(
    "Makes an image with another config or other annotations, and pushes it. The layers stay as they are. All images of " +
      "an index are changed. Without a destination, the image is pushed by its digest to the repository of the source. " +
      "Prints the reference of the image by its digest."
  ),
  Command.withExamples([
    {
      command: "effect-oci mutate ghcr.io/team/app:1 ghcr.io/team/app:1-debug --env DEBUG=1 --cmd '[\"run\",\"-v\"]'",
      description: "Change environment and command"
    },
    {
      command: "effect-oci mutate oci:images:app oci:images:app --label org.example.team=a --annotation a=b",
      description: "Set a label and an annotation, and move the tag"
    }
  ])
)
